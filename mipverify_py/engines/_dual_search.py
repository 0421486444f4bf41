"""Engine `duals`: branch and bound for one target on batched dual bounds with hull planes."""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bounds import NetworkBounds
from mipverify_py.engines._dual_bound import Batch, Bounded, DualBounder
from mipverify_py.engines._dual_planes import LayerPlanes, layers_with_planes
from mipverify_py.engines._problem import Problem
from mipverify_py.engines._target import Status, Step, TargetSearch
from mipverify_py.engines._tighten import Tightener
from mipverify_py.proof import Multipliers, Stage, Tree
from onnx_models import Array

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ROOT_STEPS, ROOT_ROUNDS = 40, 10
"""Gradient steps between two separations at the root, and how many there are."""

NODE_STEPS = 25
"""Gradient steps per node of the tree; children start from their parent's multipliers."""

PLANES = 12
"""Planes per unit. Fewer weaken the root, more cost time in every step."""

BATCH = 128
"""Nodes bounded together on a CPU: enough to hide what a torch call costs, small enough for the cache."""

STALL = 0.02
"""The root is separated again as long as the bound falls by this share of its distance to the threshold."""


@dataclass(slots=True, eq=False)
class _Open:
    """An open node: its state on entry, and where its multipliers start."""

    number: int
    value: float
    signs: Tensor
    lower: Tensor
    upper: Tensor
    alpha: Tensor
    beta: Tensor
    mu: dict[int, Tensor]
    slots: dict[int, Array]
    gammas: Tensor
    depth: int = 0


