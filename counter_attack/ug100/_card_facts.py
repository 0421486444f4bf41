"""What the card of a data set says, gathered from a campaign."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from counter_attack.ug100._card import Facts
from mipverify_py.campaigns._records import ModelRecord, canonical_json
from onnx_models.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from mipverify_py.campaigns import Campaign
    from mipverify_py.campaigns._reading import StoredQuery

_SHARED = ("norm", "targets", "domain")
"""Parts of a question that exact search and attacks have in common, beside the label."""


def facts_of(
    campaign: Campaign,
    queries: tuple[Sequence[StoredQuery], Sequence[StoredQuery]],
    tables: tuple[pd.DataFrame, pd.DataFrame],
    models: Mapping[str, ModelRecord],
) -> Facts:
    """The facts of a data set.

    Args:
        campaign: what it is made from.
        queries: the distance queries, one per case, and the attack queries.
        tables: of the cases, and of the attacks.
        models: by configuration.

    Raises:
        InputError: the questions differ in more than model, image and label.
    """
    exact, attacked = queries
    cases, attacks = tables
    rows = {query.row for query in (*exact, *attacked)}
    attempts = campaign.attempts[campaign.attempts["row"].isin(rows)]
    started = sorted(attempts["started"])
    return Facts(
        name=", ".join(sorted(cases["dataset"].unique())),
        question=_question(exact, attacked, str(campaign.path)),
        searches=_grouped((query.record.configuration, _search(query)) for query in exact),
        attack_sets=_grouped((query.record.configuration, _attack_set(query)) for query in attacked),
        cases=cases,
        attacks=attacks,
        models=models,
        limits=_limits(exact),
        versions=_versions(attempts["versions"].unique()),
        hosts=[json.loads(text) for text in sorted(attempts["host"].unique())],
        began=started[0] if started else None,
        ended=started[-1] if started else None,
    )


def _question(exact: Sequence[StoredQuery], attacked: Sequence[StoredQuery], name: str) -> dict[str, Any]:
    """What all cases ask, with "reference" in place of the label."""
    first = exact[0].record.question
    shared = {key: first[key] for key in _SHARED}
    for query in (*exact, *attacked):
        question = query.record.question
        if any(question[key] != value for key, value in shared.items()) or question.get("margin", 0) != first["margin"]:
            where = f"{query.record.configuration}, index {query.record.input.index}"
            raise InputError(
                f"{name}: asks for other targets, another domain or another margin about {where} than about the first "
                "image; a data set asks one question about all of them."
            )
    labels = [(query.record.question["label"], query.record.input.label) for query in exact]
    if all(asked is None for asked, _ in labels):
        reference = "predicted"
    elif all(asked == own for asked, own in labels):
        reference = "label"
    else:
        raise InputError(f"{name}: keeps the true class of some images and another one of others; use one rule.")
    return {**shared, "margin": first["margin"], "reference": reference}


def _search(query: StoredQuery) -> dict[str, Any]:
    return {"options": dict(query.record.options), "seed": query.record.seed}


def _attack_set(query: StoredQuery) -> dict[str, Any]:
    record = query.record
    asked = record.question
    return {
        "name": asked["set"],
        "attacks": asked["attacks"],
        "finish": asked["finish"],
        "options": dict(record.options),
        "seed": record.seed,
    }


def _grouped(found: Iterable[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Each content once, with the configurations that it is for."""
    groups: dict[str, tuple[dict[str, Any], dict[str, None]]] = {}
    for configuration, content in found:
        groups.setdefault(canonical_json(content), (content, {}))[1][configuration] = None
    return [{**content, "configurations": list(names)} for content, names in groups.values()]


def _limits(exact: Sequence[StoredQuery]) -> dict[str, float | None]:
    """The widest under which an answer was accepted, or, where there is no answer, an attempt was made."""
    last = [(query.answers or query.history)[-1].limits for query in exact if query.history]
    times = [limits.time_limit for limits in last]
    finite = [time for time in times if time is not None]
    return {
        "time_limit": max(finite) if finite and len(finite) == len(times) else None,
        "gap_absolute": max((limits.gap_absolute for limits in last), default=0.0),
        "gap_relative": max((limits.gap_relative for limits in last), default=0.0),
    }


def _versions(texts: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, set[str]] = {}
    for text in texts:
        for package, version in json.loads(text).items():
            found.setdefault(package, set()).add(version)
    return {package: sorted(versions) for package, versions in found.items()}
