"""Shown ends of a bracket hold, and are close to the true ones."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mipverify_py.cli._numbers import rounded_down, rounded_up, seconds
from mipverify_py.cli._printable import printable

numbers = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=300)
@given(numbers)
def test_rounding_is_outward_and_close(value: float) -> None:
    assert float(rounded_down(value)) <= value <= float(rounded_up(value))
    low, high = Fraction(rounded_down(value)), Fraction(rounded_up(value))
    # Six significant digits, but nothing finer than 1e-16.
    assert high - low <= max(Fraction(abs(value)) / 10**5, Fraction(1, 10**16))


@pytest.mark.parametrize(
    ("value", "down", "up"),
    [
        (0.0, "0", "0"),
        (0.1, "0.100000", "0.100000"),  # the float is a little more than a tenth, but nobody means that
        (0.5, "0.500000", "0.500000"),
        (0.0462799053, "0.0462799", "0.0462800"),
        (0.9999999, "0.999999", "1.000000"),
        (12.0, "12.0000", "12.0000"),
        (0.0000123456789, "0.0000123456", "0.0000123457"),
        (7.450347e-11, "7.45034e-11", "7.45035e-11"),  # wider than its column otherwise
        (3e-18, "0", "1e-16"),
    ],
)
def test_numbers_as_shown(value: float, down: str, up: str) -> None:
    assert (rounded_down(value), rounded_up(value)) == (down, up)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0421, "0.042 s"),
        (3.214, "3.21 s"),
        (75.34, "75.3 s"),
        (1800, "30 min"),
        (3725, "1 h 02 min"),
        (3595, "1 h 00 min"),
    ],
)
def test_durations(value: float, shown: str) -> None:
    assert seconds(value) == shown


def test_text_from_files_cannot_steer_a_terminal() -> None:
    assert printable("a\x1b[2J\r\x07b\nc é") == "a\\x1b[2J\\r\\x07b\nc é"
