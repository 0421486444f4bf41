"""Transpose, Concat, Split, Gather, Slice, Expand, Where and Pad against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from onnx_models.errors import UnsupportedModelError
from tests.helpers.onnx_graphs import GraphBuilder, X, check, single

RNG = np.random.default_rng(0)
I = lambda *v: np.array(v, np.int64)  # noqa: E731


CASES: list[tuple[str, str, list[Any], dict[str, Any], int]] = [
    ("transpose", "Transpose", [], {"perm": [0, 3, 1, 2]}, 13),
    ("transpose, oldest", "Transpose", [], {"perm": [0, 2, 1, 3]}, 8),
    ("gather", "Gather", [I(1, 0, -1)], {"axis": 2}, 8),
    ("gather, one", "Gather", [np.array(1)], {"axis": 3}, 11),
    ("gather, matrix", "Gather", [np.array([[1, 0], [0, 1]])], {"axis": 1}, 13),
    ("gather, negative axis", "Gather", [I(0)], {"axis": -1}, 13),
    ("slice, attributes", "Slice", [], {"starts": [1, 0], "ends": [3, 2], "axes": [2, 3]}, 9),
    ("slice, attributes, no axes", "Slice", [], {"starts": [0, 1], "ends": [2**31 - 1, 2]}, 9),
    ("slice, inputs", "Slice", [I(1), I(2), I(2)], {}, 10),
    ("slice, whole batch", "Slice", [I(0, 0), I(2**63 - 1, 1)], {}, 13),
    ("slice, backwards", "Slice", [I(-1), I(-(2**63) + 1), I(3), I(-1)], {}, 13),
    ("slice, backwards by two", "Slice", [I(3), I(0), I(3), I(-2)], {}, 13),
    ("slice, steps", "Slice", [I(0, 0), I(10, 10), I(2, -1), I(2, 3)], {}, 11),
    ("slice, negative bounds", "Slice", [I(-3), I(-1), I(3)], {}, 13),
    ("slice, 32 bits", "Slice", [np.int32([1]), np.int32([2]), np.int32([1])], {}, 13),
    ("pad, attributes", "Pad", [], {"pads": [0, 0, 1, 2, 0, 0, 0, 1]}, 8),
    ("pad, value attribute", "Pad", [], {"pads": [0, 1, 0, 0, 0, 0, 0, 1], "value": 0.5}, 10),
    ("pad, inputs", "Pad", [I(0, 1, 0, 0, 0, 0, 2, 0)], {}, 11),
    ("pad, value", "Pad", [I(0, 1, 0, 0, 0, 0, 2, 0), np.float32(-1.5)], {}, 13),
    ("pad, axes", "Pad", [I(1, 0, 2, 0), None, I(3, -2)], {}, 18),
    ("pad, cuts off", "Pad", [I(0, 0, -1, 0, 0, 0, 1, -2)], {}, 13),
    ("pad, nothing", "Pad", [I(0, 0, 0, 0, 0, 0, 0, 0)], {}, 13),
    ("pad, reflect", "Pad", [I(0, 0, 1, 2, 0, 0, 2, 1)], {"mode": "reflect"}, 13),
    ("pad, edge", "Pad", [I(0, 0, 1, 2, 0, 0, 2, 1)], {"mode": "edge"}, 13),
    ("pad, wrap", "Pad", [I(0, 0, 1, 2, 0, 0, 2, 1)], {"mode": "wrap"}, 19),
    ("expand", "Expand", [I(1, 2, 3, 4)], {}, 8),
    ("expand, shorter", "Expand", [I(1, 4)], {}, 13),
]


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "opset"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
@pytest.mark.parametrize("batch", ["N", 1])
def test_agrees(operator: str, inputs: list[Any], attributes: dict[str, Any], opset: int, batch: str | int) -> None:
    network = check(single(operator, (2, 3, 4), *inputs, opset=opset, batch=batch, **attributes))
    assert network.relu_count == 0


@settings(max_examples=60)
@given(st.integers(-7, 7), st.integers(-7, 7), st.integers(-3, 3).filter(bool))
def test_slices(start: int, end: int, step: int) -> None:
    assume(range(*slice(start, end, step).indices(5)))
    check(single("Slice", (5,), I(start), I(end), I(1), I(step)))


SPLITS: list[tuple[str, list[Any], dict[str, Any], int, int]] = [
    ("equal", [], {"axis": 1}, 2, 8),
    ("attribute", [], {"axis": 2, "split": [1, 2]}, 2, 11),
    ("input", [I(1, 1, 2)], {"axis": -1}, 3, 13),
    ("number", [], {"axis": 2, "num_outputs": 2}, 2, 18),
    ("one", [], {"axis": 3, "num_outputs": 1}, 1, 18),
]


@pytest.mark.parametrize(
    ("inputs", "attributes", "outputs", "opset"), [c[1:] for c in SPLITS], ids=[c[0] for c in SPLITS]
)
@pytest.mark.parametrize("which", [0, -1])
def test_split(inputs: list[Any], attributes: dict[str, Any], outputs: int, opset: int, which: int) -> None:
    model = single("Split", (2, 3, 4), *inputs, opset=opset, outputs=outputs, **attributes)
    model.graph.output[0].name = model.graph.node[0].output[which]
    check(model)


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_concat(axis: int) -> None:
    graph = GraphBuilder((2, 3))
    constant = RNG.normal(size=(1, 2, 3))
    other = graph.node("Relu", "x")
    value = graph.node("Concat", "x", other, "x", axis=axis)
    check(graph.model(value))
    graph = GraphBuilder((2, 3), batch=1)
    check(graph.model(graph.node("Concat", "x", constant, graph.node("Relu", "x"), axis=axis)))


def test_concat_along_the_batch_of_a_fixed_batch() -> None:
    graph = GraphBuilder((2, 3), batch=1)
    check(graph.model(graph.node("Concat", "x", graph.node("Relu", "x"), axis=0)))


def test_transpose_moves_a_batch_of_one() -> None:
    check(single("Transpose", (2, 3), batch=1))


class TestMaskedRelu:
    """MIPVerify's masked ReLU: -1 always off, 0 a ReLU, +1 the identity."""

    MASK = np.array([[-1, 0, 1], [1, 0, 0]])

    def test_only_masked_units_remain(self) -> None:
        graph = GraphBuilder((4,))
        hidden = graph.node("Reshape", graph.node("Gemm", "x", RNG.normal(size=(4, 6))), I(-1, 2, 3))
        inner = graph.node("Where", self.MASK == 1, hidden, graph.node("Relu", hidden))
        masked = graph.node("Where", self.MASK == -1, np.zeros((2, 3)), inner)
        network = check(graph.model(graph.node("Gemm", graph.node("Flatten", masked), RNG.normal(size=(6, 2)))))
        assert network.relu_count == 3

    def test_masks_computed_from_constants(self) -> None:
        graph = GraphBuilder((2, 3))
        positive = graph.node("Equal", self.MASK, np.array(1))
        negative = graph.node("Not", graph.node("GreaterOrEqual", self.MASK, np.array(0)))
        inner = graph.node("Where", positive, "x", graph.node("Relu", "x"))
        network = check(graph.model(graph.node("Where", negative, np.zeros((2, 3)), inner)))
        assert network.relu_count == 3

    def test_a_unit_read_elsewhere_stays(self) -> None:
        graph = GraphBuilder((2, 3))
        relu = graph.node("Relu", "x")
        masked = graph.node("Where", self.MASK == 1, "x", relu)
        assert check(graph.model(graph.node("Concat", masked, relu, axis=1))).relu_count == 6


