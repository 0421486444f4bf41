"""Products and sums of linear maps, formed only where that keeps convolutions convolutions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from onnx_models._convolution import ConvolutionMap
from onnx_models._maps import Array, DenseMap, LinearMap, SparseMap


def compose(outer: LinearMap, inner: LinearMap) -> LinearMap | None:
    """The map x -> outer(inner(x)), or None if forming it would write a convolution out as a matrix."""
    assert outer.input_size == inner.output_size
    if isinstance(outer, SparseMap) and outer.is_identity:
        return inner
    if isinstance(inner, SparseMap) and inner.is_identity:
        return outer
    if isinstance(outer, ConvolutionMap):
        scale = _channel_scale(inner, outer.input_shape)
        return None if scale is None else outer.scale_channels(inputs=scale)
    if isinstance(inner, ConvolutionMap):
        scale = _channel_scale(outer, inner.output_shape)
        return None if scale is None else inner.scale_channels(outputs=scale)
    return _product(outer, inner)


def _product(outer: LinearMap, inner: LinearMap) -> LinearMap:
    """The product of two maps that are dense or sparse."""
    if isinstance(outer, SparseMap) and isinstance(inner, SparseMap):
        product = (outer.matrix @ inner.matrix).tocsr()
        product.sort_indices()
        return SparseMap(product)
    if isinstance(outer, SparseMap):
        assert isinstance(inner, DenseMap)
        return DenseMap(np.ascontiguousarray(outer.matrix @ inner.weight))
    assert isinstance(outer, DenseMap)
    if isinstance(inner, SparseMap):
        return DenseMap(np.ascontiguousarray((inner.matrix.T @ outer.weight.T).T))
    assert isinstance(inner, DenseMap)
    return DenseMap(outer.weight @ inner.weight)


def add(first: LinearMap, second: LinearMap) -> LinearMap | None:
    """The map x -> first(x) + second(x), or None if one of them is a convolution of another geometry than the other."""
    if isinstance(first, ConvolutionMap) or isinstance(second, ConvolutionMap):
        return _add_convolutions(first, second)
    if isinstance(first, SparseMap) and isinstance(second, SparseMap):
        total = (first.matrix + second.matrix).tocsr()
        total.eliminate_zeros()
        total.sort_indices()
        return SparseMap(total)
    return DenseMap(_as_matrix(first) + _as_matrix(second))


def _add_convolutions(first: LinearMap, second: LinearMap) -> LinearMap | None:
    if not (isinstance(first, ConvolutionMap) and isinstance(second, ConvolutionMap)):
        return None
    if _geometry(first) != _geometry(second):
        return None
    return replace(first, kernel=first.kernel + second.kernel)


def _geometry(conv: ConvolutionMap) -> tuple[object, ...]:
    return conv.kernel.shape, conv.input_shape, conv.strides, conv.pads, conv.dilations, conv.groups


def _as_matrix(linear_map: LinearMap) -> Array:
    if isinstance(linear_map, DenseMap):
        return linear_map.weight
    matrix: Array = linear_map.to_sparse().toarray()
    return matrix


def _channel_scale(linear_map: LinearMap, shape: tuple[int, int, int]) -> Array | None:
    """One factor per channel, shape (C,), if the map scales each channel of a (C, H, W) tensor by a constant."""
    scale = linear_map.scale if isinstance(linear_map, SparseMap) else None
    if scale is None:
        return None
    per_channel = scale.reshape(shape[0], -1)
    return per_channel[:, 0] if np.all(per_channel == per_channel[:, :1]) else None
