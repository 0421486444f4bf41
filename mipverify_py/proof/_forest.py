"""Replay of many small trees at once: what each of them shows of its target, whether it is finished or not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from bounds import LinearForms, NetworkBounds, linear_forms, rows_at_once
from mipverify_py.proof._proof import Index, ProofNode, Stage, Tree
from mipverify_py.proof._regions import Layout, Region, States
from mipverify_py.proof._structure import check_tree, floats, levels, require
from onnx_models import Array, ReluNetwork

BATCH = 256
"""Nodes checked together at most."""


def forest_tops(network: ReluNetwork, bounds: NetworkBounds, trees: Sequence[Tree]) -> Array:
    """For each tree's target j a number that f_j - f_0 does not exceed on the box of `bounds`, shape (trees,).

    It is 0 if all leaves of the tree are closed for the threshold 0, and otherwise the largest bound of the others, inf
    if there is one without multipliers. `bounds` are of all nodes of the network over the box. Outward rounded.

    Raises:
        ProofError: a tree is malformed, has planes, or not the same units as the others.
    """
    found = np.zeros(len(trees))
    if len(trees):
        with np.errstate(all="ignore"):  # what overflows is infinite, and shows nothing
            _Walk(network, bounds, trees).run(found)
    return found


class _Walk:
    """All trees level by level; a node is named by the position of its tree and its number there."""

    def __init__(self, network: ReluNetwork, bounds: NetworkBounds, trees: Sequence[Tree]) -> None:
        self._network, self._trees, units = network, trees, trees[0].units
        box = Stage(bounds.nodes[0], 0.0)
        for tree in trees:
            check_tree(network, 0, Tree(tree.target, tree.units, [box]))
            levels(tree, stages=1)
            require(not tree.planes, "A tree of a limit has planes.")
            same = len(tree.units) == len(units) and all(
                mine.relu == first.relu and np.array_equal(mine.units, first.units)
                for mine, first in zip(tree.units, units, strict=True)
            )
            require(same, "The trees of limits do not all number the same units.")
        self._region = Region.of(Layout.of(network, units, bounds), 0.0, bounds, None)
        self._count = trees[0].unit_count

    def run(self, found: Array) -> None:
        """Raises the entries of `found` to the bounds of leaves that do not hold."""
        step = min(BATCH, rows_at_once(self._network))
        level = [(k, 0) for k in range(len(self._trees))]
        states = self._region.whole().take(np.zeros(len(level), np.intp))
        while level:
            below: list[tuple[int, int]] = []
            parts: list[States] = [states.take(np.zeros(0, np.intp))]
            for first in range(0, len(level), step):
                batch = level[first : first + step]
                born, left = self._check(batch, states.take(np.arange(first, first + len(batch))), found)
                below += born
                parts.append(left)
            level, states = below, States.stack(parts)

    def _check(
        self, batch: list[tuple[int, int]], states: States, found: Array
    ) -> tuple[list[tuple[int, int]], States]:
        """Checks nodes of one level; returns the children of those that stay open, and their states."""
        nodes = [self._trees[k].nodes[number] for k, number in batch]
        closed, bound = states.empty(), np.full(len(batch), np.inf)
        has_use = [n.multipliers is not None and (not n.children or n.gammas is not None) for n in nodes]
        rows = np.flatnonzero(np.array(has_use) & ~closed)
        if len(rows):
            forms = self._forms([batch[k][0] for k in rows], [nodes[k] for k in rows], states.take(rows))
            bound[rows] = forms.bound
            self._tighten(nodes, states, rows, forms)
            closed |= (bound < 0) | states.empty()
        for (k, _), node, top, done in zip(batch, nodes, bound.tolist(), closed.tolist(), strict=True):
            if not done and not node.children:
                found[k] = max(found[k], top)
        split = [k for k in np.flatnonzero(~closed).tolist() if nodes[k].children]
        born = [(batch[k][0], child) for k in split for child in nodes[k].children]
        left = states.take(np.repeat(np.array(split, np.intp), [len(nodes[k].children) for k in split]))
        children = [self._trees[k].nodes[number] for k, number in born]
        units, signs = np.array([n.unit for n in children], np.intp), np.array([n.sign for n in children], np.intp)
        row = np.flatnonzero(signs)  # an only child is not split off
        left.split(row, self._region.layout.columns[units[row]], signs[row])
        return born, left

    def _forms(self, trees: list[int], nodes: list[ProofNode], states: States) -> LinearForms:
        multipliers = [n.multipliers for n in nodes if n.multipliers is not None]
        shape = (self._count,)
        alpha = np.stack([floats(m.alpha, shape, "slopes alpha") for m in multipliers])
        rho = np.stack([floats(m.rho, shape, "multipliers rho") for m in multipliers])
        for m in multipliers:
            require(not len(m.planes), "A node of a limit's tree has planes.")
        lines = self._region.lines([], states, (alpha, rho), sparse.csr_array((len(nodes), 0)))
        rows = np.zeros((len(nodes), self._network.output_size))
        rows[np.arange(len(nodes)), [self._trees[k].target for k in trees]] += 1.0
        rows[:, 0] -= 1.0
        return linear_forms(self._network, self._region.bounds, rows, lines)

    def _tighten(self, nodes: list[ProofNode], states: States, rows: Index, forms: LinearForms) -> None:
        """Takes the gammas of the nodes at `rows` into their states; `forms` are these rows'."""
        kept = np.flatnonzero([nodes[k].gammas is not None for k in rows] & ~(forms.bound < 0))
        if len(kept):
            gammas = np.stack([floats(nodes[k].gammas, (2, self._count), "multipliers gamma") for k in rows[kept]])
            part = LinearForms(forms.slopes[kept], forms.constant[kept], forms.bound[kept])
            self._region.tighten(states, rows[kept], part, gammas)
