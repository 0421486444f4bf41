"""The check of the whole graph before any node is converted: what is not supported, node by node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from onnx_models.errors import UnsupportedModelError
from onnx_models.importer._graph import Graph
from onnx_models.importer._node import NodeInfo
from onnx_models.importer._registry import Role
from onnx_models.importer._words import quoted
from onnx_models.importer.operators import find, supported_operators

_LISTED = 100
"""Complaints shown in one message; the rest is counted."""


def check_supported(graph: Graph) -> None:
    """Raises UnsupportedModelError that lists every node that cannot be lowered, why, and what is supported."""
    varying = _varying(graph)
    readers = _readers(graph)
    complaints = [
        f"  {node.label}: {complaint}"
        for node in graph.nodes
        for complaint in _complaints(graph, node, varying, readers)
    ]
    if not complaints:
        return
    rest = [f"  and {len(complaints) - _LISTED} more"] if len(complaints) > _LISTED else []
    raise UnsupportedModelError(
        "\n".join(
            [
                f"{graph.name} cannot be lowered to affine maps and ReLUs:",
                *complaints[:_LISTED],
                *rest,
                f"Supported operators: {', '.join(supported_operators())}.",
            ]
        )
    )


def _complaints(
    graph: Graph, node: NodeInfo, varying: set[str], readers: Mapping[str, list[NodeInfo]]
) -> Iterator[str]:
    """What is wrong with one node."""
    entry = find(node.operator) if not node.domain else None
    if entry is None:
        yield f"operator {f'{node.domain}.' if node.domain else ''}{node.operator} is not supported"
        return
    for name, value in node.attributes.items():
        if name not in entry.attributes:
            yield f"attribute {name} is not supported"
            continue
        accepted = entry.attributes[name]
        if accepted is not None and value not in accepted:
            yield f"attribute {name}={value!r:.80} is not supported (supported: {', '.join(map(str, accepted))})"
    used = [k for k, value in enumerate(node.outputs) if value and (readers[value] or value == graph.output_name)]
    if entry.outputs is not None and used and used[-1] >= entry.outputs:
        yield f"its output {used[-1]} ({quoted(node.outputs[used[-1]])}) is used; only the first {entry.outputs} can be"
    complaint = entry.rule(node, [value in varying for value in node.inputs])
    if complaint:
        yield complaint
    if entry.role is Role.FINAL and not _ends_network(node, readers):
        yield "it is supported at the end of a network only, where it can be left out"


def _varying(graph: Graph) -> set[str]:
    """Names of the values that depend on the network's input."""
    varying = {graph.input_name}
    for node in graph.nodes:
        entry = find(node.operator)
        measures = entry is not None and entry.role is Role.MEASURES
        if not measures and any(source in varying for source in node.inputs):
            varying.update(filter(None, node.outputs))
    return varying


def _readers(graph: Graph) -> dict[str, list[NodeInfo]]:
    """The nodes that read each value."""
    readers: dict[str, list[NodeInfo]] = {value: [] for node in graph.nodes for value in node.outputs}
    for node in graph.nodes:
        for source in filter(None, node.inputs):
            readers.setdefault(source, []).append(node)
    return readers


def _ends_network(node: NodeInfo, readers: Mapping[str, list[NodeInfo]]) -> bool:
    """Whether only changes of shape come between the node and the network's output."""
    pending, seen = list(node.outputs), set(node.outputs)
    while pending:
        value = pending.pop()
        for reader in readers[value]:
            entry = find(reader.operator)
            role = None if entry is None or reader.domain else entry.role
            if role is Role.KEEPS_ENTRIES and reader.inputs[0] == value:
                pending.extend(out for out in reader.outputs if out not in seen)
                seen.update(reader.outputs)
            elif role is not Role.MEASURES:
                return False
    return True
