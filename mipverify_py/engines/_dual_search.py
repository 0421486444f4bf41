"""Engine `duals`: branch and bound for one target on batched dual bounds with hull planes."""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bounds import NetworkBounds
from mipverify_py.engines._dual_bound import Batch, Bounded, DualBounder
from mipverify_py.engines._dual_branch import Branching
from mipverify_py.engines._dual_planes import LayerPlanes, layers_with_planes
from mipverify_py.engines._problem import Problem
from mipverify_py.engines._target import OpenNode, Status, Step, TargetSearch
from mipverify_py.engines._tighten import Tightener
from mipverify_py.proof import Multipliers, ProofNode, Stage, Tree
from onnx_models import Array

if TYPE_CHECKING:
    from torch import Tensor

ROOT_STEPS, ROOT_ROUNDS = 12, 6
"""Gradient steps between two separations at the root, and how often planes are separated there."""

NODE_STEPS = 8
"""Gradient steps per node: children start from their parent's multipliers and from the split's line search."""

PLANES = 8
"""Planes per unit. Fewer weaken the root, more cost time in every step."""

BATCH = 128
"""Nodes bounded together on a CPU: enough to hide what a torch call costs, small enough for the cache."""

DEVICE_BATCH = 4096
"""The same on a GPU, if its memory allows."""

STALL = 0.02
"""The root is separated again as long as the bound falls by this share of its distance to the threshold."""

USED = 1e-9
"""Plane weights below this are left out of a proof."""

POINTS = 8
"""Points per batch that are worth trying as witnesses."""


