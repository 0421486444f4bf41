"""Engine `duals`: branch and bound for one target on batched dual bounds with hull planes."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np

from bounds import NetworkBounds
from mipverify_py.engines._dual_bound import Bounded, DualBounder, batch_size
from mipverify_py.engines._dual_lane import Goal, Lane, Left, Node
from mipverify_py.engines._dual_planes import Count, layers_with_planes
from mipverify_py.engines._problem import Problem
from mipverify_py.engines._target import OpenNode, Status, Step, TargetSearch
from mipverify_py.engines._tighten import Tightener
from mipverify_py.proof import Multipliers, ProofNode, Tree
from onnx_models import Array

PLANES = 6
"""Planes per unit. Fewer weaken the bounds, more cost time in every step."""

LANES = 4
"""Fronts on which a large tree is worked at the same time, whatever the number of threads: so trees do not depend on
it. Each has planes of its own."""

SHARED = 8
"""A front with nothing to do takes over half of another's nodes if that has so many batches of them."""

FIRST_RENEWAL = 64
"""From so many nodes on, new planes are separated with every batch."""

USED = 1e-9
"""Plane weights below this are left out of a proof."""

POINTS = 8
"""Points per batch that are worth trying as witnesses."""


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

        self.target, self._problem, self._device = target, problem, bounder.device
        self._downward = False
        row = problem.targets.index(target)
        self._goal = Goal(
            problem,
            row,
            threshold,
            problem.bounds,
            bounder,
            Tightener(problem, problem.box, str(bounder.device)),
            torch.from_numpy(problem.margin[row].copy()).to(self._device),
            float(problem.margin_constant[row]),
        )
        self._start()

    def _start(self) -> None:
        """An empty tree over the present box."""
        problem, goal = self._problem, self._goal
        planes = layers_with_planes(problem, problem.margin[goal.row], PLANES, self._device)
        for each in planes.values():
            each.move(goal.bounds.nodes[0])
        stages = [problem.stage(b, goal.threshold) for b in dict.fromkeys((problem.bounds, goal.bounds))]
        self.tree = Tree(self.target, problem.tree_units, stages)
        self.tree.nodes.append(ProofNode(-1, -1, 0))
        self._lanes = [Lane(goal, planes), *(Lane(goal, {}) for _ in range(LANES - 1))]
        self._lanes[0].open = {0: self._lanes[0].root()}

    @property
    def open_nodes(self) -> dict[int, Node]:
        """All nodes that are left to do, by number."""
        return {number: node for lane in self._lanes for number, node in lane.open.items()}

    @property
    def stuck_nodes(self) -> dict[int, Node]:
        """Nodes with nothing left to split that floats did not close, by number."""
        return {number: node for lane in self._lanes for number, node in lane.stuck.items()}

    @property
    def bound(self) -> float:
        """Upper bound of f_j - f_c over the box, in floats; -inf without open nodes."""
        nodes = (*self.open_nodes.values(), *self.stuck_nodes.values())
        return max((node.value for node in nodes), default=-np.inf)

    @property
    def status(self) -> Status:
        """Where the search stands."""
        if any(lane.open for lane in self._lanes):
            return Status.OPEN
        return Status.STUCK if self.stuck_nodes else Status.PROVED

    def advance(self, nodes: int, deadline: float | None) -> Step:
        """See `TargetSearch.advance`."""
        points: list[Array] = [np.zeros((0, self._problem.inputs))]
        done = 0
        while done < nodes and not (deadline is not None and time.monotonic() >= deadline):
            batches = self._batches(nodes - done)
            if not batches:
                break
            bounds = self._bound_all(batches)
            for (lane, batch), found in zip(batches, bounds, strict=True):
                points.append(self._take(lane, batch, *found))
                done += len(batch)
        return Step(self.status, done, np.concatenate(points[::-1]))

    def _batches(self, most: int) -> list[tuple[Lane, list[Node]]]:
        """What every lane with open nodes bounds next, at most so many nodes together."""
        busiest = max(self._lanes, key=lambda lane: len(lane.open))
        size = batch_size(self._problem, busiest.planes.values(), self._device)
        found = []
        for lane in self._lanes:
            if not lane.open and not lane.stuck and len(busiest.open) >= SHARED * size:
                lane.take_from(busiest)
                busiest = max(self._lanes, key=lambda lane: len(lane.open))
            if lane.open and most > 0:
                found.append((lane, lane.newest(min(size, most))))
                most -= len(found[-1][1])
        return found

    def _bound_all(self, batches: list[tuple[Lane, list[Node]]]) -> list[tuple[Bounded, Left]]:
        """Bounds batches, in threads if `jobs` allows; that changes nothing, since lanes do not see each other."""
        self._downward = not self._downward
        bound = partial(_bound, renew=len(self.tree.nodes) >= FIRST_RENEWAL, downward=self._downward)
        if self.jobs == 1 or len(batches) == 1:
            return [bound(batch) for batch in batches]
        import torch

        with ThreadPoolExecutor(self.jobs, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(bound, batches))

    def restrict(self, bounds: NetworkBounds, threshold: float) -> None:
        """See `TargetSearch.restrict`; `bounder` has to be moved, too."""
        goal = self._goal
        goal.threshold, goal.bounds = threshold, bounds
        self.tree.stages.append(self._problem.stage(bounds, threshold))
        goal.tightener.move(bounds.nodes[0])
        for lane in self._lanes:
            lane.restrict(*goal.unit_bounds())

    def reopen(self, leaves: list[int]) -> None:
        """Starts the tree again with a hundred times the room for rounding: what closed a leaf was not kept."""
        self._goal.caution *= 100.0
        self._start()

    def hand_over(self) -> list[OpenNode]:
        """All open nodes, for another search to go on with this tree; this one has nothing left to do."""
        nodes = [*self.open_nodes.values(), *self.stuck_nodes.values()]
        for lane in self._lanes:
            lane.open, lane.stuck = {}, {}
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

    def _take(self, lane: Lane, nodes: list[Node], bounded: Bounded, left: Left) -> Array:
        """Closes or splits the nodes. Returns points worth trying as witnesses.

        A node stays open until the tree has its numbers and its children are open: an interruption at any
        place costs work, no node. One that was interrupted half-way is done again.
        """
        self._record(lane, nodes, bounded)
        born, stuck = self._split([nodes[k] for k in left.rows.tolist()], left, lane.births)
        lane.stuck.update(stuck)
        lane.open.update(born)
        for node in nodes:
            del lane.open[node.number]
        box, order = self._goal.bounds.nodes[0], left.bounded.value.argsort(stable=True, descending=True)[:POINTS]
        points: Array = np.clip(left.bounded.point[order].cpu().numpy(), box.lower, box.upper)
        return points

    def _record(self, lane: Lane, nodes: list[Node], bounded: Bounded) -> None:
        """Writes every node's numbers into the tree, as if none were open any more."""
        batch = bounded.batch
        # The half-space z >= 0 or z <= 0 of a split follows from a bound of z, which is at least as tight.
        alpha, rho = batch.alpha.cpu().numpy(), (batch.signs * batch.beta).cpu().numpy()
        # A unit that is free in the proof is free here, since the proof's bounds are at least as tight.
        mu = {
            k: (m[:, :, 1:] * batch.free[:, lane.planes[k].unit_index, None]).cpu().numpy() for k, m in batch.mu.items()
        }
        stage = len(self.tree.stages) - 1
        for row, node in enumerate(nodes):
            numbers, weights = [np.zeros(0, np.intp)], [np.zeros(0)]
            for k, planes in lane.planes.items():
                unit, plane = np.nonzero(mu[k][row] > USED)
                planes.record(self.tree, (unit, plane))
                numbers.append(planes.numbers[unit, plane].astype(np.intp))
                # A little less, so that no order of summing the weights gives more than 1.
                weights.append(mu[k][row][unit, plane] * (1.0 - 1e-12))
            entry = self.tree.nodes[node.number]
            entry.stage, entry.gammas, entry.children = stage, None, ()
            entry.multipliers = Multipliers(alpha[row], rho[row], np.concatenate(numbers), np.concatenate(weights))

    def _split(
        self, nodes: list[Node], left: Left, births: dict[int, Count]
    ) -> tuple[dict[int, Node], dict[int, Node]]:
        """Adds children to the tree where tightening left something; returns them, and the nodes without any to add."""
        born, stuck, batch = dict[int, Node](), dict[int, Node](), left.bounded.batch
        empty = (left.lower > left.upper).any(1).tolist()
        units, values, used = left.choice.unit.tolist(), left.bounded.value.tolist(), left.gammas.cpu().numpy()
        free = batch.free.any(1).tolist()
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


def _bound(batch: tuple[Lane, list[Node]], *, renew: bool, downward: bool) -> tuple[Bounded, Left]:
    lane, nodes = batch
    return lane.bound(nodes, renew=renew, downward=downward)
