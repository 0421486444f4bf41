"""A tree of splits, as the engines leave it, made into one that holds in exact arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from bounds._direct import direct_inputs
from mipverify_py.certificate._document import GRID, MOST_DIGITS, Unit
from mipverify_py.certificate._rules import Form, Objective, Region, State
from mipverify_py.certificate._rules import Plane as ExactPlane
from mipverify_py.proof import Multipliers, Plane, ProofNode, Tree, Units
from onnx_models import ReluNetwork
from onnx_models.errors import MipverifyError

PRECISIONS = (6, 10, 16, 24, 32, 45)
"""Bits of multipliers that are tried until a leaf closes."""
GAMMA_BITS, PLANE_BITS = 9, 20
"""Bits of the largest multiplier of a tightening, and of the largest coefficient of a plane."""
MOST_SPLITS, CANDIDATES = 12, 8
"""How deep a leaf may be split further that floats close and exact arithmetic does not; units that are tried for it."""
SAME = Fraction(1, 1 << 40)
"""Share by which a plane's coefficient may differ from the unit's to be taken for it: floats round products of maps."""
FINE_BITS = 45
"""The same of both where those have not been enough."""


class NotProvedError(MipverifyError):
    """Exact arithmetic does not confirm what floats have proved."""


@dataclass(slots=True)
class Tally:
    """What a conversion met.

    Attributes:
        leaves: closed leaves.
        repaired: leaves and boxes that floats had closed and exact arithmetic only after splitting them further.
        fine: whether multipliers are written with all their bits.
    """

    leaves: int = 0
    repaired: int = 0
    fine: bool = False


class UnitTable:
    """The units that the proofs of a region name: all that some tree or refinement is about."""

    def __init__(self, network: ReluNetwork, listed: Iterable[Units]) -> None:
        by_relu: dict[int, set[int]] = {}
        for units in listed:
            by_relu.setdefault(units.relu, set()).update(units.units.tolist())
        pairs = [(relu, unit) for relu in sorted(by_relu) for unit in sorted(by_relu[relu])]
        self.section = [[relu, sorted(by_relu[relu])] for relu in sorted(by_relu)]
        self.network, self.relus = network, [relu for relu, _ in pairs]
        self._places = {pair: place for place, pair in enumerate(pairs)}

    def places(self, listed: Iterable[Units]) -> list[int]:
        """The places in the table of a tree's units, in the tree's numbering."""
        return [self._places[units.relu, unit] for units in listed for unit in units.units.tolist()]


class _Asked(dict[Unit, int]):
    """Slopes that remember which of them were asked for."""

    def __init__(self, values: Mapping[Unit, int]) -> None:
        super().__init__(values)
        self.used: set[Unit] = set()

    def get(self, key: Unit, default: Any = None) -> Any:
        """The slope of a unit."""
        self.used.add(key)
        return super().get(key, default)


@dataclass(eq=False)
class TreeWriter:
    """Writes one tree for an objective, checking every leaf with the rules of the checker.

    Attributes:
        region: the checker's bounds, with the units of the table.
        units: the table.
        objective: what stays below the threshold.
        tree: the engine's tree.
        highest: bound of the worst leaf that did not close; None if all did.
    """

    region: Region
    units: UnitTable
    objective: Objective
    threshold: Fraction
    tree: Tree
    tally: Tally
    lenient: bool = False
    highest: Fraction | None = None
    _places: list[int] = field(default_factory=list)
    _priced: set[int] = field(default_factory=set)
    _nodes: list[Any] = field(default_factory=list)
    _numbers: dict[int, int] = field(default_factory=dict)
    _planes: list[Any] = field(default_factory=list)
    _table: list[ExactPlane] = field(default_factory=list)

    def run(self) -> dict[str, Any]:
        """The section for the tree.

        Raises:
            NotProvedError: a leaf does not close; a `lenient` writer notes its bound instead.
        """
        self._places = self.units.places(self.tree.units)
        for node in self.tree.nodes:
            if node.multipliers is not None:
                self._priced.update(self._places[unit] for unit in np.flatnonzero(node.multipliers.rho).tolist())
        waiting: list[tuple[int, State | None, Multipliers | None]] = [(0, {}, None)]
        while waiting:
            number, state, inherited = waiting.pop()
            node = self.tree.nodes[number]
            multipliers = node.multipliers or inherited
            if state is not None and node.multipliers is not None and node.gammas is not None and node.children:
                closed, state = self._tightened(node, node.multipliers, state)
                if closed:
                    continue
            if state is None or not node.children:
                self._leaf(state, multipliers)
            elif len(node.children) == 1:
                waiting.append((node.children[0], state, multipliers))
            else:
                unit = self._places[self.tree.nodes[node.children[0]].unit]
                first, second = node.children
                if self.tree.nodes[first].sign < 0:
                    first, second = second, first
                above, below = self._split(unit, state)
                waiting += [(second, below, multipliers), (first, above, multipliers)]
        return {"planes": self._planes, "nodes": self._nodes}

    # ------------------------------------------------------------------------------------------------ nodes of the tree

    def _split(self, place: int, state: State) -> tuple[State | None, State | None]:
        self._nodes.append({"split": place})
        p, i = unit = self.region.units[place]
        low, high = state.get(unit) or (self.region.low[p][i], self.region.high[p][i])
        parts = (max(low, 0), high), (low, min(high, 0))
        above, below = (None if a > b else {**state, unit: (a, b)} for a, b in parts)
        return above, below

    def _tightened(self, node: ProofNode, multipliers: Multipliers, state: State) -> tuple[bool, State | None]:
        """Writes a tightening; whether its bound closes the node, and the state behind it."""
        choice = self._choice(multipliers, state, PRECISIONS[-1 if self.tally.fine else 2])
        form = self._form(choice, state)
        if self.region.top(form) < self.threshold:
            self._nodes.append({"close": choice})
            self.tally.leaves += 1
            return True, None
        assert node.gammas is not None
        gammas = np.where(np.isfinite(node.gammas) & (node.gammas > 0), node.gammas, 0.0)
        bits, kept = (
            _bits_behind(float(gammas.max(initial=0.0)), FINE_BITS if self.tally.fine else GAMMA_BITS),
            list[list[int]](),
        )
        for sign, unit in zip(*np.nonzero(gammas), strict=True):
            entry = [self._places[unit], int(sign), round(float(gammas[sign, unit]) * (1 << bits))]
            if entry[2] and (self._is_unstable(entry[0], state) or entry[0] in self._priced):
                better = self._reads_input(entry[0]) and self.region.tighten(
                    state, form, self.threshold, ([entry], bits)
                )
                if better is None or (better and better != state):
                    kept.append(entry)
        if not kept:
            return False, state
        self._nodes.append({"tighten": kept, "bits": bits, "by": choice})
        return False, self.region.tighten(state, form, self.threshold, (kept, bits))

    def _leaf(self, state: State | None, multipliers: Multipliers | None) -> None:
        if state is None:
            self._nodes.append({"close": None})
            return
        top = self._close(state, multipliers)
        if top is None:
            return
        if self.lenient:
            self.highest = top if self.highest is None else max(top, self.highest)
            return
        self._repair(state, multipliers, MOST_SPLITS)
        self.tally.repaired += 1

    def _repair(self, state: State, multipliers: Multipliers | None, depth: int) -> None:
        """Splits a leaf further, with the multipliers that it has, at the unit that leaves the least to prove."""
        candidates = sorted((p for p in set(self._places) if self._is_unstable(p, state)), key=self._gap(state))
        if not candidates or depth == 0:
            raise NotProvedError("A leaf does not close in exact arithmetic.")
        place = min(candidates[-CANDIDATES:], key=lambda p: self._left_by(p, state, multipliers))
        above, below = self._split(place, state)
        for part in (above, below):
            if part is None:
                self._nodes.append({"close": None})
            elif self._close(part, multipliers) is not None:
                self._repair(part, multipliers, depth - 1)

    def _gap(self, state: State) -> Callable[[int], float]:
        """How far the triangle's line lies above a unit at 0."""

        def gap(place: int) -> float:
            low, high = self._ends(place, state)
            return float(Fraction(-low * high, (high - low) << GRID))

        return gap

    def _left_by(self, place: int, state: State, multipliers: Multipliers | None) -> Fraction:
        """The larger bound of the two parts that a split at a unit leaves."""
        unit, (low, high) = self.region.units[place], self._ends(place, state)
        parts = ({**state, unit: (0, high)}, {**state, unit: (low, 0)})
        choices = [(self._choice(multipliers, part, PRECISIONS[3]), part) for part in parts]
        return max(self.region.top(self._form(choice, part)) for choice, part in choices)

    def _close(self, state: State, multipliers: Multipliers | None) -> Fraction | None:
        """Writes a leaf with as few bits as close it; otherwise returns its bound."""
        best = None
        for bits in PRECISIONS:
            choice = self._choice(multipliers, state, bits)
            top = self.region.top(self._form(choice, state))
            if top < self.threshold:
                self._nodes.append({"close": choice})
                self.tally.leaves += 1
                return None
            best = top if best is None else min(best, top)
            if float(top - self.threshold) > 1.0:
                break
        return best

    # ----------------------------------------------------------------------------------------------- choices of a bound

    def _form(self, choice: dict[str, Any], state: State) -> Form:
        """The bound with these choices; slopes that it does not use are taken out of them."""
        chosen = self.region.choice(choice, self._table)
        asked = _Asked(chosen.alpha)
        form = self.region.bound(self.objective, state, chosen._replace(alpha=asked))
        alpha = [k if unit in asked.used else None for unit, k in zip(self.region.units, choice["alpha"], strict=False)]
        while alpha and alpha[-1] is None:
            alpha.pop()
        choice["alpha"] = alpha
        return form

    def _choice(self, multipliers: Multipliers | None, state: State, bits: int) -> dict[str, Any]:
        """The multipliers in whole numbers of 2**-bits."""
        if multipliers is None:
            return {"bits": 0, "alpha": [], "rho": [], "planes": []}
        one, rho = 1 << bits, list[list[int]]()
        slopes: list[int | None] = [None] * len(self.region.units)
        for place, slope, price in zip(self._places, multipliers.alpha.tolist(), multipliers.rho.tolist(), strict=True):
            if not math.isnan(slope) and self._is_unstable(place, state):
                k = round(min(1.0, max(0.0, slope)) * one)
                low, high = self._ends(place, state)
                slopes[place] = None if k == (one if high > -low else 0) else k
            if np.isfinite(price) and round(price * one):
                rho.append([place, round(price * one)])
        return {"bits": bits, "alpha": slopes, "rho": rho, "planes": self._shares(multipliers, state, bits)}

    def _shares(self, multipliers: Multipliers, state: State, bits: int) -> list[list[int]]:
        found, left = [], dict[int, int]()
        order = np.argsort(-multipliers.weights, kind="stable")
        for plane, weight in zip(multipliers.planes[order].tolist(), multipliers.weights[order].tolist(), strict=True):
            place = self._places[self.tree.planes[plane].unit]
            room = left.get(place, 1 << bits)
            share = min(room, int(min(1.0, weight) * (1 << bits))) if weight > 0 else 0
            if share and self._is_unstable(place, state):
                left[place] = room - share
                found.append([self._plane(plane), share])
        return found

    def _plane(self, number: int) -> int:
        """The number that a plane has in the section; written when first used."""
        if number not in self._numbers:
            plane = self.tree.planes[number]
            place = self._places[plane.unit]
            unit, bits = (self.units.relus[place], place), FINE_BITS if self.tally.fine else PLANE_BITS
            section = _plane_section(self.units.network, self.region, unit, plane, bits)
            self._numbers[number] = len(self._planes)
            self._planes.append(section)
            self._table.append(self.region.plane(section))
        return self._numbers[number]

    def _ends(self, place: int, state: State) -> tuple[int, int]:
        p, i = unit = self.region.units[place]
        return state.get(unit) or (self.region.low[p][i], self.region.high[p][i])

    def _is_unstable(self, place: int, state: State) -> bool:
        low, high = self._ends(place, state)
        return low < 0 < high

    def _reads_input(self, place: int) -> bool:
        terms, _, _ = self.region.network.direct(self.region.units[place], self.region.work)
        return all(source == 0 for source, _ in terms)


