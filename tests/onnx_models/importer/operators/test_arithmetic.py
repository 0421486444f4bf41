"""Elementwise arithmetic against onnxruntime, with every kind of broadcasting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnx_models.errors import ModelFileError, UnsupportedModelError
from tests.helpers.onnx_graphs import GraphBuilder, X, check, single

RNG = np.random.default_rng(0)
SHAPES: list[tuple[int, ...]] = [(), (1,), (3,), (2, 1), (2, 3), (1, 2, 3), (1, 1, 1)]


def constant(*shape: int) -> Any:
    """Random nonzero float32 weights."""
    return RNG.uniform(0.5, 2.0, shape).astype(np.float32) * RNG.choice([-1, 1], shape).astype(np.float32)


@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("shape", SHAPES)
def test_with_a_constant(operator: str, shape: tuple[int, ...]) -> None:
    check(single(operator, (2, 3), X, constant(*shape)))
    if operator != "Div":
        check(single(operator, (2, 3), constant(*shape), X))


@pytest.mark.parametrize("opset", [8, 13, 14, 26])
@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Div"])
def test_opsets(operator: str, opset: int) -> None:
    check(single(operator, (2, 3), constant(3), opset=opset))


@pytest.mark.parametrize("shape", [(1, 3), (2, 1), (4, 2, 3), (1, 1, 2, 3)])
def test_a_constant_larger_than_the_value(shape: tuple[int, ...]) -> None:
    check(single("Add", (1, 2, 3) if len(shape) < 3 else (2, 3), constant(*shape), batch=1))


@pytest.mark.parametrize("operator", ["Add", "Sub"])
def test_two_values_broadcast(operator: str) -> None:
    graph = GraphBuilder((2, 3))
    column = graph.node("ReduceSum", "x", np.array([2]))
    row = graph.node("ReduceSum", "x", np.array([1]))
    check(graph.model(graph.node(operator, graph.node(operator, column, row), "x")))


@pytest.mark.parametrize("operator", ["Sum", "Mean"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_variadic(operator: str, count: int) -> None:
    graph = GraphBuilder((2, 3))
    values = [graph.node("Mul", "x", constant(2, 3)) for _ in range(count)]
    check(graph.model(graph.node(operator, *values, *([constant(3)] if count > 1 else []))))


@pytest.mark.parametrize("opset", [8, 13])
def test_negation(opset: int) -> None:
    check(single("Neg", (2, 3), opset=opset))


def test_constants_are_folded() -> None:
    graph = GraphBuilder((3,))
    a, b = graph.constant(constant(2, 3)), graph.constant(constant(3))
    for operator in ["Add", "Sub", "Mul", "Div", "Sum", "Mean"]:
        a = graph.node(operator, a, b)
    matrix = graph.node("Transpose", graph.node("Neg", a))
    check(graph.model(graph.node("MatMul", "x", matrix)), tolerance=1e-4)


def test_integers_stay_integers() -> None:
    """A shape computed with integer arithmetic, -7 / 2 rounded towards zero among it."""
    graph = GraphBuilder((6,))
    three = graph.node("Neg", graph.node("Div", np.array([-7]), np.array([2])))
    shape = graph.node("Concat", np.array([-1]), graph.node("Sub", three, np.array([1])), three, axis=0)
    assert check(graph.model(graph.node("Reshape", "x", shape))).output_size == 6


@pytest.mark.parametrize(
    ("operator", "inputs", "message"),
    [
        ("Mul", [X, X], "Mul node 'Mul_0': it multiplies two values that both depend on the network's input"),
        ("Div", [np.float32(1), X], "Div node 'Div_0': its input 1 .* must be a constant"),
        ("Div", [X, np.float32([1, 0, 2])], "Div node 'Div_0' divides by zero"),
        ("Add", [X, np.ones((1, 1, 2, 3), np.float32)], "mixes, moves or drops the batch dimension"),
        ("Add", [X, np.ones((5, 2, 3), np.float32)], "mixes, moves or drops the batch dimension"),
        ("Add", [X, np.ones(4, np.float32)], "combines shapes that do not fit together"),
        ("Add", [X, np.ones((1, 0), np.float32)], "do not fit together"),
        ("Add", [X, np.ones((1, 2, 0), np.float32)], "do not fit together"),
        ("Mul", [X, np.float32([1e30, 1, 1])], None),
    ],
)
def test_what_it_refuses(operator: str, inputs: list[Any], message: str | None) -> None:
    model = single(operator, (2, 3), *inputs)
    if message is None:
        check(model)
        return
    with pytest.raises(UnsupportedModelError, match=message):
        check(model)


def test_overflowing_constants_are_refused() -> None:
    graph = GraphBuilder((3,), dtype=np.float64)
    huge = graph.node("Mul", np.full(3, 1e200), np.full(3, 1e200))
    with pytest.raises((UnsupportedModelError, ModelFileError), match="Mul node 'Mul_0' leads to NaN or infinite"):
        check(graph.model(graph.node("Add", "x", huge)))
