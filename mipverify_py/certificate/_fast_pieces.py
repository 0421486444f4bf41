"""What the batches of the fast checker are made of: bounds and lines of units, choices, what is asked and answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mipverify_py.certificate._document import GRID
from mipverify_py.certificate._fast_digits import Digits, digits
from mipverify_py.certificate._rules import SLOPE, Form, Plane

Ints = NDArray[np.int64]
Dyadic = tuple[int, int]
"""A numerator, and the exponent of the power of two below it."""
DEAD, ACTIVE, UNSTABLE = range(3)


def dyadic(value: Fraction) -> Dyadic:
    """A fraction whose denominator is a power of two."""
    return value.numerator, value.denominator.bit_length() - 1


def plus(a: Dyadic, b: Dyadic) -> Dyadic:
    """The sum."""
    common = max(a[1], b[1])
    return (a[0] << (common - a[1])) + (b[0] << (common - b[1])), common


def is_below(a: Dyadic, b: Dyadic) -> bool:
    """Whether a < b."""
    return plus(a, (-b[0], b[1]))[0] < 0


def up(value: Dyadic) -> int:
    """The value in units of 2**-GRID, rounded up."""
    return -(-value[0] << GRID >> value[1])


class Piece(NamedTuple):
    """Bounds of a pre-activation on a part, and the lines of rule 2 that they give.

    Attributes:
        steep: whether the lower line has the slope 1 where nothing is chosen.
        slope: of the upper line, in units of 2**-SLOPE.
        height: its intercept, in units of 2**-(SLOPE + GRID).
    """

    low: int
    high: int
    kind: int
    steep: bool
    slope: int
    height: int

    @classmethod
    def of(cls, low: int, high: int) -> Piece:
        """The piece with these bounds."""
        if low >= 0 or high <= 0:
            return cls(low, high, ACTIVE if low >= 0 else DEAD, False, 0, 0)
        slope = (high << SLOPE) // (high - low)
        return cls(low, high, UNSTABLE, high > -low, slope, max(high * ((1 << SLOPE) - slope), -low * slope))


State = dict[int, Piece]
"""The units, by number, that have better bounds on a part than on all of the box."""


class Lines(NamedTuple):
    """The pieces of all units of a pre-activation node: arrays of the shape (1 or B, n), heights (K, 1 or B, n)."""

    kind: NDArray[np.int8]
    steep: NDArray[np.bool_]
    slope: NDArray[np.float64]
    height: Digits

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> Lines:
        """Those of a region."""
        return cls(
            np.array([[piece.kind for piece in pieces]], np.int8),
            np.array([[piece.steep for piece in pieces]], np.bool_),
            np.array([[piece.slope for piece in pieces]], np.float64),
            digits([piece.height for piece in pieces])[:, None],
        )

    def on_parts(self, count: int, rows: Ints, entries: Ints, pieces: Sequence[Piece]) -> Lines:
        """The same for so many parts, where some units of some parts have other pieces."""
        found, at = Lines.of(pieces), (rows, entries)
        kind, steep = np.repeat(self.kind, count, axis=0), np.repeat(self.steep, count, axis=0)
        slope = np.repeat(self.slope, count, axis=0)
        kind[at], steep[at], slope[at] = found.kind[0], found.steep[0], found.slope[0]
        height = self.height
        if np.any(found.kind == UNSTABLE):
            height = np.zeros((max(len(self.height), len(found.height)), *kind.shape))
            height[: len(self.height)] = self.height
            height[(slice(None), *at)] = 0.0
            height[(slice(len(found.height)), *at)] = found.height[:, 0]
        return Lines(kind, steep, slope, height)


@dataclass(slots=True, eq=False)
class FastPlane:
    """A plane as the plain rules have it, its coefficients in digits.

    Attributes:
        value: what stands in the file.
        number: of its unit.
        slopes: by source its entries and their coefficients, in units of 2**-exponent.
        plain: the same for the plain rules, once they have asked for it.
    """

    value: Any
    number: int
    slopes: dict[int, tuple[Ints, Digits]]
    exponent: int
    constant: Dyadic
    plain: Plane | None = None


class Chosen(NamedTuple):
    """Choices by the numbers of units: alpha is -1 where nothing is chosen, None where it is for no unit."""

    bits: int
    alpha: Ints | None
    rho: Mapping[int, int]
    shares: Mapping[int, list[tuple[FastPlane, int]]]


NOTHING_CHOSEN = Chosen(0, None, {}, {})


class Forms(NamedTuple):
    """Linear functions of the input: slopes in units of 2**-exponent (`plain`: of the plain rules), and constants.

    `used` says of which units, by number, the chosen slopes were asked for.
    """

    x: Digits
    sizes: NDArray[np.float64]
    exponent: int
    plain: Ints
    constants: list[Dyadic]
    used: NDArray[np.bool_] | None


class Ask(NamedTuple):
    """A bound that is wanted: of an objective, coefficients by entry of a node, on a part, with choices."""

    objective: Mapping[int, int]
    state: State
    choice: Chosen


class Answer(NamedTuple):
    """A linear function of the input.

    Attributes:
        top: its maximum over the box; None where the plain rules found the function.
        forms: with others that were found together with it, as number `place`; None where the plain rules found it.
        form: what these found.
        used: whether the slope of a unit was asked for, by number; None if none was chosen.
    """

    top: Dyadic | None
    forms: Forms | None
    place: int
    form: Form | None
    used: NDArray[np.bool_] | None


class Units(NamedTuple):
    """The units that proofs name: node and entry of each, and by node the numbers that stand for its units."""

    nodes: Ints
    entries: Ints
    at: dict[int, Ints]
