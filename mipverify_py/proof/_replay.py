"""Replay of proofs: every number that closes a leaf is computed again, on the network itself and rounded outward."""

from __future__ import annotations

import operator
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bounds import LinearForms, linear_forms, rows_at_once
from mipverify_py.proof._box_replay import BoxReplay, check_boxes
from mipverify_py.proof._proof import Proof, ProofNode, Tree
from mipverify_py.proof._refinement import RegionBounds
from mipverify_py.proof._regions import Layout, Region, States
from mipverify_py.proof._structure import (
    check_claim,
    check_planes,
    check_tree,
    floats,
    indices,
    levels,
    require,
)
from onnx_models import ReluNetwork
from onnx_models.errors import MipverifyError

BATCH = 256
"""Nodes checked together at most: enough to hide what a call costs, few enough for several threads to have work."""


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a replay found.

    Attributes:
        holds: whether the proof proves its claim.
        nodes: nodes of all trees that were reached.
        leaves: those of them that were closed.
        seconds: wall-clock time.
        failure: why it does not hold; empty if it does.
    """

    holds: bool
    nodes: int
    leaves: int
    seconds: float
    failure: str = ""


def replay(proof: Proof, *, deadline: float | None = None) -> ReplayReport:
    """Whether the proof holds. Never raises for what stands in a proof: a malformed one does not hold.

    `deadline` is a `time.monotonic()`; a proof that was not finished by then does not hold.
    """
    begin, nodes, leaves, failure = time.monotonic(), 0, 0, ""
    try:
        check_claim(proof)
        known = RegionBounds(proof.network)
        for tree in proof.trees:
            walk = TreeReplay(proof.network, proof.reference, tree, known=known)
            failing = walk.failures(deadline)
            nodes, leaves = nodes + walk.nodes, leaves + walk.closed_leaves
            if failing:
                late = " before the deadline" if deadline is not None and time.monotonic() > deadline else ""
                failure = f"Target {tree.target}: {len(failing)} leaves were not closed{late}, first node {failing[0]}."
                break
        if proof.boxes is not None and not failure:
            check_boxes(proof.boxes, proof.network.input_size, proof.region, proof.threshold)
            cuts = BoxReplay(proof.network, proof.reference, proof.boxes.targets)
            failing = cuts.failures(proof.boxes, proof.region, deadline)
            nodes, leaves = nodes + cuts.nodes, leaves + cuts.leaves
            if failing:
                failure = f"Boxes: {len(failing)} leaves were not closed, first node {failing[0]}."
    except MipverifyError as error:
        failure = str(error)
    return ReplayReport(not failure, nodes, leaves, time.monotonic() - begin, failure)


def replay_tree(network: ReluNetwork, reference: int, tree: Tree, *, deadline: float | None = None) -> list[int]:
    """Numbers of the leaves that do not hold; none if the tree proves its claim. Errors as in `TreeReplay.failures`."""
    return TreeReplay(network, reference, tree).failures(deadline)


@dataclass(slots=True, eq=False)
class _Record:
    """What is known of a node, as long as the node stays what it was.

    Attributes:
        place: parent, unit, sign and stage.
        node: holds the multipliers and gammas that were checked.
        judged: whether its bound was computed.
        closed: whether it was shown that nothing in it reaches the threshold.
        state: what its children start from, shape (1, units); None if closed, or while nobody needs it.
    """

    place: tuple[int, int, int, int]
    multipliers: object
    gammas: object
    judged: bool
    closed: bool
    state: States | None


class TreeReplay:
    """The replay of one tree, which may grow between calls of `failures`.

    Only what is new is computed: a node that was checked is not checked again while it has the same stage and the very
    same `multipliers` and `gammas`, and while that is so for all nodes above it. Arrays of a tree must not be written
    to, and its units, stages and planes only be appended to.

    Attributes:
        nodes: nodes reached by the last call.
        closed_leaves: those of them that were closed, and so have nothing to check below them.
    """

    def __init__(
        self, network: ReluNetwork, reference: int, tree: Tree, *, known: RegionBounds | None = None, jobs: int = 1
    ) -> None:
        """`known` has bounds of the network over regions, for several trees to share; `jobs` is a number of threads."""
        self._network, self._reference, self._tree = network, reference, tree
        self._known = RegionBounds(network) if known is None else known
        self._regions: list[Region] = []
        self._seen: tuple[list[object], list[object], list[object]] = ([], [], [])
        self._records: dict[int, _Record] = {}
        self._jobs = jobs
        self.nodes, self.closed_leaves = 0, 0

    def failures(self, deadline: float | None = None) -> list[int]:
        """Numbers of the leaves that do not hold, or could not be checked until `deadline`, ascending.

        Raises:
            ProofError: the tree is malformed.
            InputError, InvalidBoundsError: the network cannot be bounded over a stage's region.
        """
        with np.errstate(all="ignore"):  # what overflows is infinite, and proves nothing
            self._take_in()
            with ExitStack() as stack:
                pool = stack.enter_context(ThreadPoolExecutor(self._jobs)) if self._jobs > 1 else None
                return self._walk(deadline, pool)

    def forms_of(self, leaves: Sequence[int]) -> list[LinearForms]:
        """Linear forms, in batches, that bound f_j - f_c on leaves which the last call of `failures` found open.

        A form holds for every input of its leaf's region that reaches the threshold; a leaf without multipliers has one
        that is infinite.
        """
        found = []
        with np.errstate(all="ignore"):
            for batch in self._batches([k for k in leaves if self._tree.nodes[k].multipliers is not None]):
                nodes, region = [self._tree.nodes[k] for k in batch], self._regions[self._tree.nodes[batch[0]].stage]
                states = [self._records[k].state for k in batch]
                found.append(self._forms(nodes, States.stack([s for s in states if s is not None]), region))
        bare = sum(self._tree.nodes[k].multipliers is None for k in leaves)
        if bare:
            endless = np.full(bare, np.inf)
            found.append(LinearForms(np.zeros((bare, self._network.input_size)), endless, endless))
        return found

    def _take_in(self) -> None:
        """Checks the tree's parts that are new, and forgets the records of nodes that changed."""
        tree, network = self._tree, self._network
        check_tree(network, self._reference, tree)
        for name, seen, now in zip(("units", "stages", "planes"), self._seen, self._parts(), strict=True):
            same = len(seen) <= len(now) and all(map(operator.is_, seen, now))
            require(same, f"The {name} of the tree were changed, not only appended to.")
        layout = self._regions[0].layout if self._regions else None
        for stage in tree.stages[len(self._regions) :]:
            bounds = self._known(stage.region, stage.refinements)
            layout = Layout.of(network, tree.units, bounds) if layout is None else layout
            previous = self._regions[-1] if self._regions else None
            self._regions.append(Region.of(layout, stage.threshold, bounds, previous))
        assert layout is not None
        check_planes(network, layout.relus[layout.columns], tree.planes[len(self._seen[2]) :])
        self._seen = self._parts()

    def _parts(self) -> tuple[list[object], list[object], list[object]]:
        """All that the tree's nodes refer to, as it is now."""
        return [self._tree.units], list(self._tree.stages), list(self._tree.planes)

    def _walk(self, deadline: float | None, pool: ThreadPoolExecutor | None) -> list[int]:
        def check(batch: list[int]) -> None:  # past the deadline it is for all levels below, too
            if deadline is None or time.monotonic() <= deadline:
                with np.errstate(all="ignore"):  # each thread has its own
                    self._check(batch)

        found = levels(self._tree)
        due = self._due(found)
        level, above, failing = [0], list[int](), list[int]()
        self.nodes, self.closed_leaves = 0, 0
        while level:
            list((map if pool is None else pool.map)(check, self._batches([k for k in level if k in due])))
            self._release(above)
            open_nodes = [k for k in level if k not in self._records or not self._records[k].closed]
            self.nodes, self.closed_leaves = self.nodes + len(level), self.closed_leaves + len(level) - len(open_nodes)
            failing += [k for k in open_nodes if not self._tree.nodes[k].children]
            above, level = level, [child for k in open_nodes for child in self._tree.nodes[k].children]
        return sorted(failing)

    def _due(self, found: list[list[int]]) -> set[int]:
        """Nodes to check: what changed or is new, all below that, and what is above it and whose state was dropped."""
        due: set[int] = set()
        for number in (k for level in found for k in level):
            node = self._tree.nodes[number]
            if node.parent in due or self._is_new(number, node):
                due.add(number)
                self._records.pop(number, None)
        for number in (k for level in reversed(found) for k in level):
            parent = self._tree.nodes[number].parent
            if number in due and parent >= 0 and parent not in due:
                record = self._records[parent]
                if record.state is None and not record.closed:
                    due.add(parent)
        return due

    def _is_new(self, number: int, node: ProofNode) -> bool:
        record = self._records.get(number)
        if record is None or record.multipliers is not node.multipliers or record.gammas is not node.gammas:
            return True
        unjudged = not node.children and not record.judged and not record.closed
        return unjudged or record.place != _place(node)

    def _batches(self, numbers: list[int]) -> list[list[int]]:
        """The nodes in groups of one stage, none larger than memory allows."""
        step, stages = min(BATCH, rows_at_once(self._network)), dict[int, list[int]]()
        for number in numbers:
            stages.setdefault(self._tree.nodes[number].stage, []).append(number)
        return [group[k : k + step] for group in stages.values() for k in range(0, len(group), step)]

    def _release(self, numbers: list[int]) -> None:
        """Drops states that no open leaf needs, neither the node itself nor a child of it."""
        for number in numbers:
            children = self._tree.nodes[number].children
            if number in self._records and children and not any(self._is_open_leaf(c) for c in children):
                self._records[number].state = None

    def _is_open_leaf(self, number: int) -> bool:
        closed = number in self._records and self._records[number].closed
        return not closed and not self._tree.nodes[number].children

    def _check(self, batch: list[int]) -> None:
        """Checks nodes of one stage and writes their records."""
        nodes = [self._tree.nodes[k] for k in batch]
        region = self._regions[nodes[0].stage]
        states = self._entry(nodes, region)
        closed = states.empty()
        has_use = [n.multipliers is not None and (not n.children or n.gammas is not None) for n in nodes]
        judged = np.array(has_use) & ~closed
        rows = np.flatnonzero(judged)
        if len(rows):
            forms = self._forms([nodes[k] for k in rows], states.take(rows), region)
            closed[rows] = forms.bound < region.threshold
            self._tighten(nodes, states, rows, forms)
            closed |= states.empty()
        for row, (number, node) in enumerate(zip(batch, nodes, strict=True)):
            state = None if closed[row] else states.take(np.array([row]))
            self._records[number] = _Record(
                _place(node), node.multipliers, node.gammas, bool(judged[row]), bool(closed[row]), state
            )

    def _entry(self, nodes: Sequence[ProofNode], region: Region) -> States:
        """The parents' states, cut by their stage's bounds and by the nodes' splits."""
        if nodes[0].parent < 0:
            return region.whole()
        parents = [self._records[n.parent].state for n in nodes]
        states = region.within(States.stack([p for p in parents if p is not None]))
        units, signs = np.array([n.unit for n in nodes]), np.array([n.sign for n in nodes])
        row = np.flatnonzero(signs)  # an only child is not split off
        states.split(row, region.layout.columns[units[row]], signs[row])
        return states

    def _forms(self, nodes: Sequence[ProofNode], states: States, region: Region) -> LinearForms:
        units, planes = self._tree.unit_count, len(self._tree.planes)
        multipliers = [n.multipliers for n in nodes if n.multipliers is not None]
        alpha = np.stack([floats(m.alpha, (units,), "slopes alpha") for m in multipliers])
        rho = np.stack([floats(m.rho, (units,), "multipliers rho") for m in multipliers])
        numbers = [indices(m.planes, planes, "planes of a node") for m in multipliers]
        weights = [floats(m.weights, (len(m.planes),), "weights of planes") for m in multipliers]
        start = np.cumsum([0, *(len(n) for n in numbers)])
        shares = sparse.csr_array((np.concatenate(weights), np.concatenate(numbers), start), shape=(len(nodes), planes))
        shares.sum_duplicates()  # rounds, but weights are free
        row = np.zeros(self._network.output_size)
        row[self._tree.target] += 1.0
        row[self._reference] -= 1.0
        lines = region.lines(self._tree.planes, states, (alpha, rho), shares)
        return linear_forms(self._network, region.bounds, np.tile(row, (len(nodes), 1)), lines)

    def _tighten(self, nodes: Sequence[ProofNode], states: States, rows: NDArray[np.intp], forms: LinearForms) -> None:
        """Takes the gammas of the nodes at `rows` into their states; `forms` are these rows'."""
        region, shape = self._regions[nodes[0].stage], (2, self._tree.unit_count)
        kept = np.flatnonzero([nodes[k].gammas is not None for k in rows] & ~(forms.bound < region.threshold))
        if len(kept):
            gammas = np.stack([floats(nodes[k].gammas, shape, "multipliers gamma") for k in rows[kept]])
            part = LinearForms(forms.slopes[kept], forms.constant[kept], forms.bound[kept])
            region.tighten(states, rows[kept], part, gammas)


def _place(node: ProofNode) -> tuple[int, int, int, int]:
    return node.parent, node.unit, node.sign, node.stage
