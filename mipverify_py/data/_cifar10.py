"""CIFAR-10 in its binary version, its python version, or as comma-separated text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mipverify_py.data._bytes import read_all, read_text
from mipverify_py.data._dataset import DataSet
from mipverify_py.data._python_batch import read_python_batch
from onnx_models.errors import InputError

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images of shape (N, 3, 32, 32) and their labels."""

CLASSES = 10
SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32
_RECORD = 1 + _PIXELS
_FILES = {"test": ("test_batch",), "train": tuple(f"data_batch_{k}" for k in range(1, 6))}
_VERSIONS = (("cifar-10-batches-bin", ".bin"), ("cifar-10-batches-py", ""))
"""Folder in the published archive and ending of the file names: binary, python."""


def read_cifar10(path: Path, *, split: str = "test") -> DataSet:
    """The images of one split, shape (N, 3, 32, 32), with their labels, in file order.

    Args:
        path: a folder with the binary version (`test_batch.bin`, `data_batch_1.bin` ...; also inside
            `cifar-10-batches-bin`), with the python version (`test_batch`, `data_batch_1` ...; also inside
            `cifar-10-batches-py`) or with a single .csv or .csv.gz file, tried in this order; or one such file itself.
            Both versions have the same images in the same order.
            The python version is read without being unpickled: none of its code is run.
            A line of text is the label, then 3072 pixel values 0..255 by row, column and R, G, B; no header.
        split: "test" or "train"; a .csv file and a file named directly are read whole.

    Raises:
        InputError: nothing usable is there, or a file is damaged, or a python batch holds more than images, labels and
            their names.
    """
    if split not in _FILES:
        raise InputError(f"Split {split!r} is unknown; CIFAR-10 has 'test' and 'train'.")
    files = [path] if path.is_file() else _find(path, split)
    parts = [_reader(file)(file) for file in files]
    return DataSet("cifar10", np.concatenate([p for p, _ in parts]), np.concatenate([k for _, k in parts]))


def _reader(path: Path) -> Callable[[Path], Part]:
    if _is_csv(path):
        return _read_csv
    return _read_binary if path.name.lower().endswith((".bin", ".bin.gz")) else _read_python


def _is_csv(path: Path) -> bool:
    return path.name.lower().endswith((".csv", ".csv.gz"))


def _find(folder: Path, split: str) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; expected one with CIFAR-10 batches or a .csv file.")
    incomplete = []
    for inner, ending in _VERSIONS:
        for place in (folder, folder / inner):
            files = [place / f"{stem}{ending}" for stem in _FILES[split]]
            missing = [file.name for file in files if not file.is_file()]
            if not missing:
                return files
            if len(missing) < len(files):
                incomplete.append(f"{place}: lacks {', '.join(missing)}")
    if incomplete:
        raise InputError(f"{incomplete[0]}; the {split} split of CIFAR-10 needs all of its batches.")
    tables = sorted(file for file in folder.iterdir() if _is_csv(file))
    if len(tables) == 1:
        return tables
    if tables:
        names = ", ".join(file.name for file in tables)
        raise InputError(f"{folder}: has several .csv files ({names}); name the one to read.")
    first = _FILES[split][0]
    raise InputError(f"{folder}: has neither {first}.bin nor {first} nor a .csv file; put the CIFAR-10 data there.")


def _read_python(path: Path) -> Part:
    """A dict with `data`, one row of 1024 red, 1024 green and 1024 blue bytes per image, and `labels`, a list."""
    batch = read_python_batch(path)
    for key in ("data", "labels"):
        if key not in batch:
            raise InputError(f"{path}: has no entry {key!r}, so it is no batch of CIFAR-10.")
    data, found = batch["data"], batch["labels"]
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != _PIXELS:
        what = f"an array of shape {data.shape}" if isinstance(data, np.ndarray) else "no array"
        raise InputError(f"{path}: its data is {what}; CIFAR-10 has shape (images, {_PIXELS}).")
    if not isinstance(found, list) or not all(type(label) is int for label in found):
        raise InputError(f"{path}: its labels are no list of whole numbers.")
    if len(found) != len(data):
        raise InputError(f"{path}: has {len(data)} images but {len(found)} labels, so it is damaged.")
    return data.reshape(-1, *SHAPE), _checked(path, np.array(found, np.int64))


def _checked(path: Path, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    wrong = np.flatnonzero((labels < 0) | (labels >= CLASSES))
    if wrong.size:
        raise InputError(
            f"{path}: record {wrong[0]} has label {labels[wrong[0]]}; CIFAR-10 labels are 0 to {CLASSES - 1}."
        )
    return labels


def _read_binary(path: Path) -> Part:
    """Records of one label byte, then 1024 red, 1024 green and 1024 blue bytes in row-major order."""
    data = np.frombuffer(read_all(path), np.uint8)
    if data.size == 0 or data.size % _RECORD:
        raise InputError(
            f"{path}: has {data.size} bytes; CIFAR-10 records have {_RECORD} each, so the file is damaged."
        )
    records = data.reshape(-1, _RECORD)
    return records[:, 1:].reshape(-1, *SHAPE), _checked(path, records[:, 0].astype(np.int64))


def _read_csv(path: Path) -> Part:
    lines = read_text(path).splitlines()
    rows = [_record(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not rows:
        raise InputError(f"{path}: is empty; expected one image per line.")
    table = np.stack(rows)
    images = table[:, 1:].reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images), table[:, 0].astype(np.int64)


def _record(path: Path, number: int, line: str) -> NDArray[np.uint8]:
    """One line as bytes: the label, then the pixels."""
    try:
        values = np.array([int(field) for field in line.split(",")])
    except ValueError:
        raise InputError(f"{path}, line {number}: expected whole numbers separated by commas.") from None
    if values.size != _RECORD:
        raise InputError(f"{path}, line {number}: has {values.size} numbers; a label and 3072 pixels make {_RECORD}.")
    if not 0 <= values[0] < CLASSES:
        raise InputError(f"{path}, line {number}: label {values[0]} is out of range; CIFAR-10 labels are 0 to 9.")
    if values.min() < 0 or values.max() > 255:
        raise InputError(f"{path}, line {number}: pixels must lie in 0 to 255.")
    return values.astype(np.uint8)
