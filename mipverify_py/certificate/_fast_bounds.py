"""Rules 2 and 3 for many parts of a region at once, in digits.

The numbers are those of the plain rules, but all parts share the exponent of a node's coefficients, where each has its
own there. Beside the numbers go the exponents that the plain rules would have, for the work is counted as theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from mipverify_py.certificate._document import GRID, MOST_BITS, MOST_MEMORY, Affine, Work, require
from mipverify_py.certificate._fast_digits import (
    Digits,
    Matrix,
    Table,
    TooLongError,
    added,
    approximate,
    carried,
    digits,
    dots,
    integers,
    lengths,
    shifted,
    times,
)
from mipverify_py.certificate._fast_network import DENSE, FastNetwork
from mipverify_py.certificate._fast_pieces import (
    ACTIVE,
    UNSTABLE,
    Chosen,
    Dyadic,
    FastPlane,
    Forms,
    Ints,
    Lines,
    State,
    Units,
)
from mipverify_py.certificate._rules import SLOPE

MOST_EXPONENT = 900
"""With larger exponents a linear function's slopes might be too small for floats."""
MOST_PLANES = 64
"""With more planes in a batch its parts are taken a few at a time."""
Ends = Callable[[int, int], tuple[int, int]]
"""The bounds of an entry of a node on all of the box."""


@dataclass(slots=True, eq=False)
class Term:
    """Coefficients of a node's values, in units of 2**-exponent.

    Attributes:
        plain: the exponents that the plain rules have; -1 where these have no coefficients for the node.
        sizes: the coefficients as floats, if they are known.
    """

    exponent: int
    plain: Ints
    x: Digits
    sizes: NDArray[np.float64] | None = None

    def floats(self) -> NDArray[np.float64]:
        """The coefficients as `approximate` has them."""
        if self.sizes is None:
            self.sizes = approximate(self.x)
        return self.sizes


def charge(work: Work, products: Any) -> None:
    """Takes products with short numbers from what is left: so many as the plain rules would take one after another."""
    work.spend(int(products) - 1, 0)


