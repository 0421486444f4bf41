"""The one form in which every model is handled: a DAG of affine maps and ReLUs over flat float64 vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from onnx_models._convolution import ConvolutionMap
from onnx_models._maps import Array, DenseMap, LinearMap, SparseMap
from onnx_models._source import OnnxSource
from onnx_models.errors import InputError


@dataclass(frozen=True, eq=False)
class Input:
    """The network's only input; `shape` is its tensor shape without the batch dimension."""

    shape: tuple[int, ...]
    name: str = "input"

    @property
    def size(self) -> int:
        """Length of the flattened value."""
        return int(np.prod(self.shape))


@dataclass(frozen=True, eq=False)
class Affine:
    """`value = sum over k of maps[k](value of node inputs[k]) + bias`

    Attributes:
        inputs: indices of earlier nodes; the same index may occur twice where two maps cannot be added.
        maps: one per input, all with the same output size m.
        bias: shape (m,).
        name: the ONNX value it stands for, for messages.
    """

    inputs: tuple[int, ...]
    maps: tuple[LinearMap, ...]
    bias: Array
    name: str = ""

    def __post_init__(self) -> None:
        assert len(self.inputs) == len(self.maps)
        assert all(m.output_size == self.size for m in self.maps)

    @property
    def size(self) -> int:
        """Length of the flattened value."""
        return len(self.bias)


@dataclass(frozen=True, eq=False)
class Relu:
    """value = max(value of node `input`, 0), elementwise."""

    input: int
    size: int
    name: str = ""


Node = Input | Affine | Relu


@dataclass(frozen=True, eq=False)
class ReluNetwork:
    """A frozen network: nodes in topological order, node 0 the input, the last node the logits.

    All evaluation is in float64; float32 weights embed exactly. `forward` and `forward_batch` take values in the
    model's own input range and shape (or flattened) and return logits.
    """

    nodes: tuple[Node, ...]
    notes: tuple[str, ...] = field(default=())
    """What the importer changed and the user should know (a Softmax that was stripped, for example)."""
    source: OnnxSource | None = None
    """The ONNX model this came from, for float32 replays; None for networks built by hand. Not part of `digest`."""

    def __post_init__(self) -> None:
        assert isinstance(self.nodes[0], Input)
        for index, node in enumerate(self.nodes):
            if isinstance(node, Affine):
                for source, linear_map in zip(node.inputs, node.maps, strict=True):
                    assert source < index and self.nodes[source].size == linear_map.input_size
            elif isinstance(node, Relu):
                assert node.input < index and self.nodes[node.input].size == node.size
            else:
                assert index == 0

    def __repr__(self) -> str:
        name = "" if self.source is None else f"{self.source.name}: "
        return f"ReluNetwork({name}{self.input_shape} -> {self.output_size}, {self.relu_count} ReLUs)"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, without the batch dimension."""
        node = self.nodes[0]
        assert isinstance(node, Input)
        return node.shape

    @property
    def input_size(self) -> int:
        """Number of input entries n."""
        return self.nodes[0].size

    @property
    def output_size(self) -> int:
        """Number of logits."""
        return self.nodes[-1].size

    @cached_property
    def relu_indices(self) -> tuple[int, ...]:
        """Indices of the ReLU nodes, in topological order."""
        return tuple(i for i, node in enumerate(self.nodes) if isinstance(node, Relu))

    @cached_property
    def relu_count(self) -> int:
        """Number of ReLU units in all ReLU nodes."""
        return sum(self.nodes[i].size for i in self.relu_indices)

    @cached_property
    def consumers(self) -> tuple[tuple[int, ...], ...]:
        """For each node the indices of the nodes that read it."""
        readers: list[list[int]] = [[] for _ in self.nodes]
        for index, node in enumerate(self.nodes):
            for source in sources(node):
                readers[source].append(index)
        return tuple(tuple(dict.fromkeys(r)) for r in readers)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of structure and weights: two networks with the same digest compute the same function."""
        digest = hashlib.sha256()
        for node in self.nodes:
            digest.update(repr((type(node).__name__, sources(node), node.size)).encode())
            if isinstance(node, Affine):
                for linear_map in node.maps:
                    digest.update(_map_bytes(linear_map))
                digest.update(np.ascontiguousarray(node.bias).tobytes())
        return digest.hexdigest()

    def flatten_input(self, x: ArrayLike) -> Array:
        """A copy of `x` as a flat float64 vector.

        `x` is flat or has the model's input shape, dimensions of length 1 apart.

        Raises:
            InputError: another shape, entries that are not finite, or no array of real numbers at all.
        """
        try:
            array = np.asarray(x, np.float64)
        except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: a torch tensor that requires a gradient
            raise InputError(f"The input cannot be read as an array of numbers: {error}") from error
        if not _fits(array.shape, self.input_shape):
            raise InputError(
                f"The input has shape {array.shape} ({array.size} entries), "
                f"the model expects {self.input_shape} ({self.input_size} entries)."
            )
        flat = array.reshape(-1).copy()
        if not np.all(np.isfinite(flat)):
            raise InputError("The input contains NaN or infinite values; every entry must be a finite number.")
        return flat

    def forward(self, x: ArrayLike) -> Array:
        """Logits, shape (output_size,), of one input of shape `input_shape` or flat."""
        logits: Array = self.forward_batch(self.flatten_input(x)[None])[0]
        return logits

    def forward_batch(self, batch: ArrayLike) -> Array:
        """Logits, shape (N, output_size), of a batch of shape (N, *input_shape) or (N, input_size)."""
        return self.activations(batch)[-1]

    def activations(self, batch: ArrayLike) -> list[Array]:
        """Value of every node, each of shape (N, node size), for a batch as in `forward_batch`."""
        array = np.asarray(batch, np.float64)
        if array.ndim == 0 or not _fits(array.shape[1:], self.input_shape):
            raise InputError(
                f"The batch has shape {array.shape}; the model expects (N, {', '.join(map(str, self.input_shape))})."
            )
        flat = array.reshape(len(array), self.input_size)
        values: list[Array] = []
        for node in self.nodes:
            if isinstance(node, Input):
                values.append(flat)
            elif isinstance(node, Relu):
                values.append(np.maximum(values[node.input], 0.0))
            else:
                terms = [m.apply(values[k]) for k, m in zip(node.inputs, node.maps, strict=True)]
                values.append(_sum(terms, len(flat), node.size) + node.bias)
        return values


