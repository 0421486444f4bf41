"""The model as onnxruntime is given it: only what the output needs, without a final Softmax, no newer than necessary."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from onnx_models.importer._graph import Graph
from onnx_models.importer._registry import Role
from onnx_models.importer.operators import find

_IR_VERSION = 10
"""onnxruntime lags behind onnx in the file format versions it accepts; nothing that is imported here needs a newer one."""

_OPSET = 8
"""The oldest operator set that is imported at all."""


def runtime_model(model: onnx.ModelProto, graph: Graph) -> onnx.ModelProto:
    """A model equivalent to `model` up to a final Softmax, which becomes an Identity.

    The operator set is lowered to the oldest in which every operator that occurs has the same definition, so that a
    model written for a newer set than onnxruntime knows still runs where it does not use anything new.
    """
    result = onnx.ModelProto(ir_version=min(model.ir_version, _IR_VERSION))
    result.graph.CopyFrom(model.graph)
    live = {output for node in graph.nodes for output in node.outputs if output}
    nodes = [node for node in result.graph.node if live.intersection(node.output)]
    for node in nodes:
        entry = find(node.op_type)
        if entry is not None and entry.role is Role.FINAL:
            node.op_type = "Identity"
            del node.attribute[:]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del result.graph.node[:]
    result.graph.node.extend(kept)
    since = (onnx.defs.get_schema(node.op_type, graph.opset).since_version for node in kept)
    result.opset_import.append(onnx.helper.make_opsetid("", max([_OPSET, *since])))
    return result


def expose(model: onnx.ModelProto, values: Sequence[str]) -> bytes:
    """The serialised model with `values` as its outputs."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    del exposed.graph.output[:]
    exposed.graph.output.extend(onnx.ValueInfoProto(name=value) for value in values)
    return exposed.SerializeToString()
