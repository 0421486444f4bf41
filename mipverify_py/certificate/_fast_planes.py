"""Rule 5 with whole lists of coefficients at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mipverify_py.certificate._document import GRID, MOST_DIGITS, fields, whole
from mipverify_py.certificate._fast_digits import (
    LIMIT,
    Digits,
    added,
    approximate,
    digits,
    dots,
    integers,
    lengths,
    shifted,
    times,
)
from mipverify_py.certificate._fast_pieces import FastPlane, Ints
from mipverify_py.certificate._rules import Plane

if TYPE_CHECKING:
    from mipverify_py.certificate._fast_region import FastRegion

SHORT = 100
"""Fewer coefficients are quicker one by one."""
Coefficients = dict[int, tuple[Ints, Digits]]
"""By node the entries, ascending, and their coefficients."""


class Worst(NamedTuple):
    """For a unit's weights w, and the values v that it reads of one node, by entry, in digits.

    Attributes:
        entries: ascending.
        weights: w, in units of 2**-exponent of the unit.
        falling: the largest values of -w v, in units of 2**-(exponent + GRID).
        rising: the largest values of w v.
    """

    entries: Ints
    weights: Digits
    falling: Digits
    rising: Digits


NOTHING = Worst(np.zeros(0, np.int64), *[np.zeros((1, 0))] * 3)


def worst_of(region: FastRegion, unit: int, named: frozenset[int]) -> dict[int, Worst]:
    """What planes need of a unit, by node that it is written in."""
    if (unit, named) not in region.worst:
        found = {}
        for source, (entries, w) in region.reading(unit, named).weights.items():
            low, high = (end[:, entries] for end in region.ends(source))
            signs = approximate(w)
            rising = added(times(w * (signs > 0), high), times(w * (signs < 0), low))
            falling = added(times(-w * (signs > 0), low), times(-w * (signs < 0), high))
            found[source] = Worst(entries, w, falling, rising)
        region.worst[unit, named] = found
    return region.worst[unit, named]


def plane_of(region: FastRegion, value: Any) -> FastPlane | None:
    """A plane; None where it is short, or has an unusual form, right or wrong: the plain rules look at it then.

    Most coefficients of a facet are those of the unit itself, or 0. What they add to both sums is known.
    """
    unit, bits, terms = fields(value, "unit bits terms")
    if sum(len(term[1]) for term in terms) < SHORT:
        return None
    own = region.numbers[whole(unit, len(region.units))]
    named = frozenset(term[0] for term in terms)
    w, worst = region.reading(own, named), worst_of(region, own, named)
    common, slopes = max(whole(bits, MOST_DIGITS), w.exponent), Coefficients()
    more, off, along, count, bits_off, bits_along = common - w.exponent, 0, 0, 0, 0, 0
    absent = {source: np.ones(len(one.entries), np.float64) for source, one in worst.items()}
    for source, entries, values in terms:
        size = region.network.sizes[whole(source, region.units[own][0] + 1)]
        read = _read(entries, values, size)
        if read is None or source in slopes:
            return None
        places, numbers, same = read
        if not places.size:
            continue
        one = worst.get(source, NOTHING)
        where = np.minimum(np.searchsorted(one.entries, places), max(0, len(one.entries) - 1))
        inside = one.entries[where] == places if len(one.entries) else np.zeros(len(places), np.bool_)
        count += int((~inside).sum())
        if source in absent:
            absent[source][where[inside]] = 0.0
        taken, given = where[same & inside], np.flatnonzero(~same)
        off += _total(one.falling[:, taken]) << more
        own_weights = np.zeros((len(one.weights), len(places)))
        own_weights[:, inside] = one.weights[:, where[inside]]
        own_weights = shifted(own_weights, more)
        x = np.array(own_weights)
        if given.size:
            coefficients = shifted(digits(numbers[given]), common - bits)
            rest = added(own_weights[:, given], -coefficients)
            x = np.zeros((max(len(own_weights), len(coefficients)), len(places)))
            x[: len(own_weights)] = own_weights
            x[:, given] = 0.0
            x[: len(coefficients), given] = coefficients
            ends = tuple(end[:, None, places[given]] for end in region.ends(source))
            off, along = off + _largest(-coefficients, *ends), along + _largest(rest, *ends)
            bits_along = max(bits_along, _longest(rest))
        slopes[source], bits_off = (places, x), max(bits_off, _longest(x))
    region.network.pay(region.units[own], region.work, named)
    region.work.spend(sum(len(places) for places, _ in slopes.values()), common + GRID + bits_off)
    for source, one in worst.items():
        count += len(one.entries)
        along += _total(one.rising * absent[source]) << more
        longest = _longest(one.weights * absent[source])
        bits_along = max(bits_along, longest + more if longest else 0)
    region.work.spend(count, common + GRID + bits_along)
    along += w.bias << (common + GRID - w.exponent)
    return FastPlane(value, own, slopes, common, (max(off, along), common + GRID))


def _longest(x: Digits) -> int:
    """The bits of the longest number."""
    return int(lengths(x[:, None], approximate(x)[None])[0])


def _total(x: Digits) -> int:
    """The sum of all numbers."""
    return integers(x.sum(axis=1, keepdims=True))[0]


def _largest(x: Digits, low: Digits, high: Digits) -> int:
    """The largest value over a box of a sum with coefficients x."""
    signs = approximate(x)
    return dots((x * (signs > 0))[:, None], high)[0] + dots((x * (signs < 0))[:, None], low)[0]


def _read(entries: Any, values: Any, size: int) -> tuple[Ints, Ints, NDArray[np.bool_]] | None:
    """A term's entries, ascending, their coefficients, and where they are those of the unit itself."""
    if type(entries) is not list or type(values) is not list or len(entries) != len(values):
        return None
    if not set(map(type, entries)) <= {int} or not set(map(type, values)) <= {int, type(None)}:
        return None
    try:
        places, floats = np.array(entries, np.int64), np.array(values, np.float64)
    except OverflowError:
        return None
    same = np.isnan(floats)  # which None becomes
    numbers = np.where(same, 0.0, floats)
    if places.size and (places[0] < 0 or places[-1] >= size or np.any(places[1:] <= places[:-1])):
        return None
    return None if np.abs(numbers).max(initial=0.0) >= LIMIT else (places, numbers.astype(np.int64), same)


def plane_of_plain(value: Any, own: int, plane: Plane) -> FastPlane:
    """The same plane in digits."""
    slopes = {}
    for source, terms in plane.slopes.items():
        entries, values = zip(*terms, strict=True)
        slopes[source] = np.array(entries, np.int64), digits(values)
    constant = plane.constant.numerator, plane.constant.denominator.bit_length() - 1
    return FastPlane(value, own, slopes, plane.exponent, constant, plane)
