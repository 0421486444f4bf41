"""Gemm and MatMul against onnxruntime: transpositions, scalings, stacks of matrices, vectors."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from onnx_models import Affine, DenseMap
from onnx_models.errors import UnsupportedModelError
from tests.helpers.onnx_graphs import GraphBuilder, X, check, single, weights

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("alpha", "beta", "transposed"), list(product([1.0, 0.5], [1.0, -2.0, 0.0], [0, 1])))
@pytest.mark.parametrize("bias", [None, (), (1,), (3,), (1, 3), (1, 1)])
def test_gemm(alpha: float, beta: float, transposed: int, bias: tuple[int, ...] | None) -> None:
    weight = weights(RNG, 3, 4) if transposed else weights(RNG, 4, 3)
    extra = [] if bias is None else [weights(RNG, *bias) if bias else np.float32(0.7)]
    network = check(single("Gemm", (4,), weight, *extra, alpha=alpha, beta=beta, transB=transposed))
    (node,) = network.nodes[1:]
    assert isinstance(node, Affine)
    assert isinstance(node.maps[0], DenseMap)


@pytest.mark.parametrize("opset", [8, 9, 11, 13])
def test_gemm_opsets(opset: int) -> None:
    check(single("Gemm", (4,), weights(RNG, 4, 3), weights(RNG, 3), opset=opset))


def test_gemm_adds_a_value_that_depends_on_the_input() -> None:
    graph = GraphBuilder((4,))
    check(graph.model(graph.node("Gemm", "x", weights(RNG, 4, 4), "x", beta=0.5)))


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_with_the_input_on_the_right(transposed: int) -> None:
    """Possible for a fixed batch of one only: rows of the input are mixed."""
    graph = GraphBuilder((4, 3), batch=1)
    matrix = graph.node("Squeeze", "x", np.array([0]))
    weight = weights(RNG, 4, 2) if transposed else weights(RNG, 2, 4)
    check(graph.model(graph.node("Gemm", weight, matrix, weights(RNG, 2, 1), transA=transposed, alpha=0.5)))


def test_gemm_transposes_the_input() -> None:
    graph = GraphBuilder((4, 3), batch=1)
    matrix = graph.node("Squeeze", "x", np.array([0]))
    check(graph.model(graph.node("Gemm", matrix, weights(RNG, 4, 2), weights(RNG, 2), transA=1)))


PRODUCTS: list[tuple[tuple[int, ...], Any]] = [
    ((4,), [X, (4, 3)]),
    ((4,), [X, (4,)]),
    ((2, 4), [X, (4, 3)]),
    ((2, 4), [X, (4,)]),
    ((2, 4), [X, (1, 4, 3)]),
    ((3, 2, 4), [X, (4, 3)]),
    ((3, 2, 4), [X, (3, 4, 2)]),
    ((3, 2, 4), [X, (1, 3, 4, 2)]),
    ((1, 2, 4), [X, (3, 4, 2)]),
    ((4, 2), [(3, 4), X]),
    ((4, 2), [(4,), X]),
    ((4, 2), [(1, 3, 4), X]),
    ((3, 4, 2), [(5, 4), X]),
    ((3, 4, 2), [(3, 5, 4), X]),
    ((1, 4, 2), [(3, 5, 4), X]),
]


@pytest.mark.parametrize(("shape", "inputs"), PRODUCTS, ids=str)
@pytest.mark.parametrize("batch", ["N", 1])
def test_matmul(shape: tuple[int, ...], inputs: list[Any], batch: str | int) -> None:
    check(single("MatMul", shape, *(v if v is X else weights(RNG, *v) for v in inputs), batch=batch))


@pytest.mark.parametrize("inputs", [[X, (4, 3)], [(3, 4), X], [(4,), X]])
def test_matmul_of_an_input_without_batch(inputs: list[Any]) -> None:
    check(single("MatMul", (4,), *(v if v is X else weights(RNG, *v) for v in inputs), batch=None))


def test_constants_are_folded() -> None:
    graph = GraphBuilder((4,))
    weight = graph.node("Gemm", weights(RNG, 4, 2), weights(RNG, 2, 3), weights(RNG, 3))
    weight = graph.node("MatMul", weight, weights(RNG, 3, 3))
    check(graph.model(graph.node("MatMul", "x", weight)), tolerance=1e-4)


@pytest.mark.parametrize(
    ("operator", "shape", "inputs", "attributes", "message"),
    [
        ("MatMul", (2, 2), [X, X], {}, "multiplies two values that both depend"),
        ("Gemm", (2,), [X, X], {}, "multiplies two values that both depend"),
        ("MatMul", (4,), [(3, 4), X], {}, "do not fit together|batch dimension"),
        ("MatMul", (4,), [X, (5, 4, 3)], {}, "mixes, moves or drops the batch"),
        ("MatMul", (2, 4), [X, (5, 4, 3)], {}, "mixes, moves or drops the batch"),
        ("MatMul", (2, 4), [X, (3, 1, 4, 3)], {}, "mixes, moves or drops the batch"),
        ("MatMul", (4,), [X, (3, 4)], {}, "do not fit together"),
        ("Gemm", (4,), [X, (3, 4)], {"transA": 1}, "mixes, moves or drops the batch"),
        ("Gemm", (2, 4), [X, (4, 3)], {}, "matrices are expected"),
        ("Gemm", (4,), [X, (4, 3), (2, 3)], {}, "batch|adds shape"),
        ("Gemm", (4,), [X, (4, 3), (4,)], {}, "do not fit together"),
    ],
)
def test_what_they_refuse(operator: str, shape: Any, inputs: list[Any], attributes: Any, message: str) -> None:
    model = single(operator, shape, *(v if v is X else weights(RNG, *v) for v in inputs), **attributes)
    with pytest.raises(UnsupportedModelError, match=message):
        check(model)