class Batch:
    """Objectives on parts of a region, with choices that have the same bits, while they are led back to the input."""

    def __init__(
        self,
        network: FastNetwork,
        work: Work,
        units: Units,
        lines: Callable[[int], Lines],
        parts: Sequence[tuple[State, Chosen]],
    ) -> None:
        self.network, self.work, self.units, self.lines = network, work, units, lines
        self.states, self.choices = [state for state, _ in parts], [choice for _, choice in parts]
        self.count, self.bits = len(parts), self.choices[0].bits
        self.left: dict[int, Term] = {}
        self.constants: list[tuple[int, list[int]]] = []
        self.pieces = [piece for state in self.states for piece in state.values()]
        self.rows = np.repeat(np.arange(self.count), [len(state) for state in self.states])
        self.numbers = np.array([number for state in self.states for number in state], np.int64)
        chosen = [(b, choice.alpha) for b, choice in enumerate(self.choices) if choice.alpha is not None]
        self.alpha: Ints | None = None
        self.used: NDArray[np.bool_] | None = None
        if chosen:
            self.used = np.zeros((self.count, len(units.nodes)), np.bool_)
            self.alpha = np.full((self.count, len(units.nodes)), -1, np.int64)
            for b, alpha in chosen:
                self.alpha[b] = alpha

    def run(self, node: int, rows: NDArray[np.float64], ends: Ends) -> Forms:
        """The linear functions of the input that are at least the objectives, whose coefficients are small numbers."""
        sizes, zeros = self.network.sizes, np.zeros(self.count, np.int64)
        charge(self.work, (sizes[0] + 1) * self.count)
        self.left[0] = Term(0, zeros, np.zeros((1, self.count, sizes[0])))
        self.left[node] = Term(0, zeros, rows[None])
        self._prices(ends)
        while (index := max(self.left)) > 0:
            term, below = self.left.pop(index), self.network.nodes[index]
            if isinstance(below, Affine):
                self._through_affine(index, term, below.exponent)
            else:
                assert below is not None
                self._through_relu(below, term)
        term = self.left[0]
        if term.exponent > MOST_EXPONENT:
            raise TooLongError
        return Forms(term.x, term.floats(), term.exponent, term.plain, self._constants(), self.used)

    def _constants(self) -> list[Dyadic]:
        common = max((exponent for exponent, _ in self.constants), default=0)
        total = [0] * self.count
        for exponent, values in self.constants:
            total = [t + (v << (common - exponent)) for t, v in zip(total, values, strict=True)]
        return [(t, common) for t in total]

    def _prices(self, ends: Ends) -> None:
        """Rule 3."""
        priced: dict[int, list[tuple[int, int, int]]] = {}
        constants = [0] * self.count
        for b, (state, choice) in enumerate(zip(self.states, self.choices, strict=True)):
            for number, rho in choice.rho.items():
                p, i = int(self.units.nodes[number]), int(self.units.entries[number])
                low, high = state[number][:2] if number in state else ends(p, i)
                priced.setdefault(p, []).append((b, i, rho))
                constants[b] -= rho * (low if rho > 0 else high)
        self.constants.append((self.bits + GRID, constants))
        for p, listed in priced.items():
            places = np.array([(b, i) for b, i, _ in listed], np.int64).T
            values = digits([rho for _, _, rho in listed])
            x = np.zeros((len(values), self.count, self.network.sizes[p]))
            x[:, places[0], places[1]] = values
            term = self.left.get(p)
            own = np.where(np.bincount(places[0], minlength=self.count) > 0, self.bits, -1)
            first = own if term is None else np.maximum(own, term.plain)
            self._vectors(self.network.sizes[p], first[places[0]])
            self._add(p, self.bits, x, None)
            self.left[p].plain = first

    def _vectors(self, entries: int, bits: Ints) -> None:
        """What the plain rules spend on vectors with numbers of so many bits."""
        if bits.size:
            most = int(bits.max())
            require(most <= MOST_BITS and entries * most <= MOST_MEMORY, "Numbers become longer than is allowed.")
            charge(self.work, (entries + 1) * (1 + bits // 64).sum())

    def _add(
        self, node: int, exponent: int, x: Digits, plain: Ints | None, sizes: NDArray[np.float64] | None = None
    ) -> None:
        """Adds coefficients to those that a node has; `plain` is their exponents in the plain rules, -1 for no part."""
        term = self.left.get(node)
        if term is None:
            term = self.left[node] = Term(exponent, np.full(self.count, -1, np.int64), x)
        else:
            common = max(exponent, term.exponent)
            term.x = added(shifted(term.x, common - term.exponent), shifted(x, common - exponent))
            term.exponent, sizes = common, None
        term.sizes = sizes
        if plain is not None:
            there = plain >= 0
            term.plain = np.where(there, np.maximum(plain, term.plain), term.plain)
            self._vectors(self.network.sizes[node], term.plain[there])

    def _through_affine(self, index: int, term: Term, exponent: int) -> None:
        """Replaces the values of an affine node by what it is."""
        fast, there = self.network.fast[index], term.plain >= 0
        plain = np.where(there, term.plain + exponent, -1)
        if fast.bias is not None:
            self.constants.append((term.exponent + exponent, integers(fast.bias.product(term.x)[..., 0])))
        used = (term.floats() != 0).astype(np.float64)
        for source, table in fast.maps:
            size = self.network.sizes[source]
            x = table.back.product(term.x)
            products = (used @ table.lengths).astype(np.int64) + len(table.lengths) + size
            charge(self.work, ((products + 1) * (1 + plain // 64))[there].sum())
            finer = term.exponent + exponent - plain
            sizes = approximate(x)
            found = lengths(x, sizes)
            self._vectors(size, np.where(found > 0, found - finer, 0)[there])
            self._add(source, term.exponent + exponent, x, plain, sizes)

    def _through_relu(self, p: int, term: Term) -> None:
        """Rule 2, for all entries of node p."""
        lines, signs, one = self._lines(p), term.floats(), 1 << self.bits
        unstable = lines.kind == UNSTABLE
        up, down = unstable & (signs > 0), unstable & (signs < 0)
        factor = np.where(lines.kind == ACTIVE, one, np.where(up, one, 0))
        slopes = np.where(lines.steep, one, 0)
        numbers = self.units.at.get(p)
        if self.alpha is not None and numbers is not None:
            slopes = np.array(np.broadcast_to(slopes, up.shape))
            chosen, entries = self.alpha[:, numbers], self.units.entries[numbers]
            slopes[:, entries] = np.where(chosen >= 0, chosen, slopes[:, entries])
            assert self.used is not None
            self.used[:, numbers] = down[:, entries]
        factor = np.where(down, slopes, factor)
        self._planes(p, term, up, factor)
        scaled = times(term.x, digits(factor))
        result = times(scaled, carried(np.where(up, lines.slope, float(1 << SLOPE))[None]))
        heights = dots(scaled * up, lines.height)  # only lines above have one
        exponent = term.exponent + self.bits + SLOPE
        self.constants.append((exponent + GRID, heights))
        there = term.plain >= 0
        self._add(p, exponent, result, np.where(there, term.plain + self.bits + SLOPE, -1))

    def _lines(self, p: int) -> Lines:
        found = self.lines(p)
        here = np.flatnonzero(self.units.nodes[self.numbers] == p) if self.numbers.size else self.numbers
        if not here.size:
            return found
        entries = self.units.entries[self.numbers[here]]
        return found.on_parts(self.count, self.rows[here], entries, [self.pieces[k] for k in here.tolist()])

    def _planes(self, p: int, term: Term, up: NDArray[np.bool_], factor: Ints) -> None:
        """Replaces shares of the values of node p by planes; takes these shares from the factors of their lines."""
        used: dict[int, int] = {}
        planes: list[FastPlane] = []
        listed: list[tuple[int, int, int, int]] = []
        plain: dict[int, Ints] = {}
        spent: dict[int, list[int]] = {}
        for b, choice in enumerate(self.choices):
            here = [(int(self.units.entries[n]), n) for n in choice.shares if self.units.nodes[n] == p]
            for i, number in sorted(here):
                if not up[b, i]:
                    continue
                rest = 1 << self.bits
                for plane, weight in choice.shares[number]:
                    if id(plane) not in used:
                        used[id(plane)] = len(planes)
                        planes.append(plane)
                    listed.append((b, i, used[id(plane)], weight))
                    rest -= weight
                    finer = int(term.plain[b]) + self.bits + plane.exponent
                    for source in plane.slopes:
                        if source not in plain:
                            old = self.left.get(source)
                            plain[source] = np.full(self.count, -1, np.int64) if old is None else old.plain.copy()
                        plain[source][b] = max(int(plain[source][b]), finer)
                        spent.setdefault(source, []).append(int(plain[source][b]))
                require(rest >= 0, "The weights of a unit's planes add up to more than 1.")
                factor[b, i] = rest
        if not listed:
            return
        for source, bits in spent.items():
            self._vectors(self.network.sizes[source], np.array(bits, np.int64))
        self._share(term, planes, np.array(listed, np.int64))
        for source, exponents in plain.items():
            self.left[source].plain = exponents

    def _share(self, term: Term, planes: Sequence[FastPlane], listed: Ints) -> None:
        """Adds shares of planes; `listed` has part, entry, plane and weight. Few parts have the same planes."""
        common, bottom = max(plane.exponent for plane in planes), max(plane.constant[1] for plane in planes)
        constants, found = [0] * self.count, dict[int, list[tuple[slice, Digits]]]()
        step = self.count if len(planes) <= MOST_PLANES else 1 + MOST_PLANES * self.count // len(planes)
        for start in range(0, self.count, step):
            rows = slice(start, min(self.count, start + step))
            b, i, place, weights = listed[(listed[:, 0] >= rows.start) & (listed[:, 0] < rows.stop)].T
            if not b.size:
                continue
            used, column = np.unique(place, return_inverse=True)
            here = [planes[k] for k in used.tolist()]
            products = times(term.x[:, b, i], digits(weights))
            shares = np.zeros((len(products), rows.stop - rows.start, len(here)))
            target: Any = np.s_[:, b - start, column]
            np.add.at(shares, target, products)  # the same plane twice gives sums of few digits
            shares = carried(shares)
            tops = digits([plane.constant[0] << (bottom - plane.constant[1]) for plane in here])
            constants[rows] = dots(shares, tops[:, None])
            for source in {source for plane in here for source in plane.slopes}:
                x = _table(here, source, common, self.network.sizes[source]).product(shares)
                found.setdefault(source, []).append((rows, x))
        self.constants.append((term.exponent + self.bits + bottom, constants))
        for source, pieces in found.items():
            x = np.zeros((max(len(piece) for _, piece in pieces), self.count, self.network.sizes[source]))
            for rows, piece in pieces:
                x[: len(piece), rows] = piece
            self._add(source, term.exponent + self.bits + common, x, None)


def _table(planes: Sequence[FastPlane], source: int, exponent: int, size: int) -> Table:
    """The coefficients of planes for the values of a source, a row per plane."""
    found = [(k, *plane.slopes[source], plane.exponent) for k, plane in enumerate(planes) if source in plane.slopes]
    parts = [(k, entries, shifted(x, exponent - own)) for k, entries, x, own in found]
    count = max(len(x) for _, _, x in parts)
    if sum(len(entries) for _, entries, _ in parts) > DENSE * len(planes) * size:
        dense = np.zeros((count, len(planes), size))
        for k, entries, x in parts:
            dense[: len(x), k, entries] = x
        return Table(list(dense))
    rows = np.repeat([k for k, _, _ in parts], [len(entries) for _, entries, _ in parts])
    columns = np.concatenate([entries for _, entries, _ in parts])
    values = np.zeros((count, len(columns)))
    start = 0
    for _, entries, x in parts:
        values[: len(x), start : start + len(entries)] = x
        start += len(entries)
    matrices: list[Matrix] = [csr_array((row, (rows, columns)), shape=(len(planes), size)) for row in values]
    return Table(matrices)
