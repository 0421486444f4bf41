"""The size of a perturbation, rounded up: never smaller than the exact real number."""

from __future__ import annotations

import numpy as np

from mipverify_py._enums import Norm
from onnx_models import Array


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
    """The norm of x - x0, rounded up; both of shape (n,)."""
    assert norm is Norm.LINF
    return float(difference_up(x, x0).max(initial=0.0))
