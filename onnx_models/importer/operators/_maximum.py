"""Elementwise and reducing maxima and minima: max(a, b) = relu(a - b) + b, min(a, b) = -max(-a, -b)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnx_models.importer._call import Call
from onnx_models.importer._lowering import maximum, maximum_over, negated, reshaped
from onnx_models.importer._registry import ANY, constants_from, operator
from onnx_models.importer._values import Tensor, Value

_AXES: dict[str, tuple[object, ...] | None] = {"axes": ANY, "keepdims": ANY, "noop_with_empty_axes": ANY}


@operator("Max")
def largest(call: Call) -> Value:
    """y = maximum of all inputs."""
    return maximum(call, call.values)


@operator("Min")
def smallest(call: Call) -> Value:
    """y = minimum of all inputs."""
    return negated(call, maximum(call, [negated(call, v) for v in call.values]))


@operator("GlobalMaxPool")
def global_max_pool(call: Call) -> Value:
    """y = maximum over all spatial positions of each channel."""
    tensor = call.tensor()
    return _maximum_along(call, tensor, range(2, len(tensor.shape)))


@operator("ReduceMax", attributes=_AXES, rule=constants_from(1))
def reduce_maximum(call: Call) -> Value:
    """y = maximum over the given axes."""
    return _reduced(call, call.tensor())


@operator("ReduceMin", attributes=_AXES, rule=constants_from(1))
def reduce_minimum(call: Call) -> Value:
    """y = minimum over the given axes."""
    negative = negated(call, call.tensor())
    assert isinstance(negative, Tensor)
    return negated(call, _reduced(call, negative))


def _reduced(call: Call, tensor: Tensor) -> Value:
    axes = reduced_axes(call, tensor)
    result = _maximum_along(call, tensor, axes)
    return result if call.attribute("keepdims", 1) else reshaped(call, result, without(result.shape, axes))


def _maximum_along(call: Call, tensor: Tensor, axes: Sequence[int]) -> Tensor:
    """Maximum over `axes`, kept with length 1, one axis after the other."""
    for axis in axes:
        lanes = np.moveaxis(tensor.indices, axis, -1)
        tensor = maximum_over(call, tensor, np.expand_dims(lanes, axis))
    return tensor


def reduced_axes(call: Call, tensor: Tensor) -> tuple[int, ...]:
    """The axes that a reduction runs over: an attribute or the second input; all if absent, unless asked otherwise."""
    axes, rank = call.optional_integers(1, "axes"), len(tensor.shape)
    if not axes:
        if call.attribute("noop_with_empty_axes", 0):
            return ()
        axes = list(range(rank))
    return tuple(sorted({call.axis(axis, rank) for axis in axes}))


def without(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    """`shape` with the given axes removed."""
    return tuple(d for k, d in enumerate(shape) if k not in axes)
