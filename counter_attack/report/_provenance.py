"""Where the answers come from: models, what was asked, who computed, and what went wrong."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from counter_attack.report._cases import Cases
from counter_attack.ug100 import Column, Table
from mipverify_py.campaigns._records import canonical_json

if TYPE_CHECKING:
    import pandas as pd

    from mipverify_py.campaigns import Campaign

_OF_ONE_INPUT: Final = ("label", "eps")
"""Parts of a question that differ from input to input, or have a column of their own."""

MOST_LISTED: Final = 200
"""Of failures and contradictions, more are in the table of cases."""


def contradiction_table(campaign: Campaign) -> Table:
    """Answers that cannot both be true."""
    rows = [
        {
            "configuration": found.configuration,
            "input": f"{found.dataset} {found.index}",
            "rows": ", ".join(map(str, found.rows)),
            "detail": found.detail,
        }
        for found in campaign.contradictions
    ]
    return Table(
        name="contradictions",
        title=f"Contradictions: {len(rows):,}",
        columns=_texts("configuration", "input", "rows", "detail"),
        rows=tuple(rows[:MOST_LISTED]),
        note=_listed(len(rows))
        or "Rows are the queries' numbers. Nothing is averaged away: both answers are in the store.",
    )


def failure_table(found: Cases) -> Table:
    """Queries that were tried as often as allowed without an answer."""
    failed = found.table[found.table["state"] == "failed"]
    rows = [
        {
            "row": int(case.row),
            "configuration": case.configuration,
            "kind": case.kind,
            "input": f"{case.dataset} {int(case.position)}",
            "failures": int(case.failures),
            "failure": case.failure,
        }
        for case in failed.rename(columns={"index": "position"}).head(MOST_LISTED).itertuples(index=False)
    ]
    return Table(
        name="failures",
        title=f"Queries without an answer: {len(failed):,}",
        columns=(
            Column("row", "#", "text"),
            *_texts("configuration", "kind", "input"),
            Column("failures", "failures", "count"),
            Column("failure", "the last one", "text"),
        ),
        rows=tuple(rows),
        note=_listed(len(failed)),
    )


def provenance_tables(campaign: Campaign, found: Cases) -> Iterator[Table]:
    """Models, questions, software and machines."""
    configurations = defaultdict(set)
    for case in found.table[["model", "configuration"]].drop_duplicates().itertuples(index=False):
        configurations[case.model].add(case.configuration)
    yield Table(
        name="models",
        title="Models",
        columns=_texts("name", "configurations", "digest", "card"),
        rows=tuple(
            {
                "name": model.name,
                "configurations": ", ".join(sorted(configurations[digest])) or None,
                "digest": digest,
                "card": _words(model.card) or None,
            }
            for digest, model in sorted(campaign.models.items(), key=lambda item: (item[1].name, item[0]))
        ),
    )
    yield _questions(campaign)
    if len(campaign.attempts):
        yield _computed(campaign.attempts)


def _questions(campaign: Campaign) -> Table:
    counts: dict[tuple[str, ...], int] = defaultdict(int)
    for query in campaign.queries:
        record = query.record
        question = {name: value for name, value in record.question.items() if name not in _OF_ONE_INPUT}
        place = (
            record.configuration,
            record.kind.value,
            canonical_json(question),
            canonical_json(dict(record.options)),
        )
        counts[(*place, str(record.seed))] += 1
    return Table(
        name="questions",
        title="What was asked",
        columns=(
            *_texts("configuration", "kind", "question", "options"),
            Column("seed", "seed", "text"),
            Column("queries", "queries", "count"),
        ),
        rows=tuple(
            {
                "configuration": configuration,
                "kind": kind,
                "question": _words(json.loads(question)),
                "options": _words(json.loads(options)) or None,
                "seed": seed,
                "queries": count,
            }
            for (configuration, kind, question, options, seed), count in sorted(counts.items())
        ),
    )


def _computed(attempts: pd.DataFrame) -> Table:
    rows = []
    for (host, versions), members in attempts.groupby(["host", "versions"], sort=True):
        rows.append(
            {
                "machine": _words(json.loads(host)),
                "software": _words(json.loads(versions)),
                "workers": int(members["worker"].nunique()),
                "attempts": len(members),
                "first": str(members["started"].min()),
                "last": str(members["started"].max()),
            }
        )
    return Table(
        name="computed",
        title="What computed the answers",
        columns=(
            *_texts("machine", "software"),
            Column("workers", "workers", "count"),
            Column("attempts", "attempts", "count"),
            Column("first", "first begun", "text"),
            Column("last", "last begun", "text"),
        ),
        rows=tuple(rows),
    )


def _words(values: Any) -> str:
    """JSON as people read it: without braces and quotation marks around names."""
    if isinstance(values, dict):
        return ", ".join(f"{name} {_inner(value)}" for name, value in values.items() if value is not None)
    return _inner(values)


def _inner(value: Any) -> str:
    if isinstance(value, dict):
        return f"({_words(value)})" if value else "()"
    return value if isinstance(value, str) else json.dumps(value)


def _texts(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, name, "text") for name in names)


def _listed(count: int) -> str:
    return f"The first {MOST_LISTED:,} are listed; the table of cases has all." if count > MOST_LISTED else ""
