"""One front of the batched duals: open nodes that are close in the tree, and the planes that suit them."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bounds import NetworkBounds
from mipverify_py.engines._dual_bound import Batch, Bounded, DualBounder
from mipverify_py.engines._dual_branch import Branching, Choice
from mipverify_py.engines._dual_cell import cell_beta
from mipverify_py.engines._dual_planes import Count, LayerPlanes
from mipverify_py.engines._problem import Problem
from mipverify_py.engines._tighten import Tightener

if TYPE_CHECKING:
    from torch import Tensor

ROOT_STEPS, ROOT_ROUNDS = 12, 6
"""Gradient steps between two separations at the root, and how often planes are separated there."""

NODE_STEPS = 8
"""Gradient steps per node: children start from their parent's multipliers and from the split's line search."""

LEAST = 1e-3
"""Planes with less weight than this are given up below a node."""

WORTHWHILE = 3e-3
"""A unit gets a new plane if its relaxation's gap costs the bound this share of what is left of it."""

STALL = 0.02
"""The root is separated again as long as the bound falls by this share of its distance to the threshold."""

CELL_STEPS = 60
"""Gradient steps for a node that they serve better than a split does, see `Choice.settled`."""


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """An open node: its state on entry, and where its multipliers start. Tensors are never written to.

    Attributes:
        number: number in the tree.
        value: bound of the parent.
        mu: per layer with planes.
        births: per layer with planes which planes `mu` is about, see `LayerPlanes.births`.
    """

    number: int
    value: float
    signs: Tensor
    lower: Tensor
    upper: Tensor
    alpha: Tensor
    beta: Tensor
    mu: dict[int, Tensor]
    births: dict[int, Count]
    gammas: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Left:
    """Nodes of a batch that their bounds do not close.

    Attributes:
        rows: which rows of the batch.
        bounded: their bounds.
        lower: tightened.
        upper: tightened; crossed where the node is empty.
        gammas: what tightened them.
        leads: where to start below them.
        choice: what to split.
    """

    rows: Tensor
    bounded: Bounded
    lower: Tensor
    upper: Tensor
    gammas: Tensor
    leads: Tensor
    choice: Choice


@dataclass(slots=True, eq=False)
class Goal:
    """What all lanes of a search work towards.

    Attributes:
        problem: the compiled query.
        row: the target's row in the problem.
        threshold: what f_j - f_c is to stay below.
        bounds: of the present box.
        bounder, tightener: for the present box.
        margin: f_j - f_c over the columns, shape (columns,).
        constant: its constant.
        caution: how many times the slack for rounding a bound has to be below the threshold.
    """

    problem: Problem
    row: int
    threshold: float
    bounds: NetworkBounds
    bounder: DualBounder
    tightener: Tightener
    margin: Tensor
    constant: float
    caution: float = 1.0

    def unit_bounds(self) -> tuple[Tensor, Tensor]:
        """Pre-activation bounds of all units over the present box, shape (units,) each."""
        import torch

        unit = self.problem.unit_bounds(self.bounds)
        return torch.from_numpy(unit.lower).to(self.margin.device), torch.from_numpy(unit.upper).to(self.margin.device)


