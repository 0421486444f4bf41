"""Bounds of a whole network, one node after the other, each refined where a ReLU behind it is still unstable."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bounds._bounds import Bounds, NetworkBounds
from bounds._interval import check_region, node_interval
from onnx_models import Affine, Array, Input, Relu, ReluNetwork
from onnx_models.errors import InvalidBoundsError

Refinement = Callable[[NetworkBounds, int, NDArray[np.intp]], Bounds]
"""(bounds of all nodes up to i, i, units of node i that straddle zero) -> at least as tight bounds of node i."""


def sweep(
    network: ReluNetwork, region: Bounds, refine: Refinement, *, start: NetworkBounds | None = None
) -> NetworkBounds:
    """Bounds of every node over the box `region`: interval bounds, intersected with `start`, refined by `refine`.

    Nodes are taken in topological order, so each refinement sees the refined bounds of all earlier nodes. Only
    pre-activations that straddle zero are refined, and none whose interval bounds are exact already.

    Raises:
        InputError: `region` does not fit the network.
        InvalidBoundsError: two bounds of one node exclude each other; names the layer, the unit and the gap.
    """
    check_region(network, region)
    values: list[Bounds] = []
    for index, node in enumerate(network.nodes):
        value = region if isinstance(node, Input) else node_interval(node, values)
        if start is not None:
            value = intersect(network, index, value, start.nodes[index])
        values.append(value)
        if feeds_relu(network, index) and not is_affine_in_input(network, index):
            units = np.flatnonzero(value.straddles_zero)
            if len(units):
                values[index] = refine(NetworkBounds(tuple(values)), index, units)
    return NetworkBounds(tuple(values))


def feeds_relu(network: ReluNetwork, index: int) -> bool:
    """Whether node `index` is the pre-activation of some ReLU."""
    return any(isinstance(network.nodes[k], Relu) for k in network.consumers[index])


def is_affine_in_input(network: ReluNetwork, index: int) -> bool:
    """Whether the value of node `index` is one map of the input, so that its interval bounds are already exact."""
    node = network.nodes[index]
    return isinstance(node, Input) or (isinstance(node, Affine) and node.inputs in ((), (0,)))


def intersect(network: ReluNetwork, index: int, first: Bounds, second: Bounds) -> Bounds:
    """Both bounds of node `index` at once; a crossing is reported with the node's name."""
    return named_bounds(network, index, np.maximum(first.lower, second.lower), np.minimum(first.upper, second.upper))


def named_bounds(network: ReluNetwork, index: int, lower: Array, upper: Array) -> Bounds:
    """Bounds of node `index`; where they cross the error names the layer, the unit and the gap."""
    try:
        return Bounds(lower, upper)
    except InvalidBoundsError as error:
        name = getattr(network.nodes[index], "name", "") or f"node {index}"
        raise InvalidBoundsError(f"Layer {name!r}: {error}") from error
