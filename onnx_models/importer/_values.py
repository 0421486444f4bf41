"""What an ONNX value is while a graph is being lowered: a constant array, or a tensor computed from the input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Constant = NDArray[Any]
"""An array known at load time: float64, int64 or bool, or `object` for a shape that contains `BATCH`."""


class _Batch:
    """The length of a dynamic batch dimension inside a shape vector. It can be moved about, never computed with."""

    def __repr__(self) -> str:
        return "batch"


BATCH: Final = _Batch()


@dataclass(frozen=True, eq=False)
class Padding:
    """How a zero-padded tensor came about: `inner`, extended by zeros `before` and `after` each axis."""

    inner: Tensor
    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value that depends on the network's input: node `node` of the builder, read row-major in shape `shape`.

    The shape is that of a single input's value and includes the batch dimension, of length 1. If the model's batch is
    dynamic, axis 0 of every tensor is that dimension and no operator may mix, move or drop it.
    """

    node: int
    shape: tuple[int, ...]
    padding: Padding | None = None

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def indices(self) -> NDArray[np.int64]:
        """Position of each entry in the node's flat value, in the tensor's shape."""
        return np.arange(self.size, dtype=np.int64).reshape(self.shape)


Value = Tensor | Constant


def simplified(array: Constant) -> Constant:
    """A shape vector as int64 if it does not contain `BATCH` (any more); other arrays unchanged."""
    if array.dtype == object and not any(entry is BATCH for entry in array.flat):
        return array.astype(np.int64)
    return array
