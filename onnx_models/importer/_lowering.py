"""The few ways in which ONNX values become affine and ReLU nodes; every operator is written in terms of these.

Each works on index arrays: a tensor is represented by the positions of its entries in its node's flat value, so that
any rearrangement, broadcast or window of it is the same numpy operation applied to integers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from onnx_models._maps import DenseMap, LinearMap, SparseMap
from onnx_models._network import Relu
from onnx_models.importer._call import Call
from onnx_models.importer._values import Constant, Tensor, Value, simplified

Indices = NDArray[np.int64]

_DWARFING = 2.0**20
"""Bounds beyond this cost a value of size 1 more than 20 of its 53 bits when they are subtracted and added again."""


def sound(call: Call, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of a tensor that depends on the input; refuses one without entries."""
    if 0 in shape:
        call.refuse(f"gives a tensor without entries (shape {tuple(shape)})")
    return tuple(int(d) for d in shape)


def output(call: Call, node: int, shape: Sequence[int]) -> Tensor:
    """Node `node` read in shape `shape`."""
    return Tensor(node, sound(call, shape))


def reshaped(call: Call, value: Value, shape: Sequence[int]) -> Value:
    """The value with the same entries in the same order, in another shape."""
    return output(call, value.node, shape) if isinstance(value, Tensor) else value.reshape(shape)


def rearrange(call: Call, values: Sequence[Value], function: Callable[..., Constant]) -> Value:
    """The value whose every entry is an entry of one of `values`, as `function` arranges them.

    `function` maps arrays of the values' shapes to one array and must only move entries: it is called with indices
    where some value is a tensor, and with the values themselves where all are constants.
    """
    if not any(isinstance(v, Tensor) for v in values):
        return simplified(np.asarray(function(*values)))
    sizes = [v.size for v in values]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    for value in values:
        call.spend(value.shape, 2)
    numbered = [np.arange(start, start + v.size).reshape(v.shape) for start, v in zip(starts[:-1], values, strict=True)]
    chosen = np.asarray(function(*numbered))
    call.spend(chosen.shape, 4)
    shape, flat = sound(call, chosen.shape), chosen.reshape(-1)
    inputs: list[int] = []
    maps: list[LinearMap] = []
    bias = np.zeros(flat.size)
    for value, start in zip(values, starts[:-1], strict=True):
        mine = (flat >= start) & (flat < start + value.size)
        if not mine.any():
            continue
        if isinstance(value, Tensor):
            if mine.all() and flat.size == value.size and np.array_equal(flat, np.arange(start, start + value.size)):
                return Tensor(value.node, shape)
            inputs.append(value.node)
            maps.append(SparseMap.selection(np.where(mine, flat - start, -1), value.size))
        else:
            bias[mine] = call.as_numbers(value).reshape(-1)[flat[mine] - start]
    if not maps:
        return bias.reshape(shape)
    return Tensor(call.builder.affine(inputs, maps, bias, name=call.name), shape)