def sources(node: Node) -> tuple[int, ...]:
    """Indices of the nodes that `node` reads."""
    if isinstance(node, Affine):
        return node.inputs
    return (node.input,) if isinstance(node, Relu) else ()


def _fits(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether a tensor of `shape` is one of shape `expected`, or flat, when dimensions of length 1 are left out.

    An image with its channels last has the right number of entries for a model that wants them first, in the wrong
    order; a model whose input is flat takes its entries in whatever order they stand.
    """
    given, wanted = (tuple(d for d in dims if d != 1) for dims in (shape, expected))
    return given == wanted or (int(np.prod(given)) == int(np.prod(wanted)) and min(len(given), len(wanted)) <= 1)


def _sum(terms: Sequence[Array], rows: int, size: int) -> Array:
    if not terms:
        return np.zeros((rows, size))
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _map_bytes(linear_map: LinearMap) -> bytes:
    """Kind and shape, which tell how many numbers follow, and those: different maps give different bytes."""
    if isinstance(linear_map, DenseMap):
        return repr(("dense", *linear_map.weight.shape)).encode() + np.ascontiguousarray(linear_map.weight).tobytes()
    if isinstance(linear_map, ConvolutionMap):
        c = linear_map
        geometry = ("convolution", c.kernel.shape, c.input_shape, c.strides, c.pads, c.dilations, c.groups)
        return repr(geometry).encode() + np.ascontiguousarray(c.kernel).tobytes()
    assert isinstance(linear_map, SparseMap)
    m = linear_map.matrix
    parts = (m.indptr.astype(np.int64), m.indices.astype(np.int64), m.data)
    return repr(("sparse", *m.shape)).encode() + b"".join(np.ascontiguousarray(p).tobytes() for p in parts)
