"""The size of a perturbation: exact, and rounded up, so never smaller than the exact real number."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from mipverify_py._enums import Norm
from onnx_models import Array

_MANTISSA = 53
"""Bits of a float64's mantissa."""

_ROOT_BITS = 64
"""Bits of a root's integer part: more than a mantissa has, so that rounding it up once more loses nothing."""


def difference_up(x: Array, x0: Array) -> Array:
    """|x - x0| elementwise, each the smallest float64 that is at least the exact value.

    The rounding error of a float64 subtraction is itself a float64 (Knuth's TwoSum), so the sign of that error tells
    whether the rounded difference fell short of the exact one.
    """
    total = x - x0
    back = total - x
    error = (x - (total - back)) + (-x0 - back)  # exact difference = total + error
    short = np.where(total >= 0, error, -error) > 0
    return np.where(short, np.nextafter(np.abs(total), np.inf), np.abs(total))


def distance(x: Array, x0: Array, norm: Norm) -> float:
    """The norm of x - x0, the smallest float64 that is at least the exact value; both of shape (n,), finite."""
    if norm is Norm.LINF:
        return float(difference_up(x, x0).max(initial=0.0))
    exact = exact_size(x, x0, norm)
    return rounded_up(exact) if norm is Norm.L1 else root_up(exact)


def exact_size(x: Array, x0: Array, norm: Norm) -> Fraction:
    """The sum of the absolute (L1) or squared (L2) entries of x - x0, exactly.

    Floats are dyadic rationals, so the sum is one of integers over a common power of two.
    """
    assert norm is not Norm.LINF
    values, unit = _as_integers(np.concatenate([x, x0]))
    differences = [a - b for a, b in zip(values[: len(x)], values[len(x) :], strict=True)]
    if norm is Norm.L1:
        return sum(map(abs, differences)) * unit
    return sum(d * d for d in differences) * unit * unit


def rounded_up(value: Fraction) -> float:
    """The smallest float64 that is at least `value`, which is >= 0; infinity beyond the largest."""
    try:
        near = float(value)
    except OverflowError:
        return math.inf
    return near if Fraction(near) >= value else math.nextafter(near, math.inf)


def root_up(square: Fraction) -> float:
    """The smallest float64 that is at least the square root of `square`, which is >= 0."""
    if square == 0:
        return 0.0
    above, below = square.numerator, square.denominator
    shift = max(0, 2 * _ROOT_BITS + below.bit_length() - above.bit_length())
    shift += shift % 2
    scaled = (above << shift) // below
    root = math.isqrt(scaled)
    if root * root * below != above << shift:
        root += 1  # a number finer than floats are, at or above the root: rounding it up gives the float wanted
    return rounded_up(Fraction(root, 1 << (shift // 2)))


def root_down(square: float) -> float:
    """A float64 that is at most the square root of `square`; 0 for a negative one."""
    return max(0.0, math.nextafter(math.sqrt(square), 0.0)) if square > 0 else 0.0


def _as_integers(values: Array) -> tuple[list[int], Fraction]:
    """Whole numbers and a power of two whose products are the values."""
    mantissa, exponent = np.frexp(values)
    whole = np.ldexp(mantissa, _MANTISSA).astype(np.int64).tolist()
    least = int(exponent[values != 0].min(initial=np.iinfo(np.int32).max))
    shifts = np.maximum(exponent - least, 0).tolist()  # 0 has no exponent of its own
    if not any(whole):
        return whole, Fraction(1)
    return [w << s for w, s in zip(whole, shifts, strict=True)], Fraction(2) ** (least - _MANTISSA)
