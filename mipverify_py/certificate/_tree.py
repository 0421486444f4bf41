"""A tree of splits, as the engines leave it, made into one that holds in exact arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from bounds._direct import direct_inputs
from mipverify_py.certificate._document import GRID, MOST_DIGITS
from mipverify_py.certificate._fast_digits import approximate
from mipverify_py.certificate._fast_pieces import UNSTABLE, Answer, Ask, FastPlane, Piece, State, dyadic, is_below
from mipverify_py.certificate._fast_region import FastRegion
from mipverify_py.proof import Multipliers, Plane, ProofNode, Tree, Units
from onnx_models import ReluNetwork
from onnx_models.errors import MipverifyError

PRECISIONS = (6, 10, 16, 24, 32, 45)
"""Bits of multipliers that are tried until a leaf closes."""
GAMMA_BITS, PLANE_BITS = 9, 20
"""Bits of the largest multiplier of a tightening, and of the largest coefficient of a plane."""
MOST_SPLITS, CANDIDATES = 12, 8
"""How deep a leaf may be split further that floats close and exact arithmetic does not; units that are tried for it."""
SAME = 2.0**-40
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


class _Leaf(NamedTuple):
    """A leaf that waits to be closed, and its place among the tree's nodes."""

    place: int
    state: State
    multipliers: Multipliers | None


