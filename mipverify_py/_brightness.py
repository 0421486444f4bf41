"""Brighter, darker, flatter and more contrasted images: one or two parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from scipy import sparse

from bounds import Bounds
from mipverify_py._arguments import real_number
from mipverify_py._image import AffineImage, float_above, float_below
from mipverify_py._parametric import Parameters, ParametricSet
from onnx_models import Array
from onnx_models.errors import InputError

_REPAIRS = 4
"""How often a contrast is reduced until some brightness keeps the image in the domain."""


@dataclass(frozen=True, slots=True)
class Brightness(ParametricSet):
    """All images x0 + b with low <= b <= high, the same b for every entry.

    An image that leaves the model's domain is no member: nothing is clipped. On a domain [0, 1] an image with black and
    with white pixels therefore has no brightness but b = 0.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _set_range(self, "low", "high", "brightness")

    def parameters(self, x0: Array, domain: Bounds) -> Parameters:
        image = AffineImage(sparse.csr_array(np.ones((x0.size, 1))), x0)
        return _Interval(image, self.low, self.high, domain, identity=0.0)


@dataclass(frozen=True, slots=True)
class Contrast(ParametricSet):
    """All images a * x0 with low <= a <= high; like `Brightness`, nothing is clipped to the domain."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _set_range(self, "low", "high", "contrast")

    def parameters(self, x0: Array, domain: Bounds) -> Parameters:
        image = AffineImage(sparse.csr_array(x0[:, None]), np.zeros(x0.size))
        return _Interval(image, self.low, self.high, domain, identity=1.0)


@dataclass(frozen=True, slots=True)
class BrightnessContrast(ParametricSet):
    """All images a * x0 + b with a in `contrast` and b in `brightness`, each (low, high); nothing is clipped."""

    brightness: tuple[float, float]
    contrast: tuple[float, float]

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast"):
            object.__setattr__(self, name, _range(getattr(self, name), name))

    def parameters(self, x0: Array, domain: Bounds) -> Parameters:
        image = AffineImage(sparse.csr_array(np.column_stack([x0, np.ones(x0.size)])), np.zeros(x0.size))
        ranges = np.array([self.contrast, self.brightness])
        return _Lines(image, Bounds(ranges[:, 0].copy(), ranges[:, 1].copy()), domain, np.array([1.0, 0.0]))


class _Interval(Parameters):
    """One parameter, of which the domain leaves an interval."""

    def __init__(self, image: AffineImage, low: float, high: float, domain: Bounds, *, identity: float) -> None:
        slopes = image.matrix.toarray()[:, 0]
        ends = _between(slopes, image.constant, domain, Fraction(low), Fraction(high))
        if ends[0] > ends[1]:
            raise InputError("No image of the perturbation set lies in the model's domain.")
        self._inside = float_above(ends[0]), float_below(ends[1])
        ranges = Bounds(np.array([float_below(ends[0])]), np.array([float_above(ends[1])]))
        super().__init__(image, ranges, domain, np.array([identity]))

    def _candidates(self, x: Array) -> Iterator[Array]:
        low, high = self._inside
        yield np.array([min(max(float(x[0]), low), high)])


class _Lines(Parameters):
    """Contrast a and brightness b: for each a the domain leaves an interval of b."""

    def _candidates(self, x: Array) -> Iterator[Array]:
        """A contrast near that of x, and the brightness nearest to that of x; its range counts as a pixel 0."""
        pixels = [*self.image.matrix.toarray()[:, 0].tolist(), 0.0]
        bottom, top = (
            [(Fraction(p), Fraction(v)) for p, v in zip(pixels, [*domain.tolist(), end], strict=True) if np.isfinite(v)]
            for domain, end in (
                (self.domain.lower, float(self.ranges.lower[1])),
                (self.domain.upper, float(self.ranges.upper[1])),
            )
        )
        a = float(x[0])
        for _ in range(_REPAIRS):
            low, dark = max((v - Fraction(a) * p, p) for p, v in bottom)
            high, bright = min((v - Fraction(a) * p, p) for p, v in top)
            if low <= high:
                b = min(max(Fraction(float(x[1])), low), high)
                yield np.array([a, float_above(b)])
                yield np.array([a, float_below(b)])
                return
            spread = bright - dark
            if spread == 0:  # no contrast will do
                return
            bound = Fraction(a) - (low - high) / spread
            a = float_below(bound) if spread > 0 else float_above(bound)
        yield self._towards_identity(x)


def _between(
    slopes: Array, constants: Array, domain: Bounds, low: Fraction, high: Fraction
) -> tuple[Fraction, Fraction]:
    """The t in [low, high] with  slopes t + constants  in the domain: its two ends; the first is larger for none."""
    rows = zip(slopes.tolist(), constants.tolist(), domain.lower.tolist(), domain.upper.tolist(), strict=True)
    for slope, constant, bottom, top in rows:
        if slope == 0:
            if not bottom <= constant <= top:
                return Fraction(1), Fraction(0)
            continue
        for end, is_least in ((bottom, slope > 0), (top, slope < 0)):
            if np.isfinite(end):
                t = (Fraction(end) - Fraction(constant)) / Fraction(slope)
                low, high = (max(low, t), high) if is_least else (low, min(high, t))
    return low, high


def _set_range(owner: object, first: str, second: str, what: str) -> None:
    for name, value in zip((first, second), _range((getattr(owner, first), getattr(owner, second)), what), strict=True):
        object.__setattr__(owner, name, value)


def _range(value: Any, what: str) -> tuple[float, float]:
    try:
        low, high = (real_number(end, f"An end of the {what} range") for end in value)
    except (TypeError, ValueError) as error:
        raise InputError(f"The {what} range is {value!r}; it must be (low, high).") from error
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise InputError(f"The {what} range is {(low, high)}; both ends must be finite and low at most high.")
    return low, high
