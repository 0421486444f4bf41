"""Pre-activation bounds by branch and bound: each unit's range, close to exact, before the question itself is asked.

The native counterpart of tightening by a mixed-integer program per unit (Tjeng et al., 2019), layer after layer. What
is asked of a unit is whether its pre-activation stays below a limit, a little above the largest value that was met.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bounds import Bounds, NetworkBounds, sweep
from bounds._linear import linear_bounds, refine_linear
from mipverify_py.engines._forest import Forest
from mipverify_py.engines._problem import compile_problem
from mipverify_py.engines._refine import optimised_slopes, readers
from mipverify_py.engines._torch_graph import TorchGraph
from mipverify_py.proof import Index, RefinedUnits, limit_bounds, limit_network, limit_units, refine_units
from mipverify_py.proof._refinement import pre_activation_of
from onnx_models import Affine, Array, ReluNetwork

if TYPE_CHECKING:
    from torch import Tensor

CLIMBS = 12
"""Steps in the search for large and small pre-activations; each goes to a vertex of the box."""

SHARE = 0.1
"""The limit lies this share of the way from the largest value met to the bound."""

LEAST = 0.02
"""The same where a limit of 0, which makes the unit stable, would be below it: limits need some room."""

LEAST_NODES = 8
"""Smaller trees are not worth their proof."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much time goes into limits, and when.

    Attributes:
        after: nodes that a search had without an answer.
        most_nodes: per tree.
        work: products per layer, which are shared out among its trees.
    """

    after: int
    most_nodes: int
    work: float


EFFORTS = (Effort(2_000, 128, 4e10), Effort(8_000, 256, 2e11))
"""Limits are sought again with more effort while a search finds no answer."""

MOST_COEFFICIENTS = 20_000_000
"""Layers whose trees would need larger matrices than this (160 MB) are left alone."""


def branched_limits(
    network: ReluNetwork,
    region: Bounds,
    *,
    effort: Effort,
    device: str = "cpu",
    jobs: int = 1,
    deadline: float | None = None,
) -> tuple[tuple[RefinedUnits, ...], NetworkBounds]:
    """Like `refine`, with a tree for each bound of every unit that slopes leave unstable."""
    graph, found, reader = TorchGraph(network, device), list[RefinedUnits](), readers(network)

    def refine_node(known: NetworkBounds, index: int, units: Index) -> Bounds:
        bounds = refine_linear(network, known, index, units)
        left = np.flatnonzero(bounds.straddles_zero)
        if not len(left) or (deadline is not None and time.monotonic() >= deadline):
            return bounds
        known = _with_last(known, bounds)
        slopes = optimised_slopes(graph, known, index, left, jobs)
        refinement = RefinedUnits(reader[index], left, slopes, np.full((2, len(left)), np.inf))
        known = _with_last(known, refine_units(network, known, refinement))
        refinement = _with_trees(graph, known, refinement, effort, jobs, deadline)
        found.append(refinement)
        return limit_units(network, known, refinement)

    bounds = sweep(network, region, refine_node, start=linear_bounds(network, region))
    return tuple(found), bounds


def _with_trees(
    graph: TorchGraph,
    known: NetworkBounds,
    refinement: RefinedUnits,
    effort: Effort,
    jobs: int,
    deadline: float | None,
) -> RefinedUnits:
    """The refinement with limits and trees for the units that its slopes leave unstable."""
    network, index = graph.network, pre_activation_of(graph.network, refinement.relu)
    unstable = known.nodes[index].straddles_zero[refinement.units]
    units, count = refinement.units[unstable], len(refinement.units)
    if not len(units):
        return refinement
    limits = np.full((2, count), np.inf)
    limits[:, unstable] = _limits(graph, known, index, units)
    asked = RefinedUnits(refinement.relu, refinement.units, refinement.slopes, limits)
    question = limit_network(network, asked)
    targets = tuple((1 + np.flatnonzero(np.isfinite(limits))).tolist())
    problem = compile_problem(question, 0, targets, known.nodes[0], limit_bounds(question, known))
    cost = sum(layer.size * (problem.inputs + layer.first) for layer in problem.layers)
    budget = int(min(effort.most_nodes, effort.work / max(1, 30 * cost * len(targets))))
    if budget < LEAST_NODES or cost > MOST_COEFFICIENTS:
        return refinement
    settles = np.where(limits[:, unstable] <= 0, [[1], [0]], -1) * len(units)
    settles = np.where(settles < 0, -1, settles + np.arange(len(units))).reshape(-1)
    forest = Forest(problem, budget, settles, str(graph.device))
    if not forest.grow(jobs, deadline):
        return refinement
    return RefinedUnits(refinement.relu, refinement.units, refinement.slopes, limits, tuple(forest.trees))


def _limits(graph: TorchGraph, known: NetworkBounds, index: int, units: Index) -> Array:
    """What to ask for z and for -z of some units of node `index`, shape (2, K)."""
    met, pre = _largest_met(graph, known.nodes[0], index, units), known.nodes[index]
    room = np.stack([pre.upper[units], -pre.lower[units]]) - met
    limits: Array = np.where(met < 0, np.maximum(0.0, met + LEAST * room), met + SHARE * room)
    return limits


def _largest_met(graph: TorchGraph, region: Bounds, index: int, units: Index) -> Array:
    """The largest z and -z of some units of node `index` at points that sign-gradient steps lead to, shape (2, K)."""
    import torch

    count, size = len(units), graph.network.nodes[index].size
    middle, radius = (
        graph.tensor(0.5 * (region.lower + region.upper)),
        graph.tensor(0.5 * (region.upper - region.lower)),
    )
    rows = torch.zeros(2 * count, size, dtype=torch.float64, device=graph.device)
    rows[torch.arange(2 * count), graph.tensor(np.concatenate([units, units]))] = graph.tensor(
        np.repeat([1.0, -1.0], count)
    )
    x, best = middle.expand(2 * count, -1), np.full((2, count), -np.inf)
    for _ in range(CLIMBS):
        values = _values(graph, x, index)
        z = values[index][:, graph.tensor(units)].cpu().numpy()
        best = np.maximum(best, np.stack([z.max(axis=0), (-z).max(axis=0)]))
        x = middle + _gradient(graph, values, rows, index).sign() * radius
    return best


def _values(graph: TorchGraph, x: Tensor, index: int) -> dict[int, Tensor]:
    """The values of all nodes up to `index` at a batch of inputs."""
    values = {0: x}
    for k, node in enumerate(graph.network.nodes[1 : index + 1], 1):
        if isinstance(node, Affine):
            total = graph.bias[k].expand(len(x), -1)
            for source, forward in graph.forward[k]:
                total = total + forward(values[source])
            values[k] = total
        else:
            values[k] = values[pre_activation_of(graph.network, k)].clamp(min=0)
    return values


def _gradient(graph: TorchGraph, values: dict[int, Tensor], rows: Tensor, index: int) -> Tensor:
    """The slopes over the input of  rows @ v_index  in the activation cells of a batch of inputs, shape (B, n)."""
    left = {index: rows}
    while (k := max(left)) > 0:
        pulled = left.pop(k)
        if isinstance(graph.network.nodes[k], Affine):
            for source, transposed in graph.backward[k]:
                part = transposed(pulled)
                left[source] = left[source] + part if source in left else part
        else:
            source = pre_activation_of(graph.network, k)
            part = pulled * (values[k] > 0)
            left[source] = left[source] + part if source in left else part
        left.setdefault(0, values[0].new_zeros(len(rows), graph.network.input_size))
    return left[0]


def _with_last(known: NetworkBounds, bounds: Bounds) -> NetworkBounds:
    return NetworkBounds((*known.nodes[:-1], bounds))