@dataclass(eq=False)
class TreeWriter:
    """Writes one tree for an objective, checking every leaf with the rules of the checker.

    Attributes:
        region: the checker's bounds, with the units of the table.
        units: the table.
        node, objective: what stays below the threshold: a sum over entries of a node, by their coefficients.
        tree: the engine's tree.
        highest: bound of the worst leaf that did not close; None if all did.
    """

    region: FastRegion
    units: UnitTable
    node: int
    objective: Mapping[int, int]
    threshold: Fraction
    tree: Tree
    tally: Tally
    lenient: bool = False
    highest: Fraction | None = None
    _places: list[int] = field(default_factory=list)
    _priced: set[int] = field(default_factory=set)
    _nodes: list[Any] = field(default_factory=list)
    _leaves: list[_Leaf] = field(default_factory=list)
    _numbers: dict[int, int] = field(default_factory=dict)
    _planes: list[Any] = field(default_factory=list)
    _table: list[FastPlane] = field(default_factory=list)

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
                self._nodes.append({"split": unit})
                above, below = self._parts(unit, state)
                waiting += [(second, below, multipliers), (first, above, multipliers)]
        self._close()
        nodes = [one for found in self._nodes for one in (found if isinstance(found, list) else [found])]
        return {"planes": self._planes, "nodes": nodes}

    # ------------------------------------------------------------------------------------------------ nodes of the tree

    def _parts(self, place: int, state: State) -> tuple[State | None, State | None]:
        """The parts of a split, z >= 0 and z <= 0; None for one that is empty."""
        low, high = self._piece(place, state)[:2]
        parts = (max(low, 0), high), (low, min(high, 0))
        above, below = (None if a > b else {**state, place: Piece.of(a, b)} for a, b in parts)
        return above, below

    def _tightened(self, node: ProofNode, multipliers: Multipliers, state: State) -> tuple[bool, State | None]:
        """Writes a tightening; whether its bound closes the node, and the state behind it."""
        choice = self._choice(multipliers, state, PRECISIONS[-1 if self.tally.fine else 2])
        (answer,) = self._answers([(state, choice)])
        threshold = dyadic(self.threshold)
        if is_below(self.region.top_of(answer), threshold):
            self._nodes.append({"close": choice})
            self.tally.leaves += 1
            return True, None
        assert node.gammas is not None
        gammas = np.where(np.isfinite(node.gammas) & (node.gammas > 0), node.gammas, 0.0)
        bits = _bits_behind(float(gammas.max(initial=0.0)), FINE_BITS if self.tally.fine else GAMMA_BITS)
        listed = []
        for sign, unit in zip(*np.nonzero(gammas), strict=True):
            place = self._places[unit]
            entry = [place, int(sign), round(float(gammas[sign, unit]) * (1 << bits))]
            if entry[2] and (self._is_unstable(place, state) or place in self._priced) and self._reads_input(place):
                listed.append(entry)
        useful, tighter = self.region.tightener.useful(answer, state, threshold, listed, bits)
        if not useful:
            return False, state
        self._nodes.append({"tighten": [listed[k] for k in useful], "bits": bits, "by": choice})
        return False, tighter

    def _leaf(self, state: State | None, multipliers: Multipliers | None) -> None:
        if state is not None:
            self._leaves.append(_Leaf(len(self._nodes), state, multipliers))
        self._nodes.append({"close": None})
        if len(self._leaves) == self.region.most:
            self._close()

    def _close(self) -> None:
        """Closes the leaves that wait; a `lenient` writer notes the bounds of those that stay open."""
        closed, bounds = self._closed(self._leaves)
        for leaf in self._leaves:
            if leaf.place in closed:
                self._nodes[leaf.place] = closed[leaf.place]
            elif self.lenient:
                bound = bounds[leaf.place]
                self.highest = bound if self.highest is None else max(bound, self.highest)
            else:
                self._nodes[leaf.place] = self._repaired(leaf.state, leaf.multipliers, MOST_SPLITS)
                self.tally.repaired += 1
        self._leaves = []

    def _closed(self, leaves: Sequence[_Leaf]) -> tuple[dict[int, Any], dict[int, Fraction]]:
        """The nodes of leaves, by place, with as few bits as close them; for others the bounds that they have."""
        threshold, closed, bounds, waiting = dyadic(self.threshold), dict[int, Any](), dict[int, Fraction](), leaves
        for bits in PRECISIONS:
            choices = [self._choice(leaf.multipliers, leaf.state, bits) for leaf in waiting]
            answers = self._answers([(leaf.state, choice) for leaf, choice in zip(waiting, choices, strict=True)])
            still = []
            for leaf, choice, answer in zip(waiting, choices, answers, strict=True):
                top = self.region.top_of(answer)
                if is_below(top, threshold):
                    closed[leaf.place] = {"close": choice}
                    self.tally.leaves += 1
                    continue
                bound = Fraction(top[0], 1 << top[1])
                bounds[leaf.place] = min(bound, bounds.get(leaf.place, bound))
                if float(bound - self.threshold) <= 1.0:
                    still.append(leaf)
            waiting = still
            if not waiting:
                break
        return closed, bounds

    def _repaired(self, state: State, multipliers: Multipliers | None, depth: int) -> list[Any]:
        """A leaf split further, with the multipliers that it has, at the unit that leaves the least to prove.

        Raises:
            NotProvedError: no unit is left, or the splits would be too many.
        """
        candidates = sorted((p for p in set(self._places) if self._is_unstable(p, state)), key=self._gap(state))
        if not candidates or depth == 0:
            raise NotProvedError("A leaf does not close in exact arithmetic.")
        place = self._best_split(candidates[-CANDIDATES:], state, multipliers)
        nodes: list[Any] = [{"split": place}]
        for part in self._parts(place, state):
            if part is None:
                nodes.append({"close": None})
                continue
            closed, _ = self._closed([_Leaf(0, part, multipliers)])
            nodes += [closed[0]] if closed else self._repaired(part, multipliers, depth - 1)
        return nodes

    def _gap(self, state: State) -> Callable[[int], float]:
        """How far the triangle's line lies above a unit at 0."""

        def gap(place: int) -> float:
            low, high = self._piece(place, state)[:2]
            return float(Fraction(-low * high, (high - low) << GRID))

        return gap

    def _best_split(self, places: Sequence[int], state: State, multipliers: Multipliers | None) -> int:
        """The unit of whose two parts the larger bound is the smallest."""
        bounds: dict[int, Fraction] = {}
        for place in places:  # these are unstable, so neither part is empty
            parts = [part for part in self._parts(place, state) if part is not None]
            choices = [(part, self._choice(multipliers, part, PRECISIONS[3])) for part in parts]
            tops = [self.region.top_of(answer) for answer in self._answers(choices)]
            bounds[place] = max(Fraction(top[0], 1 << top[1]) for top in tops)
        return min(places, key=bounds.__getitem__)

    # ----------------------------------------------------------------------------------------------- choices of a bound

    def _answers(self, parts: Sequence[tuple[State, dict[str, Any]]]) -> list[Answer]:
        """The bounds with these choices; slopes that they do not use are taken out of them."""
        asks = [Ask(self.objective, state, self.region.chosen(choice, self._table)) for state, choice in parts]
        answers = self.region.answers(self.node, asks)
        for (_, choice), answer in zip(parts, answers, strict=True):
            alpha = []
            if answer.used is not None:
                used = answer.used.tolist()
                alpha = [k if used[place] else None for place, k in enumerate(choice["alpha"])]
                while alpha and alpha[-1] is None:
                    alpha.pop()
            choice["alpha"] = alpha
        return answers

    def _choice(self, multipliers: Multipliers | None, state: State, bits: int) -> dict[str, Any]:
        """The multipliers in whole numbers of 2**-bits."""
        if multipliers is None:
            return {"bits": 0, "alpha": [], "rho": [], "planes": []}
        one, rho = 1 << bits, list[list[int]]()
        slopes: list[int | None] = [None] * len(self.region.units)
        for place, slope, price in zip(self._places, multipliers.alpha.tolist(), multipliers.rho.tolist(), strict=True):
            if not math.isnan(slope) and (piece := self._piece(place, state)).kind == UNSTABLE:
                k = round(min(1.0, max(0.0, slope)) * one)
                slopes[place] = None if k == (one if piece.steep else 0) else k
            if price and math.isfinite(price) and round(price * one):
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
            self._table.append(self.region.fast_plane(section))
        return self._numbers[number]

    def _piece(self, place: int, state: State) -> Piece:
        return state.get(place) or self.region.piece(place)

    def _is_unstable(self, place: int, state: State) -> bool:
        return self._piece(place, state).kind == UNSTABLE

    def _reads_input(self, place: int) -> bool:
        return set(self.region.reading(place).weights) <= {0}