def broadcast(call: Call, *shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that all `shapes` broadcast to."""
    try:
        return np.broadcast_shapes(*map(tuple, shapes))
    except ValueError:
        call.refuse(f"combines shapes that do not fit together: {', '.join(str(tuple(s)) for s in shapes)}")


def common_shape(call: Call, values: Sequence[Value], *shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that all `values` and `shapes` broadcast to; refuses to move or fix a dynamic batch that way."""
    shape = broadcast(call, *(v.shape for v in values), *shapes)
    tensors = [v for v in values if isinstance(v, Tensor)]
    if call.batched and tensors and (shape[0] != 1 or any(len(t.shape) != len(shape) for t in tensors)):
        call.refuse_batch()
    return sound(call, shape) if tensors else shape


def combine(call: Call, terms: Sequence[tuple[Value, ArrayLike]], offset: ArrayLike = 0.0) -> Value:
    """sum of factor * value over `terms`, plus `offset`, elementwise with broadcasting.

    Factors and offset are constants of any shape that broadcasts with the values.
    """
    factors = [np.asarray(factor, np.float64) for _, factor in terms]
    bias = np.asarray(offset, np.float64)
    shape = common_shape(call, [*(v for v, _ in terms), *factors, bias])
    call.spend(shape, 2 + 3 * len(terms))
    inputs: list[int] = []
    maps: list[LinearMap] = []
    for (value, _), factor in zip(terms, factors, strict=True):
        scale = call.as_numbers(np.broadcast_to(factor, shape))
        if isinstance(value, Tensor):
            inputs.append(value.node)
            maps.append(_scaled(value, scale))
        else:
            bias = bias + scale * call.as_numbers(value)
    bias = call.as_numbers(np.broadcast_to(bias, shape))
    if not maps:
        return bias
    if len(maps) == 1 and isinstance(maps[0], SparseMap) and maps[0].is_identity and not bias.any():
        return output(call, inputs[0], shape)
    return output(call, call.builder.affine(inputs, maps, bias.reshape(-1), name=call.name), shape)


def _scaled(tensor: Tensor, scale: NDArray[np.float64]) -> SparseMap:
    """The map that broadcasts `tensor` to the shape of `scale` and multiplies by it, elementwise."""
    if tensor.size == scale.size:
        return SparseMap.diagonal(scale.reshape(-1))
    index = np.broadcast_to(tensor.indices, scale.shape).reshape(-1, 1)
    return _gathered(index, scale.reshape(-1, 1), tensor.size)


def weighted_sum(call: Call, tensor: Tensor, indices: Indices, weights: ArrayLike) -> Tensor:
    """sum over the last axis of weights * tensor[indices].

    Args:
        call: the node being lowered.
        tensor: what is summed.
        indices: positions in the tensor's flat value, shape (*result shape, K); -1 stands for the constant 0.
        weights: broadcasts to the shape of `indices`.
    """
    shape, terms = indices.shape[:-1], indices.shape[-1]
    call.spend(indices.shape, 3)
    factors = call.as_numbers(np.broadcast_to(np.asarray(weights, np.float64), indices.shape)).reshape(-1, terms)
    linear_map = _gathered(indices.reshape(-1, terms), factors, tensor.size)
    return output(call, call.builder.affine((tensor.node,), (linear_map,), name=call.name), shape)


def dense(call: Call, tensor: Tensor, weight: NDArray[np.float64], shape: Sequence[int]) -> Tensor:
    """weight @ (flat value of `tensor`), in shape `shape`; `weight` of shape (m, tensor.size)."""
    call.spend(weight.shape)
    linear_map = DenseMap(np.ascontiguousarray(call.as_numbers(weight)))
    return output(call, call.builder.affine((tensor.node,), (linear_map,), name=call.name), shape)


def _gathered(indices: Indices, weights: NDArray[np.float64], size: int) -> SparseMap:
    """CSR map with weights[r, k] in row r, column indices[r, k]; entries of index -1 left out."""
    kept = indices >= 0
    start = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    matrix = sparse.csr_array((weights[kept], indices[kept], start), shape=(len(indices), size))
    matrix.sort_indices()
    return SparseMap(matrix)


def relu(call: Call, tensor: Tensor) -> Tensor:
    """max(tensor, 0); the tensor itself if it already is the result of a ReLU."""
    if isinstance(call.builder.nodes[tensor.node], Relu):
        return tensor
    call.spend(tensor.shape)
    return Tensor(call.builder.relu(tensor.node, name=call.name), tensor.shape)


def at_least(call: Call, value: Value, floor: ArrayLike) -> Value:
    """max(value, floor) for a constant `floor`: relu(value - floor) + floor, whose interval bounds respect the floor.

    A floor that dwarfs the values would swallow their digits in that form; then value + relu(floor - value).
    """
    if not isinstance(value, Tensor):
        return np.maximum(call.as_numbers(value), floor)
    if np.max(np.abs(floor)) > _DWARFING:
        missing = _rectified(call, combine(call, [(value, -1.0)], floor))
        return combine(call, [(value, 1.0), (missing, 1.0)])
    return combine(call, [(_rectified(call, combine(call, [(value, 1.0)], -np.asarray(floor))), 1.0)], floor)


def at_most(call: Call, value: Value, ceiling: ArrayLike) -> Value:
    """min(value, ceiling) = -max(-value, -ceiling) for a constant `ceiling`."""
    return negated(call, at_least(call, negated(call, value), -np.asarray(ceiling)))


def _rectified(call: Call, value: Value) -> Tensor:
    assert isinstance(value, Tensor)
    return relu(call, value)


def maximum(call: Call, values: Sequence[Value]) -> Value:
    """Elementwise maximum with broadcasting: tensors pairwise in a balanced tree, constants joined in last."""
    constants = [call.as_numbers(v) for v in values if not isinstance(v, Tensor)]
    tensors: list[Value] = [v for v in values if isinstance(v, Tensor)]
    common_shape(call, values)
    while len(tensors) > 1:
        pairs = zip(tensors[::2], tensors[1::2], strict=False)
        odd = tensors[-1:] if len(tensors) % 2 else []
        tensors = [_maximum_of_two(call, first, second) for first, second in pairs] + odd
    if not constants:
        return tensors[0]
    floor = constants[0]
    for constant in constants[1:]:
        floor = np.maximum(floor, constant)
    return at_least(call, tensors[0], floor) if tensors else floor


def _maximum_of_two(call: Call, first: Value, second: Value) -> Value:
    """max(a, b) = relu(a - b) + b."""
    difference = _rectified(call, combine(call, [(first, 1.0), (second, -1.0)]))
    return combine(call, [(difference, 1.0), (second, 1.0)])


def negated(call: Call, value: Value) -> Value:
    """-value."""
    return combine(call, [(value, -1.0)])


def maximum_over(call: Call, tensor: Tensor, candidates: Indices) -> Tensor:
    """max over the last axis of tensor[candidates], where -1 marks a place without candidate.

    Each round joins the first half of the candidates with the second: max(a, b) = relu(a - b) + b. A pair that occurs
    for several results is formed once, so that overlapping windows share their work.
    """
    shape = candidates.shape[:-1]
    call.spend(candidates.shape, 4)
    columns = -np.sort(-candidates.reshape(-1, candidates.shape[-1]), axis=1)  # absent candidates come last
    if columns.shape[1] == 0 or (columns[:, 0] < 0).any():
        call.refuse("takes the maximum over a window that lies in the padding altogether")
    node = tensor.node
    while columns.shape[1] > 1:
        node, columns = _halved(call, node, columns)
    chosen = SparseMap.selection(columns[:, 0], call.builder.size(node))
    if not chosen.is_identity:
        node = call.builder.affine((node,), (chosen,), name=call.name)
    return output(call, node, shape)


def _halved(call: Call, node: int, columns: Indices) -> tuple[int, Indices]:
    """One round of `maximum_over`: a node with the maxima of all pairs, and the candidates as positions in it."""
    size, half = call.builder.size(node), (columns.shape[1] + 1) // 2
    first, second = columns[:, :half], np.full((len(columns), half), -1, np.int64)
    second[:, : columns.shape[1] - half] = columns[:, half:]
    codes, position = np.unique(np.where(first < 0, -1, first * (size + 1) + second + 1), return_inverse=True)
    absent = int(codes[0] < 0)
    a, b = np.divmod(codes[absent:], size + 1)
    b = b - 1
    pairs, base = np.flatnonzero(b >= 0), np.where(b >= 0, b, a)
    call.spend(codes.shape, 3)
    chosen = SparseMap.selection(base, size)
    if len(pairs):
        ends = np.stack([a[pairs], b[pairs]], axis=1)
        difference = _gathered(ends, np.broadcast_to([1.0, -1.0], ends.shape), size)
        gain = call.builder.relu(call.builder.affine((node,), (difference,), name=call.name), name=call.name)
        scatter = np.full(len(base), -1, np.int64)
        scatter[pairs] = np.arange(len(pairs))
        maps = SparseMap.selection(scatter, len(pairs)), chosen
        joined = call.builder.affine((gain, node), maps, name=call.name)
    else:
        joined = call.builder.affine((node,), (chosen,), name=call.name)
    return joined, position.reshape(first.shape) - absent
