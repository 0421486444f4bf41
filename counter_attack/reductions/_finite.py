"""The two reductions on finite input spaces, by enumeration: exactly as the paper writes them, ties and all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnx_models.errors import InputError

REJECTED = -1
"""What a detector says of inputs that it rejects, and a classifier of inputs without an answer."""

Classes = NDArray[np.int64]
"""One class for each point, shape (N,); `REJECTED` for none."""


@dataclass(frozen=True, slots=True, eq=False)
class FiniteSpace:
    """N points and the distances between them.

    Attributes:
        distances: shape (N, N), whole numbers, symmetric, 0 on the diagonal: in a unit of your own, so that no
            comparison depends on rounding.

    Raises:
        InputError: something else.
    """

    distances: NDArray[np.int64]

    def __post_init__(self) -> None:
        given = np.asarray(self.distances)
        square = given.ndim == 2 and given.shape[0] == given.shape[1] > 0
        if not (square and given.dtype.kind == "i" and np.array_equal(given, given.T) and np.all(given >= 0)):
            raise InputError("Distances are a symmetric table of whole numbers that are at least 0, shape (N, N).")
        if np.any(np.diag(given)):
            raise InputError("The distance of a point to itself is 0; the table's diagonal is not.")
        object.__setattr__(self, "distances", given.astype(np.int64))

    @classmethod
    def grid(cls, shape: Sequence[int]) -> FiniteSpace:
        """The points of a grid of this shape in C order, with L-infinity distances in steps."""
        points = np.stack([axis.ravel() for axis in np.indices(tuple(shape))], axis=1)
        return cls(np.abs(points[:, None] - points[None]).max(axis=2, initial=0))

    def has_midpoints(self, eps: int) -> bool:
        """Whether any two points within eps have one between them that is within eps / 2 of both.

        The reduction from classification to detection needs it. Grids have it for an even number of steps only.
        """
        near = 2 * self.distances <= eps
        reached = (near.astype(np.int64) @ near.astype(np.int64)) > 0
        return bool(np.all(reached[self.distances <= eps]))

    def detector(self, f: ArrayLike, eps: int) -> Classes:
        """The detector of a classifier: f where it is constant within eps / 2, `REJECTED` elsewhere."""
        classes = self._classes(f)
        near = 2 * self.distances <= eps
        constant = np.all(~near | (classes[:, None] == classes[None]), axis=1)
        return np.where(constant, classes, REJECTED)

    def classifier(self, g: ArrayLike, eps: int) -> Classes:
        """The classifier of a detector: the class of the first nearest accepted point within eps / 2, or `REJECTED`."""
        classes = self._classes(g)
        allowed = (2 * self.distances <= eps) & (classes != REJECTED)[None]
        far = np.where(allowed, self.distances, np.iinfo(np.int64).max)
        return np.where(allowed.any(axis=1), classes[far.argmin(axis=1)], REJECTED)

    def robust_risk(self, f: ArrayLike, labels: ArrayLike, eps: Fraction | int) -> Fraction:
        """R^eps(f), every point with its label once: the share with a point within eps that has another class."""
        classes, wanted = self._classes(f), self._classes(labels)
        wrong = classes[None] != wanted[:, None]
        return self._share(np.any(self._within(eps) & wrong, axis=1))

    def detection_risk(self, g: ArrayLike, labels: ArrayLike, eps: Fraction | int) -> Fraction:
        """R^eps_adv-det(g): the share that is rejected, or has an accepted point within eps with another class."""
        classes, wanted = self._classes(g), self._classes(labels)
        wrong = (classes[None] != wanted[:, None]) & (classes[None] != REJECTED)
        return self._share((classes == REJECTED) | np.any(self._within(eps) & wrong, axis=1))

    def _within(self, eps: Fraction | int) -> NDArray[np.bool_]:
        radius = Fraction(eps)
        return np.asarray(self.distances * radius.denominator <= radius.numerator)

    def _share(self, failed: NDArray[np.bool_]) -> Fraction:
        return Fraction(int(failed.sum()), len(failed))

    def _classes(self, values: ArrayLike) -> Classes:
        found = np.asarray(values)
        if found.shape != (len(self.distances),) or found.dtype.kind not in "iu":
            raise InputError(f"There are {len(self.distances)} points; give one whole number as class for each.")
        return found.astype(np.int64)
