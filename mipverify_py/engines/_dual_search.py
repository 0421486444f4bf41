"""Engine `duals`: branch and bound for one target on batched dual bounds with hull planes."""

from __future__ import annotations

import heapq
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bounds import NetworkBounds
from mipverify_py.engines._dual_bound import Batch, Bounded, DualBounder, batch_size
from mipverify_py.engines._dual_branch import Branching, Choice
from mipverify_py.engines._dual_cell import cell_beta
from mipverify_py.engines._dual_planes import Count, LayerPlanes, layers_with_planes
from mipverify_py.engines._problem import Problem
from mipverify_py.engines._target import OpenNode, Status, Step, TargetSearch
from mipverify_py.engines._tighten import Tightener
from mipverify_py.proof import Multipliers, ProofNode, Tree
from onnx_models import Array

if TYPE_CHECKING:
    from torch import Tensor

ROOT_STEPS, ROOT_ROUNDS = 12, 6
"""Gradient steps between two separations at the root, and how often planes are separated there."""

NODE_STEPS = 8
"""Gradient steps per node: children start from their parent's multipliers and from the split's line search."""

PLANES = 8
"""Planes per unit. Fewer weaken the root, more cost time in every step."""

FIRST_RENEWAL, RENEWAL = 64.0, 1.5
"""Planes are separated again when a tree has so many nodes, and from then on each time it has grown by this factor."""

WAVE = 8
"""Batches that are taken at a time, and bounded in threads if there are any."""

STALL = 0.02
"""The root is separated again as long as the bound falls by this share of its distance to the threshold."""

USED = 1e-9
"""Plane weights below this are left out of a proof."""

CELL_STEPS = 60
"""Gradient steps for a node that they serve better than a split does, see `Choice.settled`."""

POINTS = 8
"""Points per batch that are worth trying as witnesses."""


@dataclass(frozen=True, slots=True, eq=False)
class _Node:
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
class _Left:
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


