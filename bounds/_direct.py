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
    pre = network.nodes[relu].input  # type: ignore[union-attr]
    node = network.nodes[pre]
    if not isinstance(node, Affine):
        return DirectInputs((pre,), sparse.csr_array(sparse.eye_array(node.size, format="csr")), np.zeros(node.size))
    empty = sparse.csr_array((node.size, 0))
    weight = sparse.hstack([empty, *(m.to_sparse() for m in node.maps)], format="csr")
    weight.sort_indices()
    return DirectInputs(node.inputs, sparse.csr_array(weight), node.bias)
