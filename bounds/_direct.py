"""The direct inputs of a ReLU's units: what their pre-activations are affine maps of."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from scipy import sparse

from bounds._bounds import Bounds, NetworkBounds
from onnx_models import Affine, Array, ReluNetwork


@dataclass(frozen=True, slots=True, eq=False)
class DirectInputs:
    """z = weight @ v + bias for all units of a ReLU node, v the values of the `sources` one after the other.

    Attributes:
        sources: indices of nodes; one may occur twice.
        weight: shape (units, size of v).
        bias: shape (units,).
    """

    sources: tuple[int, ...]
    weight: sparse.csr_array
    bias: Array

    def box(self, bounds: NetworkBounds) -> Bounds:
        """Bounds of v."""
        parts = [bounds.nodes[s] for s in self.sources]
        empty = np.zeros(0)
        return Bounds(
            np.concatenate([empty, *(p.lower for p in parts)]), np.concatenate([empty, *(p.upper for p in parts)])
        )


_CACHE: WeakKeyDictionary[ReluNetwork, dict[int, DirectInputs]] = WeakKeyDictionary()


def direct_inputs(network: ReluNetwork, relu: int) -> DirectInputs:
    """The direct inputs of ReLU node `relu`; computed once per network."""
    known = _CACHE.setdefault(network, {})
    if relu not in known:
        known[relu] = _direct_inputs(network, relu)
    return known[relu]


def _direct_inputs(network: ReluNetwork, relu: int) -> DirectInputs:
    return _inputs_of(network, network.nodes[relu].input)  # type: ignore[union-attr]


def _inputs_of(network: ReluNetwork, index: int) -> DirectInputs:
    """What the entries of node `index` are affine maps of, through affine nodes that only pick entries of another.

    A ReLU with masks reads such a selection. A plane over one entry is the triangle's line; over what that entry is
    computed from, it can be any facet of the hull. Other maps are not multiplied out: rounding would alter the network.
    """
    node = network.nodes[index]
    if not isinstance(node, Affine):
        return DirectInputs((index,), sparse.csr_array(sparse.eye_array(node.size, format="csr")), np.zeros(node.size))
    empty = sparse.csr_array((node.size, 0))
    weight = sparse.csr_array(sparse.hstack([empty, *(m.to_sparse() for m in node.maps)], format="csr"))
    weight.sort_indices()
    if _is_selection(weight, node) and isinstance(network.nodes[node.inputs[0]], Affine):
        inner = _inputs_of(network, node.inputs[0])
        picked = sparse.csr_array(weight @ inner.weight)  # exact: each entry is one entry times 1
        picked.sort_indices()
        return DirectInputs(inner.sources, picked, weight @ inner.bias)
    return DirectInputs(node.inputs, weight, node.bias)


def _is_selection(weight: sparse.csr_array, node: Affine) -> bool:
    """Whether each entry of the node is an entry of the one node that it reads, or zero."""
    one_each = np.diff(weight.indptr).max(initial=0) <= 1 and bool(np.all(weight.data == 1.0))
    return one_each and len(node.inputs) == 1 and not node.bias.any()