class DualSearch(TargetSearch):
    """`TargetSearch` whose nodes are bounded in batches by `DualBounder` and tightened by the target constraint.

    Args:
        problem: the compiled query over the first box.
        target: the class j, one of `problem.targets`.
        threshold: what f_j - f_c is to stay below.
        bounder: for the same problem and box; several targets share it, and who owns it moves it.
    """

    def __init__(self, problem: Problem, target: int, threshold: float, bounder: DualBounder) -> None:
        import torch

        self.target, self._problem, self._threshold = target, problem, threshold
        self._bounder, self._device = bounder, bounder.device
        self._tightener = Tightener(problem, problem.box, str(bounder.device))
        row = problem.targets.index(target)
        self._margin = torch.from_numpy(problem.margin[row].copy()).to(self._device)
        self._constant = float(problem.margin_constant[row])
        self._bounds, self._caution, self._downward = problem.bounds, 1.0, False
        self._start(problem.bounds)

    def _start(self, bounds: NetworkBounds) -> None:
        """An empty tree over a box."""
        problem = self._problem
        row = problem.targets.index(self.target)
        self._planes: dict[int, LayerPlanes] = layers_with_planes(problem, problem.margin[row], PLANES, self._device)
        for planes in self._planes.values():
            planes.move(bounds.nodes[0])
        self._branching = Branching(self._bounder, self._planes)
        stages = [problem.stage(b, self._threshold) for b in dict.fromkeys((problem.bounds, bounds))]
        self.tree = Tree(self.target, problem.tree_units, stages)
        self.tree.nodes.append(ProofNode(-1, -1, 0))
        self._open: dict[int, _Node] = {0: self._root(bounds)}
        self._stuck: dict[int, _Node] = {}
        self._renewal = FIRST_RENEWAL

    @property
    def bound(self) -> float:
        """Upper bound of f_j - f_c over the box, in floats; -inf without open nodes."""
        return max((node.value for node in (*self._open.values(), *self._stuck.values())), default=-np.inf)

    @property
    def status(self) -> Status:
        """Where the search stands."""
        if self._open:
            return Status.OPEN
        return Status.STUCK if self._stuck else Status.PROVED

    def advance(self, nodes: int, deadline: float | None) -> Step:
        """See `TargetSearch.advance`."""
        points: list[Array] = [np.zeros((0, self._problem.inputs))]
        done, size = 0, batch_size(self._problem, self._planes.values(), self._device)
        while self._open and done < nodes and not (deadline is not None and time.monotonic() >= deadline):
            count = min(WAVE * size, nodes - done)
            chosen = heapq.nsmallest(count, self._open.values(), key=lambda node: (-node.value, node.number))
            batches = [chosen[k : k + size] for k in range(0, len(chosen), size)]
            bounds = self._bound_all(batches)
            for batch, found in zip(batches, bounds, strict=True):
                points.append(self._take(batch, *found))
            done += len(chosen)
            left = max((left.bounded for _, left in bounds), key=lambda b: len(b.value))
            if len(self.tree.nodes) >= self._renewal and len(left.value):
                self._separate(left)
                self._renewal *= RENEWAL
        return Step(self.status, done, np.concatenate(points[::-1]))

    def _bound_all(self, batches: list[list[_Node]]) -> list[tuple[Bounded, _Left]]:
        """Bounds batches, in threads if `jobs` allows; that changes nothing, since none sees another's result."""
        self._downward = not self._downward
        if self.jobs == 1 or len(batches) == 1:
            return [self._bound(batch) for batch in batches]
        import torch

        with ThreadPoolExecutor(self.jobs, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(self._bound, batches))

    def restrict(self, bounds: NetworkBounds, threshold: float) -> None:
        """See `TargetSearch.restrict`; `bounder` has to be moved, too."""
        import torch

        self._threshold, self._bounds = threshold, bounds
        self.tree.stages.append(self._problem.stage(bounds, threshold))
        self._tightener.move(bounds.nodes[0])
        for planes in self._planes.values():
            planes.move(bounds.nodes[0])
        low, high = self._unit_bounds(bounds)
        self._open = {
            n.number: replace(n, lower=torch.maximum(n.lower, low), upper=torch.minimum(n.upper, high))
            for n in (*self._open.values(), *self._stuck.values())
        }
        self._stuck = {}

    def reopen(self, leaves: list[int]) -> None:
        """Starts the tree again with a hundred times the room for rounding: what closed a leaf was not kept."""
        self._caution *= 100.0
        self._start(self._bounds)

    def hand_over(self) -> list[OpenNode]:
        """All open nodes, for another search to go on with this tree; this one has nothing left to do."""
        nodes = [*self._open.values(), *self._stuck.values()]
        self._open, self._stuck = {}, {}
        return [
            OpenNode(
                n.number,
                n.value,
                n.signs.cpu().numpy().astype(np.int8),
                n.lower.cpu().numpy(),
                n.upper.cpu().numpy(),
                n.gammas.cpu().numpy(),
            )
            for n in nodes
        ]

    def _unit_bounds(self, bounds: NetworkBounds) -> tuple[Tensor, Tensor]:
        import torch

        unit = self._problem.unit_bounds(bounds)
        return torch.from_numpy(unit.lower).to(self._device), torch.from_numpy(unit.upper).to(self._device)

    def _root(self, bounds: NetworkBounds) -> _Node:
        low, high = self._unit_bounds(bounds)
        zeros, alpha = low.new_zeros(len(low)), (high > -low).to(low.dtype)
        mu = {k: low.new_ones(len(p.units), 1) for k, p in self._planes.items()}
        births = {k: p.births for k, p in self._planes.items()}
        return _Node(0, np.inf, zeros, low, high, alpha, zeros, mu, births, low.new_zeros(2, len(low)))

    def _bound(self, nodes: list[_Node]) -> tuple[Bounded, _Left]:
        """Bounds and tightens nodes; changes nothing but the planes, and these only at the root."""
        batch = self._stack(nodes)
        bounded = self._root_rounds(batch) if nodes[0].number == 0 else self._optimise(batch, NODE_STEPS)
        left = self._examine(bounded, nodes)
        if bool(left.choice.settled.any()):
            self._settle(bounded, left)
            left = self._examine(bounded, nodes)
        return bounded, left

    def _take(self, nodes: list[_Node], bounded: Bounded, left: _Left) -> Array:
        """Closes or splits the nodes. Returns points worth trying as witnesses.

        A node leaves `_open` only when the tree has its numbers and its children are in `_open`: an interruption at any
        place costs work, no node. One that was interrupted half-way is done again.
        """
        self._record(nodes, bounded)
        born, stuck = self._split([nodes[k] for k in left.rows.tolist()], left)
        self._stuck.update(stuck)
        self._open.update(born)
        for node in nodes:
            del self._open[node.number]
        box, order = self._bounds.nodes[0], left.bounded.value.argsort(stable=True, descending=True)[:POINTS]
        points: Array = np.clip(left.bounded.point[order].cpu().numpy(), box.lower, box.upper)
        return points

    def _settle(self, bounded: Bounded, left: _Left) -> None:
        """Better bounds of settled nodes: more steps, from a linear program's solution where all units are fixed."""
        import torch

        which = left.rows[left.choice.settled]
        part = bounded.batch.rows(which)
        row, box = self._problem.targets.index(self.target), self._bounds.nodes[0]
        signs, lower = part.signs.cpu().numpy(), part.lower.cpu().numpy()
        for k in (~part.free.any(1)).nonzero()[:, 0].tolist():
            beta = cell_beta(self._problem, row, box, signs[k], lower[k])
            if beta is not None:
                part.beta[k] = torch.from_numpy(beta)
        found = self._optimise(part, CELL_STEPS)
        better = found.value < bounded.value[which]
        bounded.assign(which[better], found.rows(better))

    def _examine(self, bounded: Bounded, nodes: list[_Node]) -> _Left:
        """The nodes whose bound does not close them, tightened, and what to split in them."""
        excess = bounded.value - self._threshold
        rows = (excess >= -self._caution * self._bounder.slack(bounded)).nonzero()[:, 0]
        inner = bounded.rows(rows)
        found = self._tighten(inner, [nodes[k] for k in rows.tolist()])
        return _Left(rows, inner, *found, self._branching.choose(inner, *found[:2], self._threshold))

    def _optimise(self, batch: Batch, steps: int) -> Bounded:
        return self._bounder.optimise(batch, self._planes, steps, self._threshold, self._caution)

    def _stack(self, nodes: list[_Node]) -> Batch:
        import torch

        def stacked(name: str) -> Tensor:
            return torch.stack([getattr(n, name) for n in nodes])

        mu = {k: torch.stack([p.fitted(n.mu[k], n.births[k]) for n in nodes]) for k, p in self._planes.items()}
        margin = self._margin[None].expand(len(nodes), -1)
        constant = self._margin.new_full((len(nodes),), self._constant)
        return Batch(
            margin=margin,
            margin_constant=constant,
            signs=stacked("signs"),
            lower=stacked("lower"),
            upper=stacked("upper"),
            alpha=stacked("alpha"),
            beta=stacked("beta"),
            mu=mu,
        )

    def _root_rounds(self, batch: Batch) -> Bounded:
        """Bounds the root again and again, with a new plane per unit in between."""
        bounded = self._optimise(batch, ROOT_STEPS)
        for _ in range(ROOT_ROUNDS):
            before = float(bounded.value[0]) - self._threshold
            if before < 0 or not self._planes:
                break
            bounded = self._optimise(self._separate(bounded), ROOT_STEPS)
            if before - (float(bounded.value[0]) - self._threshold) < STALL * before:
                break
        return bounded

    def _separate(self, bounded: Bounded) -> Batch:
        """Adds the facets lowest at the point of the node with the largest bound; returns the nodes ready to go on."""
        import torch

        mu, row = {}, int(bounded.value.argmax())
        for k, planes in self._planes.items():
            births, weights = planes.births, bounded.batch.mu[k]
            planes.add(planes.separate(bounded.point[row]), weights[:, :, 1:].mean(0))
            mu[k] = torch.stack([planes.fitted(w, births) for w in weights])
        return replace(bounded.batch, mu=mu)

    def _tighten(self, inner: Bounded, nodes: list[_Node]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        import torch

        batch = inner.batch
        if not nodes:
            none = batch.lower.new_zeros(0, 2, batch.lower.shape[1])
            return batch.lower, batch.upper, none, none
        gammas = torch.stack([n.gammas for n in nodes])
        # Room for rounding as in closing a node: the proof's L is rounded outward, and a gamma may be large.
        constant = inner.constant + self._caution * self._bounder.slack(inner)
        return self._tightener.run_tensors(
            inner.form, constant, self._threshold, batch.lower, batch.upper, gammas, downward=self._downward
        )

    def _record(self, nodes: list[_Node], bounded: Bounded) -> None:
        """Writes every node's numbers into the tree, as if none were open any more."""
        batch = bounded.batch
        # The half-space z >= 0 or z <= 0 of a split follows from a bound of z, which is at least as tight.
        alpha, rho = batch.alpha.cpu().numpy(), (batch.signs * batch.beta).cpu().numpy()
        mu = {k: m[:, :, 1:].cpu().numpy() for k, m in batch.mu.items()}
        stage = len(self.tree.stages) - 1
        for row, node in enumerate(nodes):
            numbers, weights = [np.zeros(0, np.intp)], [np.zeros(0)]
            for k, planes in self._planes.items():
                unit, plane = np.nonzero(mu[k][row] > USED)
                planes.record(self.tree, (unit, plane))
                numbers.append(planes.numbers[unit, plane].astype(np.intp))
                # A little less, so that no order of summing the weights gives more than 1.
                weights.append(mu[k][row][unit, plane] * (1.0 - 1e-12))
            entry = self.tree.nodes[node.number]
            entry.stage, entry.gammas, entry.children = stage, None, ()
            entry.multipliers = Multipliers(alpha[row], rho[row], np.concatenate(numbers), np.concatenate(weights))

    def _split(self, nodes: list[_Node], left: _Left) -> tuple[dict[int, _Node], dict[int, _Node]]:
        """Adds children to the tree where tightening left something; returns them, and the nodes without any to add."""
        born, stuck, batch = dict[int, _Node](), dict[int, _Node](), left.bounded.batch
        empty = (left.lower > left.upper).any(1).tolist()
        units, values, used = left.choice.unit.tolist(), left.bounded.value.tolist(), left.gammas.cpu().numpy()
        births, free = {k: p.births for k, p in self._planes.items()}, batch.free.any(1).tolist()
        for row, node in enumerate(nodes):
            entry, unit = self.tree.nodes[node.number], units[row]
            # Cloned, so that a node that stays open for long does not keep its whole batch.
            found = replace(
                node,
                value=min(values[row], node.value),
                alpha=batch.alpha[row].clone(),
                beta=batch.beta[row],
                mu={k: m[row].clone() for k, m in batch.mu.items()},
                births=births,
            )
            if unit < 0 and not empty[row] and not free[row]:
                stuck[node.number] = replace(found, beta=found.beta.clone())
                continue
            entry.gammas = used[row]
            if empty[row]:
                continue
            # Where tightening fixed the last units, an only child is bounded with what it found.
            halves = ((self.tree.refine(node.number), 0),) if unit < 0 else _halves(self.tree, node.number, unit)
            for side, (number, sign) in enumerate(halves):
                signs, low, high = batch.signs[row].clone(), left.lower[row].clone(), left.upper[row].clone()
                beta = found.beta.clone()
                if sign:
                    signs[unit], beta[unit] = sign, left.choice.beta[row, side]
                    (low if sign > 0 else high)[unit] = 0.0
                self.tree.nodes[number].stage = entry.stage
                gammas = left.leads[row].clone()
                born[number] = replace(
                    found, number=number, signs=signs, lower=low, upper=high, beta=beta, gammas=gammas
                )
        return born, stuck


def _halves(tree: Tree, number: int, unit: int) -> tuple[tuple[int, int], ...]:
    """Numbers and signs of a node's new children."""
    return tuple(zip(tree.split(number, unit), (1, -1), strict=True))