def _plane_section(
    network: ReluNetwork, region: FastRegion, unit: tuple[int, int], plane: Plane, most: int
) -> dict[str, Any]:
    """A plane's coefficients by node, null where they are those of the unit, which is a ReLU node and a place."""
    relu, place = unit
    sources = direct_inputs(network, relu).sources
    starts = np.cumsum([0, *(network.nodes[source].size for source in sources)])
    parts = np.searchsorted(starts, plane.entries, side="right") - 1
    given = np.where(np.isfinite(plane.coefficients), plane.coefficients, 0.0)
    named = sorted({sources[part] for part in np.unique(parts).tolist()})
    reads, terms = region.reading(place, frozenset(named)), list[list[Any]]()
    bits = _bits_behind(float(np.abs(given).max(initial=0.0)), most)
    for source in named:
        here = np.array([sources[part] == source for part in parts.tolist()], np.bool_)
        size = network.nodes[source].size
        entries = plane.entries[here] - starts[parts[here]]
        values, w = np.bincount(entries, given[here], size), np.zeros(size)  # a source may occur twice
        if source in reads.weights:
            found, x = reads.weights[source]
            w[found] = np.ldexp(approximate(x), -reads.exponent)
        there = np.unique(entries)
        same = (np.abs(values - w) <= SAME * np.abs(w))[there]
        k = np.rint(np.ldexp(values[there], bits))
        kept = (k != 0) | (same & (w[there] != 0))
        coefficients = [None if one else int(c) for one, c in zip(same[kept].tolist(), k[kept].tolist(), strict=True)]
        terms.append([source, there[kept].tolist(), coefficients])
    return {"unit": place, "bits": bits, "terms": terms}


def _bits_behind(largest: float, bits: int) -> int:
    """How many bits behind the point make so many in all, for a number that is not negative."""
    return min(MOST_DIGITS - 1, max(0, bits - math.frexp(largest)[1]))
