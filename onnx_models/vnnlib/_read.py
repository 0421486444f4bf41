"""Reading .vnnlib files, compressed or not."""

from __future__ import annotations

import gzip
import zlib
from os import PathLike
from pathlib import Path

from onnx_models.errors import InputError
from onnx_models.vnnlib._parse import parse_vnnlib
from onnx_models.vnnlib._property import Property

MAX_BYTES = 1 << 28
"""How much text is read at most, after decompression."""

_GZIP = b"\x1f\x8b"


def read_vnnlib(path: str | PathLike[str], inputs: int | None = None, outputs: int | None = None) -> Property:
    """The property in a VNN-LIB file (see `parse_vnnlib`); a file compressed with gzip is recognised by its content.

    Raises:
        InputError: the file cannot be read or is too large, or its text is not such a property.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream:
            packed = stream.read(2) == _GZIP
            stream.seek(0)
            if packed:
                with gzip.GzipFile(fileobj=stream) as unpacked:
                    data = unpacked.read(MAX_BYTES + 1)
            else:
                data = stream.read(MAX_BYTES + 1)
        text = data.decode("utf-8")
    except (EOFError, zlib.error, UnicodeDecodeError, gzip.BadGzipFile) as error:
        raise InputError(f"{file}: expected VNN-LIB text, perhaps compressed with gzip: {error}.") from error
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}.") from error
    if len(data) > MAX_BYTES:
        raise InputError(f"{file}: has more than {MAX_BYTES:,} bytes of text.")
    return parse_vnnlib(text, inputs, outputs, name=file.name)
