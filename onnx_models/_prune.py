"""Removing ReLU units that no output depends on; masks (Where), slices and pools leave them behind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnx_models._builder import NetworkBuilder
from onnx_models._maps import SparseMap
from onnx_models._network import Affine, Input, Node, Relu, ReluNetwork

Mask = NDArray[np.bool_]


def prune(network: ReluNetwork) -> ReluNetwork:
    """The same function with every ReLU node reduced to the units that some output depends on, affine nodes re-fused.

    A unit is dropped only if every path from it to an output has a zero coefficient. A network without such units is
    returned as it is.
    """
    live = _live_entries(network.nodes)
    if all(live[k].all() for k in network.relu_indices):
        return network
    builder = NetworkBuilder(network.input_shape, network.nodes[0].name)
    builder.notes.extend(network.notes)
    index = [0]
    for k, node in enumerate(network.nodes[1:], start=1):
        if isinstance(node, Affine):
            index.append(builder.affine([index[i] for i in node.inputs], node.maps, node.bias, name=node.name))
        else:
            assert isinstance(node, Relu)
            index.append(_reduced_relu(builder, index[node.input], live[k], node.name))
    return builder.build(index[-1])


def _reduced_relu(builder: NetworkBuilder, source: int, live: Mask, name: str) -> int:
    """relu of the live entries of node `source`, with zeros in the place of the others."""
    if live.all():
        return builder.relu(source, name=name)
    if not live.any():
        return builder.constant(np.zeros(len(live)), name=name)
    kept = np.flatnonzero(live)
    selected = builder.affine((source,), (SparseMap.selection(kept, len(live)),), name=name)
    place = np.full(len(live), -1, np.int64)
    place[kept] = np.arange(len(kept))
    scatter = SparseMap.selection(place, len(kept))
    return builder.affine((builder.relu(selected, name=name),), (scatter,), name=name)


def _live_entries(nodes: Sequence[Node]) -> list[Mask]:
    """For each node, which entries of its value reach an output through nonzero coefficients."""
    live: list[Mask] = [np.zeros(node.size, np.bool_) for node in nodes]
    live[-1][:] = True
    for index in reversed(range(len(nodes))):
        node = nodes[index]
        if isinstance(node, Relu):
            live[node.input] |= live[index]
        elif not isinstance(node, Input):
            reached = live[index].astype(np.float64)[None]
            for source, linear_map in zip(node.inputs, node.maps, strict=True):
                live[source] |= linear_map.absolute().transpose_apply(reached)[0] > 0
    return live
