"""The direct inputs of a ReLU's units: what their pre-activations are affine maps of."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bounds._bounds import Bounds, NetworkBounds
from bounds._rounding import UNDERFLOW, gamma, inflate
from onnx_models import Affine, Array, ReluNetwork

MOST_ENTRIES = 2**22
"""Maps whose product would have more coefficients are not multiplied: deep chains of convolutions become dense."""


@dataclass(frozen=True, slots=True, eq=False)
class DirectInputs:
    """z = weight @ v + bias for all units of a ReLU node, v the values of the `sources` one after the other.

    Where maps were multiplied the coefficients are rounded: the true ones are at most `weight_error` and `bias_error`
    away.

    Attributes:
        sources: indices of nodes; one may occur twice.
        weight: shape (units, size of v).
        bias: shape (units,).
        weight_error: shape (units, size of v), stored where `weight` is not exact.
        bias_error: shape (units,).
    """

    sources: tuple[int, ...]
    weight: sparse.csr_array
    bias: Array
    weight_error: sparse.csr_array
    bias_error: Array

    def error(self, units: NDArray[np.intp], reach: Array) -> Array:
        """At least |z - (weight @ v + bias)| for some units, where |v| <= `reach`; 0 where exact, shape (units,)."""
        rounded = np.diff(self.weight_error.indptr)[units] + (self.bias_error[units] > 0)
        return inflate(self.weight_error[units] @ reach + self.bias_error[units], rounded > 0)

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
    """What the entries of node `index` are affine maps of: where possible the input and outputs of ReLUs.

    A plane over the entries of an affine node takes these for independent of each other. Over what they are computed
    from it can be any facet of the hull, so affine nodes are multiplied out. A plain chain has one map between ReLUs;
    maxima, skip connections and masks have more.
    """
    node = network.nodes[index]
    if not isinstance(node, Affine):
        return _exact((index,), sparse.csr_array(sparse.eye_array(node.size, format="csr")), np.zeros(node.size))
    maps = [sparse.csr_array(m.to_sparse()) for m in node.maps]
    if any(isinstance(network.nodes[source], Affine) for source in node.inputs):
        found = _product(network, node, maps)
        if found is not None:
            return found
    weight = sparse.csr_array(sparse.hstack([sparse.csr_array((node.size, 0)), *maps], format="csr"))
    weight.sort_indices()
    return _exact(node.inputs, weight, node.bias)


def _exact(sources: tuple[int, ...], weight: sparse.csr_array, bias: Array) -> DirectInputs:
    return DirectInputs(sources, weight, bias, sparse.csr_array(weight.shape), np.zeros(len(bias)))


@np.errstate(over="ignore", invalid="ignore")
def _product(network: ReluNetwork, node: Affine, maps: list[sparse.csr_array]) -> DirectInputs | None:
    """The node's maps behind those of the nodes that it reads; None for too many coefficients, or too large ones.

    A coefficient is a sum of products over the ways from an entry of v, so its error is the usual one of such a sum,
    and what the maps make of the errors that the factors have. Rows that pick one entry of a node are exact, but where
    that reads some source twice: the two coefficients are added.
    """
    inner = [_inputs_of(network, source) for source in node.inputs]
    once = all(len(set(behind.sources)) == len(behind.sources) for behind in inner)
    picks = _picks(maps) & (node.bias == 0) & once
    added = sum(len(behind.sources) for behind in inner)
    share = gamma(sum(int(np.diff(m.indptr).max(initial=0)) for m in maps) + added + 2)
    rounding, lost = np.where(picks, 0.0, share), np.where(picks, 0.0, UNDERFLOW)
    blocks: dict[int, list[sparse.csr_array]] = {}
    bias, sizes, carried = node.bias.copy(), np.abs(node.bias), np.zeros(node.size)
    touched = np.zeros(node.size, np.bool_)  # biases with products, which may have underflowed
    for matrix, behind in zip(maps, inner, strict=True):
        size, first = abs(matrix), 0
        bias, sizes = bias + matrix @ behind.bias, sizes + size @ np.abs(behind.bias)
        carried = carried + size @ behind.bias_error
        touched |= _pattern(matrix) @ np.where((behind.bias != 0) | (behind.bias_error > 0), 1.0, 0.0) > 0
        for source in behind.sources:
            part = slice(first, first + network.nodes[source].size)
            weight, errors = sparse.csr_array(behind.weight[:, part]), sparse.csr_array(behind.weight_error[:, part])
            error = sparse.diags_array(rounding) @ (size @ abs(weight)) + size @ errors
            error = error + sparse.diags_array(lost) @ (_pattern(matrix) @ (_pattern(weight) + _pattern(errors)))
            product = sparse.csr_array(matrix @ weight)
            if product.nnz + sum(known[0].nnz for known in blocks.values()) > MOST_ENTRIES:
                return None
            known = blocks.get(source)
            blocks[source] = [product, error] if known is None else [known[0] + product, known[1] + error]
            first = part.stop
    weight, error = (sparse.csr_array(sparse.hstack([b[k] for b in blocks.values()], format="csr")) for k in (0, 1))
    weight.sort_indices()
    error.eliminate_zeros()
    error.data = inflate(error.data, np.ones(error.nnz, np.bool_))
    bias_error = rounding * sizes + carried
    bias_error = inflate(bias_error, (bias_error > 0) | (touched & ~picks))
    if not all(np.isfinite(values).all() for values in (weight.data, error.data, bias, bias_error)):
        return None
    return DirectInputs(tuple(blocks), weight, bias, error, bias_error)


def _pattern(matrix: sparse.csr_array) -> sparse.csr_array:
    """1 where the matrix has an entry."""
    return sparse.csr_array((np.ones(matrix.nnz), matrix.indices, matrix.indptr), shape=matrix.shape)


def _picks(maps: list[sparse.csr_array]) -> NDArray[np.bool_]:
    """Which rows are one entry of one node, or nothing."""
    whole = sparse.csr_array(sparse.hstack(maps, format="csr"))
    other = np.flatnonzero(whole.data != 1.0)
    rows = np.searchsorted(whole.indptr, other, side="right") - 1
    result: NDArray[np.bool_] = np.diff(whole.indptr) <= 1
    result[rows] = False
    return result
