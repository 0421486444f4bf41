"""Pre-activation bounds of a stage from stored slopes, layer after layer; every choice of slopes is valid."""

from __future__ import annotations

import operator
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bounds import Bounds, HullPlanes, NetworkBounds, UnitLines, linear_forms, refined, rows_at_once, sweep
from bounds._direct import direct_inputs
from bounds._interval import node_interval
from bounds._linear import linear_bounds, refine_linear
from mipverify_py.proof._forest import forest_tops
from mipverify_py.proof._proof import Index, RefinedUnits
from onnx_models import Affine, Array, Relu, ReluNetwork, SparseMap


class RegionBounds:
    """Bounds of a network over regions, each computed once: `linear_bounds`, and better ones with refinements."""

    def __init__(self, network: ReluNetwork) -> None:
        self._network = network
        self._known: dict[tuple[bytes, bytes], list[tuple[tuple[RefinedUnits, ...], NetworkBounds]]] = {}

    def __call__(self, region: Bounds, refinements: tuple[RefinedUnits, ...] = ()) -> NetworkBounds:
        """The bounds over `region`, see `refined_bounds`; errors as in `linear_bounds`."""
        known = self._known.setdefault((region.lower.tobytes(), region.upper.tobytes()), [])
        for given, bounds in known:
            if len(given) == len(refinements) and all(map(operator.is_, given, refinements)):
                return bounds
        known.append((refinements, refined_bounds(self._network, region, refinements)))
        return known[-1][1]

    def store(self, region: Bounds, refinements: tuple[RefinedUnits, ...], bounds: NetworkBounds) -> None:
        """Takes in bounds that `refined_bounds` would give, from whoever has just computed them."""
        self._known.setdefault((region.lower.tobytes(), region.upper.tobytes()), []).append((refinements, bounds))


def pre_activation_of(network: ReluNetwork, relu: int) -> int:
    """Index of the node that ReLU node `relu` reads."""
    node = network.nodes[relu]
    assert isinstance(node, Relu)
    return node.input


@lru_cache(maxsize=2)
def without_trees(refinements: tuple[RefinedUnits, ...]) -> tuple[RefinedUnits, ...]:
    """What is cheap to compute again for a later stage, whose bounds take in those of the stage before anyway.

    Equal arguments give the same objects, for `RegionBounds` to know them again.
    """
    return tuple(
        replace(found, limits=np.full_like(found.limits, np.inf), trees=()) if found.trees else found
        for found in refinements
    )


def refined_bounds(network: ReluNetwork, region: Bounds, refinements: tuple[RefinedUnits, ...]) -> NetworkBounds:
    """Bounds of every node over the box `region`, outward rounded and never looser than `linear_bounds`.

    Nodes are taken in order, so each refinement starts from the refined bounds of what is before it. Errors as in
    `linear_bounds`.
    """
    by_node: dict[int, list[RefinedUnits]] = {}
    for found in refinements:
        by_node.setdefault(pre_activation_of(network, found.relu), []).append(found)

    def refine(known: NetworkBounds, index: int, units: NDArray[np.intp]) -> Bounds:
        bounds = refine_linear(network, known, index, units)
        for found in by_node.get(index, []):
            bounds = refine_units(network, _with_last(known, bounds), found)
            bounds = limit_units(network, _with_last(known, bounds), found)
        return bounds

    plain = linear_bounds(network, region)  # CROWN over tighter lines is not always tighter
    return sweep(network, region, refine, start=plain) if refinements else plain


def refine_units(network: ReluNetwork, known: NetworkBounds, refinement: RefinedUnits) -> Bounds:
    """Bounds from slopes of the pre-activation that `refinement` is about; `known` has those of all nodes up to it."""
    index = pre_activation_of(network, refinement.relu)
    size, count = known.nodes[index].size, len(refinement.units)
    both = np.empty(2 * count)
    step = rows_at_once(network)
    for first in range(0, 2 * count, step):
        rows = np.arange(first, min(first + step, 2 * count))
        matrix = np.zeros((len(rows), size))
        matrix[np.arange(len(rows)), refinement.units[rows % count]] = np.where(rows < count, 1.0, -1.0)
        lines = _lines(network, known, refinement, index, rows)
        both[rows] = linear_forms(network, known, matrix, lines, index=index).bound
    return refined(network, known, index, refinement.units, both)


