"""The check of the whole graph: every node that cannot be lowered is listed before any is converted."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from onnx_models import load_onnx, supported_operators
from onnx_models.errors import UnsupportedModelError
from onnx_models.importer import _lower, load_onnx_bytes
from onnx_models.importer._registry import ANY, constants_from, operator
from tests.helpers.onnx_graphs import GraphBuilder, weights


def message(graph: GraphBuilder, output: str) -> str:
    """What loading the model says."""
    with pytest.raises(UnsupportedModelError) as caught:
        load_onnx_bytes(graph.model(output).SerializeToString(), "model.onnx")
    return str(caught.value)


def test_everything_is_listed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def lower(_graph: object) -> None:
        pytest.fail("a node was converted before the whole graph was checked")

    monkeypatch.setattr(_lower, "lower", lower)
    graph = GraphBuilder((2, 4, 4))
    value = graph.node("Sigmoid", "x")
    value = graph.node("MaxPool", value, kernel_shape=[2, 2], auto_pad="SOMEHOW")
    value = graph.node("Mul", value, value)
    value = graph.node("Conv", value, value)
    lines = message(graph, graph.node("Softplus", value)).splitlines()
    assert lines[0] == "model.onnx cannot be lowered to affine maps and ReLUs:"
    assert lines[1] == "  Sigmoid node 'Sigmoid_0': operator Sigmoid is not supported"
    assert lines[2].startswith(
        "  MaxPool node 'MaxPool_1': attribute auto_pad='SOMEHOW' is not supported (supported: NOT"
    )
    assert lines[3].startswith("  Mul node 'Mul_2': it multiplies two values that both depend on the network's input")
    assert lines[4] == "  Conv node 'Conv_3': its input 1 ('v2') depends on the network's input but must be a constant"
    assert lines[5] == "  Softplus node 'Softplus_4': operator Softplus is not supported"
    assert lines[6] == f"Supported operators: {', '.join(supported_operators())}."


def test_nodes_without_names_are_called_by_their_output() -> None:
    graph = GraphBuilder((3,))
    value = graph.node("Tanh", "x")
    graph.nodes[0].name = ""
    assert "Tanh node with output 'v0': operator Tanh" in message(graph, value)


def test_operators_of_other_domains() -> None:
    graph = GraphBuilder((3,))
    graph.nodes.append(helper.make_node("Relu", ["x"], ["y"], name="mine", domain="com.example"))
    assert "Relu node 'mine': operator com.example.Relu is not supported" in message(graph, "y")


def test_unknown_attributes_and_strange_names_stay_on_one_line() -> None:
    graph = GraphBuilder((3,))
    value = graph.node("Relu", "x", consumed_inputs=[0])
    graph.nodes[0].name = "two\nlines " + "and long " * 50
    text = message(graph, value)
    assert "attribute consumed_inputs is not supported" in text
    assert len(text.splitlines()) == 3
    assert "two\\nlines" in text


def test_long_lists_are_cut() -> None:
    graph, value = GraphBuilder((3,)), "x"
    for _ in range(130):
        value = graph.node("Tanh", value)
    lines = message(graph, value).splitlines()
    assert len(lines) == 103
    assert lines[101] == "  and 30 more"


def test_subgraphs() -> None:
    branch = helper.make_graph([helper.make_node("Relu", ["x"], ["b"])], "branch", [], [])
    graph = GraphBuilder((3,))
    value = graph.node("If", np.array(True), then_branch=branch, else_branch=branch)
    graph.nodes.append(helper.make_node("Add", ["x", value], ["y"]))
    assert "If node 'If_0': operator If is not supported" in message(graph, "y")


def test_supported_operators_are_those_of_the_issue() -> None:
    wanted = [
        "Constant",
        "Identity",
        "Cast",
        "Dropout",
        "Flatten",
        "Reshape",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Gemm",
        "MatMul",
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Neg",
        "Conv",
        "BatchNormalization",
        "AveragePool",
        "GlobalAveragePool",
        "ReduceMean",
        "ReduceSum",
        "Concat",
        "Slice",
        "Split",
        "Gather",
        "Pad",
        "Where",
        "Relu",
        "LeakyRelu",
        "PRelu",
        "MaxPool",
        "Clip",
        "Max",
        "Min",
        "Abs",
        "Softmax",
        "LogSoftmax",
    ]
    assert set(wanted) <= set(supported_operators())
    assert list(supported_operators()) == sorted(supported_operators())


def test_an_operator_is_a_function_and_its_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    """What docs/how-to/add-an-operator.md describes, on ThresholdedRelu's continuous cousin Shrink(bias=lambd)."""
    from onnx_models.importer import _registry
    from onnx_models.importer._call import Call
    from onnx_models.importer._lowering import combine, negated, relu
    from onnx_models.importer._values import Tensor, Value

    monkeypatch.setattr(_registry, "_OPERATORS", dict(_registry._OPERATORS))

    @operator("Shrink", attributes={"bias": ANY, "lambd": ANY}, rule=constants_from(1))
    def shrink(call: Call) -> Value:
        """Soft thresholding: relu(x - bias) - relu(-x - bias)."""
        bias = call.attribute("bias", 0.0)
        terms = []
        for value, sign in ((call.tensor(), 1.0), (negated(call, call.tensor()), -1.0)):
            shifted = combine(call, [(value, 1.0)], -bias)
            assert isinstance(shifted, Tensor)
            terms.append((relu(call, shifted), sign))
        return combine(call, terms)

    graph = GraphBuilder((4,))
    value = graph.node("Gemm", graph.node("Shrink", "x", bias=0.5, lambd=0.5), weights(np.random.default_rng(0), 4, 2))
    network = load_onnx_bytes(graph.model(value).SerializeToString(), "model.onnx")
    assert network.relu_count == 8


def test_load_onnx_is_public() -> None:
    import onnx_models

    assert onnx_models.load_onnx is load_onnx
