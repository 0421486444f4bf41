"""Numbers as people read them; the ends of a bracket are rounded outwards, so that what is shown still holds.

A float is taken for the shortest decimal that reads back as it, so that a witness at --eps 0.1 shows as 0.1, not above.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

DIGITS = 6
"""Significant digits shown; --json has them all."""

LEAST_PLACE = -5
"""Decimal place of the first digit of the smallest numbers that are shown without an exponent."""


def rounded_down(value: float) -> str:
    """A number that reads back as a float of at most `value`."""
    return _rounded(value, ROUND_FLOOR)


def rounded_up(value: float) -> str:
    """A number that reads back as a float of at least `value`."""
    return _rounded(value, ROUND_CEILING)


def _rounded(value: float, direction: str) -> str:
    exact = Decimal(repr(value))
    if not exact:
        return "0"
    last = max(exact.adjusted() - DIGITS + 1, -16)  # the place of the last digit shown
    short = exact.quantize(Decimal(1).scaleb(last), rounding=direction)
    if not short:
        return "0"
    return f"{short:f}" if LEAST_PLACE <= exact.adjusted() < 16 else f"{short:e}"


def seconds(value: float) -> str:
    """A duration: 0.042 s, 3.21 s, 75.3 s, 1 h 02 min."""
    if value < 0.1:
        return f"{value:.3f} s"
    if value < 60:
        return f"{value:.2f} s"
    if value < 600:
        return f"{value:.1f} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
