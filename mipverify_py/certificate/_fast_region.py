"""A region whose bounds are computed many at a time, in digits; what is unusual is left to the plain rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import groupby
from typing import Any

import numpy as np

from mipverify_py.certificate._document import (
    GRID,
    MOST_DIGITS,
    Affine,
    Unit,
    Work,
    fields,
    number,
    require,
    whole,
)
from mipverify_py.certificate._fast_bounds import Batch, charge
from mipverify_py.certificate._fast_digits import Digits, TooLongError, added, digits, dots, integers
from mipverify_py.certificate._fast_network import FastNetwork, Reads
from mipverify_py.certificate._fast_pieces import (
    NOTHING_CHOSEN,
    Answer,
    Ask,
    Chosen,
    Dyadic,
    FastPlane,
    Forms,
    Lines,
    Piece,
    Units,
    dyadic,
    plus,
    up,
)
from mipverify_py.certificate._fast_planes import Worst, plane_of, plane_of_plain
from mipverify_py.certificate._fast_tighten import Tightener
from mipverify_py.certificate._fast_walk import Claim, walk
from mipverify_py.certificate._rules import MOST_PRICE, Choice, Ends, Plane, Region

ENTRIES = 2**17
"""Coefficients of one node in a batch, and so the memory that a batch takes."""
MOST_PARTS = 256
"""Parts in a batch."""
WORTH = 4000
"""So many products with weights must be done per node for a batch to be faster than the plain rules."""


class _Asked(dict[Unit, int]):
    """Slopes that remember which of them were asked for."""

    def __init__(self, values: Mapping[Unit, int]) -> None:
        super().__init__(values)
        self.used: set[Unit] = set()

    def get(self, key: Unit, default: Any = None) -> Any:
        """The slope of a unit."""
        if key in self:
            self.used.add(key)
        return super().get(key, default)


class FastRegion(Region):
    """The plain rules' region; what it inherits is used where a batch is not worth its while, or numbers are long."""

    network: FastNetwork

    def __init__(self, network: FastNetwork, work: Work, box: Ends, units: list[Any]) -> None:
        super().__init__(network, work, box, units)
        self.first: dict[Unit, int] = {}
        self.numbers = [self.first.setdefault(unit, k) for k, unit in enumerate(self.units)]
        nodes, entries = (np.array([unit[k] for unit in self.units], np.int64) for k in (0, 1))
        own = np.array(self.numbers, np.int64) == np.arange(len(self.units))
        at = {p: np.flatnonzero(own & (nodes == p)) for p in np.unique(nodes).tolist()}
        self.table = Units(nodes, entries, at)
        self.most = max(1, min(MOST_PARTS, ENTRIES // max(*network.sizes, len(self.units), 1)))
        self._lines: dict[int, Lines] = {}
        self._ends: dict[int, tuple[Digits, Digits]] = {}
        self._pieces: dict[int, dict[int, Piece]] = {}
        self.worst: dict[tuple[int, frozenset[int]], dict[int, Worst]] = {}
        self.tightener = Tightener(self)

    # ------------------------------------------------------------------------------------------------- bounds of nodes

    def ends(self, index: int) -> tuple[Digits, Digits]:
        """The bounds of a node in digits."""
        if index not in self._ends:
            self._ends[index] = digits(self.low[index]), digits(self.high[index])
        return self._ends[index]

    def lines(self, p: int) -> Lines:
        """The pieces of a node's entries."""
        if p not in self._lines:
            self._lines[p] = Lines.of([Piece.of(*ends) for ends in zip(self.low[p], self.high[p], strict=True)])
        return self._lines[p]

    def piece(self, unit: int) -> Piece:
        """The bounds of a unit, by its number, on all of the box."""
        p, i = self.units[unit]
        pieces = self._pieces.setdefault(p, {})
        if i not in pieces:
            pieces[i] = Piece.of(self.low[p][i], self.high[p][i])
        return pieces[i]

    def reading(self, unit: int, named: frozenset[int] = frozenset()) -> Reads:
        """A unit, by its number, as a sum of earlier values."""
        return self.network.reading(self.units[unit], self.work, named)

    def add_interval(self, node: Affine) -> None:
        """Rule 1."""
        left = self.work.left
        try:
            self._add_interval(node)
        except TooLongError:
            self.work.left = left
            super().add_interval(node)

    def _add_interval(self, node: Affine) -> None:
        low, high = [[b << GRID for b in node.bias] for _ in range(2)]
        for source, table in self.network.fast[len(self.low)].maps:
            products = 2 * int(table.lengths.sum()) + len(table.lengths)
            charge(self.work, products * (1 + (node.exponent + GRID) // 64))
            bottom, top = self.ends(source)
            rising, falling = table.ends
            low = _sums(low, integers(added(rising.product(bottom), falling.product(top))))
            high = _sums(high, integers(added(rising.product(top), falling.product(bottom))))
        self.work.measured(low, high)
        self.low.append([v >> node.exponent for v in low])
        self.high.append([-(-v >> node.exponent) for v in high])

    def enter(self, index: int) -> None:
        """Bounds of a node, all upper ones of its unstable entries at once, and then all lower ones."""
        node = self.network.nodes[index]
        if not isinstance(node, Affine):
            super().enter(index)
            return
        self.add_interval(node)
        if index in self.network.read_by_relu and any(source > 0 for source, _ in node.parts):
            for sign in (1, -1):
                ends = zip(self.low[index], self.high[index], strict=True)
                unstable = [i for i, (low, high) in enumerate(ends) if low < 0 < high]
                for start in range(0, len(unstable), self.most):
                    here = unstable[start : start + self.most]
                    answers = self.answers(index, [Ask({i: sign}, {}, NOTHING_CHOSEN) for i in here])
                    for i, answer in zip(here, answers, strict=True):
                        self.take_top(index, i, sign, self.top_of(answer))

    def take_top(self, index: int, unit: int, sign: int, top: Dyadic) -> None:
        """Takes in that sign * z is at most `top`."""
        if index in self._ends:
            self.worst.clear()
        self._ends.pop(index, None)
        self._lines.pop(index, None)
        self._pieces.pop(index, None)
        if sign > 0:
            self.high[index][unit] = min(self.high[index][unit], up(top))
        else:
            self.low[index][unit] = max(self.low[index][unit], -up(top))

    def derive(self, steps: list[Any]) -> None:
        """Bounds of every node, and after each those of the steps that are for it."""
        waiting = steps[::-1]
        for index in range(1, len(self.network.nodes)):
            self.enter(index)
            here = []
            while waiting and waiting[-1]["node"] == index:
                here.append(waiting.pop())
            self._steps(index, here)
        require(not waiting, "Steps are not in the order of the nodes.")

    def _steps(self, index: int, steps: list[Any]) -> None:
        """Better bounds of a node's entries. Of those that need no other bound of this node many are found at once."""
        together: list[tuple[int, int, Ask]] = []

        def finish() -> None:
            for start in range(0, len(together), self.most):
                here = together[start : start + self.most]
                answers = self.answers(index, [ask for _, _, ask in here])
                for (unit, sign, _), answer in zip(here, answers, strict=True):
                    self.take_top(index, unit, sign, self.top_of(answer))
            together.clear()

        for value in steps:
            _, unit, sign, below, proof = fields(value, "node unit sign below proof")
            unit, sign = whole(unit, self.network.sizes[index]), 2 * whole(sign, 2) - 1
            if below is None:
                ask = Ask({unit: sign}, {}, self.chosen(proof, []))
                if ask.choice.rho:
                    finish()
                together.append((unit, sign, ask))
                if ask.choice.rho:
                    finish()
            else:
                finish()
                limit = dyadic(number(below))
                walk(self, index, [Claim({unit: sign}, limit, proof)])
                self.take_top(index, unit, sign, limit)
        finish()

    # ---------------------------------------------------------------------------------------------------------- choices

    def chosen(self, value: Any, planes: Sequence[FastPlane]) -> Chosen:
        """Choices from the file, checked to lie in their ranges."""
        bits, alpha, rho, shares = fields(value, "bits alpha rho planes")
        one = 1 << whole(bits, MOST_DIGITS)
        require(len(alpha) <= len(self.units), "There are more slopes than units.")
        slopes = [(u, k) for u, k in zip(self.numbers, alpha, strict=False) if k is not None]
        found = None
        if slopes:
            kinds, values = {type(k) for _, k in slopes}, [k for _, k in slopes]
            require(kinds == {int} and min(values) >= 0 and max(values) <= one, f"A slope is not from 0 to {one}.")
            found = np.full(len(self.units), -1, np.int64)
            for u, k in slopes:
                found[u] = k
        prices = {self.numbers[whole(u, len(self.units))]: whole(k, MOST_PRICE, -MOST_PRICE) for u, k in rho}
        listed: dict[int, list[tuple[FastPlane, int]]] = {}
        for place, weight in shares:
            plane = planes[whole(place, len(planes))]
            listed.setdefault(plane.number, []).append((plane, whole(weight, one + 1)))
        return Chosen(bits, found, prices, listed)

    def fast_plane(self, value: Any) -> FastPlane:
        """Rule 5."""
        left = self.work.left
        try:
            plane = plane_of(self, value)
        except TooLongError:
            plane = None
        if plane is None:
            self.work.left = left
            found = self.plane(value)
            plane = plane_of_plain(value, self.first[found.unit], found)
        return plane

    def _plain_choice(self, choice: Chosen) -> Choice:
        """The same choices as the plain rules have them."""
        slopes = enumerate([] if choice.alpha is None else choice.alpha.tolist())
        alpha = {self.units[u]: k for u, k in slopes if k >= 0}
        shares = {self.units[u]: [(self._plain_plane(p), w) for p, w in listed] for u, listed in choice.shares.items()}
        return Choice(choice.bits, alpha, {self.units[u]: rho for u, rho in choice.rho.items()}, shares)

    def _plain_plane(self, plane: FastPlane) -> Plane:
        if plane.plain is None:
            left = self.work.left
            plane.plain = self.plane(plane.value)
            self.work.left = left  # it has been counted before
        return plane.plain

    # ----------------------------------------------------------------------------------------------------------- bounds

    def answers(self, node: int, asks: Sequence[Ask]) -> list[Answer]:
        """Bounds of objectives over one node, by rules 2 to 4: no more than `most` at once."""
        found: dict[int, Answer] = {}
        order = sorted(range(len(asks)), key=lambda k: asks[k].choice.bits)
        for _, same in groupby(order, key=lambda k: asks[k].choice.bits):
            places = list(same)
            here = [asks[k] for k in places]
            found |= zip(places, self._batch(node, here) or [self._one(node, ask) for ask in here], strict=True)
        return [found[k] for k in range(len(asks))]

    def _batch(self, node: int, asks: Sequence[Ask]) -> list[Answer] | None:
        if max(self.network.sizes) > ENTRIES or len(asks) * self.network.weights[node] < WORTH * node:
            return None
        left = self.work.left
        try:
            batch = Batch(self.network, self.work, self.table, self.lines, [(ask.state, ask.choice) for ask in asks])
            rows = np.zeros((len(asks), self.network.sizes[node]))
            for b, ask in enumerate(asks):
                rows[b, list(ask.objective)] = list(ask.objective.values())
            forms = batch.run(node, rows, lambda p, i: (self.low[p][i], self.high[p][i]))
            used = forms.used
            return [
                Answer(top, forms, place, None, None if used is None else used[place])
                for place, top in enumerate(self._tops(forms))
            ]
        except TooLongError:
            self.work.left = left
            return None

    def _tops(self, forms: Forms) -> list[Dyadic]:
        """Rule 4 for all, of which the work is counted for those that somebody asks for."""
        low, high = self.ends(0)
        sums = _sums(dots(forms.x * (forms.sizes > 0), high[:, None]), dots(forms.x * (forms.sizes < 0), low[:, None]))
        return [plus((total, forms.exponent + GRID), k) for total, k in zip(sums, forms.constants, strict=True)]

    def _one(self, node: int, ask: Ask) -> Answer:
        """The same by the plain rules."""
        row = [0] * self.network.sizes[node]
        for i, c in ask.objective.items():
            row[i] = c
        state = {self.units[u]: piece[:2] for u, piece in ask.state.items()}
        choice, used = self._plain_choice(ask.choice), None
        if choice.alpha:
            choice = choice._replace(alpha=(asked := _Asked(choice.alpha)))
            form = self.bound({node: (0, row)}, state, choice)
            used = np.isin(np.arange(len(self.units)), [self.first[unit] for unit in asked.used])
        else:
            form = self.bound({node: (0, row)}, state, choice)
        return Answer(None, None, 0, form, used)

    def top_of(self, answer: Answer) -> Dyadic:
        """Rule 4."""
        if answer.form is not None:
            return dyadic(self.top(answer.form))
        assert answer.forms is not None and answer.top is not None
        self.work.spend(self.network.sizes[0], int(answer.forms.plain[answer.place]) + GRID)
        return answer.top

    def exclude(self, reference: int, margin: Fraction, trees: Iterable[tuple[Any, Any]]) -> set[int]:
        """The classes that trees exclude, all trees walked at once."""
        claims, excluded = [], set()
        for target, tree in trees:
            self.work.spend(self.network.sizes[-1], 0)
            j = whole(target, self.network.sizes[-1])
            claims.append(Claim({j: 1, reference: -1} if j != reference else {}, dyadic(margin), tree))
            excluded.add(j)
        walk(self, len(self.network.nodes) - 1, claims)
        return excluded


def _sums(first: list[int], second: list[int]) -> list[int]:
    return [a + b for a, b in zip(first, second, strict=True)]
