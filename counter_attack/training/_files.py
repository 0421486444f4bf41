"""Files that are there whole or not at all, and checkpoints that run no code when they are read."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path
from typing import Any

from onnx_models.errors import InputError

FORMAT = 1
"""Version of the checkpoints written; it grows when one program cannot go on from another's."""


def write_whole(path: Path, data: bytes) -> None:
    """Writes the file, or leaves what was there before.

    Raises:
        InputError: it cannot be written, with the system's reason.
    """
    part: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            part = Path(file.name)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o666 & ~_umask())  # temporary files are private
        part.replace(path)
    except OSError as error:
        if part is not None:
            with contextlib.suppress(OSError):
                part.unlink()
        raise InputError(f"{path}: cannot be written ({error.strerror or error}).") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Writes tensors, numbers and texts (in dicts and lists); raises InputError where that fails."""
    import torch

    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **content}, buffer)
    write_whole(path, buffer.getvalue())


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What `write_checkpoint` wrote, with all tensors on the CPU. The file cannot make anything else happen.

    Raises:
        InputError: no such file, or it is no checkpoint of this format.
    """
    import pickle

    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no checkpoint, or is damaged; remove it to start anew.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path}: is no checkpoint of this version; remove it to start anew.")
    return content
