"""An ONNX graph as plain data: its one input and output, the nodes between them, and the stored weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import onnx
from onnx import TensorProto

from onnx_models.errors import ModelFileError
from onnx_models.importer._limits import MAX_INPUT_ENTRIES, MAX_RANK
from onnx_models.importer._node import NodeInfo
from onnx_models.importer._tensors import to_array, type_name
from onnx_models.importer._values import Constant
from onnx_models.importer._words import dimensions, listed, quoted

OLDEST_OPSET = 8
"""Before it, broadcasting and BatchNormalization had other rules."""

_INPUT_TYPES = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)


@dataclass(frozen=True, eq=False)
class Graph:
    """The part of a model that its output depends on.

    Attributes:
        name: what messages call the model.
        opset: version of the standard operator set.
        input_name, output_name: the values the network reads and gives.
        input_shape: of one input, the batch dimension included with length 1 if there is one.
        batched: whether axis 0 of the input is a dynamic batch dimension.
        nodes: in topological order, only those the output needs.
        weights: the stored tensors those nodes read.
    """

    name: str
    opset: int
    input_name: str
    output_name: str
    input_shape: tuple[int, ...]
    batched: bool
    nodes: tuple[NodeInfo, ...]
    weights: Mapping[str, TensorProto]

    def constants(self) -> dict[str, Constant]:
        """The weights as arrays; raises ModelFileError for NaN or infinite ones."""
        return {name: to_array(tensor, self.name) for name, tensor in self.weights.items()}


def read_graph(model: onnx.ModelProto, name: str) -> Graph:
    """The graph of a parsed model; raises ModelFileError if it has no single input, output or usable input shape."""
    proto = model.graph
    weights = {tensor.name: tensor for tensor in proto.initializer}
    value = _single_input(model, name, weights)
    if len(proto.output) != 1:
        outputs = listed([quoted(v.name) for v in proto.output]) or "none"
        raise ModelFileError(
            f"{name} has {len(proto.output)} outputs ({outputs}); one is expected. "
            "Export the model with its logits alone."
        )
    shape, batched = _input_shape(value, name)
    nodes = tuple(_live_nodes([_node(node, name) for node in proto.node], proto.output[0].name))
    read = {source for node in nodes for source in node.inputs}
    return Graph(
        name=name,
        opset=_opset(model, name),
        input_name=value.name,
        output_name=proto.output[0].name,
        input_shape=shape,
        batched=batched,
        nodes=nodes,
        weights={key: tensor for key, tensor in weights.items() if key in read},
    )


def _single_input(model: onnx.ModelProto, name: str, weights: Mapping[str, TensorProto]) -> onnx.ValueInfoProto:
    """The input that is not a weight: files before IR version 4 list their weights among the inputs."""
    inputs: list[onnx.ValueInfoProto] = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        names = listed([quoted(value.name) for value in inputs]) or "none"
        raise ModelFileError(
            f"{name} has {len(inputs)} inputs ({names}); exactly one is expected. "
            "Store everything but the image as weights."
        )
    return inputs[0]


def _input_shape(value: onnx.ValueInfoProto, name: str) -> tuple[tuple[int, ...], bool]:
    """The input's shape with a batch dimension of 1 if there is one, and whether that dimension is dynamic."""
    label = f"{name}: input {quoted(value.name)}"
    tensor = value.type.tensor_type
    if tensor.elem_type not in _INPUT_TYPES:
        kind = type_name(tensor.elem_type)
        raise ModelFileError(f"{label} has element type {kind}; float32, float64 or float16 is expected.")
    if not tensor.HasField("shape"):
        raise ModelFileError(f"{label} has no shape. Export the model with a fixed input shape.")
    raw: list[int | str] = [_dimension(d) for d in tensor.shape.dim[: MAX_RANK + 1]]
    if not 1 <= len(raw) <= MAX_RANK or any(d == 0 for d in raw) or any(isinstance(d, str) for d in raw[1:]):
        raise ModelFileError(
            f"{label} has the shape {dimensions(raw)}; only the first dimension, the batch, may be left open, "
            "and none may be 0. Export the model with a fixed input shape."
        )
    batched = isinstance(raw[0], str)
    shape = (1, *(int(d) for d in raw[1:])) if batched else tuple(int(d) for d in raw)
    if len(shape) > 1 and shape[0] != 1:
        raise ModelFileError(
            f"{label} has the shape {dimensions(shape)}, a fixed batch of {shape[0]}. "
            "Export the model with a batch of 1 or with a dynamic batch."
        )
    if math.prod(shape) > MAX_INPUT_ENTRIES:
        raise ModelFileError(
            f"{label} has the shape {dimensions(shape)}; at most {MAX_INPUT_ENTRIES} entries are accepted."
        )
    return shape, batched


def _dimension(d: onnx.TensorShapeProto.Dimension) -> int | str:
    """A fixed length, or a name (or "?") for an open one; exporters write open ones as -1, too."""
    if d.HasField("dim_value") and d.dim_value >= 0:
        return int(d.dim_value)
    return d.dim_param or "?"


def _opset(model: onnx.ModelProto, name: str) -> int:
    """Version of the standard operator set that the model asks for."""
    versions: list[int] = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    newest = onnx.defs.onnx_opset_version()
    if not versions:
        raise ModelFileError(f"{name} does not say which operator set it uses; the file is truncated or damaged.")
    if not OLDEST_OPSET <= max(versions) <= newest:
        raise ModelFileError(
            f"{name} uses operator set {max(versions)}; {OLDEST_OPSET} to {newest} are supported. "
            f"Export it again with an opset_version in that range."
        )
    return max(versions)


def _node(proto: onnx.NodeProto, name: str) -> NodeInfo:
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    attributes = {}
    for attribute in proto.attribute:
        try:
            attributes[attribute.name] = _plain(attribute)
        except ValueError as error:
            raise ModelFileError(
                f"{name}: {proto.op_type} node {quoted(proto.name)}: attribute {quoted(attribute.name)} is damaged."
            ) from error
    return NodeInfo(proto.op_type, domain, proto.name, tuple(proto.input), tuple(proto.output), attributes)


def _plain(attribute: onnx.AttributeProto) -> object:
    """The attribute's value: number, text, list of numbers, or tensor message."""
    value = onnx.helper.get_attribute_value(attribute)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _live_nodes(nodes: list[NodeInfo], output: str) -> Iterator[NodeInfo]:
    """The nodes that `output` depends on, in their order in the file."""
    producer = {value: index for index, node in enumerate(nodes) for value in node.outputs if value}
    live: set[int] = set()
    pending = [output]
    while pending:
        index = producer.get(pending.pop())
        if index is not None and index not in live:
            live.add(index)
            pending.extend(nodes[index].inputs)
    return (node for index, node in enumerate(nodes) if index in live)


def decoded(node: NodeInfo, model: str) -> NodeInfo:
    """The node with its tensor attributes as arrays; same errors as for weights."""
    arrays = {key: to_array(v, model) for key, v in node.attributes.items() if isinstance(v, TensorProto)}
    return replace(node, attributes={**node.attributes, **arrays})
