"""One small module per family of ONNX operators, and the way to look an operator up.

To support another operator, write its function in a module here, register it there, and add a test. A new module is
also listed below.
"""

from __future__ import annotations

from onnx_models.importer._registry import Operator, registry
from onnx_models.importer.operators import (
    _activation,
    _arithmetic,
    _constant,
    _convolution,
    _folding,
    _matrix,
    _maximum,
    _mean,
    _movement,
    _normalization,
    _passthrough,
    _pooling,
    _shape,
)

FAMILIES = (
    _activation,
    _arithmetic,
    _constant,
    _convolution,
    _folding,
    _matrix,
    _maximum,
    _mean,
    _movement,
    _normalization,
    _passthrough,
    _pooling,
    _shape,
)
"""The modules whose operators are registered by being imported here."""


def find(name: str) -> Operator | None:
    """The operator of that name in the standard ONNX operator set, None if it is not supported."""
    return registry().get(name)


def supported_operators() -> tuple[str, ...]:
    """Names of all ONNX operators that `load_onnx` can import, in alphabetical order."""
    return tuple(sorted(registry()))
