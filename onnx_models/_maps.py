"""Linear maps between flat vectors: the interface, and its dense and sparse forms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Array = NDArray[np.float64]


class LinearMap(ABC):
    """A linear map from R^n to R^m, applied to batches of flat row vectors, in float64.

    A map is a value: its arrays are never written to after construction. Spatial maps act on the row-major flattening
    of their tensors (channels, height, width), so that nodes of a network only ever exchange flat vectors.
    """

    @property
    @abstractmethod
    def input_size(self) -> int:
        """n, the length of the vectors the map takes."""

    @property
    @abstractmethod
    def output_size(self) -> int:
        """m, the length of the vectors the map gives."""

    @property
    @abstractmethod
    def entries(self) -> int:
        """Number of stored coefficients of the map as a matrix (weights of a convolution count once per use)."""

    @property
    @abstractmethod
    def fan_in(self) -> int:
        """Largest number of products summed in one output; rounding bounds of `apply` grow with it."""

    @property
    @abstractmethod
    def fan_out(self) -> int:
        """Largest number of products summed in one entry of `transpose_apply`."""

    @abstractmethod
    def apply(self, batch: Array) -> Array:
        """M x for every row x of `batch`, shape (N, n); the result has shape (N, m)."""

    @abstractmethod
    def transpose_apply(self, batch: Array) -> Array:
        """M^T y for every row y of `batch`, shape (N, m); the result has shape (N, n)."""

    @abstractmethod
    def absolute(self) -> LinearMap:
        """The map whose coefficients are the absolute values of this one's."""

    @abstractmethod
    def signed_parts(self) -> tuple[LinearMap, LinearMap]:
        """Maps (P, N) with nonnegative coefficients and M = P - N."""

    @abstractmethod
    def to_sparse(self) -> sparse.csr_array:
        """The map as a float64 CSR matrix of shape (m, n); rows for a MIP or an LP are taken from it."""


@dataclass(frozen=True, eq=False)
class DenseMap(LinearMap):
    """A map given by a full matrix `weight` of shape (m, n)."""

    weight: Array

    def __post_init__(self) -> None:
        assert self.weight.ndim == 2 and self.weight.dtype == np.float64

    @property
    def input_size(self) -> int:
        return int(self.weight.shape[1])

    @property
    def output_size(self) -> int:
        return int(self.weight.shape[0])

    @property
    def entries(self) -> int:
        return int(self.weight.size)

    @property
    def fan_in(self) -> int:
        return self.input_size

    @property
    def fan_out(self) -> int:
        return self.output_size

    def apply(self, batch: Array) -> Array:
        result: Array = batch @ self.weight.T
        return result

    def transpose_apply(self, batch: Array) -> Array:
        result: Array = batch @ self.weight
        return result

    def absolute(self) -> DenseMap:
        return DenseMap(np.abs(self.weight))

    def signed_parts(self) -> tuple[DenseMap, DenseMap]:
        return self._signed_parts

    @cached_property
    def _signed_parts(self) -> tuple[DenseMap, DenseMap]:
        return DenseMap(np.maximum(self.weight, 0.0)), DenseMap(np.maximum(-self.weight, 0.0))

    def to_sparse(self) -> sparse.csr_array:
        return sparse.csr_array(self.weight)


@dataclass(frozen=True, eq=False)
class SparseMap(LinearMap):
    """A map given by a CSR matrix of shape (m, n): selections, permutations, scalings, pooling averages, identities."""

    matrix: sparse.csr_array

    def __post_init__(self) -> None:
        assert self.matrix.dtype == np.float64

    @classmethod
    def identity(cls, size: int) -> SparseMap:
        """The identity of R^size."""
        return cls.diagonal(np.ones(size))

    @classmethod
    def diagonal(cls, scale: Array) -> SparseMap:
        """The map x -> scale * x, elementwise; `scale` has shape (n,)."""
        index = np.arange(len(scale) + 1)
        return cls(sparse.csr_array((np.asarray(scale, np.float64), index[:-1], index), shape=(len(scale),) * 2))

    @classmethod
    def selection(cls, index: NDArray[np.int64], input_size: int) -> SparseMap:
        """The map x -> x[index]; an index of -1 gives the constant 0 (used by padding)."""
        index = np.asarray(index, np.int64)
        kept = index >= 0
        start = np.concatenate([[0], np.cumsum(kept)])
        return cls(sparse.csr_array((np.ones(int(kept.sum())), index[kept], start), shape=(len(index), input_size)))

    @property
    def input_size(self) -> int:
        return int(self.matrix.shape[1])

    @property
    def output_size(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def entries(self) -> int:
        return int(self.matrix.nnz)

    @cached_property
    def fan_in(self) -> int:
        return int(np.diff(self.matrix.indptr).max(initial=0))

    @cached_property
    def fan_out(self) -> int:
        return int(np.bincount(self.matrix.indices, minlength=1).max(initial=0))

    @cached_property
    def is_identity(self) -> bool:
        """Whether the map is the identity."""
        scale = self.scale
        return scale is not None and bool(np.all(scale == 1.0))

    @cached_property
    def scale(self) -> Array | None:
        """The diagonal, shape (n,), if the map is a pure elementwise scaling; otherwise None."""
        m, n = self.matrix.shape
        if m != n or self.matrix.nnz != n or not np.array_equal(self.matrix.indptr, np.arange(n + 1)):
            return None
        return self.matrix.data if np.array_equal(self.matrix.indices, np.arange(n)) else None

    def apply(self, batch: Array) -> Array:
        return np.ascontiguousarray((self.matrix @ batch.T).T)

    def transpose_apply(self, batch: Array) -> Array:
        return np.ascontiguousarray((self.matrix.T @ batch.T).T)

    def absolute(self) -> SparseMap:
        return SparseMap(abs(self.matrix))

    def signed_parts(self) -> tuple[SparseMap, SparseMap]:
        return self._signed_parts

    @cached_property
    def _signed_parts(self) -> tuple[SparseMap, SparseMap]:
        return SparseMap(_positive(self.matrix)), SparseMap(_positive(-self.matrix))

    def to_sparse(self) -> sparse.csr_array:
        return self.matrix


def _positive(matrix: sparse.csr_array) -> sparse.csr_array:
    positive = matrix.maximum(0.0).tocsr()
    positive.eliminate_zeros()
    return sparse.csr_array(positive)
