"""Conv over one or two spatial axes; it stays a convolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnx_models._convolution import ConvolutionMap
from onnx_models.importer._call import Call
from onnx_models.importer._lowering import output
from onnx_models.importer._registry import ANY, constants_from, operator
from onnx_models.importer._spatial import WINDOW_ATTRIBUTES, WindowAxis, window_axes
from onnx_models.importer._values import Tensor, Value


@operator("Conv", attributes={**WINDOW_ATTRIBUTES, "group": ANY}, rule=constants_from(1))
def convolution(call: Call) -> Value:
    """y[o, p] = bias[o] + sum over c, i of weight[o, c, i] x[c, p stride + i dilation - pad].

    Tensors are laid out (batch, channels, height, width), or (batch, channels, length) and treated as height 1. Zeros
    that a Pad node put around the input become the convolution's own padding.
    """
    tensor, weight = call.tensor(), call.numbers(1)
    spatial = len(tensor.shape) - 2
    if spatial not in (1, 2) or weight.ndim != spatial + 2:
        call.refuse(f"has weights {weight.shape} for an input {tensor.shape}; one or two spatial axes are supported")
    groups, kernel = int(call.attribute("group", 1)), weight.shape[2:]
    if (
        groups < 1
        or 0 in weight.shape
        or weight.shape[0] % groups
        or weight.shape[1] * groups != tensor.shape[1]
        or tensor.shape[0] != 1
    ):
        call.refuse(f"has weights of shape {weight.shape} in {groups} groups for an input of shape {tensor.shape}")
    if list(call.attribute("kernel_shape", kernel)) != list(kernel):
        call.refuse(f"says its kernel is {call.attribute('kernel_shape', kernel)}, but its weights have {list(kernel)}")
    tensor, axes = _axes(call, tensor, kernel)
    shape = (weight.shape[0], *(axis.count() for axis in axes))
    call.spend(shape, 2)
    call.spend((tensor.shape[1], *(axis.length + axis.before + axis.after for axis in axes)))  # the padded input
    call.spend((*shape[1:], *weight.shape[1:]))  # the windows of one input, as evaluation lays them out
    linear_map = _map(weight, tensor.shape[1], axes, groups)
    node = call.builder.affine((tensor.node,), (linear_map,), _bias(call, shape), name=call.name)
    return output(call, node, (1, *shape))


def _axes(call: Call, tensor: Tensor, kernel: Sequence[int]) -> tuple[Tensor, list[WindowAxis]]:
    """The tensor before a Pad node surrounded it by zeros, if one did, and windows over it that include those zeros."""
    padding = tensor.padding
    if padding is None or any([*padding.before[:2], *padding.after[:2]]):
        return tensor, list(window_axes(call, tensor.shape[2:], kernel))
    axes = window_axes(call, tensor.shape[2:], kernel)
    return padding.inner, [
        replace(axis, length=length, before=axis.before + before, after=axis.after + after)
        for axis, length, before, after in zip(
            axes, padding.inner.shape[2:], padding.before[2:], padding.after[2:], strict=True
        )
    ]


def _map(weight: NDArray[np.float64], channels: int, axes: Sequence[WindowAxis], groups: int) -> ConvolutionMap:
    """The convolution over one or two axes; a single one is treated as the width of an image of height 1."""
    if len(axes) == 1:
        height = WindowAxis(length=1, kernel=1, stride=1, dilation=1, before=0, after=0)
        weight, axes = weight[:, :, None], (height, *axes)
    rows, columns = axes
    return ConvolutionMap(
        np.ascontiguousarray(weight),
        (channels, rows.length, columns.length),
        (rows.stride, columns.stride),
        (rows.before, columns.before, rows.after, columns.after),
        (rows.dilation, columns.dilation),
        groups,
    )


def _bias(call: Call, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """One value per output channel, written out for every position."""
    bias = call.numbers(2) if call.given(2) else np.zeros(shape[0])
    if bias.shape != shape[:1]:
        call.refuse(f"has a bias of shape {bias.shape} for {shape[0]} output channels")
    return np.repeat(bias, int(np.prod(shape[1:])))