def limit_network(network: ReluNetwork, refinement: RefinedUnits) -> ReluNetwork:
    """The network up to the pre-activation z, with outputs 0, z - limits, -z - limits of the units, 1 + 2 K in all.

    So f_j - f_0 < 0 says that a limit holds. An infinite limit counts as 0.
    """
    index, units = pre_activation_of(network, refinement.relu), refinement.units
    rows = SparseMap.selection(units, network.nodes[index].size).matrix
    none = sparse.csr_array((1, rows.shape[1]))
    limits = refinement.limits.reshape(-1)
    bias = np.concatenate([[0.0], np.where(np.isfinite(limits), -limits, 0.0)])
    both = sparse.csr_array(sparse.vstack([none, rows, -rows]))
    return ReluNetwork((*network.nodes[: index + 1], Affine((index,), (SparseMap(both),), bias)))


def limit_bounds(network: ReluNetwork, known: NetworkBounds) -> NetworkBounds:
    """Bounds of all nodes of a `limit_network`; `known` has those of the nodes up to the pre-activation."""
    return NetworkBounds((*known.nodes, node_interval(network.nodes[-1], list(known.nodes))))


def limit_units(network: ReluNetwork, known: NetworkBounds, refinement: RefinedUnits) -> Bounds:
    """Bounds from trees of the pre-activation that `refinement` is about; `known` has those of all nodes up to it."""
    index, limits = pre_activation_of(network, refinement.relu), refinement.limits.reshape(-1)
    question, tops = limit_network(network, refinement), np.full(limits.size, np.inf)
    asked = np.array([tree.target - 1 for tree in refinement.trees], np.intp)
    above = forest_tops(question, limit_bounds(question, known), refinement.trees)
    raised = np.where(above > 0, np.nextafter(limits[asked] + above, np.inf), limits[asked])
    tops[asked] = np.where(np.isfinite(limits[asked]), raised, np.inf)
    return refined(network, known, index, refinement.units, tops)


def _lines(
    network: ReluNetwork, known: NetworkBounds, refinement: RefinedUnits, index: int, rows: Index
) -> dict[int, UnitLines]:
    """The lines of all unstable units before node `index`, for some rows of both signs."""
    given, result = {slopes.relu: slopes for slopes in refinement.slopes}, {}
    for relu in (k for k in network.relu_indices if k < index):
        pre = known.pre_activation(network, relu)
        units = np.flatnonzero(pre.straddles_zero)
        if not len(units):
            continue
        shape = len(rows), len(units)
        alpha = np.full(shape, np.nan)
        if relu in given:
            slopes = given[relu]
            places = np.searchsorted(units, slopes.units).clip(max=len(units) - 1)
            kept = units[places] == slopes.units  # others are stable by now
            stored = slopes.alpha.reshape(2 * len(refinement.units), len(slopes.units))
            alpha[:, places[kept]] = stored[rows][:, kept]
        result[relu] = UnitLines(
            units,
            np.broadcast_to(pre.lower[units], shape),
            np.broadcast_to(pre.upper[units], shape),
            alpha,
            np.zeros(shape),
            sparse.csr_array((len(rows), 0)),
            _no_planes(direct_inputs(network, relu).weight.shape[1]),
        )
    return result


def _no_planes(width: int) -> HullPlanes:
    none: Array = np.zeros(0)
    return HullPlanes(np.zeros(0, np.intp), sparse.csr_array((0, width)), none, none)


def _with_last(known: NetworkBounds, bounds: Bounds) -> NetworkBounds:
    return NetworkBounds((*known.nodes[:-1], bounds))
