"""Operators on constants against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnx_models.errors import UnsupportedModelError
from tests.helpers.onnx_graphs import GraphBuilder, check

A = np.array([[1.0, 2.0, 3.0], [4.0, 2.0, 0.5]], np.float32)
B = np.array([2.0, 2.0, 2.0], np.float32)


@pytest.mark.parametrize("operator", ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"])
def test_comparisons(operator: str) -> None:
    graph = GraphBuilder((2, 3))
    check(graph.model(graph.node("Where", graph.node(operator, A, B), "x", np.zeros((2, 3)))))


@pytest.mark.parametrize("operator", ["And", "Or", "Xor"])
def test_logic(operator: str) -> None:
    graph = GraphBuilder((2, 3))
    mask = graph.node("Not", graph.node(operator, A > 1, B < A))
    check(graph.model(graph.node("Where", mask, "x", np.zeros((2, 3)))))


@pytest.mark.parametrize("operator", ["Sqrt", "Reciprocal"])
def test_functions(operator: str) -> None:
    graph = GraphBuilder((2, 3))
    check(graph.model(graph.node("Mul", "x", graph.node(operator, A))))


@pytest.mark.parametrize(
    ("attributes", "extra", "opset"),
    [({}, [], 13), ({"axes": [0]}, [], 13), ({"axes": [-1], "keepdims": 0}, [], 11), ({}, [np.array([0])], 18)],
)
def test_products(attributes: dict[str, Any], extra: list[Any], opset: int) -> None:
    graph = GraphBuilder((2, 2), opset=opset)
    factor = graph.node("ReduceProd", A[:, :2], *extra, **attributes)
    check(graph.model(graph.node("Mul", "x", factor)))


@pytest.mark.parametrize(
    ("operator", "inputs", "message"),
    [
        ("Sqrt", ["x"], "Sqrt node 'Sqrt_0': it is supported for constants only"),
        ("Sqrt", [-A], "leads to NaN or infinite"),
        ("Reciprocal", [0 * A], "leads to NaN or infinite"),
        ("Greater", [A, np.ones(4, np.float32)], "do not fit together"),
    ],
)
def test_what_they_refuse(operator: str, inputs: list[Any], message: str) -> None:
    graph = GraphBuilder((2, 3))
    value = graph.node(operator, *inputs)
    with pytest.raises(UnsupportedModelError, match=message):
        check(graph.model(graph.node("Add", "x", graph.node("Cast", value, to=1))))
