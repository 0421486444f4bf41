"""Branch and cut for one target: a linear program per node, ideal cuts, splits of ReLUs."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bounds import NetworkBounds
from mipverify_py.engines._cut_bound import BackwardPass, Proved, State, crown_duals
from mipverify_py.engines._cuts import Separation
from mipverify_py.engines._node_lp import NodeLp
from mipverify_py.engines._problem import Problem
from mipverify_py.engines._target import OpenNode, Status, Step, TargetSearch
from mipverify_py.engines._tighten import Tightener
from mipverify_py.proof import Multipliers, Plane, ProofNode, Tree
from onnx_models import Array

ROOM = 1e-9
"""A node closes when its bound is below the threshold by this times (1 + the sum of the bound's terms): rounding in the
replay is a thousand times smaller. A leaf that fails its replay gets ten times as much."""

ROOT_ROUNDS, NODE_ROUNDS = 12, 3
"""Rounds of cuts at most: fewer at the root mean more nodes, more in the nodes larger LPs."""

ROOT_STALL, NODE_STALL = 0.03, 0.1
"""Cuts are separated again while a round lowers the bound by this share of its distance to the threshold."""

CUT_TOLERANCE = 1e-6
"""A cut is worth a row if the LP point violates it by more than this, a thousand times what the LP is solved to."""

MEMORY = 0.4
"""Weight of the newest LP point in the running average at which cuts are sought: at the vertices alone they zigzag."""

UNWEIGHTED = 1e-3
"""Share of the largest weight that every unit's gap counts with: a unit below a ReLU that the LP puts on its flat side
has none, yet may be the only one that is relaxed."""

NO_GAP = 1e-9
"""Weight of a unit's width among the scores for branching: it decides where the LP point leaves no gap at all."""


@dataclass(slots=True, eq=False)
class _Node:
    """An open node, or a closed leaf that may have to be opened again.

    Attributes:
        number: number in the tree.
        lower, upper: the parent's tightened bounds, shared with the sibling.
        sign: as in `State`.
        bound: upper bound of f_j - f_c on the node, inherited until it is evaluated.
        room: see `ROOM`.
        gammas: the parent's, to start from; shape (2, units).
        met: whether a point at or above the threshold was met here before.
        stuck: whether nothing is left to split.
    """

    number: int
    lower: Array
    upper: Array
    sign: NDArray[np.int8]
    bound: float
    room: float
    gammas: Array
    met: bool = False
    stuck: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Evaluation:
    """What is known of a node once its LP has done what it can.

    Attributes:
        state: the state it was evaluated for.
        proved: its best bound; None where the state is empty.
        columns: the last LP point, if any.
        points: inputs of the LP's optima, and f_j - f_c there.
        closed: whether it is a leaf.
    """

    state: State
    proved: Proved | None
    columns: Array | None
    points: list[tuple[float, Array]]
    closed: bool


class CutSearch(TargetSearch):
    """`TargetSearch` by branch and cut over one linear program, for networks of any depth.

    Args:
        problem: the compiled query over the first box.
        target: the class j, one of `problem.targets`.
        threshold: what f_j - f_c is to stay below.
    """

    def __init__(self, problem: Problem, target: int, threshold: float) -> None:
        self.target, self._problem, self._threshold = target, problem, threshold
        self.tree = Tree(
            target, problem.tree_units, [problem.stage(problem.bounds, threshold)], [], [ProofNode(-1, -1, 0)]
        )
        self._bounds = problem.bounds
        self._units = problem.unit_bounds(problem.bounds)
        self._backward = BackwardPass(problem, target)
        self._planes: dict[tuple[int, bytes, bytes], int] = {}
        self._lp: NodeLp | None = None
        self._iterations = 0
        self._average: Array | None = None
        self._separation: Separation | None = None
        self._tightener: Tightener | None = None
        nothing = np.zeros(problem.unit_count, np.int8)
        gammas = np.zeros((2, problem.unit_count))
        root = _Node(0, self._units.lower, self._units.upper, nothing, np.inf, ROOM, gammas)
        root.bound = self._crown(self._state(root)).bound
        self._open: dict[int, _Node] = {0: root}
        self._closed: dict[int, _Node] = {}

    @classmethod
    def adopt(cls, problem: Problem, tree: Tree, nodes: list[OpenNode], bounds: NetworkBounds) -> CutSearch:
        """Goes on with a tree that another search began on this problem; `bounds` are over its last stage's box."""
        search = cls(problem, tree.target, tree.stages[-1].threshold)
        search.tree, search._bounds, search._units = tree, bounds, problem.unit_bounds(bounds)
        search._open = {n.number: _Node(n.number, n.lower, n.upper, n.signs, n.bound, ROOM, n.gammas) for n in nodes}
        return search

    @property
    def bound(self) -> float:
        """Upper bound of f_j - f_c over the box; -inf without open nodes."""
        return max((node.bound for node in self._open.values()), default=-np.inf)

    def advance(self, nodes: int, deadline: float | None) -> Step:
        """Bounds up to `nodes` nodes. It also stops after a node where a point reached the threshold."""
        points: list[tuple[float, Array]] = []
        done, before = 0, self._iterations
        try:
            while done < nodes and not _passed(deadline) and (node := self._next()) is not None:
                evaluation = self._evaluate(node, deadline)
                if evaluation is None:
                    break
                done += 1
                points += evaluation.points
                reached = any(value >= self._threshold for value, _ in evaluation.points)
                if reached and not evaluation.closed and not node.met:
                    node.met = True  # a smaller box will follow; without one the node is split next time
                    break
                self._commit(node, evaluation)
        except BaseException:  # the LP may be between two nodes: start a new one
            self._lp = None
            raise
        return Step(self.status, done, self._ranked(points), self._iterations - before)

    def restrict(self, bounds: NetworkBounds, threshold: float) -> None:
        """Goes on with a smaller box and, or, a larger threshold; the LP and all its cuts are kept."""
        box = bounds.nodes[0]
        assert np.all(box.lower >= self._bounds.nodes[0].lower) and np.all(box.upper <= self._bounds.nodes[0].upper)
        assert threshold >= self._threshold
        lp, self._lp = self._lp, None  # an interrupted move loses it
        self.tree.stages.append(self._problem.stage(bounds, threshold))
        self._bounds, self._threshold = bounds, threshold
        self._units = self._problem.unit_bounds(bounds)
        self._average = None
        if self._tightener is not None:
            self._tightener.move(box)
        if self._separation is not None:
            self._separation.move(bounds)
            if lp is not None:
                lp.move(bounds, self._separation.offsets([cut.plane for cut in lp.cuts]))
                self._lp = lp
        for node in self._open.values():
            node.met = node.stuck = False

    def reopen(self, leaves: list[int]) -> None:
        """Takes leaves back; they and their descendants then need ten times the room below the threshold."""
        for number in leaves:
            if number in self._open:
                continue
            node = self._closed.pop(number)
            node.room *= 10.0
            node.bound = np.inf
            self._open[number] = node

    def _state(self, node: _Node) -> State:
        """The node's region over the present box; its bounds cross where it is empty."""
        lower, upper = np.maximum(node.lower, self._units.lower), np.minimum(node.upper, self._units.upper)
        lower = np.where(node.sign > 0, np.maximum(lower, 0.0), lower)
        upper = np.where(node.sign < 0, np.minimum(upper, 0.0), upper)
        return State(lower, upper, node.sign)

    def _crown(self, state: State) -> Proved:
        return self._backward.run(state, crown_duals(self._problem), (), self._box)

    @property
    def _box(self) -> tuple[Array, Array]:
        """Middle and radius of the box."""
        box = self._bounds.nodes[0]
        return 0.5 * (box.lower + box.upper), 0.5 * (box.upper - box.lower)

    def _next(self) -> _Node | None:
        """The newest open node: its LP differs least from the last one."""
        return next((node for node in reversed(self._open.values()) if not node.stuck), None)

    @property
    def status(self) -> Status:
        """Where the search stands."""
        if not self._open:
            return Status.PROVED
        return Status.STUCK if all(node.stuck for node in self._open.values()) else Status.OPEN

    def _ranked(self, points: list[tuple[float, Array]]) -> Array:
        """The inputs, largest f_j - f_c first."""
        order = sorted(range(len(points)), key=lambda k: -points[k][0])
        return np.array([points[k][1] for k in order]).reshape(len(points), self._problem.inputs)

    def _closes(self, node: _Node, proved: Proved) -> bool:
        return proved.bound < self._threshold - node.room * (1.0 + proved.scale)

    def _evaluate(self, node: _Node, deadline: float | None) -> _Evaluation | None:
        """Bounds a node; None if the deadline came first."""
        state = self._state(node)
        if _empty(state.lower, state.upper, node.room):
            return _Evaluation(state, None, None, [], True)
        state = State(np.minimum(state.lower, state.upper), state.upper, state.sign)
        if node.number == 0 and self._closes(node, proved := self._crown(state)):
            return _Evaluation(state, proved, None, [], True)
        return self._rounds(node, state, deadline)

    def _rounds(self, node: _Node, state: State, deadline: float | None) -> _Evaluation | None:
        """Solves and cuts in turn until the bound is below the threshold, stalls, or a point reaches the threshold."""
        if self._lp is None:
            self._lp = NodeLp(self._problem, self.target, self._bounds, state)
        if self._separation is None:
            self._separation = Separation(self._problem, self._bounds)
        lp, box, best, columns = self._lp, self._bounds.nodes[0], None, None
        points: list[tuple[float, Array]] = []
        left, stall = (ROOT_ROUNDS, ROOT_STALL) if node.number == 0 else (NODE_ROUNDS, NODE_STALL)
        last = np.inf
        while True:
            cutoff = self._threshold - 2.0 * node.room * (1.0 + (best.scale if best else 0.0))
            spent = lp.iterations
            outcome = lp.solve(state, cutoff, deadline)
            self._iterations += lp.iterations - spent
            if best is None or outcome.proved.bound < best.bound:
                best = outcome.proved
            if self._closes(node, best):
                return _Evaluation(state, best, outcome.columns, points, True)
            if _passed(deadline):
                return None
            if outcome.columns is None:
                break
            columns = outcome.columns
            point = np.clip(columns[: self._problem.inputs], box.lower, box.upper)
            points.append((self._backward.value(point)[0], point))
            if points[-1][0] >= self._threshold:
                break
            left -= 1
            enough = last - best.bound <= stall * (best.bound - self._threshold)
            last = best.bound
            if enough or left == 0 or not self._cut(state, best, columns):
                break
        lp.purge()
        return _Evaluation(state, best, columns, points, False)

    def _cut(self, state: State, proved: Proved, columns: Array) -> int:
        """Adds cuts that the LP point violates, sought at a running average of LP points; returns how many."""
        assert self._lp is not None and self._separation is not None
        n, average = self._problem.inputs, self._average
        average = columns if average is None else MEMORY * columns + (1.0 - MEMORY) * average
        cuts = []
        for place in (average, columns):
            excess = place[n:] - np.maximum(self._backward.pre_activations(place), 0.0)
            units = np.flatnonzero((excess > CUT_TOLERANCE) & (proved.weight_of > 0) & state.free)
            found = self._separation.violated(place, units, CUT_TOLERANCE)
            cuts = [cut for cut in found if columns[n + cut.plane.unit] > cut.at(columns) + CUT_TOLERANCE]
            if 5 * len(cuts) > len(units):
                break
            average = columns
        self._average = average
        self._lp.add(cuts)
        return len(cuts)

    def _commit(self, node: _Node, evaluation: _Evaluation) -> None:
        """Writes an evaluation into the tree and splits the node if it stays open; undone if it is interrupted."""
        tree, size, before = self.tree, len(self.tree.nodes), self._open
        remaining = {number: other for number, other in before.items() if number != node.number}
        try:
            self._write(node, evaluation, remaining)
            self._open = remaining
        except BaseException:
            if self._open is before:
                del tree.nodes[size:]
                tree.nodes[node.number].children = ()
            raise

    def _write(self, node: _Node, evaluation: _Evaluation, remaining: dict[int, _Node]) -> None:
        """Writes a node's evaluation and adds what stays open to `remaining`."""
        tree, state, stage = self.tree, evaluation.state, len(self.tree.stages) - 1
        number, bound = node.number, node.bound
        record, proved = tree.nodes[number], evaluation.proved
        record.stage, record.gammas = stage, None
        record.multipliers = None if proved is None else self._multipliers(proved)
        if evaluation.closed or proved is None:
            self._closed[number] = node
            return
        low, high, gammas = self._tighten(state, proved, node.gammas)
        record.gammas, bound = gammas, min(bound, proved.bound)
        if _empty(low, high, node.room):
            self._closed[number] = node
            return
        split, first = self._branch(State(low, high, state.sign), evaluation)
        if split is None:
            remaining[number] = replace(node, stuck=True, bound=bound)
            return
        children = dict(zip((1, -1), tree.split(number, split), strict=True))
        for sign in (-first, first):  # the last one is the next
            signs = _with(state.sign, split, sign)
            remaining[children[sign]] = _Node(children[sign], low, high, signs, bound, node.room, gammas)

    def _tighten(self, state: State, proved: Proved, start: Array) -> tuple[Array, Array, Array]:
        if self._tightener is None:
            self._tightener = Tightener(self._problem, self._bounds.nodes[0])
        low, high, gammas = self._tightener.run(
            proved.G[None],
            np.array([proved.constant]),
            self._threshold,
            state.lower[None],
            state.upper[None],
            start[None],
        )
        return low[0], high[0], gammas[0]

    def _branch(self, state: State, evaluation: _Evaluation) -> tuple[int | None, int]:
        """The free unit whose relaxation costs most, and the sign that its z has at the LP point.

        The cost is |A| times the gap between the output in the LP and max(z, 0). None means that no unit is free.
        """
        assert evaluation.proved is not None
        free = np.flatnonzero(state.free)
        if not len(free):
            return None, 1
        weight, columns = np.abs(evaluation.proved.weight_of), evaluation.columns
        z = np.zeros(len(weight)) if columns is None else self._backward.pre_activations(columns)
        score = weight * np.minimum(-state.lower, state.upper) * NO_GAP
        if columns is not None:
            gap = np.abs(columns[self._problem.inputs :] - np.maximum(z, 0.0))
            score += (weight + UNWEIGHTED * weight.max()) * gap
        unit = int(free[np.argmax(score[free])])
        return unit, 1 if z[unit] > 0 else -1

    def _multipliers(self, proved: Proved) -> Multipliers:
        """The bound's multipliers, their planes added to the tree."""
        planes = np.array([self._number(cut.plane) for cut in proved.cuts], np.intp)
        return Multipliers(proved.alpha, proved.rho, planes, proved.weights)

    def _number(self, plane: Plane) -> int:
        key = plane.unit, plane.entries.tobytes(), plane.coefficients.tobytes()
        if key not in self._planes:
            self.tree.planes.append(plane)
            self._planes[key] = len(self.tree.planes) - 1
        return self._planes[key]


def _empty(lower: Array, upper: Array, room: float) -> bool:
    """Whether bounds cross by more than the room."""
    return bool(np.any(lower > upper + room * (1.0 + np.abs(lower) + np.abs(upper))))


def _with(signs: NDArray[np.int8], unit: int, sign: int) -> NDArray[np.int8]:
    """The signs with one changed."""
    changed = signs.copy()
    changed[unit] = sign
    return changed


def _passed(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline
