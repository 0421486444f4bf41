"""Writing a trained module as ONNX, one operator per layer.

torch's own exporter would fold batch normalisation into convolutions and write a file that depends on its version. Here
every layer stays an operator, so that the zoo also shows what the importer reads.

This module imports torch; only the training script uses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from onnx_models.zoo._architectures import Residual

OPSET, IR_VERSION = 17, 8
"""Old enough for every runtime of the last years; the operators used have not changed since."""


def to_onnx(module: nn.Sequential, *, name: str, description: str) -> bytes:
    """The module in evaluation mode as a serialised, checked ONNX model with input `input` and output `logits`.

    The batch dimension is dynamic; the input has shape (N, 1, 8, 8), weights are float32.
    """
    graph = _Graph()
    last = graph.add_all(module, "input")
    graph.nodes[-1].output[0] = "logits"
    assert last != "input"
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            name,
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 1, 8, 8])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="mipverify-py zoo",
        doc_string=description,
    )
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


class _Graph:
    """The nodes and weights written so far; each layer is named after its operator and number."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add_all(self, layers: nn.Sequential, value: str) -> str:
        """Appends the layers to `value` and returns the name of the last one's output."""
        for layer in layers:
            value = self._add(layer, value)
        return value

    def _add(self, layer: nn.Module, value: str) -> str:
        match layer:
            case nn.Linear():
                return self._node("Gemm", [value], [layer.weight, layer.bias], transB=1)
            case nn.Conv2d():
                assert not isinstance(layer.padding, str)
                geometry = {"kernel_shape": layer.kernel_size, "strides": layer.stride, "pads": layer.padding * 2}
                return self._node("Conv", [value], [layer.weight, layer.bias], **geometry)
            case nn.BatchNorm2d():
                statistics = [layer.weight, layer.bias, layer.running_mean, layer.running_var]
                return self._node("BatchNormalization", [value], statistics, epsilon=layer.eps)
            case nn.MaxPool2d():
                side = [layer.kernel_size] * 2
                return self._node("MaxPool", [value], kernel_shape=side, strides=side)
            case Residual():
                return self._node("Add", [value, self.add_all(layer.body, value)])
            case nn.ReLU():
                return self._node("Relu", [value])
            case nn.Flatten():
                return self._node("Flatten", [value])
        raise AssertionError(layer)

    def _node(self, operator: str, inputs: list[str], tensors: Sequence[Tensor | None] = (), **attributes: Any) -> str:
        name = f"{operator.lower()}_{sum(node.op_type == operator for node in self.nodes) + 1}"
        names = [f"{name}.{position}" for position in range(len(tensors))]
        for tensor, tensor_name in zip(tensors, names, strict=True):
            assert tensor is not None
            array = np.ascontiguousarray(tensor.detach().numpy(), np.float32)
            self.weights.append(numpy_helper.from_array(array, tensor_name))
        self.nodes.append(helper.make_node(operator, inputs + names, [name], name, **attributes))
        return name
