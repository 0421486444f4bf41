"""Arithmetic on digits agrees with Python's integers, also where every digit is as large as it may be."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from mipverify_py.certificate._fast_digits import (
    BITS,
    CHUNK,
    HALF,
    LIMIT,
    Table,
    TooLongError,
    added,
    approximate,
    carried,
    digits,
    digits_of_floats,
    dots,
    integers,
    lengths,
    shifted,
    times,
)

numbers = st.lists(st.integers(-(2**300), 2**300) | st.integers(-9, 9), min_size=1, max_size=6)


def assert_digits(x: np.ndarray) -> None:
    assert np.all(np.abs(x) <= HALF)
    assert np.all(x == np.rint(x))


@given(values=numbers)
def test_numbers_survive(values: list[int]) -> None:
    x = digits(values)
    assert_digits(x)
    assert integers(x) == values
    signs = [int(np.sign(v)) for v in approximate(x)]
    assert signs == [(v > 0) - (v < 0) for v in values]
    assert lengths(x[:, None], approximate(x)[None]) == [max(abs(v) for v in values).bit_length()]


@given(power=st.integers(0, 300), change=st.sampled_from([-1, 0, 1]))
def test_lengths_beside_powers_of_two(power: int, change: int) -> None:
    value = 2**power + change
    x = digits([value, -value, 1])[:, None]
    assert lengths(x, approximate(x)) == [max(value, 1).bit_length()]


@given(first=numbers, second=st.integers(-(2**200), 2**200), places=st.integers(0, 90))
def test_sums_products_and_shifts(first: list[int], second: int, places: int) -> None:
    x, y = digits(first), digits([second] * len(first))
    for found, expected in (
        (added(x, y), [v + second for v in first]),
        (times(x, y), [v * second for v in first]),
        (shifted(x, places), [v << places for v in first]),
    ):
        assert_digits(found)
        assert integers(found) == expected
    assert dots(x[:, None], y[:, None]) == [sum(v * second for v in first)]


@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=5))
def test_floats_in_digits(values: list[float]) -> None:
    x = np.stack(digits_of_floats(np.array(values), 149))
    assert_digits(x)
    assert integers(x) == [int(Fraction(v) * 2**149) for v in values]


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("inner", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
def test_the_largest_digits_do_not_round(inner: int, sign: float) -> None:
    """All digits +-2**21, in every chunk of every sum; one odd digit would show a bit that is lost."""
    x, w = np.full((3, 2, inner), HALF), np.full((inner, 4), sign * HALF)
    x[:, :, 0] = HALF - 1.0
    value = [int(v) for v in integers(x[:, 0])]
    weight = [int(v) for v in integers(np.stack([w[:, 0]] * 3))]
    expected = sum(a * b for a, b in zip(value, weight, strict=True))
    for matrices in ([w] * 3, [csr_array(w)] * 3):
        found = Table(matrices).product(x)
        assert_digits(found)
        assert integers(found[:, 0]) == [expected] * 4
    y = np.stack([w[:, 0]] * 3)[:, None]
    assert dots(x, y) == [expected] * 2


def test_entries_at_the_limit_are_carried() -> None:
    x = np.array([[LIMIT, -LIMIT], [LIMIT, -LIMIT], [0.0, 1.0]])
    found = carried(x)
    assert_digits(found)
    assert integers(found) == [int(LIMIT) * (1 + 2**BITS), -int(LIMIT) * (1 + 2**BITS) + 4**BITS]


def test_what_float64_cannot_hold_is_refused() -> None:
    with pytest.raises(TooLongError):
        digits([2**1000])
    with pytest.raises(TooLongError):
        times(digits([2**600]), digits([2**600]))
    with pytest.raises(TooLongError):
        shifted(digits([1]), 2000)
    crowded = csr_array((np.full(4096, HALF), np.zeros(4096, np.int64), np.array([0, 4096])), shape=(1, 1))
    with pytest.raises(TooLongError):  # one place taken 4096 times
        Table([crowded])
