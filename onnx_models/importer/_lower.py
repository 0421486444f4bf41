"""From a checked graph to affine and ReLU nodes, one ONNX node after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onnx_models._builder import NetworkBuilder
from onnx_models.errors import UnsupportedModelError
from onnx_models.importer._call import Budget, Call
from onnx_models.importer._graph import Graph, decoded
from onnx_models.importer._node import NodeInfo
from onnx_models.importer._values import Tensor, Value
from onnx_models.importer._words import quoted
from onnx_models.importer.operators import find


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """An ONNX value that is computed from the input: the ONNX node that gives it, its name, and what it became."""

    node: NodeInfo
    name: str
    tensor: Tensor


@dataclass(frozen=True, eq=False)
class Lowered:
    """A lowered graph before fusing.

    Attributes:
        builder: all nodes.
        output: the network's output.
        checkpoints: every ONNX value that depends on the input, in topological order.
        values: every ONNX value by name, constants among them.
        counts: for each ONNX node of the graph, how many nodes the builder had after it.
    """

    builder: NetworkBuilder
    output: Tensor
    checkpoints: tuple[Checkpoint, ...]
    values: Mapping[str, Value]
    counts: tuple[int, ...]


def lower(graph: Graph) -> Lowered:
    """Lowers all nodes of a graph that `check_supported` accepts.

    Raises:
        UnsupportedModelError: a node whose shapes or constants make it impossible, by name.
        ModelFileError: weights that are NaN or infinite.
    """
    shape = graph.input_shape[1:] if graph.batched or len(graph.input_shape) > 1 else graph.input_shape
    builder, budget = NetworkBuilder(shape, graph.input_name), Budget()
    values: dict[str, Value] = {**graph.constants(), graph.input_name: Tensor(0, graph.input_shape)}
    checkpoints: list[Checkpoint] = []
    counts: list[int] = []
    for node in graph.nodes:
        inputs = tuple(values[source] if source else None for source in node.inputs)
        call = Call(graph.name, decoded(node, graph.name), inputs, builder, graph.batched, graph.opset, budget)
        for name, value in zip(node.outputs, _results(call), strict=False):
            values[name] = value
            if isinstance(value, Tensor) and name:
                checkpoints.append(Checkpoint(node, name, value))
        counts.append(len(builder.nodes))
    output = values[graph.output_name]
    if not isinstance(output, Tensor):
        raise UnsupportedModelError(
            f"{graph.name}: output {quoted(graph.output_name)} does not depend on input {quoted(graph.input_name)}."
        )
    return Lowered(builder, output, tuple(checkpoints), values, tuple(counts))


def _results(call: Call) -> list[Value]:
    entry = find(call.node.operator)
    assert entry is not None
    result = entry.handler(call)
    values = result if isinstance(result, list | tuple) else [result]
    return [v if isinstance(v, Tensor) else np.asarray(v) for v in values]  # numpy makes scalars of 0-d results
