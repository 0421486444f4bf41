"""Interval bounds: each node bounded from the boxes of the nodes it reads."""

from __future__ import annotations

import numpy as np

from bounds._bounds import Bounds, NetworkBounds
from bounds._rounding import down, gamma, inflate, up
from onnx_models import Affine, Array, Input, Node, Relu, ReluNetwork
from onnx_models.errors import InputError


def interval_bounds(network: ReluNetwork, region: Bounds) -> NetworkBounds:
    """Bounds of every node for inputs in the box `region` (entries flat, shape (n,)), outward rounded.

    Raises:
        InputError: `region` has another number of entries than the network's input, or is unbounded.
    """
    check_region(network, region)
    values: list[Bounds] = []
    for node in network.nodes:
        values.append(region if isinstance(node, Input) else node_interval(node, values))
    return NetworkBounds(tuple(values))


def check_region(network: ReluNetwork, region: Bounds) -> None:
    """Raises InputError unless `region` is a finite box over the network's input."""
    if region.size != network.input_size:
        raise InputError(f"The region has {region.size} entries, the network's input has {network.input_size}.")
    if not np.all(np.isfinite(region.magnitude)):
        raise InputError("The region is unbounded; bounds need a finite box of inputs.")


def node_interval(node: Node, values: list[Bounds]) -> Bounds:
    """Bounds of one affine or ReLU node from bounds of the earlier nodes."""
    if isinstance(node, Relu):
        return relu_interval(values[node.input])
    assert isinstance(node, Affine)
    return _affine_interval(node, values)


def relu_interval(pre: Bounds) -> Bounds:
    """Bounds of max(z, 0) from bounds of z; exact."""
    return Bounds(np.maximum(pre.lower, 0.0), np.maximum(pre.upper, 0.0))


def _affine_interval(node: Affine, values: list[Bounds]) -> Bounds:
    """With M = P - N:  P l - N u + b <= M v + b <= P u - N l + b, each widened by its rounding error."""
    lower, upper = node.bias.copy(), node.bias.copy()
    lower_size, upper_size = np.abs(node.bias), np.abs(node.bias)  # sums of absolute values, for the error bound
    in_lower, in_upper = np.zeros(node.size, np.bool_), np.zeros(node.size, np.bool_)  # whether any product is not 0
    terms = 1
    for source, linear_map in zip(node.inputs, node.maps, strict=True):
        value = values[source]
        positive, negative = linear_map.signed_parts()
        ends = np.stack([value.lower, value.upper])
        ends = np.concatenate([ends, np.abs(ends), ends != 0])
        p, n = positive.apply(ends), negative.apply(ends)
        lower, upper = lower + (p[0] - n[1]), upper + (p[1] - n[0])
        lower_size, upper_size = lower_size + (p[2] + n[3]), upper_size + (p[3] + n[2])
        in_lower, in_upper = in_lower | (p[4] + n[5] > 0), in_upper | (p[5] + n[4] > 0)
        terms += 2 * linear_map.fan_in + 2
    error = gamma(terms)
    return Bounds(down(lower, inflate(error * lower_size, in_lower)), up(upper, inflate(error * upper_size, in_upper)))


def magnitudes(node: Affine, values: list[Bounds]) -> Array:
    """sum over maps of |M| |v| + |b|, shape (m,): the size of what is summed in each entry, rounded up."""
    total, present = np.abs(node.bias), node.bias != 0
    for source, linear_map in zip(node.inputs, node.maps, strict=True):
        magnitude = values[source].magnitude
        sizes = linear_map.absolute().apply(np.stack([magnitude, magnitude > 0]))
        total, present = total + sizes[0], present | (sizes[1] > 0)
    return inflate(total, present)
