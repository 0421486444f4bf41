"""Ground truths: attacks and hardened networks judged by nearest examples (Carlini, Katz, Barrett and Dill 2017).

>>> from counter_attack.ground_truth import GroundTruth, summaries
>>> points = list(GroundTruth(make_attack("cw"))(network, images, labels))     # doctest: +SKIP
>>> summaries(points)                                                          # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from counter_attack.ground_truth._contest import one_against_all
    from counter_attack.ground_truth._frame import points_frame
    from counter_attack.ground_truth._phases import phase_changes
    from counter_attack.ground_truth._picture import picture
    from counter_attack.ground_truth._points import GroundTruth, Point
    from counter_attack.ground_truth._statistics import (
        Comparison,
        Means,
        PhaseCounts,
        Summary,
        comparison,
        phase_counts,
        summaries,
    )

_HOMES = {
    "Comparison": "_statistics",
    "GroundTruth": "_points",
    "Means": "_statistics",
    "PhaseCounts": "_statistics",
    "Point": "_points",
    "Summary": "_statistics",
    "comparison": "_statistics",
    "one_against_all": "_contest",
    "phase_changes": "_phases",
    "phase_counts": "_statistics",
    "picture": "_picture",
    "points_frame": "_frame",
    "summaries": "_statistics",
}

__all__ = [
    "Comparison",
    "GroundTruth",
    "Means",
    "PhaseCounts",
    "Point",
    "Summary",
    "comparison",
    "one_against_all",
    "phase_changes",
    "phase_counts",
    "picture",
    "points_frame",
    "summaries",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
