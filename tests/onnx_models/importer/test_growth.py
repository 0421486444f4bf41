"""Small files that would write out large matrices: each is refused before memory is claimed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from onnx_models.errors import ModelError
from onnx_models.importer import _call, load_onnx_bytes
from tests.helpers.onnx_graphs import GraphBuilder


def grow_by_concat(graph: GraphBuilder) -> str:
    value = "x"
    for _ in range(60):
        value = graph.node("Concat", value, value, axis=1)
    return value


def grow_by_expand(graph: GraphBuilder) -> str:
    image = graph.node("Reshape", "x", np.array([-1, 1, 1, 4]))
    return graph.node("Flatten", graph.node("Expand", image, np.array([1, 2**20, 2**20, 4])))


def grow_by_constant(graph: GraphBuilder) -> str:
    return graph.node("Add", "x", graph.node("ConstantOfShape", np.array([2**20, 2**20, 4])))


def grow_by_padding(graph: GraphBuilder) -> str:
    return graph.node("Pad", "x", np.array([0, 0, 0, 2**60]))


def grow_by_gather(graph: GraphBuilder) -> str:
    value = graph.node("Reshape", "x", np.array([-1, 1, 1, 4]))
    for axis in (1, 2):
        value = graph.node("Gather", value, np.zeros(2**14, np.int64), axis=axis)
    return value


def grow_by_product(graph: GraphBuilder) -> str:
    rows = graph.node("Expand", graph.node("Unsqueeze", "x", np.array([1])), np.array([1, 2**15, 4]))
    return graph.node("MatMul", rows, np.ones((4, 2**15)))


def grow_by_broadcast(graph: GraphBuilder) -> str:
    column = graph.node(
        "Reshape", graph.node("Gather", "x", np.zeros(2**14, np.int64), axis=1), np.array([-1, 2**14, 1])
    )
    return graph.node("Add", column, np.zeros((1, 2**14)))


def grow_by_rank(graph: GraphBuilder) -> str:
    value = "x"
    for _ in range(100):
        value = graph.node("Unsqueeze", value, np.array([1]))
    return value


def grow_by_repetition(graph: GraphBuilder) -> str:
    """The same 2 MB weight, multiplied a thousand times."""
    weight = graph.constant(np.eye(2**9))
    value = graph.node("Gather", "x", np.zeros(2**9, np.int64), axis=1)
    for _ in range(2000):
        value = graph.node("MatMul", value, weight)
    return value


def grow_by_convolution(graph: GraphBuilder) -> str:
    image = graph.node("Reshape", "x", np.array([-1, 1, 2, 2]))
    return graph.node("Conv", image, np.ones((1, 1, 1, 1)), pads=[2**30] * 4)


def grow_by_padding_and_stride(graph: GraphBuilder) -> str:
    image = graph.node("Reshape", "x", np.array([-1, 1, 2, 2]))
    return graph.node("Conv", image, np.ones((1, 1, 1, 1)), pads=[2**30] * 4, strides=[2**30] * 2)


def grow_by_kernel(graph: GraphBuilder) -> str:
    pixels = graph.node("Gather", "x", np.zeros(96 * 96, np.int64), axis=1)
    image = graph.node("Reshape", pixels, np.array([-1, 1, 96, 96]))
    return graph.node("Conv", image, np.ones((1, 1, 48, 48)))


def grow_by_mask(graph: GraphBuilder) -> str:
    mask = graph.node("Equal", np.zeros((2**20, 1)), np.zeros((1, 2**20)))
    return graph.node("Where", mask, "x", np.float32(0))


def grow_by_pool(graph: GraphBuilder) -> str:
    value = graph.node(
        "Reshape", graph.node("Gather", "x", np.zeros(2**16, np.int64), axis=1), np.array([-1, 1, 2**16])
    )
    return graph.node("MaxPool", value, kernel_shape=[2**15])


GROWTH = [
    grow_by_concat, grow_by_expand, grow_by_constant, grow_by_padding, grow_by_gather, grow_by_product,
    grow_by_broadcast, grow_by_rank, grow_by_repetition, grow_by_convolution, grow_by_padding_and_stride,
    grow_by_kernel, grow_by_mask, grow_by_pool,
]  # fmt: skip


@pytest.mark.parametrize("grow", GROWTH, ids=[g.__name__ for g in GROWTH])
def test_small_files_that_ask_for_much_memory(
    grow: Callable[[GraphBuilder], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_call, "MAX_WORDS", 2**22)  # the limit itself would make a slow test
    graph = GraphBuilder((4,))
    model = graph.model(grow(graph))
    with pytest.raises(ModelError, match="a whole model may write out"):
        load_onnx_bytes(model.SerializeToString(), "small.onnx")
