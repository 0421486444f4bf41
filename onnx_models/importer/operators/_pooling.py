"""MaxPool and AveragePool over any number of spatial axes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnx_models.importer._call import Call
from onnx_models.importer._lowering import Indices, maximum_over, weighted_sum
from onnx_models.importer._registry import ANY, operator
from onnx_models.importer._spatial import WINDOW_ATTRIBUTES, WindowAxis, window_axes
from onnx_models.importer._values import Tensor, Value


@operator("MaxPool", attributes={**WINDOW_ATTRIBUTES, "ceil_mode": ANY, "storage_order": ANY})
def max_pool(call: Call) -> Value:
    """y = maximum over each window, padding left out: one spatial axis after the other.

    The maximum over a box is the maximum along one axis of the maxima along the other, which takes fewer units than
    comparing all entries of overlapping windows.
    """
    tensor = call.tensor()
    for k, axis in reversed(list(enumerate(_axes(call, tensor), start=2))):
        positions = _positions(call, tensor, k, axis)
        tensor = maximum_over(call, tensor, _windows(tensor, k, positions, axis.length))
    return tensor


@operator("AveragePool", attributes={**WINDOW_ATTRIBUTES, "ceil_mode": ANY, "count_include_pad": ANY})
def average_pool(call: Call) -> Value:
    """y = mean over each window. Padding counts as zeros if count_include_pad is set, otherwise it is left out.

    What hangs over the padded input in ceil mode is never counted. The mean over a box is the mean along one axis of
    the means along the other.
    """
    tensor, padded = call.tensor(), bool(call.attribute("count_include_pad", 0))
    for k, axis in reversed(list(enumerate(_axes(call, tensor), start=2))):
        positions = _positions(call, tensor, k, axis)
        weights = _mean_weights(call, axis, positions, padded=padded)
        shape = [1] * k + [len(positions)] + [1] * (len(tensor.shape) - k - 1) + [1]
        tensor = weighted_sum(call, tensor, _windows(tensor, k, positions, axis.length), weights.reshape(shape))
    return tensor


def _axes(call: Call, tensor: Tensor) -> tuple[WindowAxis, ...]:
    kernel = [int(d) for d in call.attribute("kernel_shape", [])]
    return window_axes(call, tensor.shape[2:], kernel)


def _positions(call: Call, tensor: Tensor, k: int, axis: WindowAxis) -> Indices:
    """Positions along axis k of the entries of each window, shape (windows, kernel)."""
    ceil = bool(call.attribute("ceil_mode", 0))
    call.spend((*tensor.shape[:k], axis.count(ceil=ceil), axis.kernel, *tensor.shape[k + 1 :]), 3)
    return axis.positions(ceil=ceil)


def _mean_weights(call: Call, axis: WindowAxis, positions: Indices, *, padded: bool) -> NDArray[np.float64]:
    """One over the number of entries that count, for each window."""
    low, high = (-axis.before, axis.length + axis.after) if padded else (0, axis.length)
    counted = ((positions >= low) & (positions < high)).sum(axis=1)
    if (counted == 0).any():
        call.refuse("averages over a window that lies in the padding altogether")
    weights: NDArray[np.float64] = 1.0 / counted
    return weights


def _windows(tensor: Tensor, axis: int, positions: Indices, length: int) -> Indices:
    """Flat positions of the entries of windows along `axis`, shape (..., windows, ..., K); -1 in the padding."""
    inside = (positions >= 0) & (positions < length)
    taken = np.take(tensor.indices, np.where(inside, positions, 0), axis)  # (..., windows, K, ...)
    shape = [1] * taken.ndim
    shape[axis], shape[axis + 1] = positions.shape
    return np.moveaxis(np.where(inside.reshape(shape), taken, -1), axis + 1, -1)
