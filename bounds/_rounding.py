"""A-priori rounding errors of float64 sums of products (Higham, Accuracy and Stability, 2002, section 3.1)."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from onnx_models import Array

UNIT_ROUNDOFF = 2.0**-53

UNDERFLOW = sys.float_info.min
"""Added to every error bound of a sum that has a term: covers products that underflow, each of which loses at most
2**-1075, also where they leave nothing at all."""


def gamma(terms: int) -> float:
    """n u / (1 - n u) for n = `terms` roundings, u = 2**-53, itself rounded up.

    A sum of n products computed in float64, in any order and with or without fused multiply-add, differs from the exact
    sum by at most gamma(n) times the sum of the products' absolute values.
    """
    share = terms * UNIT_ROUNDOFF
    return float(np.nextafter(share / (1.0 - share), np.inf)) * (1.0 + 4 * UNIT_ROUNDOFF)


def inflate(error: Array, present: NDArray[np.bool_]) -> Array:
    """An error bound that was itself computed in floats, enlarged so that it holds; 0 where nothing was summed.

    `present` tells which sums have a term whose factors are both nonzero. The size of the sum does not: it may have
    underflowed to 0.
    """
    return np.where(present, error * (1.0 + 1e-9) + UNDERFLOW, 0.0)


def down(value: Array, error: Array) -> Array:
    """value - error, rounded down; equal to `value` where the error is 0, NaN where the error is."""
    return np.where(error == 0, value, np.nextafter(value - error, -np.inf))


def up(value: Array, error: Array) -> Array:
    """value + error, rounded up; equal to `value` where the error is 0, NaN where the error is."""
    return np.where(error == 0, value, np.nextafter(value + error, np.inf))
