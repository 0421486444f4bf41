"""The ONNX model behind a network, kept so that a result can be replayed in onnxruntime (float32)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True, eq=False)
class OnnxSource:
    """A checked ONNX model: its bytes as they were when it was loaded, and the folder of its external data, if any.

    Attributes:
        name: what to call it in messages and results (the file name).
        data: the serialised model.
        folder: where external tensors lie; None when the model has none.
    """

    name: str
    data: bytes
    folder: Path | None = None

    @cached_property
    def session(self) -> onnxruntime.InferenceSession:
        """A single-threaded onnxruntime session of the model."""
        raise AssertionError

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Output of onnxruntime for a batch of shape (N, *input_shape), one row per input, shape (N, outputs)."""
        raise AssertionError
