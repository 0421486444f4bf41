"""The cases of a campaign: its queries, in a fixed order, and which attack belongs to which exact search."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

    from mipverify_py.campaigns import Campaign

IMAGE: Final = ["configuration", "norm", "dataset", "index"]
"""Queries that agree in these are about the same input of the same model, measured in the same way."""

_ORDER: Final = ["configuration", "kind", "norm", "dataset", "index", "row"]

_WHOLE: Final = ("index", "label", "predicted", "reference", "target", "attempts", "failures", "row")
_REAL: Final = ("eps", "lower", "upper", "gap", "seconds")

_ATTEMPT: Final = [
    "number",
    "started",
    "time_limit",
    "overrides",
    "engine",
    "backend",
    "decided",
    "verdict",
    "lower",
    "upper",
    "evidence",
    "evidence_detail",
    "stop_reason",
    "stop_detail",
    "failure",
    "failure_detail",
    "seconds",
    "elapsed",
    "worker",
]

_KEY_DIGITS: Final = 12
"""Of a query's key: enough to find it again."""


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """The queries and what follows from them.

    Attributes:
        table: one row per query, numbered from 0, columns as in `Campaign.table`, numbers as float64 and texts as
            objects, with NaN and None where there is none. `contradiction` also tells of contradictions with other
            queries. Beside them `set` (of attacks), and for a distance `attack` (the least distance by any attack on
            that input) and `excess` (attack / upper - 1).
        exact, attacked: pairs as positions in the table: an exact search and an attack on the same input, shape (P,).
    """

    table: pd.DataFrame
    exact: NDArray[np.int64]
    attacked: NDArray[np.int64]

    def of_kind(self, kind: str) -> pd.DataFrame:
        """The queries of one kind."""
        return self.table[self.table["kind"] == kind]


def cases(campaign: Campaign) -> Cases:
    """The cases, ordered by configuration, kind, norm, data set and index."""
    table = _plain(campaign.table).sort_values(_ORDER, kind="stable").reset_index(drop=True)
    sets = {query.row: query.record.question.get("set") for query in campaign.queries}
    table["set"] = table["row"].map(sets).astype(object)
    table["set"] = table["set"].where(table["kind"] == "attack", None)
    table["key"] = table["key"].str.slice(0, _KEY_DIGITS)
    table["contradiction"] = table["row"].map(_contradictions(campaign)).astype(object)
    table["contradiction"] = table["contradiction"].where(table["contradiction"].notna(), None)
    exact, attacked = _pairs(table)
    upper = table["upper"].to_numpy()
    nearest = np.full(len(table), np.nan)
    np.fmin.at(nearest, exact, upper[attacked])
    table["attack"] = nearest
    with np.errstate(divide="ignore", invalid="ignore"):
        table["excess"] = np.where(upper > 0, nearest / upper - 1, np.nan)
    return Cases(table, exact, attacked)


def findings_of(campaign: Campaign, found: Cases) -> pd.DataFrame:
    """What was found in all attempts, by case.

    Columns: `case` (position in the table of cases), `name`, `distance`, `target`, `seconds`, `calls`; absent: NaN.
    """
    numbers = ("distance", "target", "seconds", "calls")
    rows = campaign.findings
    given = {name: rows[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in numbers}
    return _by_case(rows[["row", "name"]].assign(**given, name=rows["name"].astype(object)), found)


def attempts_of(campaign: Campaign, found: Cases) -> pd.DataFrame:
    """All attempts, by case: what they were given, what came of them, and who made them."""
    rows = campaign.attempts[["row", *_ATTEMPT]]
    empty = rows["overrides"].isin(["", "{}"])
    decided = rows["decided"].map({True: "yes", False: "no"}).astype(object)
    return _by_case(rows.assign(overrides=rows["overrides"].mask(empty), decided=decided), found)


def _by_case(rows: pd.DataFrame, found: Cases) -> pd.DataFrame:
    positions = dict(zip(found.table["row"].astype(int), found.table.index, strict=True))
    numbered = rows.assign(case=rows["row"].astype("int64").map(positions)).drop(columns="row")
    return numbered.sort_values("case", kind="stable").reset_index(drop=True)


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    numbers = {name: table[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in (*_WHOLE, *_REAL)}
    texts = [name for name in table.columns if name not in numbers]
    objects = {name: table[name].astype(object).where(table[name].notna(), None) for name in texts}
    return table.assign(**numbers, **objects)


def _pairs(table: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    numbered = table[IMAGE].assign(position=np.arange(len(table)))
    kind = table["kind"]
    both = numbered[kind == "distance"].merge(numbered[kind == "attack"], on=IMAGE, suffixes=("_exact", "_attack"))
    return both["position_exact"].to_numpy(dtype=np.int64), both["position_attack"].to_numpy(dtype=np.int64)


def _contradictions(campaign: Campaign) -> dict[float, str]:
    found = defaultdict(list)
    for contradiction in campaign.contradictions:
        for row in contradiction.rows:
            found[float(row)].append(contradiction.detail)
    return {row: "; ".join(details) for row, details in found.items()}
