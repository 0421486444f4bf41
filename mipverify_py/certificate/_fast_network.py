"""The network of a certificate with its maps as tables of digits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cached_property
from itertools import accumulate, chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from mipverify_py.certificate._document import MOST_ENTRIES, MOST_SPAN, Affine, Network, Row, Unit, Work, require
from mipverify_py.certificate._fast_digits import (
    BITS,
    Digits,
    Matrix,
    Table,
    TooLongError,
    digits,
    digits_of_floats,
    integers,
)

DENSE, SMALL = 0.25, 2**16
"""A map with a larger share of weights, or smaller than this, is multiplied as a dense matrix."""
MOST_PLACES = 2**25
"""Digits of a table: beyond that the plain rules need less memory."""


class Rows(Sequence[Row]):
    """The rows of a map in integers, each made when it is asked for; what the plain rules read."""

    def __init__(self, rows: list[tuple[Any, Any]], exponent: int) -> None:
        self.floats, self.exponent = rows, exponent
        self._made: dict[int, Row] = {}

    def __len__(self) -> int:
        return len(self.floats)

    def __getitem__(self, place: Any) -> Any:
        if place not in self._made:
            columns, weights = self.floats[place]
            self._made[place] = columns, [_exact(w, self.exponent) for w in weights]
        return self._made[place]

    def __iter__(self) -> Iterator[Row]:
        return (self[place] for place in range(len(self.floats)))


def _exact(value: float, exponent: int) -> int:
    top, bottom = value.as_integer_ratio()
    return top << (exponent - bottom.bit_length() + 1)


class Map:
    """A linear map from n to m numbers, weights in units of 2**-exponent.

    Attributes:
        lengths: numbers of weights of the rows.
    """

    def __init__(self, rows: list[tuple[Any, Any]], columns: int, exponent: int, bits: int) -> None:
        self.exponent, self.columns = exponent, columns
        self.lengths = np.array([len(weights) for _, weights in rows], np.float64)
        if all(isinstance(places, range) for places, _ in rows):
            self._weights: Matrix = np.array([weights for _, weights in rows], np.float64).reshape(len(rows), columns)
        else:
            starts = np.cumsum([0, *(len(weights) for _, weights in rows)])
            places = np.fromiter(chain.from_iterable(places for places, _ in rows), np.int64, int(starts[-1]))
            values = np.fromiter(chain.from_iterable(weights for _, weights in rows), np.float64, int(starts[-1]))
            self._weights = csr_array((values, places, starts), shape=(len(rows), columns))
        self._is_long = self.lengths.sum() * (bits // BITS + 1) > MOST_PLACES

    @cached_property
    def back(self) -> Table:
        """For coefficients of what the map gives."""
        return self._table(lambda values: values)

    @cached_property
    def ends(self) -> tuple[Table, Table]:
        """For values of what the map reads: the positive weights, and the negative ones."""
        return self._table(lambda v: np.maximum(v, 0.0), True), self._table(lambda v: np.minimum(v, 0.0), True)

    @cached_property
    def forward(self) -> Table:
        """For values of what the map reads."""
        return self._table(lambda values: values, True)

    def _table(self, part: Any, turned: bool = False) -> Table:
        if self._is_long:
            raise TooLongError
        weights = self._weights
        if isinstance(weights, np.ndarray):
            found: list[Matrix] = list(digits_of_floats(part(weights), self.exponent))
            return Table([np.ascontiguousarray(digit.T) for digit in found] if turned else found)
        found = []
        for digit in digits_of_floats(part(weights.data), self.exponent):
            matrix = csr_array((digit, weights.indices, weights.indptr), shape=weights.shape)
            matrix = matrix.T.tocsr() if turned else matrix
            places = matrix.shape[0] * matrix.shape[1]
            found.append(matrix.toarray() if places < max(SMALL, digit.size / DENSE) else matrix)
        return Table(found)


class Fast(NamedTuple):
    """What an `Affine` is made of: maps by source, and the bias as a matrix of one column."""

    maps: list[tuple[int, Map]]
    bias: Table | None


class Reads(NamedTuple):
    """What an entry of a node is in others, as `direct` says: by source the entries, ascending, and weights; the bias.

    Attributes:
        exponent: of weights and bias.
    """

    weights: dict[int, tuple[NDArray[np.int64], Digits]]
    bias: int
    exponent: int


class FastNetwork(Network):
    """The plain checker's network, read in the same way, whose maps are tables as well.

    Attributes:
        fast: by node.
        reads: what `reading` has found, which has room for `space` more.
        costs: what the plain `direct` would have spent, for each that was asked.
        paid: those for which it has been spent.
        weights: how many there are in the nodes before a node.
    """

    def __init__(self, value: Any) -> None:
        self.fast: dict[int, Fast] = {}
        self.reads: dict[tuple[Unit, frozenset[int]], Reads] = {}
        self.costs: dict[tuple[Unit, frozenset[int]], int] = {}
        self.paid: set[tuple[Unit, frozenset[int]]] = set()
        self.space = MOST_ENTRIES
        self.weights: list[int] = []
        super().__init__(value)
        maps = (self.fast[k].maps if k in self.fast else [] for k in range(len(self.nodes)))
        self.weights = list(accumulate(sum(int(table.lengths.sum()) for _, table in listed) for listed in maps))

    def direct(self, unit: Unit, work: Work, named: frozenset[int] = frozenset()) -> tuple[dict[Unit, int], int, int]:
        """As the plain one, which counts its work once."""
        found = self._direct(unit, work, named)
        self.pay(unit, work, named)
        return found

    def pay(self, unit: Unit, work: Work, named: frozenset[int]) -> None:
        """Takes from what is left what the plain `direct` takes for a unit when it is asked first."""
        if (unit, named) not in self.paid:
            self.paid.add((unit, named))
            work.spend(self.costs[unit, named] - 1, 0)

    def _direct(self, unit: Unit, work: Work, named: frozenset[int]) -> tuple[dict[Unit, int], int, int]:
        """The same without counting it; it may not take more than is left."""
        own = Work(work.left)
        found = super().direct(unit, own, named)
        self.costs.setdefault((unit, named), work.left - own.left)
        return found

    def reading(self, unit: Unit, work: Work, named: frozenset[int]) -> Reads:
        """As `direct`, in digits, without counting the work."""
        key = unit, named
        if key not in self.reads:
            found = self._whole_row(unit, named) or self._direct_reads(unit, work, named)
            self.space -= sum(len(entries) for entries, _ in found.weights.values())
            if self.space < 0:
                self.reads, self.space = {}, MOST_ENTRIES
            self.reads[key] = found
        return self.reads[key]

    def _whole_row(self, unit: Unit, named: frozenset[int]) -> Reads | None:
        """A unit that reads all of one node, by far the commonest of those that read much."""
        node = self.nodes[unit[0]]
        if not isinstance(node, Affine) or len(node.parts) != 1 or unit[0] in named:
            return None
        ((source, rows),) = node.parts
        assert isinstance(rows, Rows)
        columns, weights = rows.floats[unit[1]]
        if not isinstance(columns, range) or (isinstance(self.nodes[source], Affine) and source not in named):
            return None
        floats, bias = np.array(weights, np.float64), node.bias[unit[1]]
        self.costs.setdefault((unit, named), _row_cost(floats, bias, node.exponent))
        found = np.stack(digits_of_floats(floats, node.exponent))
        return Reads({source: (np.arange(len(columns)), found)}, bias, node.exponent)

    def _direct_reads(self, unit: Unit, work: Work, named: frozenset[int]) -> Reads:
        w, bias, exponent = self._direct(unit, work, named)
        by_source: dict[int, list[tuple[int, int]]] = {}
        for (source, j), weight in sorted(w.items()):
            by_source.setdefault(source, []).append((j, weight))
        found = {}
        for source, listed in by_source.items():
            entries, weights = zip(*listed, strict=True)
            found[source] = np.array(entries, np.int64), digits(weights)
        return Reads(found, bias, exponent)

    def scaled(self, index: int, parts: list[tuple[int, list[tuple[Any, Any]]]], offsets: Sequence[float]) -> Affine:
        """As the plain one; the integers of a row are made when they are asked for."""
        flat = [np.array(offsets, np.float64)]
        flat += [np.fromiter(chain.from_iterable(ws for _, ws in rows), np.float64) for _, rows in parts]
        exponent = max(0, -min(_lowest_bit(values) for values in flat))
        span = max(0, max(int(np.frexp(values[values != 0])[1].max(initial=-2000)) for values in flat) + exponent)
        require(max(span, exponent) <= MOST_SPAN, f"The weights of node {index} span more than {MOST_SPAN} bits.")
        bias = [_exact(b, exponent) for b in offsets]
        column = None if not any(bias) else Table(digits_of_floats(flat[0].reshape(-1, 1), exponent))
        maps = [(source, Map(rows, self.sizes[source], exponent, span)) for source, rows in parts]
        self.fast[index] = Fast(maps, column)
        views: list[Any] = [(source, Rows(rows, exponent)) for source, rows in parts]
        return Affine(views, bias, exponent)

    def values(self, point: list[Fraction], work: Work) -> list[Fraction]:
        """The logits at a point."""
        left = work.left
        try:
            return self._values(point, work)
        except TooLongError:
            work.left = left
            return super().values(point, work)

    def _values(self, point: list[Fraction], work: Work) -> list[Fraction]:
        exponent = max(x.denominator.bit_length() - 1 for x in point)
        found = [(exponent, [int(x * (1 << exponent)) for x in point])]
        for index, node in enumerate(self.nodes[1:], 1):
            if isinstance(node, Affine):
                high = max([found[s][0] for s, _ in node.parts], default=0)
                work.vector(len(node.bias), high + node.exponent)
                total = [b << high for b in node.bias]
                for source, table in self.fast[index].maps:
                    exponent, entries = found[source]
                    rows = int(table.lengths.sum()) + len(total)  # every row counts one more than its weights
                    work.spend(rows - 1, exponent + node.exponent)
                    sums = integers(table.forward.product(digits(entries)))
                    total = [t + (s << (high - exponent)) for t, s in zip(total, sums, strict=True)]
                work.measured(total)
                found.append((high + node.exponent, total))
            else:
                assert node is not None
                found.append((found[node][0], [max(v, 0) for v in found[node][1]]))
        return [Fraction(v, 1 << found[-1][0]) for v in found[-1][1]]


def _row_cost(weights: NDArray[np.float64], bias: int, exponent: int) -> int:
    """What the plain `direct` spends on a unit that reads one node that is not multiplied out."""
    work, count = Work(2**60), len(weights)
    longest = max(0, int(np.frexp(np.abs(weights).max())[1]) + exponent) if weights.any() else 0
    work.vector(1, 1)
    work.vector(1, exponent)
    work.vector(count, exponent + 1)
    work.vector(count, longest)
    work.vector(count + 1, max(longest, bias.bit_length()))
    return 2**60 - work.left


def _lowest_bit(values: NDArray[np.float64]) -> int:
    """The place of the last bit of any of some floats, 0 where all are 0."""
    mantissas, exponents = np.frexp(values[values != 0])
    whole = np.ldexp(mantissas, 53).astype(np.int64)
    last = np.frexp((whole & -whole).astype(np.float64))[1] - 1
    return int((exponents.astype(np.int64) - 53 + last).min(initial=0))
