"""Linear maps as torch modules: the same geometry, differentiable in the input, with coefficients as buffers.

This module imports torch; it is itself imported only inside functions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from onnx_models._convolution import ConvolutionMap
from onnx_models._maps import DenseMap, LinearMap, SparseMap


def torch_map(linear_map: LinearMap, dtype: torch.dtype) -> nn.Module:
    """A module that takes a batch, shape (N, n), to M x of every row, shape (N, m); it has no trainable parameters.

    A dense map is a matrix product, a convolution stays one, and a sparse map becomes the cheapest of: nothing, an
    elementwise product, a selection (with an elementwise product behind it), a sparse matrix product.
    """
    if isinstance(linear_map, DenseMap):
        return _Dense(linear_map, dtype)
    if isinstance(linear_map, ConvolutionMap):
        return _Convolution(linear_map, dtype)
    assert isinstance(linear_map, SparseMap)
    if linear_map.is_identity:
        return nn.Identity()
    if linear_map.scale is not None:
        return _Diagonal(linear_map, dtype)
    return _Selection(linear_map, dtype) if linear_map.fan_in <= 1 else _Sparse(linear_map, dtype)


class _Dense(nn.Module):
    weight: Tensor

    def __init__(self, linear_map: DenseMap, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor(linear_map.weight, dtype=dtype))

    def forward(self, batch: Tensor) -> Tensor:
        return functional.linear(batch, self.weight)


class _Convolution(nn.Module):
    """`conv2d` pads both sides alike, so asymmetric padding is done by `pad` before it."""

    kernel: Tensor

    def __init__(self, linear_map: ConvolutionMap, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.tensor(linear_map.kernel, dtype=dtype))
        self._shape, self._strides = linear_map.input_shape, linear_map.strides
        self._dilations, self._groups = linear_map.dilations, linear_map.groups
        top, left, bottom, right = linear_map.pads
        symmetric = (top, left) == (bottom, right)
        self._padding = (top, left) if symmetric else (0, 0)
        self._pad = None if symmetric else (left, right, top, bottom)  # the last dimension comes first

    def forward(self, batch: Tensor) -> Tensor:
        image = batch.reshape(-1, *self._shape)
        if self._pad is not None:
            image = functional.pad(image, self._pad)
        result = functional.conv2d(
            image,
            self.kernel,
            stride=self._strides,
            padding=self._padding,
            dilation=self._dilations,
            groups=self._groups,
        )
        return result.flatten(1)


class _Diagonal(nn.Module):
    scale: Tensor

    def __init__(self, linear_map: SparseMap, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(linear_map.scale, dtype=dtype))

    def forward(self, batch: Tensor) -> Tensor:
        return batch * self.scale


class _Selection(nn.Module):
    """Rows with at most one coefficient each; an empty row reads entry 0 and scales it by 0."""

    index: Tensor
    scale: Tensor | None

    def __init__(self, linear_map: SparseMap, dtype: torch.dtype) -> None:
        super().__init__()
        matrix = linear_map.matrix
        filled = np.diff(matrix.indptr) == 1
        index, scale = np.zeros(matrix.shape[0], np.int64), np.zeros(matrix.shape[0])
        index[filled], scale[filled] = matrix.indices, matrix.data
        self.register_buffer("index", torch.from_numpy(index))
        self.register_buffer("scale", None if np.all(scale == 1.0) else torch.tensor(scale, dtype=dtype))

    def forward(self, batch: Tensor) -> Tensor:
        selected = batch.index_select(1, self.index)
        return selected if self.scale is None else selected * self.scale


class _Sparse(nn.Module):
    """A COO matrix: the sparse layout of torch whose product is differentiable on every device and past its beta."""

    matrix: Tensor

    def __init__(self, linear_map: SparseMap, dtype: torch.dtype) -> None:
        super().__init__()
        matrix = linear_map.matrix.tocoo()
        index = torch.from_numpy(np.stack([matrix.row, matrix.col]).astype(np.int64))
        values = torch.tensor(matrix.data, dtype=dtype)
        coo = torch.sparse_coo_tensor(index, values, matrix.shape, check_invariants=True)
        self.register_buffer("matrix", coo.coalesce())

    def forward(self, batch: Tensor) -> Tensor:
        product: Tensor = torch.sparse.mm(self.matrix, batch.T).T
        return product
