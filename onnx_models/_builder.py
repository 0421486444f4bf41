"""Building a network node by node, then simplifying it: dead nodes dropped, adjacent affine maps fused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from onnx_models._compose import add, compose
from onnx_models._maps import Array, LinearMap, SparseMap
from onnx_models._network import Affine, Input, Node, Relu, ReluNetwork, sources

FUSED_ENTRIES = 1_000_000
"""A fused map may have this many coefficients even if its two factors had fewer; beyond it fusing must save some."""


class NetworkBuilder:
    """Collects nodes and gives each an index; `build` turns those an output needs into a `ReluNetwork`.

    Indices returned by the methods are valid for later calls on the same builder only: `build` renumbers.
    """

    def __init__(self, input_shape: Sequence[int], name: str = "input") -> None:
        self._nodes: list[Node] = [Input(tuple(int(d) for d in input_shape), name)]
        self.notes: list[str] = []

    @property
    def nodes(self) -> Sequence[Node]:
        """The nodes as added so far; positions are the indices that the methods return."""
        return self._nodes

    def size(self, index: int) -> int:
        """Length of the flat value of node `index`."""
        return self._nodes[index].size

    def affine(
        self, inputs: Sequence[int], maps: Sequence[LinearMap], bias: Array | float = 0.0, *, name: str = ""
    ) -> int:
        """Adds `sum of maps[k](inputs[k]) + bias`; `bias` of shape (m,) or a number; returns the node's index."""
        full = np.broadcast_to(np.asarray(bias, np.float64), (maps[0].output_size,)).copy()
        return self._append(Affine(tuple(inputs), tuple(maps), full, name))

    def constant(self, value: Array, *, name: str = "") -> int:
        """Adds a node whose value, shape (m,), does not depend on the input; returns its index."""
        return self._append(Affine((), (), np.asarray(value, np.float64).reshape(-1), name))

    def relu(self, index: int, *, name: str = "") -> int:
        """Adds max(value, 0) of node `index`; returns the node's index."""
        return self._append(Relu(index, self.size(index), name))

    def maximum(self, first: int, second: int, *, name: str = "") -> int:
        """Adds max(first, second) = relu(first - second) + second, elementwise; returns the node's index."""
        identity = SparseMap.identity(self.size(first))
        negative = SparseMap.diagonal(-np.ones(self.size(first)))
        difference = self.affine((first, second), (identity, negative), name=name)
        return self.affine((self.relu(difference, name=name), second), (identity, identity), name=name)

    def build(self, output: int, *, fuse: bool = True) -> ReluNetwork:
        """The network that computes node `output`; with `fuse=False` every node it needs is kept as it was added."""
        nodes = _fuse(self._nodes, output) if fuse else list(self._nodes)
        return ReluNetwork(_compact(nodes, output), tuple(self.notes))

    def _append(self, node: Node) -> int:
        self._nodes.append(node)
        return len(self._nodes) - 1


def _reachable(nodes: Sequence[Node], output: int) -> list[int]:
    """Indices that `output` depends on, the input always among them, ascending."""
    found, stack = {0, output}, [output]
    while stack:
        for source in sources(nodes[stack.pop()]):
            if source not in found:
                found.add(source)
                stack.append(source)
    return sorted(found)


def _compact(nodes: Sequence[Node], output: int) -> tuple[Node, ...]:
    """The needed nodes, renumbered; an output that is the input itself becomes an identity node after it."""
    if output == 0:
        return nodes[0], Affine((0,), (SparseMap.identity(nodes[0].size),), np.zeros(nodes[0].size), "output")
    kept = _reachable(nodes, output)
    new_index = {old: new for new, old in enumerate(kept)}
    return tuple(_redirect(nodes[old], new_index) for old in kept)


def _redirect(node: Node, new_index: dict[int, int]) -> Node:
    if isinstance(node, Affine):
        return replace(node, inputs=tuple(new_index[k] for k in node.inputs))
    return replace(node, input=new_index[node.input]) if isinstance(node, Relu) else node


def _fuse(original: Sequence[Node], output: int) -> list[Node]:
    """`original` with every affine node merged into the affine nodes that read it, where `_substitute` allows it.

    Selections, permutations, sign changes and sums of disjoint terms are exact; other coefficients are float64 products
    and sums, rounded. The network that results is the one that every answer is about.
    """
    nodes = list(original)
    kept = _reachable(nodes, output)
    readers = dict.fromkeys(kept, 0)
    for index in kept:
        for source in set(sources(nodes[index])):
            readers[source] += 1
    alias: dict[int, int] = {}
    for index in kept:
        node = _redirect(nodes[index], {k: alias.get(k, k) for k in sources(nodes[index])})
        if isinstance(node, Affine):
            node = _substitute(nodes, node, readers)
            if index != output and _is_identity(node):
                alias[index] = node.inputs[0]
                readers[node.inputs[0]] += readers[index] - 1
        nodes[index] = node
    return nodes


def _is_identity(node: Affine) -> bool:
    """Whether the node only passes one other node's value on."""
    first = node.maps[0] if len(node.maps) == 1 else None
    return isinstance(first, SparseMap) and first.is_identity and not np.any(node.bias)


def _substitute(nodes: Sequence[Node], node: Affine, readers: dict[int, int]) -> Affine:
    """`node` with its affine inputs replaced by what they compute, and maps from the same input added up."""
    terms: list[tuple[int, LinearMap]] = []
    bias = node.bias
    for source, outer in zip(node.inputs, node.maps, strict=True):
        inner = nodes[source]
        fused = _composed(outer, inner, shared=readers[source] > 1) if isinstance(inner, Affine) else None
        if fused is None:
            terms.append((source, outer))
        else:
            assert isinstance(inner, Affine)
            terms.extend(zip(inner.inputs, fused, strict=True))
            bias = bias + outer.apply(inner.bias[None])[0]
    merged = _merge(terms)
    return Affine(tuple(k for k, _ in merged), tuple(m for _, m in merged), bias, node.name)


def _composed(outer: LinearMap, inner: Affine, *, shared: bool) -> list[LinearMap] | None:
    """`outer` after each map of `inner`, or None where that densifies a convolution or costs too many coefficients.

    An inner node that other nodes read too stays alive, so repeating its work must not cost coefficients.
    """
    fused: list[LinearMap] = []
    for inner_map in inner.maps:
        product = compose(outer, inner_map) if _product_is_small(outer, inner_map) else None
        if product is None:
            return None
        fused.append(product)
    entries = sum(m.entries for m in fused)
    if shared:
        return fused if entries <= outer.entries else None
    return fused if entries <= max(FUSED_ENTRIES, outer.entries + sum(m.entries for m in inner.maps)) else None


def _product_is_small(outer: LinearMap, inner: LinearMap) -> bool:
    """Whether even a dense product stays within what fusing may cost; keeps huge products from being formed."""
    largest = min(outer.output_size * inner.input_size, outer.entries * max(inner.fan_in, 1))
    return largest <= max(FUSED_ENTRIES, 2 * (outer.entries + inner.entries))


def _merge(terms: Sequence[tuple[int, LinearMap]]) -> list[tuple[int, LinearMap]]:
    """The terms with maps of the same input added where that keeps convolutions convolutions."""
    merged: list[tuple[int, LinearMap]] = []
    for source, linear_map in terms:
        for position, (other, existing) in enumerate(merged):
            total = add(existing, linear_map) if other == source else None
            if total is not None:
                merged[position] = (source, total)
                break
        else:
            merged.append((source, linear_map))
    return merged
