"""MaxPool and AveragePool against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from onnx_models.errors import UnsupportedModelError
from tests.helpers.onnx_graphs import check, single

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def windows(draw: st.DrawFn) -> dict[str, Any]:
    """Attributes of a pool that fit an input of 6 x 5, dilation not always among them."""
    kernel, dilations = draw(pairs), draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    pads = [draw(st.integers(0, k - 1)) for k in (*kernel, *kernel)]
    extents = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    assume(all(6 - k + pads[k] + pads[k + 2] >= extents[k] for k in (0, 1)))
    attributes = {"kernel_shape": kernel, "strides": draw(pairs), "pads": pads, "ceil_mode": draw(st.integers(0, 1))}
    return {**attributes, "dilations": dilations} if dilations != (1, 1) else attributes


@settings(max_examples=120)
@given(windows(), st.sampled_from([19, 22]))
def test_maximum_over_two_axes(attributes: dict[str, Any], opset: int) -> None:
    check(single("MaxPool", (2, 6, 5), opset=opset, **attributes))


@settings(max_examples=120)
@given(windows(), st.integers(0, 1), st.sampled_from([11, 19, 22]))
def test_mean_over_two_axes(attributes: dict[str, Any], padded: int, opset: int) -> None:
    assume(opset >= 19 or "dilations" not in attributes)
    check(single("AveragePool", (2, 6, 5), opset=opset, count_include_pad=padded, **attributes))


@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("auto_pad", ["VALID", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_automatic_padding(operator: str, auto_pad: str, kernel: int) -> None:
    strides = [min(2, kernel)] * 2  # onnxruntime computes negative pads for a stride longer than the kernel
    check(single(operator, (2, 5, 6), kernel_shape=[kernel] * 2, strides=strides, auto_pad=auto_pad))


@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("opset", [8, 10, 11, 12, 13, 22])
def test_opsets(operator: str, opset: int) -> None:
    check(single(operator, (1, 4, 4), kernel_shape=[3, 2], pads=[1, 0, 1, 1], opset=opset))


@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(("shape", "kernel"), [((2, 7), [3]), ((1, 3, 4, 3), [2, 2, 2])])
def test_one_and_three_axes(operator: str, shape: tuple[int, ...], kernel: list[int]) -> None:
    check(single(operator, shape, kernel_shape=kernel, strides=[2] * len(kernel)))


@pytest.mark.parametrize(
    ("kernel", "stride", "units"),
    [
        (2, 2, 2 * 2 * 3),  # 4 windows of 4 entries that do not overlap: 3 each
        (3, 1, 2 * 2 * 2 + 4 * 2 * 2),  # 2 x 2 windows of 3 x 3: two rounds along rows of 4, then along columns
    ],
)
def test_units_used(kernel: int, stride: int, units: int) -> None:
    network = check(single("MaxPool", (1, 4, 4), kernel_shape=[kernel] * 2, strides=[stride] * 2))
    assert network.relu_count == units


def test_overlapping_windows_share_pairs() -> None:
    """Maxima of 4 neighbours among 19: 17 distinct pairs at distance 2 or 1, then 16 pairs of these."""
    network = check(single("MaxPool", (1, 19), kernel_shape=[4]))
    assert network.relu_count == 18 + 16 - 1


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"kernel_shape": [2, 2], "pads": [2, 0, 0, 0]}, "lies in the padding altogether"),
        ({"kernel_shape": [2]}, "for 2 spatial axes"),
        ({"kernel_shape": [9, 9]}, "larger than its padded input"),
    ],
)
@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool"])
def test_what_they_refuse(operator: str, attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        check(single(operator, (1, 4, 4), **attributes))


def test_indices_of_maxima_are_refused() -> None:
    model = single("MaxPool", (1, 4, 4), kernel_shape=[2, 2], outputs=2)
    model.graph.output[0].name = "v0_1"
    with pytest.raises(UnsupportedModelError, match="its output 1 .* is used"):
        check(model)


def test_unused_indices_do_not_matter() -> None:
    check(single("MaxPool", (1, 4, 4), kernel_shape=[2, 2], outputs=2))


def test_constant_input_is_refused() -> None:
    graph_input = np.zeros((1, 1, 4, 4), np.float32)
    model = single("MaxPool", (1,), graph_input, kernel_shape=[2, 2])
    model.graph.node[0].input[:] = model.graph.node[0].input[1:]
    with pytest.raises(UnsupportedModelError, match="applied to a constant"):
        check(model)
