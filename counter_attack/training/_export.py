"""Writing a trained module as ONNX, checked against the module itself.

This module imports torch; it is itself imported only inside functions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from counter_attack.training._layers import MaskedRelu, flat_layers
from onnx_models import ReluNetwork, from_torch
from onnx_models.errors import CrossCheckError
from onnx_models.importer import load_onnx_bytes

OPSET, IR_VERSION = 17, 8
"""Old enough for every runtime of the last years; the operators used have not changed since."""

TOLERANCE = 1e-4
"""Largest difference of a logit between torch's float32 and the lowered network, relative to the largest (or 1)."""


def export(module: nn.Module, images: Tensor, name: str, description: str) -> tuple[bytes, ReluNetwork]:
    """The module in evaluation mode as an ONNX model with input `input` and output `logits`, and lowered.

    A Sequential of dense layers, convolutions, ReLUs, masked ReLUs and Flatten is written one operator per layer, so
    that the same weights give the same bytes; a masked ReLU becomes two `Where` with constant masks, which the importer
    lowers exactly. Everything else goes through torch's exporter.

    Args:
        module: on the CPU, float32.
        images: some images, shape (N, C, H, W), on which network and module are compared.
        name: of the graph.
        description: text stored in the model.

    Raises:
        UnsupportedModelError: the module uses operators that cannot be exported or lowered.
        CrossCheckError: network, onnxruntime and module disagree.
    """
    layers = flat_layers(module)
    if all(_is_plain(layer) for layer in layers):
        data = _written(layers, images, name, description)
        network = load_onnx_bytes(data, name)
    else:
        network = from_torch(module, images.shape[1:])
        assert network.source is not None
        data = network.source.data
    with torch.no_grad():
        expected = module(images).double().numpy()
    found = network.forward_batch(images.double().numpy().reshape(len(images), -1))
    difference = np.abs(found - expected) / np.maximum(1.0, np.abs(expected).max(axis=1, keepdims=True))
    if not difference.max() <= TOLERANCE:
        raise CrossCheckError(f"The exported network and the module differ by {difference.max():.3g} of a logit.")
    return data, network


def _is_plain(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return isinstance(layer.padding, tuple) and layer.padding_mode == "zeros"
    if isinstance(layer, nn.Flatten):
        return layer.start_dim == 1 and layer.end_dim == -1
    return isinstance(layer, nn.Linear | nn.ReLU | MaskedRelu)


def _written(layers: list[nn.Module], images: Tensor, name: str, description: str) -> bytes:
    graph = _Graph()
    value = "input"
    for layer in layers:
        value = graph.add(layer, value)
    graph.nodes[-1].output[0] = "logits"
    with torch.no_grad():
        logits = nn.Sequential(*layers)(images[:1])
    shapes = {"input": ["N", *images.shape[1:]], "logits": ["N", logits.shape[1]]}
    inputs, outputs = ([helper.make_tensor_value_info(k, TensorProto.FLOAT, s)] for k, s in shapes.items())
    model = helper.make_model(
        helper.make_graph(graph.nodes, name, inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="counter-attack train",
        doc_string=description,
    )
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


class _Graph:
    """The nodes and constants written so far; each node is named after its operator and number."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, layer: nn.Module, value: str) -> str:
        """Appends a layer to `value` and returns the name of its output."""
        match layer:
            case nn.Linear():
                return self._node("Gemm", value, *self._weights(layer), transB=1)
            case nn.Conv2d():
                geometry = {
                    "kernel_shape": list(layer.kernel_size),
                    "strides": list(layer.stride),
                    "pads": [*layer.padding, *layer.padding],
                    "dilations": list(layer.dilation),
                    "group": layer.groups,
                }
                return self._node("Conv", value, *self._weights(layer), **geometry)
            case MaskedRelu():
                return self._masked(layer, value)
            case nn.ReLU():
                return self._node("Relu", value)
            case nn.Flatten():
                return self._node("Flatten", value)
        raise AssertionError(layer)

    def _masked(self, layer: MaskedRelu, value: str) -> str:
        """off ? 0 : (linear ? z : relu(z)), with constant conditions."""
        mask = layer.mask[None].numpy()
        rectified = self._node("Relu", value)
        linear = self._constant(f"{rectified}.linear", mask == 1)
        off, zero = self._constant(f"{rectified}.off", mask == -1), self._constant(f"{rectified}.zero", np.float32(0))
        return self._node("Where", off, zero, self._node("Where", linear, value, rectified))

    def _weights(self, layer: nn.Linear | nn.Conv2d) -> list[str]:
        name = f"layer_{len(self.nodes) + 1}"
        named = {"weight": layer.weight, "bias": layer.bias}
        return [
            self._constant(f"{name}.{key}", tensor.detach().numpy())
            for key, tensor in named.items()
            if tensor is not None
        ]

    def _constant(self, name: str, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def _node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"{operator.lower()}_{sum(node.op_type == operator for node in self.nodes) + 1}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name, **attributes))
        return name
