"""Distances against rational arithmetic: rounded up, and by no more than one float."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from mipverify_py import Norm
from mipverify_py._distance import distance, exact_size, root_down, root_up, rounded_up
from onnx_models import Array

floats = st.floats(-1e6, 1e6) | st.floats(-1e-300, 1e-300) | st.sampled_from([0.1, 0.2, 0.3, 1 / 3, 5e-324, 1e200])
pairs = hn.arrays(np.float64, st.tuples(st.just(2), st.integers(0, 6)), elements=floats)


def rational(pair: Array, norm: Norm) -> Fraction:
    """Sum of |x - x0| or of (x - x0)**2."""
    differences = [Fraction(a) - Fraction(b) for a, b in zip(pair[0].tolist(), pair[1].tolist(), strict=True)]
    return sum((abs(d) if norm is Norm.L1 else d * d for d in differences), Fraction())


@pytest.mark.parametrize("norm", [Norm.L1, Norm.L2])
@given(pair=pairs)
def test_the_exact_size_is_exact(norm: Norm, pair: Array) -> None:
    assert exact_size(*pair, norm) == rational(pair, norm)


@pytest.mark.parametrize("norm", [Norm.L1, Norm.L2])
@given(pair=pairs)
def test_distances_are_the_next_float_up(norm: Norm, pair: Array) -> None:
    power = 1 if norm is Norm.L1 else 2
    exact, found = rational(pair, norm), distance(*pair, norm)
    assert Fraction(found) ** power >= exact
    below = math.nextafter(found, -math.inf)
    assert below < 0 or Fraction(below) ** power < exact


@given(pair=pairs)
def test_norms_are_ordered(pair: Array) -> None:
    largest, euclidean, total = (distance(*pair, norm) for norm in (Norm.LINF, Norm.L2, Norm.L1))
    assert largest <= euclidean <= total


@pytest.mark.parametrize(
    ("x", "x0", "norm", "expected"),
    [
        ([3.0, -4.0], [0.0, 0.0], Norm.L2, 5.0),
        ([3.0, -4.0], [0.0, 0.0], Norm.L1, 7.0),
        ([5e-324], [0.0], Norm.L2, 5e-324),
        ([1e308, -1e308], [-1e308, 1e308], Norm.L1, math.inf),
        ([], [], Norm.L1, 0.0),
        ([0.5, 0.5], [0.5, 0.5], Norm.L2, 0.0),
    ],
)
def test_known_distances(x: list[float], x0: list[float], norm: Norm, expected: float) -> None:
    assert distance(np.array(x), np.array(x0), norm) == expected


@given(value=st.floats(0, 1e300))
def test_roots_enclose(value: float) -> None:
    exact = Fraction(value)
    assert Fraction(root_down(value)) ** 2 <= exact <= Fraction(root_up(exact)) ** 2
    assert root_up(exact) - root_down(value) <= 4 * math.ulp(math.sqrt(value))


@given(value=st.fractions(0, 10**6))
def test_rounding_up(value: Fraction) -> None:
    found = rounded_up(value)
    assert Fraction(found) >= value
    assert found == 0 or Fraction(math.nextafter(found, -math.inf)) < value