class DualSearch(TargetSearch):
    """See `TargetSearch`; nodes are bounded in batches by `DualBounder`, and tightened by the target constraint."""

    def __init__(self, problem: Problem, target: int, threshold: float, bounder: DualBounder, tightener: Tightener) -> None:
        import torch

        self.target, self._problem, self._threshold = target, problem, threshold
        self._bounder, self._tightener, self._device = bounder, tightener, bounder.device
        row = problem.targets.index(target)
        self._margin = torch.from_numpy(problem.margin[row].copy()).to(self._device)
        self._constant = float(problem.margin_constant[row])
        self._planes: dict[int, LayerPlanes] = layers_with_planes(problem, problem.margin[row], PLANES, self._device)
        for planes in self._planes.values():
            planes.move(problem.box)
        self.tree = Tree(target, problem.tree_units, [Stage(problem.box, threshold)])
        self._weight = self._margin[problem.inputs :].abs()
        self._heap: list[tuple[float, int]] = []
        self._open: dict[int, _Open] = {}
        self._stuck: dict[int, _Open] = {}
        self._caution = 1.0
        self._push(self._root())

    @property
    def bound(self) -> float:
        values = [node.value for node in (*self._open.values(), *self._stuck.values())]
        return max(values, default=-np.inf)

    @property
    def status(self) -> Status:
        if self._open:
            return Status.OPEN
        return Status.STUCK if self._stuck else Status.PROVED

    def advance(self, nodes: int, deadline: float | None) -> Step:
        points: list[Array] = []
        done = 0
        while self._open and done < nodes and not (deadline is not None and time.monotonic() >= deadline):
            batch = self._pop(min(BATCH, max(1, nodes - done)))
            points.append(self._process(batch))
            done += len(batch)
        found = np.concatenate(points) if points else np.zeros((0, self._problem.inputs))
        return Step(self.status, done, found)

    def restrict(self, bounds: NetworkBounds, threshold: float) -> None:
        import torch

        self._threshold = threshold
        self.tree.stages.append(Stage(bounds.nodes[0], threshold))
        for planes in self._planes.values():
            planes.move(bounds.nodes[0])
        unit = self._problem.unit_bounds(bounds)
        low, high = torch.from_numpy(unit.lower).to(self._device), torch.from_numpy(unit.upper).to(self._device)
        for node in (*self._open.values(), *self._stuck.values()):
            node.lower, node.upper = torch.maximum(node.lower, low), torch.minimum(node.upper, high)
        for node in list(self._stuck.values()):
            self._push(node)
        self._stuck.clear()

    def reopen(self, leaves: list[int]) -> None:
        raise NotImplementedError

    def _root(self) -> _Open:
        import torch

        self.tree.nodes.append(_root_node())
        problem = self._problem
        unit = problem.unit_bounds(problem.bounds)
        low, high = torch.from_numpy(unit.lower).to(self._device), torch.from_numpy(unit.upper).to(self._device)
        zeros = torch.zeros_like(low)
        mu = {k: low.new_ones(len(p.units), 1) for k, p in self._planes.items()}
        slots = {k: p.numbers for k, p in self._planes.items()}
        alpha = (high > -low).to(low.dtype)
        return _Open(0, np.inf, zeros, low, high, alpha, zeros, mu, slots, low.new_zeros(2, len(low)))

    def _push(self, node: _Open) -> None:
        self._open[node.number] = node
        heapq.heappush(self._heap, (-node.value, node.number))

    def _pop(self, count: int) -> list[_Open]:
        """The nodes with the largest bounds."""
        found = []
        while self._heap and len(found) < count:
            found.append(self._open.pop(heapq.heappop(self._heap)[1]))
        return found

    def _stack(self, nodes: list[_Open]) -> Batch:
        import torch

        def stacked(name: str) -> Tensor:
            return torch.stack([getattr(n, name) for n in nodes])

        mu = {}
        for k, planes in self._planes.items():
            rows = [self._fitted(n.mu[k], n.slots[k], planes) for n in nodes]
            mu[k] = torch.stack(rows)
        count = len(nodes)
        return Batch(
            self._margin[None].expand(count, -1),
            self._margin.new_full((count,), self._constant),
            *(stacked(name) for name in ("signs", "lower", "upper", "alpha", "beta")),
            mu,
        )

    @staticmethod
    def _fitted(mu: Tensor, slots: Array, planes: LayerPlanes) -> Tensor:
        """Weights for the planes as they are now; the weight of planes that gave way goes to the triangle's line."""
        import torch

        if slots is planes.births:
            return mu
        gone = torch.from_numpy(slots != planes.births[:, : slots.shape[1]]).to(mu.device)
        if bool(gone.any()):
            lost = torch.where(gone, mu[:, 1:], torch.zeros_like(mu[:, 1:]))
            mu = torch.cat([mu[:, :1] + lost.sum(1, keepdim=True), mu[:, 1:] - lost], 1)
        extra = planes.count - slots.shape[1]
        if extra:
            mu = torch.cat([mu * 0.9, mu.new_full((len(mu), extra), 0.1 / extra)], 1)
        return mu

    def _process(self, nodes: list[_Open]) -> Array:
        """Bounds the nodes; closes, tightens and splits them. Returns points worth trying as witnesses."""
        root = len(self.tree.nodes) == 1
        batch = self._stack(nodes)
        bounded = self._root_rounds(batch) if root else self._bounder.optimise(batch, self._planes, NODE_STEPS, self._threshold)
        open_rows = bounded.value >= self._threshold - self._caution * self._bounder.slack(bounded)
        self._record(nodes, bounded)
        keep = open_rows.nonzero()[:, 0]
        if not len(keep):
            return np.zeros((0, self._problem.inputs))
        gammas = self._stack_gammas([nodes[k] for k in keep.tolist()])
        inner = bounded.batch.rows(keep)
        lower, upper, gammas = self._tightener.run_tensors(
            bounded.form[keep], bounded.constant[keep], self._threshold, inner.lower, inner.upper, gammas
        )
        lower, upper = lower.where(inner.signs <= 0, lower.clamp(min=0)), upper.where(inner.signs >= 0, upper.clamp(max=0))
        self._branch([nodes[k] for k in keep.tolist()], bounded, keep, inner, (lower, upper, gammas))
        order = bounded.value[keep].argsort(stable=True, descending=True)[:8]
        points: Array = bounded.point[keep[order]].cpu().numpy()
        return points

    @staticmethod
    def _stack_gammas(nodes: list[_Open]) -> Tensor:
        import torch

        return torch.stack([n.gammas for n in nodes])

    def _root_rounds(self, batch: Batch) -> Bounded:
        """Bounds the root again and again, with a new plane per unit in between."""
        bounded = self._bounder.optimise(batch, self._planes, ROOT_STEPS, self._threshold)
        for _ in range(ROOT_ROUNDS):
            before = float(bounded.value[0]) - self._threshold
            if before < 0 or not self._planes:
                break
            batch = self._separate(bounded, 0)
            bounded = self._bounder.optimise(batch, self._planes, ROOT_STEPS, self._threshold)
            if before - (float(bounded.value[0]) - self._threshold) < STALL * before:
                break
        return bounded

    def _separate(self, bounded: Bounded, row: int) -> Batch:
        """Adds the facets lowest at the point of one node, and returns that node ready to go on."""
        import torch
        from dataclasses import replace

        batch = bounded.batch.rows(torch.tensor([row]))
        mus = {}
        for k, planes in self._planes.items():
            births, mu = planes.births, batch.mu[k][0]
            planes.add(planes.separate(bounded.point[row]), mu[:, 1:])
            slot_mu = self._fitted(mu, births, planes)
            mus[k] = slot_mu[None]
        return replace(batch, mu=mus)

    def _record(self, nodes: list[_Open], bounded: Bounded) -> None:
        """Writes every node's numbers into the tree."""
        alpha, beta = bounded.batch.alpha.cpu().numpy(), bounded.batch.beta.cpu().numpy()
        mus = {k: m.cpu().numpy() for k, m in bounded.batch.mu.items()}
        stage = len(self.tree.stages) - 1
        for row, node in enumerate(nodes):
            numbers, weights = [], []
            for k, planes in self._planes.items():
                used = np.nonzero(mus[k][row][:, 1:] > 1e-9)
                planes.record(self.tree, used)
                numbers.append(planes.numbers[used])
                weights.append(mus[k][row][:, 1:][used])
            empty = np.zeros(0)
            entry = self.tree.nodes[node.number]
            entry.stage = stage
            entry.multipliers = Multipliers(
                alpha[row].copy(),
                beta[row].copy(),
                np.concatenate([empty.astype(np.intp), *numbers]),
                np.concatenate([empty, *weights]),
            )

    def _branch(
        self,
        nodes: list[_Open],
        bounded: Bounded,
        keep: Tensor,
        inner: Batch,
        tightened: tuple[Tensor, Tensor, Tensor],
    ) -> None:
        lower, upper, gammas = tightened
        empty = (lower > upper).any(1).tolist()
        score = self._scores(bounded, keep, inner, lower, upper)
        best, unit = score.max(1)
        choices, values = unit.tolist(), bounded.value[keep].tolist()
        used = gammas.cpu().numpy()
        for row, node in enumerate(nodes):
            entry = self.tree.nodes[node.number]
            entry.gammas = used[row].copy()
            if empty[row]:
                continue
            if float(best[row]) < 0:
                self._stuck[node.number] = node
                continue
            pair = self.tree.split(node.number, choices[row])
            for number, sign in zip(pair, (1.0, -1.0), strict=True):
                signs = inner.signs[row].clone()
                signs[choices[row]] = sign
                low, high = lower[row].clone(), upper[row].clone()
                (low if sign > 0 else high)[choices[row]] = 0.0
                mu = {k: m[row] for k, m in inner.mu.items()}
                slots = {k: p.births for k, p in self._planes.items()}
                start = (inner.alpha[row], inner.beta[row], mu, slots, gammas[row], node.depth + 1)
                self._push(_Open(number, values[row], signs, low, high, *start))

    def _scores(self, bounded: Bounded, keep: Tensor, inner: Batch, lower: Tensor, upper: Tensor) -> Tensor:
        """How promising a split of each unit is: its weight times the relaxation's gap at the averaged point."""
        import torch

        problem, x = self._problem, bounded.point[keep]
        free = (inner.signs == 0) & (lower < 0) & (upper > 0)
        score = torch.full_like(lower, -1.0)
        v = x
        for k, layer in enumerate(self._bounder.layers):
            units = layer.units
            z = v @ layer.weight.T + layer.bias
            width = (upper[:, units] - lower[:, units]).clamp(min=1e-300)
            line = upper[:, units] * (z - lower[:, units]) / width
            if k in self._planes:
                planes = self._planes[k]
                values = torch.cat([line[:, planes.unit_index, None], planes.values(x)], 2)
                line[:, planes.unit_index] = (values * inner.mu[k]).sum(2)
            A = self._margin[problem.inputs + layer.first : problem.inputs + layer.first + layer.size]
            true = z.clamp(min=0)
            gap = (line - true).where(A > 0, true - inner.alpha[:, units] * z)
            spread = torch.minimum(-lower[:, units], upper[:, units])
            found = A.abs() * (gap.clamp(min=0) + 1e-4 * spread)
            score[:, units] = found.where(free[:, units], score[:, units])
            v = torch.cat([v, true], 1)
        return score


def _root_node():
    from mipverify_py.proof import ProofNode

    return ProofNode(-1, -1, 0)
