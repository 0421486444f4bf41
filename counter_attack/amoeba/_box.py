"""Boxes [x - e1, x + e2] around an input, each side with a length of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnx_models import Array
from onnx_models.errors import InputError

Domain = tuple[ArrayLike, ArrayLike]
"""The least and the largest valid input, each a number or of shape (n,)."""

UNIT: Domain = (0.0, 1.0)
"""The domain of images."""


class BoxShape(Enum):
    """Which boxes are considered; each kind contains the one before, so its best box is at least as large.

    Outside the domain there is nothing to certify: every box is cut off there, which also makes sides of a symmetric
    box unequal.
    """

    UNIFORM = "uniform"
    """e1 = e2 = r, one number for all features: an L-infinity ball."""
    NON_UNIFORM = "non-uniform"
    """e1 = e2, one number per feature."""
    ASYMMETRIC = "asymmetric"
    """e1 and e2 on their own."""


@dataclass(frozen=True, slots=True, eq=False)
class AsymmetricBox:
    """The inputs x' with x - e1 <= x' <= x + e2, where both ends are the float64 numbers `lower` and `upper`.

    Attributes:
        x: the input, shape (n,), finite.
        e1: how far the box reaches below x, shape (n,), finite, >= 0.
        e2: how far it reaches above.
    """

    x: Array
    e1: Array
    e2: Array

    def __post_init__(self) -> None:
        for name in ("x", "e1", "e2"):
            values = np.array(getattr(self, name), dtype=np.float64)
            if values.ndim != 1 or values.shape != np.shape(self.x) or not np.all(np.isfinite(values)):
                raise InputError(
                    f"{name} of a box has shape {values.shape} or entries that are not finite; expected finite "
                    f"numbers, one per feature, as x has: {np.shape(self.x)}."
                )
            if name != "x" and np.any(values < 0):
                raise InputError(f"{name} of a box has the entry {values.min():g}; each must be at least 0.")
            values += 0.0  # no -0.0
            values.setflags(write=False)
            object.__setattr__(self, name, values)

    @classmethod
    def clipped(cls, x: ArrayLike, e1: ArrayLike, e2: ArrayLike, domain: Domain = UNIT) -> AsymmetricBox:
        """The part of [x - e1, x + e2] in the domain, where x must lie; e1 and e2 are numbers or of shape (n,)."""
        centre = np.asarray(x, dtype=np.float64)
        return cls.between(centre, centre - np.asarray(e1), centre + np.asarray(e2), domain)

    @classmethod
    def between(cls, x: ArrayLike, lower: ArrayLike, upper: ArrayLike, domain: Domain = UNIT) -> AsymmetricBox:
        """The largest box of this form around x inside [lower, upper] and the domain.

        Its ends are those given, or, where no float64 e1 or e2 leads there, one rounding nearer to x.

        Raises:
            InputError: x lies outside the domain or outside [lower, upper].
        """
        centre = np.asarray(x, dtype=np.float64)
        low = np.maximum(*np.broadcast_arrays(lower, np.asarray(domain[0], dtype=np.float64)))
        high = np.minimum(*np.broadcast_arrays(upper, np.asarray(domain[1], dtype=np.float64)))
        if not (np.all(low <= centre) and np.all(centre <= high)):
            raise InputError("The centre of a box lies outside its ends or outside the domain; it must lie inside.")
        return cls(centre, -_reach(centre, low, -1.0), _reach(centre, high, 1.0))

    @property
    def size(self) -> int:
        """Number of features n."""
        return len(self.x)

    @property
    def lower(self) -> Array:
        """The least member, x - e1, shape (n,)."""
        return self.x - self.e1

    @property
    def upper(self) -> Array:
        """The largest member, x + e2, shape (n,)."""
        return self.x + self.e2

    @property
    def sides(self) -> Array:
        """Lengths of the sides, e1 + e2, shape (n,)."""
        return self.e1 + self.e2

    @property
    def log_volume(self) -> float:
        """sum of log(e1 + e2); -inf where a side has length 0."""
        with np.errstate(divide="ignore"):
            return float(np.log(self.sides).sum())

    @property
    def geometric_mean(self) -> float:
        """Geometric mean of the lengths of the sides, exp(log_volume / n); 0 where one has length 0."""
        return math.exp(self.log_volume / self.size)

    def contains(self, points: ArrayLike) -> NDArray[np.bool_]:
        """Which points, shape (..., n), lie in the box; shape (...)."""
        values = np.asarray(points, dtype=np.float64)
        inside: NDArray[np.bool_] = np.all((self.lower <= values) & (values <= self.upper), axis=-1)
        return inside

    def scaled(self, factor: float) -> AsymmetricBox:
        """The box with e1 and e2 multiplied by `factor`, which is at least 0."""
        return AsymmetricBox(self.x, factor * self.e1, factor * self.e2)

    def __repr__(self) -> str:
        return f"AsymmetricBox({self.size} features, geometric mean of sides {self.geometric_mean:.6g})"


def _reach(x: Array, end: Array, sign: float) -> Array:
    """The float64 d, of this sign or 0, for which x + d is `end`, or else as near to it as it gets on the side of x."""
    reach = end - x
    for _ in range(2):  # the difference and the sum are rounded once each
        reach = np.where(sign * ((x + reach) - end) > 0, np.nextafter(reach, 0.0), reach)
    beyond = np.nextafter(reach, sign * np.inf)
    better = sign * (x + beyond - end) <= 0
    return np.asarray(np.where(better & (end != x), beyond, reach))
