"""Conv against onnxruntime: every attribute, one and two spatial axes, and zero Pads that become its own padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from onnx_models import Affine, ConvolutionMap, ReluNetwork
from onnx_models.errors import UnsupportedModelError
from tests.helpers.onnx_graphs import GraphBuilder, X, check, single, weights

RNG = np.random.default_rng(0)


def only_map(network: ReluNetwork) -> ConvolutionMap:
    """The network's single map, which must be a convolution."""
    (node,) = network.nodes[1:]
    assert isinstance(node, Affine)
    (linear_map,) = node.maps
    assert isinstance(linear_map, ConvolutionMap)
    return linear_map


@settings(max_examples=60)
@given(
    groups=st.sampled_from([1, 2, 3]),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    bias=st.booleans(),
)
def test_two_axes(groups: int, kernel: Any, strides: Any, dilations: Any, pads: Any, bias: bool) -> None:
    rng = np.random.default_rng(0)
    weight = weights(rng, 2 * groups, 2, *kernel)
    extra = [weights(rng, 2 * groups)] if bias else []
    attributes = {"strides": strides, "dilations": dilations, "pads": pads, "group": groups}
    network = check(single("Conv", (2 * groups, 6, 5), weight, *extra, **attributes))
    assert only_map(network).groups == groups


@pytest.mark.parametrize("auto_pad", ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
def test_automatic_padding(auto_pad: str, stride: int, kernel: int) -> None:
    weight = weights(RNG, 2, 1, kernel, kernel)
    only_map(check(single("Conv", (1, 6, 7), weight, auto_pad=auto_pad, strides=[stride, stride])))


@settings(max_examples=25)
@given(
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    pads=st.tuples(*[st.integers(0, 3)] * 2),
)
def test_one_axis(kernel: int, stride: int, dilation: int, pads: tuple[int, int]) -> None:
    assume(dilation * (kernel - 1) < 7)
    weight = weights(np.random.default_rng(0), 3, 2, kernel)
    model = single("Conv", (2, 7), weight, strides=[stride], dilations=[dilation], pads=pads)
    only_map(check(model))


@pytest.mark.parametrize("opset", [8, 10, 11, 13, 22])
@pytest.mark.parametrize("batch", ["N", 1])
def test_opsets_and_batches(opset: int, batch: str | int) -> None:
    only_map(check(single("Conv", (2, 4, 4), weights(RNG, 3, 2, 3, 3), weights(RNG, 3), opset=opset, batch=batch)))


@pytest.mark.parametrize("auto_pad", ["NOTSET", "SAME_UPPER"])
def test_a_zero_pad_becomes_the_convolutions_own(auto_pad: str) -> None:
    graph = GraphBuilder((2, 5, 4))
    padded = graph.node("Pad", "x", np.array([0, 0, 1, 2, 0, 0, 3, 0]))
    attributes: dict[str, Any] = {"pads": [1, 0, 0, 1]} if auto_pad == "NOTSET" else {"auto_pad": auto_pad}
    network = check(graph.model(graph.node("Conv", padded, weights(RNG, 3, 2, 3, 3), strides=[2, 1], **attributes)))
    assert only_map(network).input_shape == (2, 5, 4)


@pytest.mark.parametrize(
    ("pads", "value"),
    [([0, 1, 0, 0, 0, 1, 0, 0], 0.0), ([0, 0, 1, 1, 0, 0, 1, 1], 0.5), ([0, 0, -1, 0, 0, 0, 1, 0], 0.0)],
    ids=["channels", "not zero", "negative"],
)
def test_other_pads_stay_before_the_convolution(pads: list[int], value: float) -> None:
    graph = GraphBuilder((2, 5, 4))
    padded = graph.node("Pad", "x", np.array(pads), np.float32(value))
    channels = 2 + pads[1] + pads[5]
    check(graph.model(graph.node("Conv", padded, weights(RNG, 3, channels, 3, 3))))


def test_normalisation_and_bias_after_a_convolution_are_fused_into_it() -> None:
    graph = GraphBuilder((2, 5, 4))
    value = graph.node("Conv", "x", weights(RNG, 3, 2, 3, 3))
    value = graph.node("Add", value, weights(RNG, 3, 1, 1))
    parameters = [RNG.uniform(0.5, 2, 3) for _ in range(4)]
    only_map(check(graph.model(graph.node("BatchNormalization", value, *parameters))))


@pytest.mark.parametrize(
    ("shape", "weight", "attributes", "message"),
    [
        ((2, 4, 4, 4), (3, 2, 2, 2, 2), {}, "one or two spatial axes are supported"),
        ((2, 4, 4), (3, 3, 2, 2), {}, "in 1 groups for an input of shape"),
        ((4, 4, 4), (3, 2, 2, 2), {"group": 2}, "in 2 groups"),
        ((2, 4, 4), (0, 2, 2, 2), {}, "has weights of shape (0, 2, 2, 2)"),
        ((2, 4, 4), (3, 2, 2, 2), {"kernel_shape": [3, 3]}, "says its kernel is"),
        ((2, 2, 2), (3, 2, 3, 3), {}, "larger than its padded input"),
        ((2, 4, 4), (3, 2, 2, 2), {"pads": [0, 0, 0, -1]}, "that are not negative"),
        ((2, 4, 4), (3, 2, 2, 2), {"strides": [0, 1]}, "has kernel"),
        ((2, 4, 4), (3, 2, 2, 2), {"auto_pad": "AUTOMATIC"}, "attribute auto_pad='AUTOMATIC' is not supported"),
    ],
)
def test_what_it_refuses(shape: Any, weight: Any, attributes: Any, message: str) -> None:
    with pytest.raises(UnsupportedModelError, match="Conv node 'Conv_0'.*") as caught:
        check(single("Conv", shape, weights(RNG, *weight), **attributes))
    assert message in str(caught.value)


def test_variable_weights_are_refused() -> None:
    model = single("Conv", (1, 3, 3), X, X, batch=1)
    with pytest.raises(UnsupportedModelError, match="its input 1 .* must be a constant"):
        check(model)
