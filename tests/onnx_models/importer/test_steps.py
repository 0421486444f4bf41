"""The operators of a model one by one: their nodes, and what is refused because float32 would not be bounded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest

from onnx_models import DenseMap, NetworkBuilder, ReluNetwork, supported_operators
from onnx_models.errors import InputError, UnsupportedModelError
from onnx_models.importer import _read_steps, load_onnx_bytes
from onnx_models.importer._read_steps import MOVES, ROUNDS
from onnx_models.importer._registry import Role, registry
from onnx_models.importer._steps import float32_steps
from onnx_models.zoo import load_zoo
from tests.helpers.onnx_graphs import GraphBuilder, X, random_model, single


def loaded(model: onnx.ModelProto) -> ReluNetwork:
    return load_onnx_bytes(model.SerializeToString(), "model.onnx")


def test_every_operator_that_can_depend_on_the_input_has_a_kind() -> None:
    folded = {name for name in supported_operators() if registry()[name].rule.__name__ == "constants_only"}
    measuring = {name for name, entry in registry().items() if entry.role is Role.MEASURES}
    assert set(supported_operators()) - folded - measuring - {"Constant"} == MOVES | ROUNDS
    assert not MOVES & ROUNDS


@pytest.mark.parametrize("seed", range(12))
def test_steps_own_every_node_once_and_evaluate_to_the_network(seed: int) -> None:
    network = loaded(random_model(seed))
    steps = float32_steps(network)
    assert [k for step in steps.steps for k in step.nodes] == list(range(1, len(steps.nodes)))
    builder = NetworkBuilder(network.input_shape)
    builder._nodes[:] = steps.nodes
    x = np.random.default_rng(seed).uniform(-1, 1, (3, network.input_size))
    np.testing.assert_allclose(
        builder.build(steps.output, fuse=False).forward_batch(x), network.forward_batch(x), rtol=1e-9, atol=1e-9
    )


def test_steps_are_read_once() -> None:
    network = load_zoo("digits_small_standard")
    assert float32_steps(network) is float32_steps(network)


def test_network_without_a_file_is_refused() -> None:
    builder = NetworkBuilder((2,))
    network = builder.build(builder.affine((0,), (DenseMap(np.eye(2)),)))
    with pytest.raises(InputError, match="came from no ONNX model"):
        float32_steps(network)


def test_network_other_than_its_file_is_refused() -> None:
    network = load_zoo("digits_small_standard")
    last = network.nodes[-1]
    other = replace(network, nodes=(*network.nodes[:-1], replace(last, bias=last.bias + 1)))
    with pytest.raises(InputError, match="not the one that digits_small_standard.onnx holds"):
        float32_steps(other)


@pytest.mark.parametrize(("dtype", "name"), [(np.float64, "DOUBLE"), (np.float16, "FLOAT16")])
def test_other_precision_is_refused(dtype: Any, name: str) -> None:
    graph = GraphBuilder((2,), dtype=dtype)
    with pytest.raises(UnsupportedModelError, match=f"computes in {name}.*float32 model"):
        float32_steps(loaded(graph.model(graph.node("Gemm", "x", np.eye(2)))))


def test_cast_away_from_float32_is_refused() -> None:
    graph = GraphBuilder((2,))
    double = graph.node("Cast", "x", to=onnx.TensorProto.DOUBLE)
    model = graph.model(graph.node("Cast", double, to=onnx.TensorProto.FLOAT))
    with pytest.raises(UnsupportedModelError, match="Cast node 'Cast_0' leaves float32"):
        float32_steps(loaded(model))


def test_constant_that_float32_rounds_is_refused() -> None:
    graph = GraphBuilder((2,))
    third = graph.node("Div", np.array([1.0, 1.0]), np.array([3.0, 3.0]))
    with pytest.raises(UnsupportedModelError, match="Div node 'Div_0' computes a constant that holds numbers"):
        float32_steps(loaded(graph.model(graph.node("Mul", "x", third))))


def test_constant_that_float32_gets_exactly_is_fine() -> None:
    graph = GraphBuilder((2,))
    quarter = graph.node("Div", np.array([1.0, 3.0]), np.array([4.0, 4.0]))
    assert len(float32_steps(loaded(graph.model(graph.node("Mul", "x", quarter)))).steps) == 1


def test_constant_that_several_roundings_lead_to_is_refused() -> None:
    graph = GraphBuilder((2,))
    product = graph.node("MatMul", np.eye(2), np.eye(2))
    with pytest.raises(UnsupportedModelError, match="MatMul node 'MatMul_0' computes a constant"):
        float32_steps(loaded(graph.model(graph.node("MatMul", "x", product))))


def test_variance_near_zero_is_refused() -> None:
    one = np.ones(1)
    model = single("BatchNormalization", (1, 2, 2), X, one, one, one, np.array([1e-37]), epsilon=0.0)
    with pytest.raises(UnsupportedModelError, match="variance too near to 0"):
        float32_steps(loaded(model))


def test_operator_without_a_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_read_steps, "ROUNDS", ROUNDS - {"Abs"})
    with pytest.raises(UnsupportedModelError, match="Abs node 'Abs_0': no bound of its float32 rounding errors"):
        float32_steps(loaded(single("Abs", (2,))))
