"""Max, Min, GlobalMaxPool, ReduceMax and ReduceMin against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnx_models.errors import UnsupportedModelError
from tests.helpers.onnx_graphs import GraphBuilder, X, check, single

C = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)


@pytest.mark.parametrize("operator", ["Max", "Min"])
@pytest.mark.parametrize("opset", [8, 12, 13])
@pytest.mark.parametrize(
    ("inputs", "units"),
    [
        ([X], 0),
        ([X, C], 6),
        ([C, X, np.float32([[0.1]])], 6),
        ([X, np.zeros((2, 3), np.float32)], 6),
        ([X, X], 0),
    ],
    ids=["one input", "constant", "two constants", "zero", "the same twice"],
)
def test_with_constants(operator: str, opset: int, inputs: list[Any], units: int) -> None:
    network = check(single(operator, (2, 3), *inputs, opset=opset))
    assert network.relu_count == units or inputs == [X, X]


@pytest.mark.parametrize("operator", ["Max", "Min"])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_of_several_values(operator: str, count: int) -> None:
    graph = GraphBuilder((2, 3))
    values = [graph.node("Mul", "x", np.random.default_rng(k).normal(size=(2, 3))) for k in range(count)]
    network = check(graph.model(graph.node(operator, *values, C)))
    assert network.relu_count == 6 * count


@pytest.mark.parametrize("operator", ["Max", "Min"])
def test_broadcasting(operator: str) -> None:
    graph = GraphBuilder((2, 3))
    row = graph.node("ReduceSum", "x", np.array([1]))
    check(graph.model(graph.node(operator, "x", row)))


REDUCTIONS: list[tuple[str, list[Any], dict[str, Any], int]] = [
    ("one axis", [], {"axes": [1]}, 13),
    ("last axis", [], {"axes": [-1], "keepdims": 0}, 11),
    ("two axes", [], {"axes": [1, 2], "keepdims": 0}, 8),
    ("input", [np.array([2])], {"keepdims": 0}, 18),
    ("two axes, input", [np.array([1, 3])], {"keepdims": 1}, 20),
    ("nothing", [], {"noop_with_empty_axes": 1}, 18),
]


@pytest.mark.parametrize("operator", ["ReduceMax", "ReduceMin"])
@pytest.mark.parametrize(("inputs", "attributes", "opset"), [c[1:] for c in REDUCTIONS], ids=[c[0] for c in REDUCTIONS])
def test_reductions(operator: str, inputs: list[Any], attributes: dict[str, Any], opset: int) -> None:
    check(single(operator, (2, 3, 4), *inputs, opset=opset, **attributes))


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 4), (1, 2, 2, 2)])
def test_global_pool(shape: tuple[int, ...]) -> None:
    network = check(single("GlobalMaxPool", shape))
    assert network.relu_count == shape[0] * (int(np.prod(shape[1:])) - 1)


@pytest.mark.parametrize("attributes", [{"axes": [0]}, {"axes": [-3]}, {}])
def test_reduction_over_the_batch_is_refused(attributes: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedModelError, match="ReduceMax node 'ReduceMax_0' mixes, moves or drops the batch"):
        check(single("ReduceMax", (2, 3), **attributes))


def test_reduction_over_everything_with_a_batch_of_one() -> None:
    check(single("ReduceMax", (2, 3), batch=1, keepdims=0))
