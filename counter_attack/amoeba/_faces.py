"""The faces of a box, one at a time or those that have to move together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bounds import Bounds
from counter_attack.amoeba._box import AsymmetricBox, BoxShape, Domain
from onnx_models import Array


@dataclass(frozen=True, slots=True)
class Face:
    """A face, or faces that move together.

    Attributes:
        feature: which feature's; None: those of all features.
        side: -1 for the lower one, +1 for the upper one, 0 for both.
    """

    feature: int | None
    side: int

    def _masks(self, size: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which lower and which upper ends move, each of shape (size,)."""
        features = np.ones(size, bool) if self.feature is None else np.arange(size) == self.feature
        return features & (self.side <= 0), features & (self.side >= 0)

    def length(self, box: AsymmetricBox) -> float:
        """Length of the side, the longest of several."""
        return float(box.sides.max() if self.feature is None else box.sides[self.feature])

    def moved(self, box: AsymmetricBox, amount: float, domain: Domain) -> AsymmetricBox | None:
        """The box with the face moved outwards, cut off at the domain's ends; None if it is there already.

        Faces that move together are as far from x as the farthest of them, plus `amount`.
        """
        below, above = self._masks(box.size)
        reach = np.maximum(np.where(below, box.e1, 0.0), np.where(above, box.e2, 0.0))
        reach = (reach.max() if self.feature is None else reach) + amount
        target = AsymmetricBox.clipped(box.x, reach, reach, domain)
        # Where rounding or the domain would draw an end inwards it stays as it is.
        e1 = np.where(below & (target.lower < box.lower), target.e1, box.e1)
        e2 = np.where(above & (target.upper > box.upper), target.e2, box.e2)
        larger = AsymmetricBox(box.x, e1, e2)
        same = np.array_equal(larger.lower, box.lower) and np.array_equal(larger.upper, box.upper)
        return None if same else larger

    def added(self, box: AsymmetricBox, larger: AsymmetricBox) -> list[Bounds]:
        """Boxes that, with `box`, cover `larger`, which is `box` with this face moved."""
        if self.feature is None:
            return [Bounds(larger.lower, larger.upper)]
        slabs, i = [], self.feature
        if larger.lower[i] < box.lower[i]:
            upper = box.upper
            upper[i] = box.lower[i]
            slabs.append(Bounds(larger.lower, upper))
        if larger.upper[i] > box.upper[i]:
            lower = box.lower
            lower[i] = box.upper[i]
            slabs.append(Bounds(lower, larger.upper))
        return slabs

    def gaps(self, box: AsymmetricBox, points: Array) -> Array:
        """How far the face has to move for the box to contain each point, shape (N,).

        The points, shape (N, n), must lie in the box but for this face.
        """
        below, above = self._masks(box.size)
        short = np.where(below, box.lower - points, -np.inf)
        beyond = np.where(above, points - box.upper, -np.inf)
        farthest: Array = np.maximum(short, beyond).max(axis=1)
        return farthest


def faces_of(shape: BoxShape, size: int) -> tuple[Face, ...]:
    """What can move by itself in boxes of this shape with `size` features."""
    if shape is BoxShape.UNIFORM:
        return (Face(None, 0),)
    sides = (0,) if shape is BoxShape.NON_UNIFORM else (-1, 1)
    return tuple(Face(feature, side) for feature in range(size) for side in sides)
