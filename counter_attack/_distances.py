"""Our own distance: no hidden epsilon, float64, one definition for numpy and for torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mipverify_py import Norm
from onnx_models import Array

if TYPE_CHECKING:
    from torch import Tensor


def distances(x: Array, y: Array, norm: Norm) -> Array:
    """|x - y| row by row, shape (N,), for rows of shape (N, n)."""
    difference = np.abs(np.asarray(x, dtype=np.float64) - np.asarray(y, dtype=np.float64))
    if norm is Norm.LINF:
        return np.asarray(difference.max(axis=1, initial=0.0))
    if norm is Norm.L1:
        return np.asarray(difference.sum(axis=1))
    return np.asarray(np.sqrt(np.square(difference).sum(axis=1)))


def tensor_distances(x: Tensor, y: Tensor, norm: Norm) -> Tensor:
    """As `distances`, for tensors, differentiable where the norm is."""
    difference = (x - y).abs()
    if norm is Norm.LINF:
        return difference.amax(dim=1)
    if norm is Norm.L1:
        return difference.sum(dim=1)
    return difference.square().sum(dim=1).sqrt()
