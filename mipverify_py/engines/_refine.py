"""Better pre-activation bounds behind the first layer: each bound's slopes of lower lines are optimised (alpha-CROWN).

Xu et al., 2021: every bound of every unstable unit is a backward pass of its own, convex and piecewise linear in the
slopes of the units before it, so it is lowered by projected gradient steps, many rows at once. Layers are taken in
order, since a layer's lines depend on its bounds. What the floats find is proved by `refine_units`, from the slopes.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from bounds import Bounds, NetworkBounds, Relaxation, sweep
from bounds._linear import linear_bounds, refine_linear
from mipverify_py.engines._problem import Problem
from mipverify_py.engines._torch_graph import TorchGraph
from mipverify_py.proof import Index, RefinedUnits, Slopes, refine_units
from mipverify_py.proof._refinement import pre_activation_of
from onnx_models import Affine, ReluNetwork

if TYPE_CHECKING:
    from torch import Tensor

STEPS = 20
"""Gradient steps per layer."""

RATE, DECAY = 0.25, 0.9
"""Adam's first step in a slope, and by what each further one is smaller."""

CHUNK_ENTRIES = 2_000_000
"""Rows are bounded together as long as rows times the values of all nodes stay below this (16 MB per array)."""


def worth_refining(problem: Problem) -> bool:
    """Whether CROWN leaves units unstable whose bounds depend on the slopes of others."""
    return any(layer.source is not None for layer in problem.layers)


def refine(
    network: ReluNetwork, region: Bounds, *, device: str = "cpu", jobs: int = 1, deadline: float | None = None
) -> tuple[tuple[RefinedUnits, ...], NetworkBounds]:
    """Refinements of all layers behind the first over the box `region`, and the bounds that they prove.

    `jobs` threads share a layer's rows, which changes nothing but the time. Layers that the `deadline`
    (`time.monotonic()`) does not leave time for keep CROWN's bounds.
    """
    graph, found, reader = TorchGraph(network, device), list[RefinedUnits](), readers(network)

    def refine_node(known: NetworkBounds, index: int, units: Index) -> Bounds:
        bounds = refine_linear(network, known, index, units)
        left = np.flatnonzero(bounds.straddles_zero)
        if not len(left) or (deadline is not None and time.monotonic() >= deadline):
            return bounds
        known = NetworkBounds((*known.nodes[:-1], bounds))
        refinement = RefinedUnits(
            reader[index], left, optimised_slopes(graph, known, index, left, jobs), np.full((2, len(left)), np.inf)
        )
        found.append(refinement)
        return refine_units(network, known, refinement)

    bounds = sweep(network, region, refine_node, start=linear_bounds(network, region))
    return tuple(found), bounds


def readers(network: ReluNetwork) -> dict[int, int]:
    """For each node that a ReLU node reads, the first one that does."""
    return {pre_activation_of(network, relu): relu for relu in reversed(network.relu_indices)}


