"""One small module per family of ONNX operators; importing this package registers all of them."""

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
"""The modules whose operators are registered."""
