"""Linear maps on tensors, with their absolute values, transposes and single rows: what bounds of many boxes need.

This module imports torch; it is itself imported only inside functions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional

from onnx_models import ConvolutionMap, DenseMap, LinearMap

DENSE_ENTRIES = 4_000_000
"""Sparse maps with at most this many places (32 MB) are written out: dense products are far faster than sparse ones."""


class TensorMap(ABC):
    """A linear map M from R^n to R^m in float64; every result is a plain sum of products, in some order."""

    @abstractmethod
    def apply(self, batch: Tensor) -> Tensor:
        """M x for every row x, shapes (N, n) and (N, m)."""

    @abstractmethod
    def absolute(self, batch: Tensor) -> Tensor:
        """|M| x for every row x."""

    @abstractmethod
    def transposed(self, batch: Tensor) -> Tensor:
        """M^T y for every row y, shapes (N, m) and (N, n)."""

    @abstractmethod
    def rows(self, units: Tensor) -> Tensor:
        """Rows of the matrix M, without rounding; `units` has shape (N,), the result (N, n)."""


def tensor_map(linear_map: LinearMap, device: str) -> TensorMap:
    """The map on a device: convolutions stay convolutions, everything else becomes a matrix."""
    if isinstance(linear_map, ConvolutionMap):
        return _Convolution(linear_map, device)
    if isinstance(linear_map, DenseMap):
        return _Dense(torch.tensor(linear_map.weight, device=device))
    matrix = linear_map.to_sparse()
    if matrix.shape[0] * matrix.shape[1] <= DENSE_ENTRIES:
        return _Dense(torch.tensor(matrix.toarray(), device=device))
    return _Sparse(linear_map, device)


class _Dense(TensorMap):
    def __init__(self, weight: Tensor) -> None:
        self._weight, self._turned = weight, weight.T.contiguous()
        self._absolute = self._turned.abs()

    def apply(self, batch: Tensor) -> Tensor:
        return batch @ self._turned

    def absolute(self, batch: Tensor) -> Tensor:
        return batch @ self._absolute

    def transposed(self, batch: Tensor) -> Tensor:
        return batch @ self._weight

    def rows(self, units: Tensor) -> Tensor:
        return self._weight.index_select(0, units)


class _Sparse(TensorMap):
    def __init__(self, linear_map: LinearMap, device: str) -> None:
        self._size = linear_map.output_size
        self._matrix = _coo(linear_map, device)
        self._absolute, self._turned = _coo(linear_map.absolute(), device), self._matrix.T.coalesce()

    def apply(self, batch: Tensor) -> Tensor:
        return _product(self._matrix, batch)

    def absolute(self, batch: Tensor) -> Tensor:
        return _product(self._absolute, batch)

    def transposed(self, batch: Tensor) -> Tensor:
        return _product(self._turned, batch)

    def rows(self, units: Tensor) -> Tensor:
        return self.transposed(_one_hot(units, self._size))


class _Convolution(TensorMap):
    """A convolution by its plain algorithm: cuDNN may choose one by Fourier transforms, whose errors are others."""

    def __init__(self, linear_map: ConvolutionMap, device: str) -> None:
        self._map = linear_map
        self._kernel = torch.tensor(linear_map.kernel, device=device)
        self._magnitude = self._kernel.abs()

    def apply(self, batch: Tensor) -> Tensor:
        return self._convolve(batch, self._kernel)

    def absolute(self, batch: Tensor) -> Tensor:
        return self._convolve(batch, self._magnitude)

    def transposed(self, batch: Tensor) -> Tensor:
        m = self._map
        _, height, width = m.padded_shape
        reached = [
            (size - 1) * stride + dilation * (side - 1) + 1
            for size, stride, dilation, side in zip(
                m.output_shape[1:], m.strides, m.dilations, m.kernel.shape[2:], strict=True
            )
        ]
        with torch.backends.cudnn.flags(enabled=False):
            image = functional.conv_transpose2d(
                batch.reshape(-1, *m.output_shape),
                self._kernel,
                stride=m.strides,
                groups=m.groups,
                dilation=m.dilations,
            )
        # What the last window does not reach has no coefficient.
        image = functional.pad(image, (0, width - reached[1], 0, height - reached[0]))
        top, left, _, _ = m.pads
        return image[:, :, top : top + m.input_shape[1], left : left + m.input_shape[2]].flatten(1)

    def rows(self, units: Tensor) -> Tensor:
        return self.transposed(_one_hot(units, self._map.output_size))

    def _convolve(self, batch: Tensor, kernel: Tensor) -> Tensor:
        m = self._map
        top, left, bottom, right = m.pads
        image = functional.pad(batch.reshape(-1, *m.input_shape), (left, right, top, bottom))
        with torch.backends.cudnn.flags(enabled=False):
            result = functional.conv2d(image, kernel, stride=m.strides, dilation=m.dilations, groups=m.groups)
        return result.flatten(1)


def _coo(linear_map: LinearMap, device: str) -> Tensor:
    matrix = linear_map.to_sparse().tocoo()
    index = torch.tensor([matrix.row.tolist(), matrix.col.tolist()], dtype=torch.int64)
    values = torch.tensor(matrix.data, dtype=torch.float64)
    return torch.sparse_coo_tensor(index, values, matrix.shape, check_invariants=True).coalesce().to(device)


def _product(matrix: Tensor, batch: Tensor) -> Tensor:
    product: Tensor = torch.sparse.mm(matrix, batch.T.contiguous()).T
    return product.contiguous()


def _one_hot(units: Tensor, size: int) -> Tensor:
    result = torch.zeros((len(units), size), dtype=torch.float64, device=units.device)
    return result.scatter_(1, units[:, None], 1.0)