@pytest.mark.parametrize("mask", [(3,), (2, 1), (1, 2, 3), ()])
def test_where_broadcasts(mask: tuple[int, ...]) -> None:
    chosen = np.arange(np.prod(mask)).reshape(mask) % 2 == 0
    check(single("Where", (2, 3), chosen, X, RNG.normal(size=(2, 3)).astype(np.float32)))
    check(single("Where", (2, 3), ~chosen, np.float32(3), X))


REFUSALS: list[tuple[str, str, list[Any], dict[str, Any], str]] = [
    ("transpose", "Transpose", [], {"perm": [1, 0, 2, 3]}, "mixes, moves or drops the batch"),
    ("transpose by default", "Transpose", [], {}, "mixes, moves or drops the batch"),
    ("permutation", "Transpose", [], {"perm": [0, 1, 1, 2]}, "has the permutation"),
    ("concat", "Concat", [X, X], {"axis": 0}, "mixes, moves or drops the batch"),
    ("concat shapes", "Concat", [X, np.ones((1, 2), np.float32)], {"axis": 1}, "joins shapes"),
    ("concat axis", "Concat", [X], {"axis": 4}, "has axis 4, out of range"),
    ("gather batch", "Gather", [I(0)], {"axis": 0}, "mixes, moves or drops the batch"),
    ("gather range", "Gather", [I(4)], {"axis": 3}, "reads positions outside its 4 entries"),
    ("slice batch", "Slice", [I(0), I(1), I(0)], {}, "mixes, moves or drops the batch"),
    ("slice empty", "Slice", [I(2), I(2), I(3)], {}, "gives a tensor without entries"),
    ("slice step", "Slice", [I(0), I(2), I(3), I(0)], {}, "and steps"),
    ("pad batch", "Pad", [I(1, 0, 0, 0, 0, 0, 0, 0)], {}, "mixes, moves or drops the batch"),
    ("pad count", "Pad", [I(1, 0, 0)], {}, "has pads"),
    ("pad cuts too much", "Pad", [I(0, 1, 0, 0, 0, -3, 0, 0)], {}, "cuts more off the shape"),
    ("pad with two numbers", "Pad", [I(*[0] * 8), np.ones(2, np.float32)], {}, "has 2 numbers as its input 2"),
    ("pad mode", "Pad", [I(*[0] * 8)], {"mode": "mirror"}, "attribute mode='mirror' is not supported"),
    ("pad reflect cuts", "Pad", [I(0, 0, -1, 0, 0, 0, 1, 0)], {"mode": "reflect"}, "negative pads in mode reflect"),
    ("expand batch", "Expand", [I(5, 2, 3, 4)], {}, "mixes, moves or drops the batch"),
    ("expand rank", "Expand", [I(1, 1, 2, 3, 4)], {}, "mixes, moves or drops the batch"),
    ("where variable", "Where", [X, X, X], {}, "its input 0 .* must be a constant"),
    ("where batch", "Where", [np.ones((5, 2, 3, 4), bool), X, X], {}, "mixes, moves or drops the batch"),
    ("split", "Split", [I(1, 2)], {"axis": 3}, "cuts 4 entries into parts"),
    ("split empty", "Split", [I(0, 4)], {"axis": 3}, "gives a tensor without entries"),
    ("constant output", "Where", [np.zeros((1, 2, 3, 4), bool), X, np.float32(1)], {}, "does not depend on input 'x'"),
]


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "message"), [c[1:] for c in REFUSALS], ids=[c[0] for c in REFUSALS]
)
def test_what_they_refuse(operator: str, inputs: list[Any], attributes: dict[str, Any], message: str) -> None:
    outputs = 2 if operator == "Split" else 1
    with pytest.raises(UnsupportedModelError, match=message):
        check(single(operator, (2, 3, 4), *inputs, outputs=outputs, **attributes))
