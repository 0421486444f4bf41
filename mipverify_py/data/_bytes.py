"""Reading files of untrusted size: plain or gzip-compressed, never more than a stated number of bytes."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

from onnx_models.errors import InputError

LARGEST = 2**30
"""Bytes that any one file may hold once decompressed: above every data set read here, below the memory of a laptop."""

_BLOCK = 2**18

_GZIP_MAGIC = b"\x1f\x8b"


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file as a stream of its decompressed bytes; errors while it is read become InputError naming the file."""
    try:
        with path.open("rb") as raw:
            compressed = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            if compressed:
                with gzip.GzipFile(fileobj=raw) as stream:
                    yield cast(BinaryIO, stream)
            else:
                yield raw
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; name a file in it.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: the compressed data is damaged or cut off ({error}).") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error


def read_up_to(stream: IO[bytes], count: int) -> bytes:
    """The next bytes, `count` of them if there are as many.

    They are read in blocks: a stream asked for all at once takes the memory before it knows how many there are.
    """
    blocks = []
    while count > 0 and (block := stream.read(min(count, _BLOCK))):
        blocks.append(block)
        count -= len(block)
    return b"".join(blocks)


def read_all(path: Path, limit: int = LARGEST) -> bytes:
    """The decompressed contents; raises InputError if there are more than `limit` bytes."""
    with opened(path) as stream:
        data = read_up_to(stream, limit + 1)
    if len(data) > limit:
        raise InputError(f"{path}: holds more than {limit} bytes; split it into smaller files.")
    return data


def read_text(path: Path) -> str:
    """The contents as UTF-8 text (a byte order mark is dropped)."""
    try:
        return read_all(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not text; expected lines of numbers separated by commas.") from None