def _plane_section(
    network: ReluNetwork, region: Region, unit: tuple[int, int], plane: Plane, most: int
) -> dict[str, Any]:
    """A plane's coefficients by node, null where they are those of the unit, which is a ReLU node and a place."""
    relu, place = unit
    found: dict[tuple[int, int], Fraction] = {}
    sources = direct_inputs(network, relu).sources
    starts = np.cumsum([0, *(network.nodes[source].size for source in sources)])
    for entry, value in zip(plane.entries.tolist(), plane.coefficients.tolist(), strict=True):
        part = int(np.searchsorted(starts, entry, side="right")) - 1
        v = sources[part], entry - int(starts[part])
        found[v] = found.get(v, Fraction(0)) + (Fraction(value) if np.isfinite(value) else 0)
    named = frozenset(source for source, _ in found)
    w, _, exponent = region.network.direct(region.units[place], region.work, named)
    terms: dict[int, tuple[int, list[int], list[int | None]]] = {}
    bits = _bits_behind(max([abs(float(value)) for value in found.values()], default=0.0), most)
    for (source, j), value in found.items():
        exact, k = Fraction(w.get((source, j), 0), 1 << exponent), round(value * (1 << bits))
        same = abs(value - exact) <= abs(exact) * SAME
        if same or k:
            _, entries, coefficients = terms.setdefault(source, (source, [], []))
            entries.append(j)
            coefficients.append(None if same else k)
    return {"unit": place, "bits": bits, "terms": list(terms.values())}


def _bits_behind(largest: float, bits: int) -> int:
    """How many bits behind the point make so many in all, for a number that is not negative."""
    return min(MOST_DIGITS - 1, max(0, bits - math.frexp(largest)[1]))
