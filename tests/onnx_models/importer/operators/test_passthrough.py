"""Identity, Dropout, Cast, Constant, BatchNormalization, and a final Softmax."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

from onnx_models.errors import UnsupportedModelError
from onnx_models.importer import load_onnx_bytes
from tests.helpers.onnx_graphs import GraphBuilder, check, inputs_for, run, single, weights

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "opset"),
    [
        ("Identity", [], {}, 8),
        ("Identity", [], {}, 25),
        ("Dropout", [], {"ratio": 0.3}, 8),
        ("Dropout", [], {"ratio": 0.3}, 10),
        ("Dropout", [np.float32(0.3)], {}, 12),
        ("Dropout", [np.float32(0.3), np.array(False)], {}, 13),
        ("Dropout", [None, np.array(False)], {"seed": 1}, 22),
        ("Cast", [], {"to": 1}, 9),
    ],
)
def test_passes_the_value_on(operator: str, inputs: list[Any], attributes: dict[str, Any], opset: int) -> None:
    network = check(single(operator, (2, 3), *inputs, opset=opset, **attributes))
    assert len(network.nodes) == 2


def test_casts_between_precisions() -> None:
    graph = GraphBuilder((3,))
    wide = graph.node("Cast", "x", to=11)
    added = graph.node("Add", wide, graph.node("Cast", weights(RNG, 3), to=11))
    check(graph.model(graph.node("Cast", added, to=1)))


def test_casts_of_constants_round_as_the_type_does() -> None:
    graph = GraphBuilder((2,))
    coarse = graph.node("Cast", graph.node("Cast", np.float32([0.1, 1000.1]), to=10), to=1)
    truncated = graph.node("Cast", graph.node("Cast", np.float32([-1.7, 2.7]), to=7), to=1)
    network = check(graph.model(graph.node("Add", "x", graph.node("Add", coarse, truncated))))
    rounded = np.float16([0.1, 1000.1]).astype(np.float64)
    np.testing.assert_array_equal(network.forward([0, 0]), rounded + np.array([-1, 2]))


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("value", numpy_helper.from_array(np.float32([1, 2, 3]))),
        ("value_float", 1.5),
        ("value_floats", [1.0, 2.0, 3.0]),
    ],
)
def test_constants(attribute: str, value: Any) -> None:
    graph = GraphBuilder((3,))
    check(graph.model(graph.node("Add", "x", graph.node("Constant", **{attribute: value}))))


@pytest.mark.parametrize(("attribute", "value"), [("value_int", 2), ("value_ints", [2])])
def test_integer_constants(attribute: str, value: Any) -> None:
    graph = GraphBuilder((3,))
    check(graph.model(graph.node("Gather", "x", graph.node("Constant", **{attribute: value}), axis=1)))


@pytest.mark.parametrize("opset", [8, 9, 13, 14, 15])
@pytest.mark.parametrize("shape", [(3,), (3, 4), (3, 2, 2)])
def test_batch_normalization(opset: int, shape: tuple[int, ...]) -> None:
    parameters = [RNG.normal(size=3), RNG.normal(size=3), RNG.normal(size=3) * 100, RNG.uniform(0.01, 3, 3)]
    check(single("BatchNormalization", shape, *map(np.float32, parameters), opset=opset, epsilon=1e-3), tolerance=1e-4)


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "message"),
    [
        ("Cast", [], {"to": 7}, "Cast node 'Cast_0' rounds a value"),
        ("Cast", [], {"to": 8}, "attribute to=8 is not supported"),
        ("Dropout", [np.float32(0.5), np.array(True)], {}, "is in training mode"),
        ("BatchNormalization", [np.ones(3, np.float32)] * 4, {"training_mode": 1}, "attribute training_mode=1"),
        ("BatchNormalization", [np.ones(2, np.float32)] * 4, {}, "has parameters of shapes"),
        (
            "BatchNormalization",
            [np.ones(3, np.float32)] * 3 + [-np.ones(3, np.float32)],
            {},
            "NaN or infinite constants",
        ),
    ],
)
def test_what_they_refuse(operator: str, inputs: list[Any], attributes: dict[str, Any], message: str) -> None:
    opset = 14 if "training_mode" in attributes else 13
    with pytest.raises(UnsupportedModelError, match=message):
        check(single(operator, (3, 2), *inputs, opset=opset, **attributes))


class TestFinalSoftmax:
    @pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
    @pytest.mark.parametrize(
        ("shape", "attributes", "opset"),
        [((3,), {}, 8), ((3,), {"axis": 1}, 11), ((3,), {}, 13), ((1, 3), {"axis": -1}, 13), ((3, 1), {"axis": 1}, 13),
         ((1, 3, 1), {"axis": 2}, 8)],
    )  # fmt: skip
    def test_is_left_out_and_noted(self, operator: str, shape: Any, attributes: dict[str, Any], opset: int) -> None:
        model = single(operator, shape, opset=opset, **attributes)
        network = load_onnx_bytes(model.SerializeToString(), "model.onnx")
        assert network.source is not None
        batch = inputs_for(model)
        logits = network.forward_batch(batch)
        theirs = run(model, batch)
        np.testing.assert_array_equal(logits, batch.reshape(len(batch), -1))
        np.testing.assert_array_equal(network.source.logits(batch), batch.reshape(len(batch), -1))
        np.testing.assert_array_equal(theirs.argmax(axis=1), logits.argmax(axis=1))
        assert f"{operator} node '{operator}_0' was left out" in network.notes[0]

    def test_shape_changes_may_follow(self) -> None:
        graph = GraphBuilder((4,))
        value = graph.node("Softmax", graph.node("Gemm", "x", weights(RNG, 4, 3)))
        for operator, extra in [("Identity", []), ("Flatten", []), ("Reshape", [np.array([-1, 3, 1])])]:
            value = graph.node(operator, value, *extra)
        model = graph.model(graph.node("Dropout", value))
        network = load_onnx_bytes(model.SerializeToString(), "model.onnx")
        assert len(network.notes) == 1
        assert (
            run(model, inputs_for(model)).argmax(axis=1) == network.forward_batch(inputs_for(model)).argmax(axis=1)
        ).all()

    @pytest.mark.parametrize("operator", ["Relu", "Neg"])
    def test_inside_a_network_it_is_refused(self, operator: str) -> None:
        graph = GraphBuilder((4,))
        with pytest.raises(UnsupportedModelError, match="Softmax node 'Softmax_0': it is supported at the end"):
            check(graph.model(graph.node(operator, graph.node("Softmax", "x"))))

    def test_beside_another_reader_it_is_refused(self) -> None:
        graph = GraphBuilder((4,))
        value = graph.node("Softmax", "x")
        with pytest.raises(UnsupportedModelError, match="supported at the end"):
            check(graph.model(graph.node("Reshape", value, graph.node("Concat", value, value, axis=1))))

    @pytest.mark.parametrize("attributes", [{"axis": 1}, {"axis": 2}])
    def test_over_a_part_it_is_refused(self, attributes: dict[str, int]) -> None:
        with pytest.raises(UnsupportedModelError, match="normalises only part of its input"):
            check(single("Softmax", (2, 3), **attributes))

    def test_over_the_batch_it_is_refused(self) -> None:
        with pytest.raises(UnsupportedModelError, match="mixes, moves or drops the batch"):
            check(single("Softmax", (3,), axis=0))