class Lane:
    """Bounds nodes, newest first, with planes separated where it works.

    The newest nodes are children of the last ones, so the points at which their relaxations are loosest are near each
    other, and one new plane per unit serves a whole batch. Lanes share nothing that changes, so threads may run them.

    Attributes:
        planes: per layer that has any.
        open: the open nodes by number.
        stuck: nodes with nothing left to split that floats did not close.
    """

    def __init__(self, goal: Goal, planes: dict[int, LayerPlanes]) -> None:
        self.goal, self.planes = goal, planes
        self.open: dict[int, Node] = {}
        self.stuck: dict[int, Node] = {}
        self._branching = Branching(goal.bounder, planes)
        self._seen: Bounded | None = None

    @property
    def births(self) -> dict[int, Count]:
        """Which planes the multipliers of the nodes bounded last are about."""
        return {k: p.births for k, p in self.planes.items()}

    def root(self) -> Node:
        """The root over the present box."""
        low, high = self.goal.unit_bounds()
        zeros, alpha = low.new_zeros(len(low)), (high > -low).to(low.dtype)
        mu = {k: low.new_ones(len(p.units), 1) for k, p in self.planes.items()}
        return Node(0, float("inf"), zeros, low, high, alpha, zeros, mu, self.births, low.new_zeros(2, len(low)))

    def newest(self, count: int) -> list[Node]:
        """So many of the nodes opened last, newest first."""
        return [self.open[number] for number in heapq.nlargest(count, self.open)]

    def take_from(self, other: Lane) -> None:
        """Takes over the older half of another lane's nodes, with its planes, which their multipliers are about.

        Only for a lane without nodes of its own.
        """
        numbers = sorted(other.open)
        given = {number: other.open[number] for number in numbers[: len(numbers) // 2]}
        kept = {number: other.open[number] for number in numbers[len(numbers) // 2 :]}
        planes = {k: p.copy() for k, p in other.planes.items()}
        branching, self._seen = Branching(self.goal.bounder, planes), None
        # In one statement, between whose parts nothing interrupts: no node is lost or met twice.
        self.planes, self._branching, self.open, other.open = planes, branching, given, kept

    def restrict(self, low: Tensor, high: Tensor) -> None:
        """Takes stuck nodes up again, over a smaller box on which the units have these bounds, shape (units,)."""
        import torch

        for planes in self.planes.values():
            planes.move(self.goal.bounds.nodes[0])
        self._seen = None
        self.open = {
            n.number: replace(n, lower=torch.maximum(n.lower, low), upper=torch.minimum(n.upper, high))
            for n in (*self.open.values(), *self.stuck.values())
        }
        self.stuck = {}

    def bound(self, nodes: list[Node], *, renew: bool, downward: bool) -> tuple[Bounded, Left]:
        """Bounds and tightens nodes; changes nothing but the planes.

        `renew` adds planes at the worst point of the nodes bounded before; `downward` is the tightener's.
        """
        if renew and self._seen is not None:
            self._separate(self._seen)
        self._seen = None
        batch = self._stack(nodes)
        bounded = self._root_rounds(batch) if nodes[0].number == 0 else self._optimise(batch, NODE_STEPS)
        left = self._examine(bounded, nodes, downward)
        if bool(left.choice.settled.any()):
            self._settle(bounded, left)
            left = self._examine(bounded, nodes, downward)
        if len(left.bounded.value):
            self._seen = left.bounded
        return bounded, left

    def _settle(self, bounded: Bounded, left: Left) -> None:
        """Better bounds of settled nodes: more steps, from a linear program's solution where all units are fixed."""
        import torch

        goal, which = self.goal, left.rows[left.choice.settled]
        part = bounded.batch.rows(which)
        signs, lower = part.signs.cpu().numpy(), part.lower.cpu().numpy()
        for k in (~part.free.any(1)).nonzero()[:, 0].tolist():
            beta = cell_beta(goal.problem, goal.row, goal.bounds.nodes[0], signs[k], lower[k])
            if beta is not None:
                part.beta[k] = torch.from_numpy(beta)
        found = self._optimise(part, CELL_STEPS)
        better = found.value < bounded.value[which]
        bounded.assign(which[better], found.rows(better))

    def _examine(self, bounded: Bounded, nodes: list[Node], downward: bool) -> Left:
        """The nodes whose bound does not close them, tightened, and what to split in them."""
        goal = self.goal
        excess = bounded.value - goal.threshold
        rows = (excess >= -goal.caution * goal.bounder.slack(bounded)).nonzero()[:, 0]
        inner = bounded.rows(rows)
        found = self._tighten(inner, [nodes[k] for k in rows.tolist()], downward)
        return Left(rows, inner, *found, self._branching.choose(inner, *found[:2], goal.threshold))

    def _optimise(self, batch: Batch, steps: int) -> Bounded:
        goal = self.goal
        return goal.bounder.optimise(batch, self.planes, steps, goal.threshold, goal.caution)

    def _stack(self, nodes: list[Node]) -> Batch:
        import torch

        def stacked(name: str) -> Tensor:
            return torch.stack([getattr(n, name) for n in nodes])

        mu = {
            k: _without_least(torch.stack([p.fitted(n.mu[k], n.births[k]) for n in nodes]))
            for k, p in self.planes.items()
        }
        return Batch(
            margin=self.goal.margin[None].expand(len(nodes), -1),
            margin_constant=self.goal.margin.new_full((len(nodes),), self.goal.constant),
            signs=stacked("signs"),
            lower=stacked("lower"),
            upper=stacked("upper"),
            alpha=stacked("alpha"),
            beta=stacked("beta"),
            mu=mu,
        )

    def _root_rounds(self, batch: Batch) -> Bounded:
        """Bounds the root again and again, with a new plane per unit in between."""
        import torch

        threshold = self.goal.threshold
        bounded = self._optimise(batch, ROOT_STEPS)
        for _ in range(ROOT_ROUNDS):
            before = float(bounded.value[0]) - threshold
            if before < 0 or not self.planes:
                break
            births = self.births
            self._separate(bounded)
            mu = {k: torch.stack([p.fitted(w, births[k]) for w in bounded.batch.mu[k]]) for k, p in self.planes.items()}
            bounded = self._optimise(replace(bounded.batch, mu=mu), ROOT_STEPS)
            if before - (float(bounded.value[0]) - threshold) < STALL * before:
                break
        return bounded

    def _separate(self, bounded: Bounded) -> None:
        """Adds the facets lowest at the point of the node with the largest bound, for the units that weaken it."""
        row = int(bounded.value.argmax())
        worst = bounded.rows(slice(row, row + 1))
        gaps = self._branching.gaps(worst, worst.batch.lower, worst.batch.upper)[0]
        for k, planes in self.planes.items():
            if planes.count < planes.capacity:
                planes.add(planes.separate(worst.point[0]))
                continue
            gap = gaps[self.goal.bounder.layers[k].units][planes.unit_index]
            which = (gap > WORTHWHILE * (worst.value[0] - self.goal.threshold)).nonzero()[:, 0]
            if len(which):
                use = bounded.batch.mu[k][:, :, 1:].mean(0)
                planes.replace(which, planes.separate(worst.point[0], which), use)

    def _tighten(self, inner: Bounded, nodes: list[Node], downward: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        import torch

        batch, goal = inner.batch, self.goal
        if not nodes:
            none = batch.lower.new_zeros(0, 2, batch.lower.shape[1])
            return batch.lower, batch.upper, none, none
        gammas = torch.stack([n.gammas for n in nodes])
        # Room for rounding as in closing a node: the proof's L is rounded outward, and a gamma may be large.
        constant = inner.constant + goal.caution * goal.bounder.slack(inner)
        return goal.tightener.run_tensors(
            inner.form, constant, goal.threshold, batch.lower, batch.upper, gammas, downward=downward
        )


def _without_least(mu: Tensor) -> Tensor:
    """Weights of the line and the planes, shape (B, K, 1 + P), without those of planes that hardly count."""
    kept = mu.clone()
    kept[:, :, 1:] *= kept[:, :, 1:] >= LEAST
    return kept / kept.sum(2, keepdim=True)
