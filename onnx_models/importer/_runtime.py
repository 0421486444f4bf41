"""The model as onnxruntime is given it: what the output needs, without a final Softmax, no newer than necessary."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from onnx_models.importer._graph import Graph
from onnx_models.importer._registry import Role
from onnx_models.importer.operators import find

_IR_VERSION = 10
"""onnxruntime lags behind onnx in the file format versions that it accepts; nothing imported here needs a newer one."""

_OPSET = 8
"""The oldest operator set that is imported at all."""

_ONLY_NEW_TYPES = {"Cast": 25}
"""Operators whose definitions after that operator set only add element types, none of which is read here."""


def keep_live(model: onnx.ModelProto, graph: Graph) -> None:
    """Removes from `model` the nodes and weights that the graph's output does not need."""
    live = {output for node in graph.nodes for output in node.outputs if output}
    nodes = [node.SerializeToString() for node in model.graph.node if live.intersection(node.output)]
    del model.graph.node[:]
    model.graph.node.extend(onnx.NodeProto.FromString(data) for data in nodes)
    for index in reversed(range(len(model.graph.initializer))):
        if model.graph.initializer[index].name not in graph.weights:
            del model.graph.initializer[index]


def prepare(model: onnx.ModelProto, graph: Graph) -> None:
    """Changes `model`, live and sound, into one that onnxruntime accepts; a final Softmax becomes an Identity.

    The operator set is lowered to the oldest in which every operator that occurs has the same definition, so that a
    model written for a newer set than onnxruntime knows still runs where it does not use anything new.
    """
    for node in model.graph.node:
        entry = find(node.op_type)
        if entry is not None and entry.role is Role.FINAL:
            node.op_type = "Identity"
            del node.attribute[:]
    since = [_since(node.op_type, graph.opset) for node in model.graph.node]
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", max([_OPSET, *since])))
    model.ir_version = min(model.ir_version, _IR_VERSION)
    if graph.batched:
        value = next(v for v in model.graph.input if v.name == graph.input_name)
        value.type.tensor_type.shape.dim[0].dim_param = "batch"  # some files say -1 instead
    _set_outputs(model, [graph.output_name])


def _since(operator: str, opset: int) -> int:
    """The operator set in which the operator got the meaning it has in `opset`, for the element types read here."""
    since: int = onnx.defs.get_schema(operator, opset).since_version
    return min(since, _ONLY_NEW_TYPES.get(operator, since))


def expose(model: onnx.ModelProto, values: Sequence[str]) -> bytes:
    """The serialised model with `values` as its outputs."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    _set_outputs(exposed, values)
    data: bytes = exposed.SerializeToString()
    return data


def _set_outputs(model: onnx.ModelProto, values: Sequence[str]) -> None:
    """Names the outputs and leaves their types and shapes to onnxruntime to find."""
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=value) for value in values)
