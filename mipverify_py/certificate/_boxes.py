"""A tree of boxes, as the engine `boxes` leaves it, made into one that holds in exact arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from bounds import RowChoices
from mipverify_py.certificate._document import GRID, Work, down
from mipverify_py.certificate._fast_network import FastNetwork
from mipverify_py.certificate._fast_pieces import Ask, dyadic, is_below
from mipverify_py.certificate._fast_region import FastRegion
from mipverify_py.certificate._rules import Ends
from mipverify_py.certificate._tree import NotProvedError, Tally
from mipverify_py.proof import BoxTree
from onnx_models import ReluNetwork

MOST_CUTS = 6
"""So many cuts may be added below a box whose claims do not hold in exact arithmetic."""


@dataclass(eq=False)
class BoxWriter:
    """Writes the parts of a tree of boxes, checking every claim with the rules of the checker.

    Attributes:
        network: the network.
        exact: the same as the checker reads it.
        claim: reference class and margin.
        tree: the engine's tree.
    """

    network: ReluNetwork
    exact: FastNetwork
    claim: tuple[int, Fraction]
    tree: BoxTree
    tally: Tally
    _sections: list[dict[str, Any]] = field(default_factory=list)
    _choices: RowChoices = field(init=False)

    def run(self, box: Ends) -> list[dict[str, Any]]:
        """The parts that prove the claim for all targets of the tree on a box.

        Raises:
            NotProvedError: the tree does not prove it.
        """
        rows = np.zeros((len(self.tree.targets), self.network.output_size))
        rows[np.arange(len(rows)), list(self.tree.targets)] += 1.0
        rows[:, self.claim[0]] -= 1.0
        self._choices = RowChoices.of(self.network, rows)
        waiting = [(0, box, frozenset(range(len(rows))))]
        while waiting:
            number, here, left = waiting.pop()
            first = int(self.tree.children[number])
            left, section = self._section(here, left, [t for t in left if self.tree.closed[number, t]])
            if first < 0 or not left:
                self._finish(section, here, left, MOST_CUTS)
                continue
            axis, place = int(self.tree.axes[number]), float(self.tree.cuts[number])
            lower, upper = self._cut(section, here, axis, place)
            waiting += [(first + 1, upper, left), (first, lower, left)]
        return self._sections

    def _finish(self, section: dict[str, Any], box: Ends, left: frozenset[int], depth: int) -> None:
        """Cuts a box further, along its longest side, until nothing is left to prove on its parts."""
        if not left:
            return
        if depth == 0:
            raise NotProvedError("A box does not close in exact arithmetic.")
        self.tally.repaired += depth == MOST_CUTS
        lengths = [b - a for a, b in zip(*box, strict=True)]
        axis = max(range(len(lengths)), key=lengths.__getitem__)
        middle = (box[0][axis] + box[1][axis]) / (1 << (GRID + 1))
        for part in self._cut(section, box, axis, middle):
            still, below = self._section(part, left, sorted(left))
            self._finish(below, part, still, depth - 1)

    def _cut(self, section: dict[str, Any], box: Ends, axis: int, place: float) -> tuple[Ends, Ends]:
        """Notes a cut in a section; the lower part and the upper one, as the checker makes them."""
        section["cut"] = [axis, place.hex()]
        (low, high), at = box, down(Fraction(place))
        below = low, [*high[:axis], min(high[axis], at + 1), *high[axis + 1 :]]
        above = [*low[:axis], max(low[axis], at), *low[axis + 1 :]], high
        return below, above

    def _section(self, box: Ends, left: frozenset[int], asked: list[int]) -> tuple[frozenset[int], dict[str, Any]]:
        """Adds the section of a box and proves of it what it can; returns which targets, by position, are left."""
        section: dict[str, Any] = {"units": [], "steps": [], "trees": [], "cut": None}
        self._sections.append(section)
        if any(a > b for a, b in zip(*box, strict=True)):
            return frozenset(), section
        if asked:
            listed = [[relu, list(range(self.network.nodes[relu].size))] for relu in sorted(self._choices.slopes)]
            region = FastRegion(self.exact, Work(2**60), box, listed)
            region.derive([])
            for position in asked:
                tree = self._tree(region, position)
                if tree is not None:
                    section["trees"].append([int(self.tree.targets[position]), tree])
                    left = left - {position}
                    self.tally.leaves += 1
            if any(node["close"]["alpha"] for _, tree in section["trees"] for node in tree["nodes"]):
                section["units"] = listed
        return left, section

    def _tree(self, region: FastRegion, position: int) -> dict[str, Any] | None:
        """One bound for a target, with whichever of its choices is below the margin."""
        objective = {self.tree.targets[position]: 1, self.claim[0]: -1}
        for number in np.flatnonzero(self._choices.owners == position).tolist():
            slopes = [self._choices.slopes[relu][number] for relu in sorted(self._choices.slopes)]
            alpha = [None if np.isnan(a) else int(a) for a in np.concatenate([np.zeros(0), *slopes]).tolist()]
            choice = {"bits": 0, "alpha": alpha if any(a is not None for a in alpha) else [], "rho": [], "planes": []}
            (answer,) = region.answers(len(self.network.nodes) - 1, [Ask(objective, {}, region.chosen(choice, []))])
            if is_below(region.top_of(answer), dyadic(self.claim[1])):
                return {"planes": [], "nodes": [{"close": choice}]}
        return None
