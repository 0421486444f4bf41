"""MNIST and data sets in its format: IDX files, plain or gzip-compressed."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mipverify_py.data._bytes import LARGEST, opened, read_up_to
from mipverify_py.data._dataset import DataSet
from onnx_models.errors import InputError

_PREFIX = {"test": "t10k", "train": "train"}
_UINT8 = 0x08


def read_mnist(folder: Path, *, split: str = "test", name: str = "mnist") -> DataSet:
    """The images of one split, shape (N, 1, 28, 28), with their labels, in file order.

    Args:
        folder: holds `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte` (for "train": `train-...`), each possibly
            with `.gz` at the end; a dot in place of the hyphen before `idx` is accepted.
        split: "test" or "train".
        name: name of the data set; Fashion-MNIST and others come in the same format.

    Raises:
        InputError: a file is missing, is not IDX, is cut off, or images and labels do not belong together.
    """
    if split not in _PREFIX:
        raise InputError(f"Split {split!r} is unknown; MNIST has 'test' and 'train'.")
    images = read_idx(_find(folder, f"{_PREFIX[split]}-images", "idx3-ubyte"), dimensions=3)
    labels = read_idx(_find(folder, f"{_PREFIX[split]}-labels", "idx1-ubyte"), dimensions=1)
    return DataSet(name, images[:, None], labels.astype(np.int64))


def _find(folder: Path, stem: str, kind: str) -> Path:
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; expected one with the MNIST files ({stem}-{kind}, ...).")
    for joint in "-.":
        for ending in ("", ".gz"):
            path = folder / f"{stem}{joint}{kind}{ending}"
            if path.is_file():
                return path
    raise InputError(f"{folder}: has no {stem}-{kind} nor {stem}-{kind}.gz; put the MNIST file there.")


def read_idx(path: Path, *, dimensions: int) -> NDArray[np.uint8]:
    """The array of bytes in an IDX file.

    The format: two zero bytes, the type of an entry (0x08, uint8, is the only one accepted), the number of dimensions,
    each dimension as a big-endian 32-bit number, then the entries in row-major order and nothing after them.

    Raises:
        InputError: a header that says otherwise, or fewer or more entries than it promises.
    """
    with opened(path) as stream:
        magic = stream.read(4)
        expected = bytes((0, 0, _UINT8, dimensions))
        if magic != expected:
            raise InputError(
                f"{path}: starts with {magic.hex() or 'nothing'}; an IDX file of {dimensions}-dimensional uint8 data "
                f"starts with {expected.hex()}."
            )
        sizes = stream.read(4 * dimensions)
        if len(sizes) < 4 * dimensions:
            raise InputError(f"{path}: ends inside its header; the file is cut off.")
        shape = struct.unpack(f">{dimensions}I", sizes)
        count = math.prod(shape)
        if not 0 < count <= LARGEST:
            raise InputError(f"{path}: declares shape {shape}, {count} bytes; between 1 and {LARGEST} are accepted.")
        data = read_up_to(stream, count + 1)
    if len(data) != count:
        found = f"only {len(data)}" if len(data) < count else "more"
        raise InputError(f"{path}: declares shape {shape}, {count} bytes, but holds {found}; the file is damaged.")
    return np.frombuffer(data, np.uint8).reshape(shape)
