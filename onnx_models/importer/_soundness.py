"""Whether a model keeps to the ONNX standard: arities, attribute types, names defined once and before use."""

from __future__ import annotations

import onnx

from onnx_models.errors import ModelFileError


def check_sound(model: onnx.ModelProto, name: str) -> None:
    """Raises ModelFileError if the ONNX checker objects; operators are written for graphs that it accepts."""
    try:
        onnx.checker.check_model(model.SerializeToString())
    except onnx.checker.ValidationError as error:
        reason = " ".join(str(error).split())
        raise ModelFileError(f"{name} is not a sound ONNX model: {reason}") from error
