"""Conv over one or two spatial axes; it stays a convolution."""

from __future__ import annotations

import numpy as np

from onnx_models._convolution import ConvolutionMap
from onnx_models.importer._call import Call
from onnx_models.importer._lowering import output
from onnx_models.importer._registry import ANY, constants_from, operator
from onnx_models.importer._spatial import WINDOW_ATTRIBUTES, window_axes
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
        call.refuse(f"has weights of shape {weight.shape} for an input of shape {tensor.shape}; 1-d and 2-d are supported")
    groups, kernel = int(call.attribute("group", 1)), weight.shape[2:]
    if groups < 1 or weight.shape[0] % groups or weight.shape[1] * groups != tensor.shape[1] or tensor.shape[0] != 1:
        call.refuse(f"has weights of shape {weight.shape} in {groups} groups for an input of shape {tensor.shape}")
    if list(call.attribute("kernel_shape", kernel)) != list(kernel):
        call.refuse(f"says its kernel is {call.attribute('kernel_shape', kernel)}, but its weights have {list(kernel)}")
    tensor, extra = _unpadded(call, tensor)
    axes = window_axes(call, [d + sum(e) for d, e in zip(tensor.shape[2:], extra, strict=True)], kernel)
    before = [axis.before + e[0] for axis, e in zip(axes, extra, strict=True)]
    after = [axis.after + e[1] for axis, e in zip(axes, extra, strict=True)]
    flat = [0] * (2 - spatial)  # a missing height is one row without padding
    shape = (weight.shape[0], *(axis.count() for axis in axes))
    call.spend(shape, 2)
    height, width = [1] * (2 - spatial) + list(tensor.shape[2:])
    unit = [1] * (2 - spatial)
    strides, dilations = unit + [a.stride for a in axes], unit + [a.dilation for a in axes]
    linear_map = ConvolutionMap(
        np.ascontiguousarray(weight.reshape(*weight.shape[:2], *unit, *kernel)),
        (tensor.shape[1], height, width),
        (strides[0], strides[1]),
        tuple([*flat, *before, *flat, *after]),  # type: ignore[arg-type]
        (dilations[0], dilations[1]),
        groups,
    )
    node = call.builder.affine((tensor.node,), (linear_map,), _bias(call, shape), name=call.name)
    return output(call, node, (1, *shape))


def _bias(call: Call, shape: tuple[int, ...]) -> np.typing.NDArray[np.float64]:
    """One value per output channel, written out for every position."""
    bias = call.numbers(2) if call.given(2) else np.zeros(shape[0])
    if bias.shape != shape[:1]:
        call.refuse(f"has a bias of shape {bias.shape} for {shape[0]} output channels")
    return np.repeat(bias, int(np.prod(shape[1:])))


def _unpadded(call: Call, tensor: Tensor) -> tuple[Tensor, list[tuple[int, int]]]:
    """The tensor before a Pad node surrounded it by zeros, and the zeros before and after each spatial axis."""
    padding = tensor.padding
    if padding is None or any([*padding.before[:2], *padding.after[:2]]):
        return tensor, [(0, 0)] * (len(tensor.shape) - 2)
    return padding.inner, list(zip(padding.before[2:], padding.after[2:], strict=True))
