"""Bounds as values: what a vector, or every node of a network, can be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnx_models import Array, ReluNetwork
from onnx_models.errors import InvalidBoundsError


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """Elementwise bounds lower <= v <= upper of a vector v; both ends have shape (n,), float64, and never cross.

    Ends of another type become float64, whatever made them: everything that reads bounds counts on it.

    Raises:
        InvalidBoundsError: shapes differ, an entry is NaN, or some lower end exceeds its upper end.
    """

    lower: Array
    upper: Array

    def __post_init__(self) -> None:
        for name in ("lower", "upper"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.float64))
        if self.lower.shape != self.upper.shape:
            raise InvalidBoundsError(f"Lower bounds have shape {self.lower.shape}, upper bounds {self.upper.shape}.")
        crossed = ~(self.lower <= self.upper)  # NaN counts as crossed
        if np.any(crossed):
            unit = int(np.argmax(crossed))
            low, high = float(self.lower[unit]), float(self.upper[unit])
            raise InvalidBoundsError(
                f"Bounds of entry {unit} cross or are not numbers: lower {low!r}, upper {high!r}, gap {low - high:.3g}."
            )

    def __repr__(self) -> str:
        if not self.size:
            return "Bounds(no entries)"
        return f"Bounds({self.size} entries in [{self.lower.min():.6g}, {self.upper.max():.6g}])"

    @classmethod
    def of(cls, lower: ArrayLike, upper: ArrayLike) -> Bounds:
        """Bounds from anything array-like, flattened to float64."""
        return cls(np.asarray(lower, np.float64).reshape(-1), np.asarray(upper, np.float64).reshape(-1))

    @property
    def size(self) -> int:
        """Number of entries."""
        return int(self.lower.size)

    @property
    def magnitude(self) -> Array:
        """Largest absolute value each entry can take."""
        return np.maximum(np.abs(self.lower), np.abs(self.upper))

    @property
    def straddles_zero(self) -> NDArray[np.bool_]:
        """Which entries can be both negative and positive: the unstable units, if these bound pre-activations."""
        return (self.lower < 0) & (self.upper > 0)

    def contains(self, point: Array) -> bool:
        """Whether the point, shape (n,), lies inside, ends included."""
        return bool(np.all((self.lower <= point) & (point <= self.upper)))

    def intersect(self, other: Bounds) -> Bounds:
        """The bounds that hold when both hold; raises InvalidBoundsError if no point is left."""
        return Bounds(np.maximum(self.lower, other.lower), np.minimum(self.upper, other.upper))


@dataclass(frozen=True, slots=True, eq=False)
class NetworkBounds:
    """Bounds of the value of every node of a network, in the order of `network.nodes`; node 0 bounds the input."""

    nodes: tuple[Bounds, ...]

    def pre_activation(self, network: ReluNetwork, relu: int) -> Bounds:
        """Bounds of the pre-activations of ReLU node `relu` (an index into `network.nodes`)."""
        node = network.nodes[relu]
        return self.nodes[node.input]  # type: ignore[union-attr]

    def unstable_counts(self, network: ReluNetwork) -> tuple[int, ...]:
        """Number of unstable units of each ReLU node, in topological order."""
        return tuple(int(self.pre_activation(network, i).straddles_zero.sum()) for i in network.relu_indices)
