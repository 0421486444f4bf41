"""Branch and cut for one target: a linear program per node, ideal cuts, splits of ReLUs."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bounds import Bounds, NetworkBounds
from mipverify_py.engines._cut_bound import BackwardPass, Proved, State, crown_duals
from mipverify_py.engines._cuts import Cut, Separation
from mipverify_py.engines._node_lp import LpOutcome, NodeLp
from mipverify_py.engines._problem import Problem
from mipverify_py.engines._target import Status, Step, TargetSearch
from mipverify_py.engines._tighten import Tightener
from mipverify_py.proof import Multipliers, Plane, ProofNode, Stage, Tree
from onnx_models import Array

ROOM = 1e-9
"""A node closes when its bound is below the threshold by this times (1 + the sum of the bound's terms): rounding in the
replay is a thousand times smaller. A leaf that fails its replay gets ten times as much."""

ROOT_ROUNDS, NODE_ROUNDS = 12, 3
ROOT_STALL, NODE_STALL = 0.03, 0.1
"""Cuts are separated again while a round lowers the bound by this share of its distance to the threshold."""

CUT_TOLERANCE = 1e-6
MEMORY = 0.4
"""Weight of the newest LP point in the running average at which cuts are sought: vertices alone give cuts that zigzag."""

NO_GAP = 1e-9


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
        points: inputs of the LP's optima.
        closed: whether it is a leaf.
    """

    state: State
    proved: Proved | None
    columns: Array | None
    points: list[Array]
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
        self.tree = Tree(target, problem.tree_units, [Stage(problem.box, threshold)], [], [ProofNode(-1, -1, 0)])
        self._bounds = problem.bounds
        self._units = problem.unit_bounds(problem.bounds)
        self._backward = BackwardPass(problem, target)
        self._planes: dict[tuple[int, bytes, bytes], int] = {}
        self._lp: NodeLp | None = None
        self._cuts: list[Cut] = []
        self._average: Array | None = None
        self._separation: Separation | None = None
        self._tightener: Tightener | None = None
        nothing = np.zeros(problem.unit_count, np.int8)
        gammas = np.zeros((2, problem.unit_count))
        root = _Node(0, self._units.lower, self._units.upper, nothing, np.inf, ROOM, gammas)
        root.bound = self._crown(self._state(root)).bound
        self._open: dict[int, _Node] = {0: root}
        self._closed: dict[int, _Node] = {}

    @property
    def bound(self) -> float:
        """Upper bound of f_j - f_c over the box; -inf without open nodes."""
        return max((node.bound for node in self._open.values()), default=-np.inf)

    def advance(self, nodes: int, deadline: float | None) -> Step:
        """Bounds up to `nodes` nodes. It also stops after a node where a point reached the threshold."""
        points: list[Array] = []
        done = 0
        try:
            while done < nodes and not _passed(deadline) and (node := self._next()) is not None:
                evaluation = self._evaluate(node, deadline)
                if evaluation is None:
                    break
                done += 1
                points += evaluation.points
                if self._met(node, evaluation):
                    break
                self._commit(node, evaluation)
        except BaseException:  # the LP may be between two nodes: start a new one
            self._lp = None
            raise
        return Step(self._status(), done, self._ranked(points))

    def restrict(self, bounds: NetworkBounds, threshold: float) -> None:
        """Goes on with a smaller box and, or, a larger threshold; the LP and all its cuts are kept."""
        box = bounds.nodes[0]
        assert np.all(box.lower >= self._bounds.nodes[0].lower) and np.all(box.upper <= self._bounds.nodes[0].upper)
        assert threshold >= self._threshold
        self.tree.stages.append(Stage(box, threshold))
        self._bounds, self._threshold = bounds, threshold
        self._units = _meet(self._units, self._problem.unit_bounds(bounds))
        self._average = None
        if self._separation is not None:
            self._separation.move(bounds)
            for cut in self._cuts:
                cut.offset = self._separation.offset(cut.plane)
        if self._tightener is not None:
            self._tightener.move(box)
        if self._lp is not None:
            self._lp.move(bounds)
        for node in self._open.values():
            node.met = node.stuck = False

    def reopen(self, leaves: list[int]) -> None:
        """Takes leaves back; they and their descendants then need ten times the room below the threshold."""
        for number in leaves:
            node = self._closed.pop(number)
            node.room *= 10.0
            node.bound = np.inf
            self._open[number] = node