@dataclass(frozen=True, slots=True, eq=False)
class _Node:
    """An open node: its state on entry, and where its multipliers start. Tensors are never written to.

    Attributes:
        number: number in the tree.
        value: bound of the parent.
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
    births: dict[int, Array]
    gammas: Tensor


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
        self.tree = Tree(self.target, problem.tree_units, [Stage(bounds.nodes[0], self._threshold)])
        self.tree.nodes.append(ProofNode(-1, -1, 0))
        self._heap: list[tuple[float, int]] = []
        self._open: dict[int, _Node] = {}
        self._stuck: dict[int, _Node] = {}
        self._push(self._root(bounds))

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
        done = 0
        while self._open and done < nodes and not (deadline is not None and time.monotonic() >= deadline):
            count = min(self._batch_size(), nodes - done)
            batch = [self._open[number] for _, number in heapq.nsmallest(count, self._heap)]
            points.append(self._process(batch))
            done += len(batch)
        return Step(self.status, done, np.concatenate(points[::-1]))

    def restrict(self, bounds: NetworkBounds, threshold: float) -> None:
        """See `TargetSearch.restrict`; `bounder` has to be moved, too."""
        import torch

        self._threshold, self._bounds = threshold, bounds
        self.tree.stages.append(Stage(bounds.nodes[0], threshold))
        self._tightener.move(bounds.nodes[0])
        for planes in self._planes.values():
            planes.move(bounds.nodes[0])
        low, high = self._unit_bounds(bounds)
        nodes = [*self._open.values(), *self._stuck.values()]
        self._open, self._stuck, self._heap = {}, {}, []
        for node in nodes:
            self._push(replace(node, lower=torch.maximum(node.lower, low), upper=torch.minimum(node.upper, high)))

    def reopen(self, leaves: list[int]) -> None:
        """Starts the tree again with a hundred times the room for rounding: what closed a leaf was not kept."""
        self._caution *= 100.0
        self._start(self._bounds)

    def hand_over(self) -> list[OpenNode]:
        """All open nodes, for another search to go on with this tree; this one has nothing left to do."""
        nodes = [*self._open.values(), *self._stuck.values()]
        self._open, self._stuck, self._heap = {}, {}, []
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

    def _batch_size(self) -> int:
        """As many nodes as a device takes at once; on a GPU as many as a quarter of its free memory holds."""
        if self._device.type == "cpu":
            return BATCH
        import torch

        free, _ = torch.cuda.mem_get_info(self._device)
        planes = sum(p.coefficients.numel() // max(1, p.count) + 2 * len(p.units) * PLANES for p in self._planes.values())
        per_node = 8 * (12 * (self._problem.inputs + self._problem.unit_count) + planes)
        return int(np.clip(free // (4 * per_node), 16, DEVICE_BATCH))

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

    def _push(self, node: _Node) -> None:
        self._open[node.number] = node
        heapq.heappush(self._heap, (-node.value, node.number))

    def _process(self, nodes: list[_Node]) -> Array:
        """Bounds the nodes with the largest bounds; closes, tightens and splits them. Returns points worth trying.

        Nothing is changed until all is computed, so an interruption leaves the nodes open.
        """
        batch = self._stack(nodes)
        bounded = self._root_rounds(batch) if nodes[0].number == 0 else self._optimise(batch, NODE_STEPS)
        excess = bounded.value - self._threshold
        keep = (excess >= -self._caution * self._bounder.slack(bounded)).nonzero()[:, 0]
        rows = keep.tolist()
        inner = bounded.rows(keep)
        tightened = self._tighten(inner, [nodes[k] for k in rows])
        units, betas = self._branching.choose(inner, *tightened[:2], self._threshold)
        for _ in nodes:
            del self._open[heapq.heappop(self._heap)[1]]
        self._record(nodes, bounded)
        self._split([nodes[k] for k in rows], inner, tightened, (units, betas))
        order = inner.value.argsort(stable=True, descending=True)[:POINTS]
        points: Array = inner.point[order].cpu().numpy()
        return points

    def _optimise(self, batch: Batch, steps: int) -> Bounded:
        return self._bounder.optimise(batch, self._planes, steps, self._threshold)

    def _stack(self, nodes: list[_Node]) -> Batch:
        import torch

        def stacked(name: str) -> Tensor:
            return torch.stack([getattr(n, name) for n in nodes])

        mu = {k: torch.stack([_fitted(n.mu[k], n.births[k], p) for n in nodes]) for k, p in self._planes.items()}
        margin = self._margin[None].expand(len(nodes), -1)
        constant = self._margin.new_full((len(nodes),), self._constant)
        return Batch(
            margin, constant, *(stacked(name) for name in ("signs", "lower", "upper", "alpha", "beta")), mu
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
        """Adds the facets lowest at the first node's point, and returns the nodes ready to go on."""
        import torch

        mu = {}
        for k, planes in self._planes.items():
            births, weights = planes.births, bounded.batch.mu[k]
            planes.add(planes.separate(bounded.point[0]), weights[0, :, 1:])
            mu[k] = torch.stack([_fitted(w, births, planes) for w in weights])
        return replace(bounded.batch, mu=mu)

    def _tighten(self, inner: Bounded, nodes: list[_Node]) -> tuple[Tensor, Tensor, Tensor]:
        import torch

        batch = inner.batch
        if not nodes:
            return batch.lower, batch.upper, batch.lower.new_zeros(0, 2, batch.lower.shape[1])
        gammas = torch.stack([n.gammas for n in nodes])
        self._downward = not self._downward
        return self._tightener.run_tensors(
            inner.form, inner.constant, self._threshold, batch.lower, batch.upper, gammas, downward=self._downward
        )

    def _record(self, nodes: list[_Node], bounded: Bounded) -> None:
        """Writes every node's numbers into the tree."""
        alpha, beta = bounded.batch.alpha.cpu().numpy(), bounded.batch.beta.cpu().numpy()
        mu = {k: m[:, :, 1:].cpu().numpy() for k, m in bounded.batch.mu.items()}
        stage = len(self.tree.stages) - 1
        for row, node in enumerate(nodes):
            numbers, weights = [np.zeros(0, np.intp)], [np.zeros(0)]
            for k, planes in self._planes.items():
                used = np.nonzero(mu[k][row] > USED)
                planes.record(self.tree, used)
                numbers.append(planes.numbers[used])
                weights.append(mu[k][row][used] * (1.0 - 1e-12))  # so that no order of summing them gives more than 1
            entry = self.tree.nodes[node.number]
            entry.stage = stage
            entry.multipliers = Multipliers(
                alpha[row], beta[row], np.concatenate(numbers), np.concatenate(weights)
            )

    def _split(
        self,
        nodes: list[_Node],
        inner: Bounded,
        tightened: tuple[Tensor, Tensor, Tensor],
        choice: tuple[Tensor, Tensor],
    ) -> None:
        """Adds the children of the nodes that tightening did not empty."""
        lower, upper, gammas = tightened
        empty = (lower > upper).any(1).tolist()
        units, values, used = choice[0].tolist(), inner.value.tolist(), gammas.cpu().numpy()
        batch, births = inner.batch, {k: p.births for k, p in self._planes.items()}
        for row, node in enumerate(nodes):
            entry, unit, value = self.tree.nodes[node.number], units[row], min(values[row], node.value)
            entry.gammas = used[row]
            if empty[row]:
                continue
            if unit < 0:
                entry.gammas = None
                self._stuck[node.number] = replace(node, value=value)
                continue
            mu = {k: m[row] for k, m in batch.mu.items()}
            for side, (number, sign) in enumerate(zip(self.tree.split(node.number, unit), (1.0, -1.0), strict=True)):
                signs, low, high = batch.signs[row].clone(), lower[row].clone(), upper[row].clone()
                signs[unit], beta = sign, batch.beta[row].clone()
                (low if sign > 0 else high)[unit], beta[unit] = 0.0, choice[1][row, side]
                self._push(
                    _Node(number, value, signs, low, high, batch.alpha[row], beta, mu, births, gammas[row])
                )


def _fitted(mu: Tensor, births: Array, planes: LayerPlanes) -> Tensor:
    """Weights for the planes as they are now; the weight of planes that gave way goes to the triangle's line."""
    import torch

    if births is planes.births:
        return mu
    gone = torch.from_numpy(births != planes.births[:, : births.shape[1]]).to(mu.device)
    lost = mu[:, 1:].where(gone, torch.zeros_like(mu[:, 1:]))
    mu = torch.cat([mu[:, :1] + lost.sum(1, keepdim=True), mu[:, 1:] - lost], 1)
    extra = planes.count - births.shape[1]
    if extra:
        mu = torch.cat([mu * 0.9, mu.new_full((len(mu), extra), 0.1 / extra)], 1)
    return mu
