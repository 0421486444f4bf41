"""The gallery: which cases are shown as pictures, and their pictures."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from counter_attack.report._cases import IMAGE, Cases
from counter_attack.report._pictures import difference_picture, picture, pixels, scale
from onnx_models import Array

if TYPE_CHECKING:
    import pandas as pd

    from mipverify_py.campaigns import Campaign

REASONS: Final = {
    "contradiction": ("contradiction", False),
    "nearest": ("upper", True),
    "farthest": ("upper", False),
    "missed by attacks": ("excess", False),
    "slowest": ("seconds", False),
}
"""Why a case is shown -> the column that decides, and whether small values come first."""

_PREFERRED: Final = {"distance": 0, "attack": 1, "verify": 2}
"""Of several queries about one input the gallery shows the one whose example is nearest the truth."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A case in the gallery: its position in the table of cases, and why it is there."""

    case: int
    reason: str


def choose(found: Cases, findings: pd.DataFrame, count: int) -> list[Choice]:
    """At most `count` cases that have an adversarial example: extremes of every kind, of all configurations in turn.

    Args:
        found: the cases.
        findings: what was found for them, see `findings_of`.
        count: at least 0.

    Returns:
        Ordered by reason, then from the most extreme one on.
    """
    table = found.table.loc[sorted(set(findings.loc[findings["distance"].notna(), "case"]))]
    order = table["kind"].map(_PREFERRED).sort_values(kind="stable").index
    table = table.loc[order].drop_duplicates(IMAGE).sort_index()
    queues = {reason: _queues(table, reason) for reason in REASONS}
    chosen: dict[int, str] = {}
    while len(chosen) < count and any(queue for members in queues.values() for queue in members):
        for reason, members in queues.items():
            for queue in members:
                while queue and queue[0] in chosen:
                    queue.popleft()
                if queue and len(chosen) < count:
                    chosen[queue.popleft()] = reason
    return [Choice(case, reason) for reason in REASONS for case, why in chosen.items() if why == reason]


def _queues(table: pd.DataFrame, reason: str) -> list[deque[int]]:
    """The cases that the reason speaks for, by configuration, most extreme first."""
    column, ascending = REASONS[reason]
    kept = table[table[column] > 0 if reason == "missed by attacks" else table[column].notna()]
    ordered = kept if reason == "contradiction" else kept.sort_values(column, ascending=ascending, kind="stable")
    return [deque(members.index.tolist()) for _, members in ordered.groupby("configuration", sort=True)]


def entries(
    campaign: Campaign, found: Cases, findings: pd.DataFrame, chosen: Sequence[Choice]
) -> Iterator[dict[str, Any]]:
    """What the page has to know about each: the nearest example, and three pictures where the input is an image."""
    known = findings[findings["distance"].notna() & findings["case"].isin([choice.case for choice in chosen])]
    by_case = dict(tuple(known.sort_values("distance", kind="stable").groupby("case", sort=False)))
    for choice in chosen:
        row = int(found.table["row"].iloc[choice.case])
        yield {"case": choice.case, "reason": choice.reason, **_nearest(campaign, row, by_case[choice.case])}


def _nearest(campaign: Campaign, row: int, known: pd.DataFrame) -> dict[str, Any]:
    """The nearest example whose values were kept; the nearest one without pictures where none were."""
    for finding in known.itertuples():
        point = campaign.point(row, finding.name)
        if point is not None:
            return _facts(finding) | _pictures(np.asarray(campaign.input(row)), np.asarray(point))
    return _facts(next(known.itertuples()))


def _facts(finding: Any) -> dict[str, Any]:
    target = None if np.isnan(finding.target) else int(finding.target)
    return {"name": finding.name, "distance": finding.distance, "target": target}


def _pictures(values: Array, point: Array) -> dict[str, Any]:
    before, after = pixels(values), pixels(point.reshape(values.shape))
    shape = list(values.shape)
    if before is None or after is None:
        return {"shape": shape}
    black, white = scale(before, after)
    change = after - before
    return {
        "shape": shape,
        "original": picture(before, black, white),
        "adversarial": picture(after, black, white),
        "difference": difference_picture(change),
        "largest": float(np.abs(change).max()),
        "changed": int((change != 0).sum()),
    }
