"""Rule 6 with many units at once."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mipverify_py.certificate._document import GRID, require, whole
from mipverify_py.certificate._fast_digits import (
    DOUBT,
    Digits,
    TooLongError,
    added,
    approximate,
    dots,
    integers,
    times,
)
from mipverify_py.certificate._fast_pieces import Answer, Dyadic, Ints, Piece, State, plus, up
from mipverify_py.certificate._rules import MOST_PRICE, Form

if TYPE_CHECKING:
    from mipverify_py.certificate._fast_region import FastRegion

TOGETHER = 64
"""So many bounds are found at once."""
SMALL = 256
"""For inputs that are not larger, units that read parts of them are treated alike."""


class Narrow(NamedTuple):
    """What is needed of a unit z = w x + b of the input.

    Attributes:
        entries: of the input, ascending; of a small input all.
        read: 1 for those that it reads, 0 for others.
        weights: w for the entries, in digits.
        floats: the same as floats.
        fixed: b, and the sum of w times the lower ends of the box, in units of 2**-(exponent + GRID).
        spread: w times the lengths of the box, in digits.
        exponent: of the weights.
    """

    entries: Ints
    read: NDArray[np.float64]
    weights: Digits
    floats: NDArray[np.float64]
    fixed: int
    spread: Digits
    exponent: int


class Line(NamedTuple):
    """A linear function g x: g in digits, in units of 2**-exponent, as floats, and times the lengths of the box."""

    x: Digits
    floats: NDArray[np.float64]
    exponent: int
    spread: Digits


class Wanted(NamedTuple):
    """One triple of the file: a unit by number, a sign, a multiplier; and the exponent that the plain rules have."""

    unit: int
    sign: int
    gamma: int
    common: int


class Tightener:
    """Bounds of units that read the input, where a linear function of the input is to reach a threshold."""

    def __init__(self, region: FastRegion) -> None:
        self.region = region
        self._narrow: dict[int, Narrow] = {}
        self._lengths: Digits | None = None

    def tightened(self, answer: Answer, state: State, threshold: Dyadic, gammas: Any, bits: int) -> State | None:
        """The state with the tighter bounds; None if bounds cross."""
        if answer.form is not None:
            return self._plain(answer.form, state, threshold, gammas, bits)
        left = self.region.work.left
        try:
            return self._tightened(answer, state, threshold, gammas, bits)
        except TooLongError:
            self.region.work.left = left
            return self._plain(_plain_form(answer), state, threshold, gammas, bits)

    def useful(
        self, answer: Answer, state: State, threshold: Dyadic, gammas: Sequence[Sequence[int]], bits: int
    ) -> tuple[list[int], State | None]:
        """Which of some triples would make a bound tighter, each alone; and the state that they give together."""
        found = self.tightened(answer, state, threshold, gammas, bits)
        kept = []
        for k, (unit, sign, _) in enumerate(gammas):
            old = state.get(unit) or self.region.piece(unit)
            alone = found or self.tightened(answer, {unit: old}, threshold, [gammas[k]], bits)
            new = None if alone is None else alone[unit]
            if new is None or (new.high < old.high if sign else new.low > old.low):
                kept.append(k)
        if found is not None:
            found = {**state, **{unit: found[unit] for unit in {gammas[k][0] for k in kept}}}
        return kept, found

    def _plain(self, form: Form, state: State, threshold: Dyadic, gammas: Any, bits: int) -> State | None:
        region = self.region
        plain = {region.units[unit]: piece[:2] for unit, piece in state.items()}
        found = region.tighten(plain, form, Fraction(threshold[0], 1 << threshold[1]), (gammas, bits))
        if found is None:
            return None
        result = dict[int, Piece]()
        for unit, ends in found.items():
            old = state.get(region.first[unit])
            result[region.first[unit]] = old if old is not None and old[:2] == ends else Piece.of(*ends)
        return result

    def _tightened(self, answer: Answer, state: State, threshold: Dyadic, gammas: Any, bits: int) -> State | None:
        assert answer.forms is not None
        listed = [self._wanted(triple, int(answer.forms.plain[answer.place]), bits) for triple in gammas]
        found = dict(state)
        for want, top in zip(listed, self._tops(answer, listed, threshold, bits), strict=True):
            low, high = (found.get(want.unit) or self.region.piece(want.unit))[:2]
            low, high = (low, min(high, top)) if want.sign > 0 else (max(low, -top), high)
            found[want.unit] = Piece(low, high, 0, False, 0, 0)
        if any(piece.low > piece.high for piece in found.values()):
            return None
        for unit in {want.unit for want in listed}:
            found[unit] = Piece.of(*found[unit][:2])
        return found

    def _wanted(self, triple: Any, exponent: int, bits: int) -> Wanted:
        u, sign, gamma = triple
        unit = self.region.numbers[whole(u, len(self.region.units))]
        common = max(self.narrow(unit).exponent, exponent + bits)
        self.region.network.pay(self.region.units[unit], self.region.work, frozenset())
        return Wanted(unit, 2 * whole(sign, 2) - 1, whole(gamma, MOST_PRICE), common)

    def lengths(self) -> Digits:
        """The lengths of the box."""
        if self._lengths is None:
            low, high = self.region.ends(0)
            self._lengths = added(high, -low)
        return self._lengths

    def narrow(self, unit: int) -> Narrow:
        """What is needed of a unit."""
        if unit not in self._narrow:
            reads = self.region.reading(unit)
            require(set(reads.weights) <= {0}, "A unit that is tightened reads more than the input.")
            nothing = np.zeros(0, np.int64), np.zeros((1, 0))
            entries, weights = reads.weights.get(0, nothing)
            read = np.ones(len(entries))
            if (size := self.region.network.sizes[0]) <= SMALL:
                read, wide = np.zeros(size), np.zeros((len(weights), size))
                read[entries], wide[:, entries] = 1.0, weights
                entries, weights = np.arange(size), wide
            low = dots(weights[:, None], self.region.ends(0)[0][:, None, entries])[0]
            floats, spread = np.ldexp(approximate(weights), -reads.exponent), times(weights, self.lengths()[:, entries])
            fixed = low + (reads.bias << GRID)
            self._narrow[unit] = Narrow(entries, read, weights, floats, fixed, spread, reads.exponent)
        return self._narrow[unit]

    def _tops(self, answer: Answer, listed: Sequence[Wanted], threshold: Dyadic, bits: int) -> list[int]:
        """For each the bound of  s z, in units of 2**-GRID and rounded up.

        With c = s w + gamma g, and sums over the entries that the unit reads, the bound is

            s (w low + b) + sum over c > 0 of s w (high - low)
                + gamma ( top of L - t + (sum over c > 0  -  sum over g > 0) of g (high - low) ).
        """
        assert answer.forms is not None and answer.top is not None
        x = answer.forms.x[:, answer.place]
        floats = np.ldexp(answer.forms.sizes[answer.place], -answer.forms.exponent)
        line = Line(x, floats, answer.forms.exponent, times(x, self.lengths()))
        over, found = plus(answer.top, (-threshold[0], threshold[1])), [0] * len(listed)
        by_count: dict[int, list[int]] = {}
        for k, want in enumerate(listed):
            by_count.setdefault(len(self.narrow(want.unit).entries), []).append(k)
        for same in by_count.values():
            for start in range(0, len(same), TOGETHER):
                here = same[start : start + TOGETHER]
                sums = self._sums([listed[k] for k in here], line, bits)
                for k, (own, others) in zip(here, sums, strict=True):
                    want, narrow = listed[k], self.narrow(listed[k].unit)
                    numerator, exponent = plus((others, line.exponent + GRID), over)
                    bound = want.sign * (narrow.fixed + own), narrow.exponent + GRID
                    found[k] = up(plus(bound, (want.gamma * numerator, exponent + bits)))
        return found

    def _sums(self, wants: Sequence[Wanted], line: Line, bits: int) -> list[tuple[int, int]]:
        """For units with equally many entries the sum of w (high - low), and that of g (high - low)."""
        narrow = [self.narrow(want.unit) for want in wants]
        entries = np.stack([one.entries for one in narrow])
        first = np.stack([want.sign * one.floats for want, one in zip(wants, narrow, strict=True)])
        gammas = np.array([np.ldexp(float(want.gamma), -bits) for want in wants])[:, None]
        read = np.stack([one.read for one in narrow])
        second = gammas * line.floats[entries] * read
        mixed, size = first + second, np.abs(first) + np.abs(second)
        above = mixed > 0
        self._spend(wants, narrow, line, bits, (np.abs(mixed).max(axis=1, initial=0.0), size.max(axis=1, initial=0.0)))
        for k, j in zip(*np.nonzero((np.abs(mixed) <= 4.0 * DOUBT * size) & (size > 0)), strict=True):
            above[k, j] = _mixed(wants[k], narrow[k], int(j), line, bits)[0] > 0
        chosen = above.astype(np.float64)
        own = [integers((one.spread @ row)[:, None])[0] for one, row in zip(narrow, chosen, strict=True)]
        change = chosen - (line.floats > 0)[entries] * read
        if entries.shape[1] == line.x.shape[1]:
            others = integers((change @ line.spread.T).T)
        else:
            others = integers((line.spread[:, entries] * change).sum(axis=2))
        return list(zip(own, others, strict=True))

    def _spend(
        self,
        wants: Sequence[Wanted],
        narrow: Sequence[Narrow],
        line: Line,
        bits: int,
        sizes: tuple[NDArray[np.float64], NDArray[np.float64]],
    ) -> None:
        """What the plain rules spend, which depends on the longest  s w + gamma g  of a unit.

        `sizes` are the largest of them as floats, and of the sums of their terms' sizes, to which floats are exact.
        """
        most, doubt = sizes[0], 4.0 * DOUBT * sizes[1]
        shortest, longest = (np.frexp(np.maximum(most + d, 0.0))[1].tolist() for d in (-doubt, doubt))
        for k, (want, one) in enumerate(zip(wants, narrow, strict=True)):
            least, length = (max(0, int(end[k]) + want.common) for end in (shortest, longest))
            if most[k] <= doubt[k] or (want.common + least) // 64 != (want.common + length) // 64:
                found = (_mixed(want, one, j, line, bits) for j in np.flatnonzero(one.read).tolist())
                length = max(((abs(v) << want.common >> e).bit_length() for v, e in found), default=0)
            self.region.work.spend(int(one.read.sum()), want.common + GRID + length)


def _mixed(want: Wanted, narrow: Narrow, place: int, line: Line, bits: int) -> Dyadic:
    """s w + gamma g  for one entry, in integers."""
    w = integers(narrow.weights[:, place : place + 1])[0], narrow.exponent
    g = integers(line.x[:, narrow.entries[place : place + 1]])[0], line.exponent
    return plus((want.sign * w[0], w[1]), (want.gamma * g[0], g[1] + bits))


def _plain_form(answer: Answer) -> Form:
    """A linear function as the plain rules have it."""
    assert answer.forms is not None
    forms, place = answer.forms, answer.place
    exponent = int(forms.plain[place])
    slopes = [v >> (forms.exponent - exponent) for v in integers(forms.x[:, place])]
    numerator, below = forms.constants[place]
    return Form(slopes, exponent, Fraction(numerator, 1 << below))
