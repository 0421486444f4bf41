"""Sums and means over whole axes: ReduceSum, ReduceMean, GlobalAveragePool."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from onnx_models.importer._call import Call
from onnx_models.importer._lowering import reshaped, weighted_sum
from onnx_models.importer._registry import ANY, constants_from, operator
from onnx_models.importer._values import Tensor, Value
from onnx_models.importer.operators._maximum import reduced_axes, without

_AXES: dict[str, tuple[object, ...] | None] = {"axes": ANY, "keepdims": ANY, "noop_with_empty_axes": ANY}


@operator("ReduceSum", attributes=_AXES, rule=constants_from(1))
def reduce_sum(call: Call) -> Value:
    """y = sum over the given axes."""
    return _reduced(call, mean=False)


@operator("ReduceMean", attributes=_AXES, rule=constants_from(1))
def reduce_mean(call: Call) -> Value:
    """y = mean over the given axes."""
    return _reduced(call, mean=True)


@operator("GlobalAveragePool")
def global_average_pool(call: Call) -> Value:
    """y = mean over all spatial positions of each channel."""
    tensor = call.tensor()
    return _along(call, tensor, range(2, len(tensor.shape)), mean=True)


def _reduced(call: Call, *, mean: bool) -> Value:
    tensor = call.tensor()
    axes = reduced_axes(call, tensor)
    result = _along(call, tensor, axes, mean=mean)
    return result if call.attribute("keepdims", 1) else reshaped(call, result, without(result.shape, axes))


def _along(call: Call, tensor: Tensor, axes: Sequence[int], *, mean: bool) -> Tensor:
    """Sum or mean over `axes`, kept with length 1."""
    if not axes:
        return tensor
    kept = [k for k in range(len(tensor.shape)) if k not in axes]
    terms = math.prod(tensor.shape[k] for k in axes)
    lanes = np.transpose(tensor.indices, [*kept, *axes])
    shape = [1 if k in axes else d for k, d in enumerate(tensor.shape)]
    return weighted_sum(call, tensor, lanes.reshape(*shape, terms), 1.0 / terms if mean else 1.0)
