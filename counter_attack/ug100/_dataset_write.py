"""From a campaign's store to a data set: the same store gives the same files, byte for byte, by the same versions."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from counter_attack.ug100._campaign import check_images, nearest_findings
from counter_attack.ug100._card import card_json, make_card
from counter_attack.ug100._card_facts import facts_of
from counter_attack.ug100._card_text import card_text
from counter_attack.ug100._cells import parts_of_name
from counter_attack.ug100._dataset import ATTACK_COLUMNS, CASE_COLUMNS, SCHEMA, UG100Data, load_ug100
from counter_attack.ug100._dataset_files import (
    ATTACKS,
    CARD,
    CARD_TEXT,
    CASES,
    EXAMPLES,
    MODELS,
    ORIGINALS,
    Writer,
    array_bytes,
    check_name,
    model_card_bytes,
    table_bytes,
)
from mipverify_py import Norm
from mipverify_py._distance import distance
from mipverify_py.campaigns._records import QueryKind, QueryState
from onnx_models.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from mipverify_py.campaigns import Campaign
    from mipverify_py.campaigns._reading import StoredQuery


def write_ug100(store: Path, folder: Path, *, norm: str = "linf") -> UG100Data:
    """Writes what a campaign has found as a data set, and opens it; see `docs/reference/ug100.md` for the layout.

    A case is a distance query, answered or not; the attack queries about the same image belong to it. What lies in the
    folder already is replaced where it has the same name.

    Args:
        store: the campaign.
        folder: where the files go; made if it is not there.
        norm: which of the campaign's distances.

    Raises:
        InputError: the store has no distance query in the norm, asks different questions about different images, or
            has attacks on images without a distance query; a name that no file can have; a file cannot be written.
    """
    from mipverify_py.campaigns import Store, load_campaign

    with Store.open(store, read_only=True) as opened:
        queries = [query for query in opened.queries() if query.record.question["norm"] == norm]
        campaign = load_campaign(store)
        exact = _ordered(query for query in queries if query.record.kind is QueryKind.DISTANCE)
        attacked = [query for query in queries if query.record.kind is QueryKind.ATTACK]
        if not exact:
            raise InputError(f"{store}: holds no distances in the norm {norm}, so there is nothing to write.")
        cases = _cases(exact)
        check_images(cases, str(store))
        attacks = _attacks(campaign, attacked, exact, str(store))
        models = {query.record.configuration: campaign.models[query.record.model] for query in exact}
        card = make_card(facts_of(campaign, (exact, attacked), (cases, attacks), models), SCHEMA)
        writer = Writer(folder)
        writer.begin()
        _add_arrays(writer, campaign, exact, Norm(norm))
        for name, model in models.items():
            writer.add(f"{MODELS}/{name}.onnx", model.onnx)
            if model.card:
                writer.add(f"{MODELS}/{name}.json", model_card_bytes(dict(model.card)))
        writer.add(CASES, table_bytes(cases))
        writer.add(ATTACKS, table_bytes(attacks))
        writer.add(CARD, card_json(card))
        writer.add(CARD_TEXT, card_text(card).encode())
        writer.finish()
    return load_ug100(folder)


def _ordered(queries: Iterable[StoredQuery]) -> list[StoredQuery]:
    """By configuration in the order of the store, then by image; that is the order of the cases."""
    listed = list(queries)
    rank: dict[str, int] = {}
    for query in listed:
        rank.setdefault(query.record.configuration, len(rank))
    return sorted(listed, key=lambda q: (rank[q.record.configuration], q.record.input.dataset, q.record.input.index))


def _cases(exact: Sequence[StoredQuery]) -> pd.DataFrame:
    """The table of cases; `CASE_COLUMNS` says which columns it has."""
    import pandas as pd

    rows = []
    for case, query in enumerate(exact):
        record = query.record
        _, architecture, training = parts_of_name(record.configuration)
        for name in (record.configuration, record.input.dataset):
            check_name(name)
        rows.append(
            {
                "case": case,
                "configuration": record.configuration,
                "architecture": architecture or record.configuration,
                "training": training,
                "dataset": record.input.dataset,
                "index": record.input.index,
                "label": record.input.label,
                "predicted": query.predicted,
                "state": query.state.value,
                "verdict": query.verdict,
                "lower": query.lower,
                "upper": query.upper,
                "gap": None if query.gap is None else max(query.gap, 0.0),
                "evidence": query.evidence,
                "stop_reason": query.stop_reason or query.failure,
                "contradiction": query.contradiction,
                "seconds": query.seconds,
                "engine": query.engine,
                "backend": query.backend,
                "model": record.model,
                "input": record.input.digest,
            }
        )
    return pd.DataFrame(rows, columns=list(CASE_COLUMNS)).astype(dict(CASE_COLUMNS))


def _attacks(
    campaign: Campaign, attacked: Sequence[StoredQuery], exact: Sequence[StoredQuery], name: str
) -> pd.DataFrame:
    """The table of attacks; queries without a whole answer have no rows in it."""
    import pandas as pd

    case_of = {_image(query): case for case, query in enumerate(exact)}
    cases: dict[int, int] = {}
    for query in attacked:
        case = case_of.get(_image(query))
        if case is None:
            where = f"{query.record.configuration}, {query.record.input.dataset} {query.record.input.index}"
            raise InputError(f"{name}: has attacks on {where}, but no distance query; ask for both.")
        if query.record.question["label"] != exact[case].record.question["label"]:
            raise InputError(f"{name}: attacks and exact search were told different labels for case {case}.")
        if query.state is QueryState.DECIDED:
            cases[query.row] = case
    found = nearest_findings(campaign.findings, cases)
    found = found.assign(case=found["row"].map(cases))
    order = ["case", "attack_set"]  # the attacks of a set stay in the order in which they ran
    rows = found[list(ATTACK_COLUMNS)].sort_values(order, kind="stable")
    return pd.DataFrame(rows).astype(dict(ATTACK_COLUMNS)).reset_index(drop=True)


def _image(query: StoredQuery) -> tuple[str, str, int]:
    record = query.record
    return record.configuration, record.input.dataset, record.input.index


def _add_arrays(writer: Writer, campaign: Campaign, exact: Sequence[StoredQuery], norm: Norm) -> None:
    """Images by data set, and the examples by configuration; those of one configuration are in memory at a time."""
    images: dict[str, dict[int, Any]] = {}
    numbered = enumerate(exact)
    for configuration, group in itertools.groupby(numbered, key=lambda one: one[1].record.configuration):
        examples: dict[int, Any] = {}
        for case, query in group:
            own = query.record.input
            known = images.setdefault(own.dataset, {}).setdefault(own.index, own.values)
            if known.shape != own.values.shape or not np.array_equal(known, own.values):
                raise InputError(f"{_where(query)}: is another image, or has another shape, than for other networks.")
            if query.upper is not None:
                examples[case] = _example(campaign, query, norm)
        writer.add(f"{EXAMPLES}/{configuration}.npz", _array_file("case", "example", examples))
    for dataset, found in images.items():
        writer.add(f"{ORIGINALS}/{dataset}.npz", _array_file("index", "image", dict(sorted(found.items()))))


def _example(campaign: Campaign, query: StoredQuery, norm: Norm) -> Any:
    """The example at the upper end."""
    point = campaign.point(query.row, "exact")
    if point is None:
        raise InputError(f"{_where(query)}: the store has an upper end without its example.")
    found = distance(point.reshape(-1), query.record.input.values.reshape(-1), norm)
    if found != query.upper:
        raise InputError(f"{_where(query)}: the store's example lies at {found!r}, not at {query.upper!r}.")
    return point


def _where(query: StoredQuery) -> str:
    configuration, dataset, index = _image(query)
    return f"{configuration}, {dataset} {index}"


def _array_file(key: str, values: str, found: Mapping[int, Any]) -> bytes:
    keys = np.array(list(found), dtype=np.int64)
    return array_bytes(**{key: keys, values: np.array(list(found.values()), dtype=np.float64)})
