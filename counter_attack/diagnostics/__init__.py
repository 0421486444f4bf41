"""Is it robust, or are its gradients of no use? Fooling curves, robustness measures, and signs of obfuscated gradients.

    >>> from counter_attack.diagnostics import Plan, Subject, diagnose
    >>> subject = Subject.of(network, images, labels)                         # doctest: +SKIP
    >>> [found.text for found in diagnose(subject, Plan(eps=0.1)) if found.warns]   # doctest: +SKIP

Names are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from counter_attack._share import Share
    from counter_attack._subject import Subject
    from counter_attack.diagnostics._checks import Finding, Plan, diagnose
    from counter_attack.diagnostics._curves import (
        ExactCurve,
        FoolingCurve,
        at_radius,
        draw_curves,
        exact_curve,
        fooling_curve,
        fooling_curves,
    )
    from counter_attack.diagnostics._measures import Measures, measures, rho1, rho2

_HOMES = {
    "ExactCurve": "diagnostics._curves",
    "Finding": "diagnostics._checks",
    "FoolingCurve": "diagnostics._curves",
    "Measures": "diagnostics._measures",
    "Plan": "diagnostics._checks",
    "Share": "_share",
    "Subject": "_subject",
    "at_radius": "diagnostics._curves",
    "diagnose": "diagnostics._checks",
    "draw_curves": "diagnostics._curves",
    "exact_curve": "diagnostics._curves",
    "fooling_curve": "diagnostics._curves",
    "fooling_curves": "diagnostics._curves",
    "measures": "diagnostics._measures",
    "rho1": "diagnostics._measures",
    "rho2": "diagnostics._measures",
}

__all__ = [
    "ExactCurve",
    "Finding",
    "FoolingCurve",
    "Measures",
    "Plan",
    "Share",
    "Subject",
    "at_radius",
    "diagnose",
    "draw_curves",
    "exact_curve",
    "fooling_curve",
    "fooling_curves",
    "measures",
    "rho1",
    "rho2",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"counter_attack.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
