"""The comparison with onnxruntime: a wrong operator is caught and named, rounding in deep networks is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from onnx_models import NetworkBuilder, SparseMap
from onnx_models.errors import CrossCheckError, ModelFileError
from onnx_models.importer import _registry, load_onnx_bytes
from onnx_models.importer._call import Call
from onnx_models.importer._crosscheck import cross_check
from onnx_models.importer._load import _checked
from onnx_models.importer._lower import lower
from onnx_models.importer._lowering import combine, reshaped
from onnx_models.importer._runtime import prepare
from onnx_models.importer._values import Tensor, Value
from tests.helpers.onnx_graphs import GraphBuilder, check, weights

Corruption = Callable[[Call], Call]


def corrupt(monkeypatch: pytest.MonkeyPatch, name: str, corruption: Corruption) -> None:
    """Lowers the node called `name` as if it were `corruption` of it; the file keeps what it says."""
    kind = name.rpartition("_")[0]
    entry = _registry._OPERATORS[kind]

    def handler(call: Call) -> Any:
        return entry.handler(corruption(call) if call.node.name == name else call)

    monkeypatch.setitem(_registry._OPERATORS, kind, replace(entry, handler=handler))


def attributes(**changes: Any) -> Corruption:
    """The node with other attributes."""
    return lambda call: replace(call, node=replace(call.node, attributes={**call.node.attributes, **changes}))


def constant(position: int, change: Callable[[Any], Any]) -> Corruption:
    """The node with another constant as its input `position`."""

    def corruption(call: Call) -> Call:
        values = list(call.inputs)
        values[position] = change(values[position])
        return replace(call, inputs=tuple(values))

    return corruption


def image_model() -> GraphBuilder:
    """Convolution, normalisation, pools, a transpose and dense layers; the output is the last value."""
    rng = np.random.default_rng(0)
    g = GraphBuilder((2, 8, 8))
    value = g.node("Conv", "x", weights(rng, 4, 2, 3, 3), weights(rng, 4), pads=[1, 0, 0, 1], strides=[1, 1])
    value = g.node("BatchNormalization", value, *(rng.uniform(0.5, 2, 4) for _ in range(4)))
    value = g.node("LeakyRelu", value, alpha=0.1)
    value = g.node("AveragePool", value, kernel_shape=[2, 2], pads=[1, 1, 0, 0], count_include_pad=1)
    value = g.node("MaxPool", value, kernel_shape=[2, 2], strides=[2, 2])
    value = g.node("Transpose", value, perm=[0, 2, 3, 1])
    value = g.node("Flatten", value)
    value = g.node("Gather", value, rng.permutation(36), axis=1)
    value = g.node("Gemm", value, weights(rng, 36, 36), weights(rng, 36), transB=1)
    value = g.node("Relu", value)
    value = g.node("Sub", value, weights(rng, 36))
    value = g.node("MatMul", value, weights(rng, 36, 5))
    g.node("Clip", value, np.float32(-1), np.float32(1))
    return g


def load(graph: GraphBuilder, **options: Any) -> Any:
    output = graph.nodes[-1].output[0]
    return load_onnx_bytes(graph.model(output).SerializeToString(), "model.onnx", **options)


CORRUPTIONS: list[tuple[str, str, Corruption]] = [
    ("pad on the other side", "Conv_0", attributes(pads=[0, 1, 1, 0])),
    ("pad above and below swapped", "Conv_0", attributes(pads=[0, 0, 1, 1])),
    ("kernel flipped", "Conv_0", constant(1, lambda w: w[:, :, ::-1])),
    ("kernel transposed", "Conv_0", constant(1, lambda w: w.swapaxes(2, 3))),
    ("bias forgotten", "Conv_0", lambda call: replace(call, inputs=call.inputs[:2])),
    ("epsilon", "BatchNormalization_1", attributes(epsilon=1e-3)),
    ("mean and variance swapped", "BatchNormalization_1",
     lambda call: replace(call, inputs=(*call.inputs[:3], call.inputs[4], call.inputs[3]))),
    ("default slope", "LeakyRelu_2", attributes(alpha=0.01)),
    ("padding not counted", "AveragePool_3", attributes(count_include_pad=0)),
    ("weight not transposed", "Gemm_8", attributes(transB=0)),
    ("order of axes", "Transpose_5", attributes(perm=[0, 3, 2, 1])),
    ("wrong permutation", "Gather_7", constant(1, lambda k: k[::-1])),
    ("sign", "Sub_10", constant(1, np.negative)),
    ("one weight", "MatMul_11", constant(1, lambda w: w + 1e-3 * (np.arange(w.size).reshape(w.shape) == 7))),
    ("bound", "Clip_12", constant(2, lambda b: b * 0.99)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "corruption"), [c[1:] for c in CORRUPTIONS], ids=[c[0] for c in CORRUPTIONS])
def test_a_wrong_node_is_named(monkeypatch: pytest.MonkeyPatch, name: str, corruption: Corruption) -> None:
    corrupt(monkeypatch, name, corruption)
    with pytest.raises(
        CrossCheckError, match=f"(disagree, first at|onnx:) {name.partition('_')[0]} node '{name}'"
    ) as caught:
        load(image_model())
    assert "onnxruntime" in str(caught.value)
    assert "cross_check=False" in str(caught.value)
    load(image_model(), cross_check=False)


def test_the_message_gives_both_values(monkeypatch: pytest.MonkeyPatch) -> None:
    corrupt(monkeypatch, "Add_0", constant(1, lambda c: c + 1))
    graph = GraphBuilder((2,))
    graph.node("Add", "x", np.float32([0.5, 0.25]))
    with pytest.raises(
        CrossCheckError, match=r"entry \(0, [01]\) of 'v0' is (-?[\d.]+) in onnxruntime and (-?[\d.]+) here"
    ):
        load(graph)


def deep_model(depth: int, width: int, gain: float) -> GraphBuilder:
    """Dense layers with ReLUs whose values grow by about `gain` per layer."""
    rng = np.random.default_rng(1)
    graph, value = GraphBuilder((width,)), "x"
    for _ in range(depth):
        value = graph.node("Gemm", value, gain * 1.4 * weights(rng, width, width), weights(rng, width), transB=1)
        value = graph.node("Relu", value)
    graph.node("Gemm", value, weights(rng, 10, width), transB=1)
    return graph


@pytest.mark.parametrize(("depth", "width", "gain"), [(60, 40, 1.0), (60, 40, 1.5), (60, 40, 0.5), (3, 1000, 1.0)])
def test_rounding_of_deep_and_wide_networks_is_not_reported(depth: int, width: int, gain: float) -> None:
    load(deep_model(depth, width, gain))


def test_a_small_error_deep_inside_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def slightly_wrong(weight: Any) -> Any:
        wrong = weight.copy()
        wrong[3, :] *= 1 + 1e-4
        return wrong

    corrupt(monkeypatch, "Gemm_60", constant(1, slightly_wrong))
    with pytest.raises(CrossCheckError, match="first at Gemm node 'Gemm_60'"):
        load(deep_model(60, 40, 1.0))


def test_a_wrong_shape_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = _registry._OPERATORS["Neg"]

    def handler(call: Call) -> Value:
        return reshaped(call, combine(call, [(call.tensor(), -1.0)]), (1, 6))

    monkeypatch.setitem(_registry._OPERATORS, "Neg", replace(entry, handler=handler))
    graph = GraphBuilder((2, 3))
    graph.node("Neg", "x")
    with pytest.raises(
        CrossCheckError, match=r"Neg node 'Neg_0' gives 'v0' the shape \(16, 2, 3\) in onnxruntime, and \(16, 6\)"
    ):
        load(graph)


def test_a_wrong_fusion_is_found() -> None:
    graph = image_model()
    model, plain = _checked(graph.model("v12").SerializeToString(), "model.onnx", None)
    lowered = lower(plain)
    prepare(model, plain)
    builder = NetworkBuilder((2, 8, 8))
    inner = lowered.builder.build(lowered.output.node)
    cross_check(lowered, inner, model, plain)
    wrong = builder.build(builder.affine((0,), (SparseMap.selection(np.arange(5), 128),)))
    with pytest.raises(CrossCheckError, match="fusing affine maps changed the outputs"):
        cross_check(lowered, wrong, model, plain)


def test_overflow_on_every_input_is_reported() -> None:
    graph = GraphBuilder((2,))
    value = graph.node("Add", "x", np.full(2, 3e38))
    graph.node("Add", value, np.full(2, 3e38))
    with pytest.raises(CrossCheckError, match="overflows on every test input"):
        load(graph)


def test_overflow_on_some_inputs_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    graph = GraphBuilder((2,))
    value = graph.node("Mul", "x", np.full(2, 1e38))
    graph.node("Mul", value, np.full(2, 3.0))
    load(graph)
    assert "onnxruntime overflows on 2 of 16 test inputs" in caplog.text


def test_a_model_that_onnxruntime_cannot_load() -> None:
    graph = GraphBuilder((2,))
    mixed = graph.node("Where", np.array([True, False]), "x", np.array([1, 2]))
    with pytest.raises(ModelFileError, match="onnxruntime .* cannot load model.onnx"):
        load_onnx_bytes(graph.model(mixed).SerializeToString(), "model.onnx")


def test_huge_bounds_and_values_are_compared_sensibly() -> None:
    graph = GraphBuilder((3,))
    value = graph.node("Clip", "x", np.float32(-1e25), np.float32(1e25))
    check(graph.model(graph.node("Mul", value, np.float32([1e20, 1e-20, 1]))), tolerance=1e-5)


def test_a_tensor_is_compared_even_if_the_output_does_not_use_its_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ReLU whose units a mask hides completely is still compared."""
    corrupt(monkeypatch, "LeakyRelu_0", attributes(alpha=0.5))
    graph = GraphBuilder((2,))
    hidden = graph.node("LeakyRelu", "x", alpha=0.1)
    graph.node("Where", np.array([False, False]), hidden, "x")
    with pytest.raises(CrossCheckError, match="first at LeakyRelu"):
        load(graph)


def test_tensors_are_values() -> None:
    assert Tensor(0, (2, 3)).indices.tolist() == [[0, 1, 2], [3, 4, 5]]
