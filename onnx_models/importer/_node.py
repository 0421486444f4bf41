"""One node of an ONNX graph, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnx_models.importer._words import quoted


@dataclass(frozen=True, eq=False)
class NodeInfo:
    """One node of the graph; an empty string among `inputs` or `outputs` means "not given", as in ONNX."""

    operator: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @property
    def label(self) -> str:
        """What messages call the node."""
        if self.name:
            return f"{self.operator} node {quoted(self.name)}"
        return f"{self.operator} node with output {quoted(next(filter(None, self.outputs), ''))}"
