"""External tensor data: read from the model's own folder only, and embedded in the message."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from onnx import TensorProto

from onnx_models.errors import ModelFileError
from onnx_models.importer._limits import MAX_FILE_BYTES
from onnx_models.importer._tensors import stored_bytes
from onnx_models.importer._words import quoted


def embed(tensors: Sequence[TensorProto], model: str, folder: Path | None) -> None:
    """Replaces each tensor's reference to a file by the bytes it refers to.

    A location is a relative path that stays inside `folder` after all symbolic links are followed, and names a
    regular file; offset and length must lie inside that file and fit the declared shape.

    Raises:
        ModelFileError: any of this does not hold, or the data is larger than the limit in total.
    """
    sizes = [stored_bytes(tensor, model) for tensor in tensors]
    if sum(sizes) > MAX_FILE_BYTES:
        raise ModelFileError(f"{model} has {sum(sizes)} bytes of external data; at most {MAX_FILE_BYTES} are read.")
    for tensor, size in zip(tensors, sizes, strict=True):
        label = f"{model}: external tensor {quoted(tensor.name)}"
        entries = {entry.key: entry.value for entry in tensor.external_data}
        path = _confined(entries.get("location", ""), label, folder)
        offset, length = _number(entries, "offset", label), _number(entries, "length", label)
        if length not in (None, size):
            raise ModelFileError(f"{label} should take {size} bytes, the file says {length}.")
        tensor.raw_data = _slice(path, offset or 0, size, label)
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")


def _confined(location: str, label: str, folder: Path | None) -> Path:
    """The real path of the file that `location` names, inside `folder`."""
    if folder is None:
        raise ModelFileError(f"{label}: a model given as bytes cannot refer to other files; load it from its path.")
    escapes = PurePosixPath(location).is_absolute() or PureWindowsPath(location).anchor or "\0" in location
    if not location or escapes:
        raise ModelFileError(f"{label}: location {quoted(location)} is not a path relative to the model's folder.")
    root = folder.resolve()
    path = (root / location).resolve()
    if not path.is_relative_to(root):
        raise ModelFileError(f"{label}: location {quoted(location)} leads out of the model's folder; it is not read.")
    return path


def _number(entries: dict[str, str], key: str, label: str) -> int | None:
    """The nonnegative integer under `key`, None if it is absent."""
    text = entries.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise ModelFileError(f"{label}: {key} {quoted(text)} is not a byte count.")
    return int(text)


def _slice(path: Path, offset: int, size: int, label: str) -> bytes:
    """`size` bytes from `offset` of a regular file. Opening does not block on a pipe and follows no further link."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError as error:
        raise ModelFileError(f"{label}: its file {quoted(path.name)} is missing from the model's folder.") from error
    except OSError as error:
        raise ModelFileError(f"{label}: its file {quoted(path.name)} cannot be read: {error.strerror}.") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ModelFileError(f"{label}: {quoted(path.name)} is not a regular file.")
        if offset + size > status.st_size:
            raise ModelFileError(
                f"{label} needs bytes {offset} to {offset + size} of {quoted(path.name)}, which has {status.st_size}."
            )
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            file.seek(offset)
            return file.read(size)
    finally:
        os.close(descriptor)
