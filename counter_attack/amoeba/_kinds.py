"""How a box is found."""

from __future__ import annotations

from enum import Enum


class BoundKind(Enum):
    """What the size of a box is found with; whichever it is, a box counts only once it has been certified."""

    INTERVAL = "interval"
    """Interval bounds inside an optimiser, as in the paper."""
    CROWN = "crown"
    """Linear bounds inside the same optimiser."""
    EXACT = "exact"
    """The box of linear bounds, each face of it then moved outwards until an adversarial example stops it."""
