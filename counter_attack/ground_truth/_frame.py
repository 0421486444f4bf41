"""Points as a table of one row each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from counter_attack.ground_truth._points import Point

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "network": "object",
    "index": "int64",
    "norm": "object",
    "reference": "int64",
    "target": "int64",
    "attack": "float64",
    "lower": "float64",
    "upper": "float64",
    "terminated": "bool",
    "stop_reason": "object",
    "evidence": "object",
    "changed": "object",
    "seconds": "float64",
}
"""Columns and their types; see `Point`."""


def point_record(point: Point) -> dict[str, Any]:
    """The point as plain values, None where there is nothing."""
    return {
        "network": point.network,
        "index": point.index,
        "norm": point.norm.value,
        "reference": point.reference,
        "target": point.target,
        "attack": point.attack,
        "lower": point.lower,
        "upper": point.upper,
        "terminated": point.terminated,
        "stop_reason": point.stop_reason.value,
        "evidence": None if point.evidence is None else point.evidence.value,
        "changed": list(point.changed),
        "seconds": point.seconds,
    }


def points_frame(points: Sequence[Point]) -> pd.DataFrame:
    """A row per point with the columns of `Point`; absent distances are NaN, absent words None.

    `changed` has the counts of the ReLU nodes in one text, such as "3 0 1".
    """
    import pandas as pd

    rows = [point_record(point) | {"changed": " ".join(map(str, point.changed))} for point in points]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
