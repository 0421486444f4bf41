"""Universal perturbations: one vector that changes the classes of most inputs.

    >>> from counter_attack.diagnostics import Subject
    >>> from counter_attack.universal import by_projection
    >>> v = by_projection(Subject.of(network, images, labels), eps=0.1)       # doctest: +SKIP
    >>> v.fooling(Subject.of(network, others, their_labels)).ratio            # doctest: +SKIP

Names are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from counter_attack.universal._draw import draw_universal
    from counter_attack.universal._perturbation import UniversalPerturbation, random_perturbation
    from counter_attack.universal._projection import by_projection
    from counter_attack.universal._singular import SingularVector, by_singular_vector, layer_nodes, singular_vector

_HOMES = {
    "SingularVector": "_singular",
    "UniversalPerturbation": "_perturbation",
    "by_projection": "_projection",
    "by_singular_vector": "_singular",
    "draw_universal": "_draw",
    "layer_nodes": "_singular",
    "random_perturbation": "_perturbation",
    "singular_vector": "_singular",
}

__all__ = [
    "SingularVector",
    "UniversalPerturbation",
    "by_projection",
    "by_singular_vector",
    "draw_universal",
    "layer_nodes",
    "random_perturbation",
    "singular_vector",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