def optimised_slopes(
    graph: TorchGraph, known: NetworkBounds, index: int, units: Index, jobs: int
) -> tuple[Slopes, ...]:
    """Slopes for both bounds of some units of node `index`."""
    import torch

    lines = _Lines(graph, known, index)
    values = sum(node.size for node in graph.network.nodes[: index + 1])
    step = int(np.clip(CHUNK_ENTRIES // values, 1, -(-len(units) // jobs)))
    chunks = [units[k : k + step] for k in range(0, len(units), step)]

    def run(chunk: Index) -> dict[int, Tensor]:
        return _Rows(graph, lines, index, chunk).run()

    if jobs == 1 or len(chunks) == 1:
        parts = [run(chunk) for chunk in chunks]
    else:
        with ThreadPoolExecutor(jobs, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            parts = list(pool.map(run, chunks))
    result = []
    for relu, free in lines.units.items():
        alpha = np.concatenate([part[relu].cpu().numpy() for part in parts], axis=1)
        result.append(Slopes(relu, free, alpha[:, :, free].astype(np.float16)))
    return tuple(result)


class _Lines:
    """The box, and the lines of all units before node `index`, on the device.

    Attributes:
        middle: of the box, shape (n,).
        radius: half-widths, shape (n,).
        units: for each ReLU node before `index` its unstable units, where there are any.
        slope: for each ReLU node before `index` of the upper lines, shape (size,).
        intercept: of the upper lines, shape (size,).
        alpha: CROWN's slopes of the lower lines, shape (size,).
        free: 1 for unstable units, shape (size,).
    """

    def __init__(self, graph: TorchGraph, known: NetworkBounds, index: int) -> None:
        box, network = known.nodes[0], graph.network
        self.middle = graph.tensor(0.5 * (box.lower + box.upper))
        self.radius = graph.tensor(0.5 * (box.upper - box.lower))
        self.units: dict[int, Index] = {}
        self.slope: dict[int, Tensor] = {}
        self.intercept: dict[int, Tensor] = {}
        self.alpha: dict[int, Tensor] = {}
        self.free: dict[int, Tensor] = {}
        for relu in (k for k in network.relu_indices if k < index):
            pre = known.pre_activation(network, relu)
            lines = Relaxation.of(pre)
            if np.any(pre.straddles_zero):
                self.units[relu] = np.flatnonzero(pre.straddles_zero)
            self.slope[relu], self.intercept[relu] = graph.tensor(lines.slope), graph.tensor(lines.intercept)
            self.alpha[relu] = graph.tensor(lines.alpha)
            self.free[relu] = graph.tensor(pre.straddles_zero.astype(np.float64))


class _Rows:
    """The upper bounds of z and -z for K units z of one node: 2 K rows, each with slopes of its own."""

    def __init__(self, graph: TorchGraph, lines: _Lines, index: int, units: Index) -> None:
        import torch

        self._graph, self._lines, self._index = graph, lines, index
        count, size = len(units), graph.network.nodes[index].size
        self._rows = torch.zeros(2 * count, size, dtype=torch.float64, device=graph.device)
        place = graph.tensor(np.concatenate([units, units]))
        self._rows[torch.arange(2 * count), place] = graph.tensor(np.repeat([1.0, -1.0], count))
        self._where = torch.arange(2 * count, device=graph.device)
        self._alpha = {k: lines.alpha[k].expand(2 * count, -1).clone() for k in lines.units}
        self._first = {k: torch.zeros_like(a) for k, a in self._alpha.items()}
        self._second = {k: torch.zeros_like(a) for k, a in self._alpha.items()}
        self._value = self._rows.new_full((2 * count,), np.inf)
        self._best = {k: a.clone() for k, a in self._alpha.items()}

    def run(self) -> dict[int, Tensor]:
        """The best slopes found, for each ReLU node before with unstable units, shape (2, K, size)."""
        for step in range(STEPS):
            value, form, coefficients = self._backward()
            better = value < self._value[self._where]
            rows = self._where[better]
            self._value[rows] = value[better]
            for k, alpha in self._alpha.items():
                self._best[k][rows] = alpha[better]
            if step == STEPS - 1 or not len(self._where):
                break
            self._forward(form, coefficients, step)
            if step % 4 == 3:
                self._leave_stable()
        return {k: a.reshape(2, -1, a.shape[1]) for k, a in self._best.items()}

    def _leave_stable(self) -> None:
        """Goes on without the units one of whose bounds shows their sign: the other bound does not matter any more."""
        count = len(self._value) // 2
        unstable = (self._value.reshape(2, count) > 0).all(0).repeat(2)[self._where]
        if 8 * int(unstable.sum()) > 7 * len(unstable):
            return
        self._where, self._rows = self._where[unstable], self._rows[unstable]
        for state in (self._alpha, self._first, self._second):
            state.update({k: a[unstable] for k, a in state.items()})

    def _backward(self) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
        """The rows' bounds, their linear forms over the input, and the coefficient of every ReLU's output."""
        graph, lines = self._graph, self._lines
        left = {self._index: self._rows}
        coefficients: dict[int, Tensor] = {}
        constant = self._rows.new_zeros(len(self._rows))
        while (index := max(left)) > 0:
            rows = left.pop(index)
            if isinstance(graph.network.nodes[index], Affine):
                constant = constant + rows @ graph.bias[index]
                for source, transposed in graph.backward[index]:
                    _accumulate(left, source, transposed(rows))
            else:
                coefficients[index] = rows
                positive, lower = rows.clamp(min=0), self._alpha.get(index, lines.alpha[index])
                constant = constant + positive @ lines.intercept[index]
                product = positive * lines.slope[index] + rows.clamp(max=0) * lower
                _accumulate(left, pre_activation_of(graph.network, index), product)
            left.setdefault(0, rows.new_zeros(len(rows), graph.network.input_size))
        form = left[0]
        return form @ lines.middle + form.abs() @ lines.radius + constant, form, coefficients

    def _forward(self, form: Tensor, coefficients: dict[int, Tensor], step: int) -> None:
        """One of Adam's steps on every slope, along the bound's slope at the rows' maximisers."""
        graph, lines = self._graph, self._lines
        last = max(self._alpha, default=0)
        values = {0: lines.middle + form.sign() * lines.radius}
        for index, node in enumerate(graph.network.nodes[: last + 1]):
            if index not in coefficients and not any(k in values for k in getattr(node, "inputs", ())):
                continue
            if isinstance(node, Affine):
                total = graph.bias[index]
                for source, forward in graph.forward[index]:
                    if source in values:
                        total = total + forward(values[source])
                values[index] = total
            elif index in coefficients:
                z, pull = values[pre_activation_of(graph.network, index)], coefficients[index]
                lower = self._alpha.get(index, lines.alpha[index])
                values[index] = (lines.slope[index] * z + lines.intercept[index]).where(pull > 0, lower * z)
                if index in self._alpha:
                    self._step(index, pull.clamp(max=0) * z * lines.free[index], step)

    def _step(self, relu: int, slope: Tensor, step: int) -> None:
        first, second, power = self._first[relu], self._second[relu], step + 1
        first.mul_(0.8).add_(slope, alpha=0.2)
        second.mul_(0.95).addcmul_(slope, slope, value=0.05)
        direction = (first / (1 - 0.8**power)) / ((second / (1 - 0.95**power)).sqrt() + 1e-12)
        self._alpha[relu] = (self._alpha[relu] - RATE * DECAY**step * direction).clamp_(0, 1)


def _accumulate(left: dict[int, Tensor], index: int, rows: Tensor) -> None:
    left[index] = left[index] + rows if index in left else rows
