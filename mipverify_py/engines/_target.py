"""The interface of the native engines: branch and bound for one target over one box."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from bounds import NetworkBounds
from mipverify_py.proof import Tree
from onnx_models import Array


class Status(Enum):
    """Where a target's search stands."""

    PROVED = "proved"
    """No open node is left: f_j - f_c < threshold on the box, in floats; `replay` of the tree decides."""
    OPEN = "open"
    STUCK = "stuck"
    """Open nodes are left that floats cannot decide: their whole region is one activation cell at the threshold."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What one call of `advance` did.

    Attributes:
        status: where the search stands.
        nodes: nodes bounded.
        points: inputs worth trying as witnesses, in the box, most promising first, shape (k, n).
        iterations: simplex iterations spent.
    """

    status: Status
    nodes: int = 0
    points: Array = field(default_factory=lambda: np.zeros((0, 0)))
    iterations: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class OpenNode:
    """An open node of a tree, for another search to go on with.

    Attributes:
        number: number in the tree.
        bound: upper bound of f_j - f_c on it.
        signs: +1 or -1 for units split on the way to it, shape (units,).
        lower, upper: pre-activation bounds, shape (units,).
        gammas: the parent's, shape (2, units).
    """

    number: int
    bound: float
    signs: NDArray[np.int8]
    lower: Array
    upper: Array
    gammas: Array


class TargetSearch(ABC):
    """Searches for a proof that f_j - f_c < threshold on a box, for one target j; keeps its work when the box shrinks.

    It finds no witnesses itself: it returns points, and whoever drives it tries them and shrinks the box.
    Deterministic: equal calls give equal trees, whatever else runs.
    """

    target: int
    tree: Tree
    jobs: int = 1
    """Threads that `advance` may use; the tree is the same for any number."""

    @property
    @abstractmethod
    def bound(self) -> float:
        """Upper bound of f_j - f_c over the box as far as the search has come, in floats; -inf without open nodes."""

    @abstractmethod
    def advance(self, nodes: int, deadline: float | None) -> Step:
        """Bounds about `nodes` more nodes; stops early when none is open, and at `deadline` (`time.monotonic()`)."""

    @abstractmethod
    def restrict(self, bounds: NetworkBounds, threshold: float) -> None:
        """Goes on with a smaller box (`bounds.nodes[0]`, with the network's bounds over it) or a larger threshold.

        Nodes that are closed stay closed; open ones, planes and multipliers are kept. Appends a stage to the tree.
        """

    @abstractmethod
    def reopen(self, leaves: list[int]) -> None:
        """Takes back leaves whose bound did not survive `replay`, to be bounded with more room for rounding."""
