"""From a torch module to a network: through an ONNX export in memory, checked against the module itself."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import operator
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from onnx_models._network import ReluNetwork
from onnx_models._source import OnnxSource
from onnx_models.errors import CrossCheckError, InputError, ModelError, ModelFileError, UnsupportedModelError
from onnx_models.importer import load_onnx_bytes

if TYPE_CHECKING:
    import torch

CHECK_INPUTS = 20
"""Random inputs on which module and network are compared."""

CHECK_TOLERANCE = 1e-4
"""Largest difference of a logit, relative to the largest one of its input (at least 1): float32 against float64."""

_CALL_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError, NotImplementedError)
"""What modules raise for inputs that they cannot take."""


def from_torch(module: torch.nn.Module, input_shape: Sequence[int]) -> ReluNetwork:
    """The network that computes what `module` computes in evaluation mode.

    The module is exported to ONNX in memory with `torch.onnx.export` and lowered by the importer, so the same operators
    are supported as in files, and `source` of the result holds the exported model, a sound ONNX file. The exporter may
    fold batch normalisation into weights in float32. Both are compared on random inputs at the end.

    Args:
        module: takes one batch of shape (N, *input_shape), of any length N, and gives logits of shape (N, outputs). Its
            weights are float32, or float64 if it has no convolutions. It stays as it is: a copy on the CPU is exported.
        input_shape: shape of one input, without the batch dimension.

    Raises:
        InputError: `input_shape` is not a shape, or the module does not take inputs of it.
        UnsupportedModelError: the module gives no logits, cannot be exported, or uses operators that cannot be lowered.
        CrossCheckError: the network and the module, or onnxruntime, disagree.
        ModelError: the package `onnxscript`, which the exporter needs, is not installed.
    """
    shape = _checked_shape(input_shape)
    copied = _evaluating_copy(module)
    inputs = _random_inputs(copied, shape)
    _check_call(copied, inputs[:2], shape)
    data, last = _export(copied, inputs[:2])
    network = _load(data, type(module).__name__)
    _cross_check(copied, network, inputs, last)
    assert network.source is not None
    return replace(network, source=_typed(network.source, data))


def _load(data: bytes, name: str) -> ReluNetwork:
    try:
        return load_onnx_bytes(data, name)
    except ModelFileError as error:  # onnxruntime has no convolutions in double precision
        hint = "If the weights are float64, convert them with module.float()."
        raise UnsupportedModelError(f"{str(error).rstrip('. ')}. {hint}") from error


def _typed(source: OnnxSource, exported: bytes) -> OnnxSource:
    """The source with the type and shape of its output, as exported.

    The importer leaves them to onnxruntime to find, but the ONNX standard and other readers want them.
    """
    import onnx

    model = onnx.load_from_string(source.data)
    (described,) = onnx.load_from_string(exported).graph.output
    model.graph.output[0].type.CopyFrom(described.type)
    return OnnxSource(source.name, model.SerializeToString())


def _checked_shape(input_shape: Sequence[int]) -> tuple[int, ...]:
    try:
        shape = tuple(operator.index(size) for size in input_shape)
    except TypeError:
        shape = ()
    if not shape or min(shape) < 1:
        raise InputError(
            f"input_shape is {input_shape!r}; it must be the shape of one input, positive integers such as (1, 28, 28)."
        )
    return shape


def _evaluating_copy(module: torch.nn.Module) -> torch.nn.Module:
    """A copy on the CPU in evaluation mode."""
    import torch

    given: object = module
    if not isinstance(given, torch.nn.Module):
        hint = " Build the module and give it these weights with load_state_dict." if isinstance(given, Mapping) else ""
        raise InputError(f"from_torch takes a torch.nn.Module; what arrived is of type {type(given).__name__}.{hint}")
    try:
        return copy.deepcopy(module).cpu().eval()
    except RuntimeError as error:  # tensors that are results of operations cannot be copied
        raise UnsupportedModelError(
            f"{type(module).__name__} cannot be copied for export: {_first_line(error)} "
            "Keep weights as parameters or buffers of the module."
        ) from error


def _random_inputs(module: torch.nn.Module, shape: tuple[int, ...]) -> torch.Tensor:
    """Inputs of the module's own floating-point type: uniform in [0, 1], and as many normal ones."""
    import torch

    types = {t.dtype for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()}
    if not types <= {torch.float32, torch.float64} or len(types) > 1:
        names = ", ".join(sorted(str(dtype) for dtype in types))
        raise UnsupportedModelError(
            f"{type(module).__name__} has weights of type {names}; convert all of them with module.float()."
        )
    dtype = types.pop() if types else torch.float32
    generator = torch.Generator().manual_seed(0)
    half = (CHECK_INPUTS // 2, *shape)
    uniform = torch.rand(half, generator=generator, dtype=dtype)
    return torch.cat([uniform, torch.randn(half, generator=generator, dtype=dtype)])


def _check_call(module: torch.nn.Module, inputs: torch.Tensor, shape: tuple[int, ...]) -> None:
    """Whether the module takes two inputs and gives two rows of logits."""
    import torch

    name = type(module).__name__
    try:
        with torch.no_grad():
            logits = module(inputs)
    except _CALL_ERRORS as error:
        raise InputError(
            f"{name} does not take a batch of shape {tuple(inputs.shape)}: {_first_line(error)} "
            f"Check input_shape {shape}, the shape of one input without the batch dimension."
        ) from error
    if not isinstance(logits, torch.Tensor):
        raise UnsupportedModelError(f"{name} gives a {type(logits).__name__}; it must give one tensor of logits.")
    if logits.ndim != 2 or len(logits) != len(inputs):
        raise UnsupportedModelError(
            f"{name} gives shape {tuple(logits.shape)} for a batch of shape {tuple(inputs.shape)}; "
            f"logits of shape ({len(inputs)}, outputs) are expected."
        )


def _export(module: torch.nn.Module, example: torch.Tensor) -> tuple[bytes, str]:
    """The module as a serialised ONNX model with a dynamic batch dimension, and the operator of its last node."""
    import torch

    if find_spec("onnxscript") is None:
        raise ModelError("torch.onnx.export needs the package onnxscript: pip install onnxscript.")
    try:
        with _quiet_exporter():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                input_names=["input"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise UnsupportedModelError(
            f"{type(module).__name__} cannot be exported to ONNX: {_first_line(error.__cause__ or error)}"
        ) from error
    assert program is not None
    model = program.model_proto
    return model.SerializeToString(), model.graph.node[-1].op_type


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keeps to itself what the exporter prints, warns and logs: when it fails, its exception says it all."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.fx")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _cross_check(module: torch.nn.Module, network: ReluNetwork, inputs: torch.Tensor, last: str) -> None:
    """Raises CrossCheckError unless both give the same logits, as far as single precision can tell.

    A final Softmax or LogSoftmax, which the importer leaves out, is put back for the comparison.
    """
    import torch

    with torch.no_grad():
        expected = module(inputs).double().numpy()
    logits = torch.from_numpy(network.forward_batch(inputs.double().numpy()))
    final = {"Softmax": torch.softmax, "LogSoftmax": torch.log_softmax}.get(last)
    found = (logits if final is None else final(logits, 1)).numpy()
    if found.shape != expected.shape:
        raise CrossCheckError(
            f"The network lowered from {type(module).__name__} has {found.shape[1]} outputs, "
            f"the module {expected.shape[1]}."
        )
    scale = np.maximum(1.0, np.abs(expected).max(axis=1, keepdims=True))
    error = float((np.abs(found - expected) / scale).max())
    if not error <= CHECK_TOLERANCE:  # NaN fails this too
        raise CrossCheckError(
            f"The network lowered from {type(module).__name__} and the module differ by {error:.3g} of the largest "
            f"logit; {CHECK_TOLERANCE:g} is allowed. The module may depend on more than its input."
        )


def _first_line(error: BaseException) -> str:
    """The first line of the error's message that says something, ended like a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if text.endswith((".", "!", "?")) else f"{text}."
