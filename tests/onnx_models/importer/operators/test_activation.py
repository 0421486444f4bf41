"""Activations against onnxruntime, and the number of ReLU units each takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bounds import Bounds, interval_bounds
from onnx_models.errors import ModelError, UnsupportedModelError
from tests.helpers.onnx_graphs import GraphBuilder, check, single

F = np.float32

CASES: list[tuple[str, str, list[Any], dict[str, Any], int, int]] = [
    # name, operator, further inputs, attributes, opset, units for 6 inputs
    ("relu", "Relu", [], {}, 13, 6),
    ("relu, oldest", "Relu", [], {}, 8, 6),
    ("leaky", "LeakyRelu", [], {}, 13, 6),
    ("leaky, steep", "LeakyRelu", [], {"alpha": 1.5}, 16, 6),
    ("leaky, falling", "LeakyRelu", [], {"alpha": -0.5}, 8, 6),
    ("leaky, straight", "LeakyRelu", [], {"alpha": 1.0}, 13, 0),
    ("leaky, flat", "LeakyRelu", [], {"alpha": 0.0}, 13, 6),
    ("parametric, one slope", "PRelu", [F([0.3])], {}, 13, 6),
    ("parametric, per entry", "PRelu", [F([[0.3, 1, -0.5], [0, 2, 0.1]])], {}, 16, 5),
    ("parametric, per row", "PRelu", [F([[0.3], [0.6]])], {}, 9, 6),
    ("absolute", "Abs", [], {}, 13, 6),
    ("absolute, oldest", "Abs", [], {}, 8, 6),
    ("clip, attributes", "Clip", [], {"min": -0.5, "max": 1.0}, 8, 12),
    ("clip, lower attribute", "Clip", [], {"min": -0.5}, 10, 6),
    ("clip, relu6", "Clip", [], {"min": 0.0, "max": 6.0}, 6 + 2, 12),
    ("clip, no bound", "Clip", [], {}, 13, 0),
    ("clip, inputs", "Clip", [F(-0.5), F(1.0)], {}, 11, 12),
    ("clip, lower input", "Clip", [F(-0.5)], {}, 13, 6),
    ("clip, upper input", "Clip", [None, F(0.5)], {}, 13, 6),
    ("clip, crossed", "Clip", [F(1.0), F(-1.0)], {}, 13, 12),
    ("clip, largest float", "Clip", [F(0.0), np.finfo(F).max], {}, 13, 6),
    ("clip, huge bounds", "Clip", [F(-1e30), F(1e30)], {}, 13, 12),
    ("hard sigmoid", "HardSigmoid", [], {}, 13, 12),
    ("hard sigmoid, slopes", "HardSigmoid", [], {"alpha": 0.5, "beta": 0.25}, 22, 12),
]


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "opset", "units"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_agrees_and_uses_few_units(
    operator: str, inputs: list[Any], attributes: dict[str, Any], opset: int, units: int
) -> None:
    network = check(single(operator, (2, 3), *inputs, opset=opset, **attributes))
    assert network.relu_count == units


def test_huge_bounds_do_not_swallow_digits() -> None:
    network = check(single("Clip", (2, 3), F(-1e30), F(1e30)))
    x = np.random.default_rng(0).normal(size=(5, 6))
    np.testing.assert_array_equal(network.forward_batch(x), x)


def test_interval_bounds_of_a_clip_are_exact() -> None:
    network = check(single("Clip", (1, 6), F(0.0), F(6.0)))
    logits = interval_bounds(network, Bounds(np.full(6, -3.0), np.full(6, 10.0))).nodes[-1]
    np.testing.assert_allclose(logits.lower, 0.0, atol=1e-12)
    np.testing.assert_allclose(logits.upper, 6.0, atol=1e-12)


def test_relu_of_relu_is_one_relu() -> None:
    graph = GraphBuilder((4,))
    value = graph.node("Clip", graph.node("Relu", graph.node("Relu", "x")), F(0.0))
    assert check(graph.model(value)).relu_count == 4


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "message"),
    [
        ("PRelu", [np.ones((2, 1, 3), F)], {}, "has slopes of shape"),
        ("Clip", ["x"], {}, "its input 1 .* must be a constant"),
        ("Clip", [F([0, 1])], {}, "has 2 numbers as its input 1; one is expected"),
        ("Sigmoid", [], {}, "operator Sigmoid is not supported"),
        ("Elu", [], {"alpha": 1.0}, "operator Elu is not supported"),
    ],
)
def test_what_they_refuse(operator: str, inputs: list[Any], attributes: dict[str, Any], message: str) -> None:
    with pytest.raises((UnsupportedModelError, ModelError), match=message):
        check(single(operator, (2, 3), *inputs, **attributes))
