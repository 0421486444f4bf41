"""The ONNX model behind a network, kept so that a result can be replayed in onnxruntime (float32)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnx_models._interruptions import interruptions_held
from onnx_models.errors import ModelFileError

if TYPE_CHECKING:
    import onnxruntime

_ROWS = 256
"""Inputs that onnxruntime is given at once; bounds the memory that its intermediate values take."""

_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}


@dataclass(frozen=True, eq=False)
class OnnxSource:
    """A checked ONNX model, self-contained: the bytes it had when it was loaded, external data embedded.

    Attributes:
        name: what to call it in messages and results (the file name).
        data: the serialised model. A final Softmax that the network leaves out is left out here, too, so that both
            give logits.
    """

    name: str
    data: bytes

    @cached_property
    def session(self) -> onnxruntime.InferenceSession:
        """A single-threaded onnxruntime session of the model; raises ModelFileError if onnxruntime refuses it."""
        return open_session(self.data, self.name)

    def logits(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Output of onnxruntime for each input, in the model's own precision (float32 for most).

        Args:
            batch: shape (N, *input_shape) or (N, input_size) with N >= 1, of any real type, rounded to the model's own.

        Returns:
            Shape (N, outputs).

        Raises:
            ModelFileError: onnxruntime cannot load or run the model.
        """
        rows = len(batch)
        parts = [outputs[0].reshape(-1) for outputs in run_chunks(self.session, batch, self.name)]
        return np.concatenate(parts).reshape(rows, -1)


def open_session(data: bytes, name: str, *, optimise: bool = True) -> onnxruntime.InferenceSession:
    """A session on one thread that logs nothing; with `optimise=False` every node is evaluated as written.

    Raises:
        ModelFileError: onnxruntime cannot load the model.
    """
    with interruptions_held():
        import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with _failures_named(f"load {name}"):
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run_chunks(
    session: onnxruntime.InferenceSession, batch: NDArray[Any], name: str, *, rows: int = _ROWS
) -> Iterator[list[NDArray[Any]]]:
    """The session's outputs, as they are, for consecutive parts of at most `rows` rows of `batch`.

    A model whose batch dimension is fixed, or that has none, is run row by row. Rows may have any shape; they are
    rounded to the model's input type.

    Raises:
        ModelFileError: onnxruntime fails on them.
    """
    value = session.get_inputs()[0]
    shape, names = list(value.shape), [output.name for output in session.get_outputs()]
    flat = np.ascontiguousarray(np.asarray(batch).reshape(len(batch), -1), _TYPES[value.type])
    fixed = isinstance(shape[0], int) and shape[0] > 0
    step = 1 if fixed else rows
    for start in range(0, len(flat), step):
        part = flat[start : start + step]
        with _failures_named(f"run {name}"):
            results = session.run(names, {value.name: part.reshape(shape if fixed else (len(part), *shape[1:]))})
        yield [np.asarray(result) for result in results]


@contextmanager
def _failures_named(what: str) -> Iterator[None]:
    """Turns onnxruntime's own exceptions into ModelFileError."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as failures

    kinds = (
        failures.Fail,
        failures.InvalidArgument,
        failures.InvalidGraph,
        failures.InvalidProtobuf,
        failures.NotImplemented,
        failures.RuntimeException,
    )
    try:
        yield
    except kinds as error:
        message = " ".join(str(error).split())
        raise ModelFileError(f"onnxruntime {onnxruntime.__version__} cannot {what}: {message}") from error
