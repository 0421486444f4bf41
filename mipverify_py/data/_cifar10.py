"""CIFAR-10 in its binary version or as comma-separated text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mipverify_py.data._bytes import read_all, read_text
from mipverify_py.data._dataset import DataSet
from onnx_models.errors import InputError

CLASSES = 10
SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32
_FILES = {"test": ("test_batch",), "train": tuple(f"data_batch_{k}" for k in range(1, 6))}


def read_cifar10(path: Path, *, split: str = "test") -> DataSet:
    """The images of one split, shape (N, 3, 32, 32), with their labels, in file order.

    Args:
        path: a folder with the binary version (`test_batch.bin`, `data_batch_1.bin` ...; also inside
            `cifar-10-batches-bin`) or with a single .csv or .csv.gz file, or such a .bin, .csv or .csv.gz file itself.
            A line of text is the label, then 3072 pixel values 0..255 by row, column and R, G, B; no header.
        split: "test" or "train"; a .csv file and a file named directly are read whole.

    Raises:
        InputError: nothing usable is there, or a file is damaged. The python version of CIFAR-10 is refused: its
            batches are pickles, which can run code when they are read.
    """
    if split not in _FILES:
        raise InputError(f"Split {split!r} is unknown; CIFAR-10 has 'test' and 'train'.")
    files = [path] if path.is_file() else _find(path, split)
    parts = [_read_csv(file) if _is_csv(file) else _read_binary(file) for file in files]
    return DataSet("cifar10", np.concatenate([p for p, _ in parts]), np.concatenate([k for _, k in parts]))


def _is_csv(path: Path) -> bool:
    return path.name.lower().endswith((".csv", ".csv.gz"))


def _find(folder: Path, split: str) -> list[Path]:
    if not folder.is_dir():
        raise InputError(
            f"{folder}: there is no such folder; expected one with CIFAR-10 batches (.bin) or a .csv file."
        )
    for place in (folder, folder / "cifar-10-batches-bin"):
        files = [place / f"{stem}.bin" for stem in _FILES[split]]
        present = [file for file in files if file.is_file()]
        if len(present) == len(files):
            return files
        if present:
            missing = ", ".join(file.name for file in files if file not in present)
            raise InputError(f"{place}: lacks {missing}; the {split} split of CIFAR-10 needs all of its batches.")
    tables = sorted(file for file in folder.iterdir() if _is_csv(file))
    if len(tables) == 1:
        return tables
    if tables:
        names = ", ".join(file.name for file in tables)
        raise InputError(f"{folder}: has several .csv files ({names}); name the one to read.")
    if any((place / _FILES[split][0]).exists() for place in (folder, folder / "cifar-10-batches-py")):
        raise InputError(
            f"{folder}: has the python version of CIFAR-10, whose batches are pickles and are not read because a "
            "pickle can run code; use the binary version (cifar-10-binary.tar.gz)."
        )
    raise InputError(f"{folder}: has neither {_FILES[split][0]}.bin nor a .csv file; put the CIFAR-10 data there.")


def _read_binary(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Records of one label byte, then 1024 red, 1024 green and 1024 blue bytes in row-major order."""
    data = np.frombuffer(read_all(path), np.uint8)
    if data.size == 0 or data.size % _RECORD:
        raise InputError(
            f"{path}: has {data.size} bytes; CIFAR-10 records have {_RECORD} each, so the file is damaged."
        )
    records = data.reshape(-1, _RECORD)
    labels = records[:, 0].astype(np.int64)
    if labels.max() >= CLASSES:
        record = int(np.argmax(labels >= CLASSES))
        raise InputError(f"{path}: record {record} has label {labels[record]}; CIFAR-10 labels are 0 to {CLASSES - 1}.")
    return records[:, 1:].reshape(-1, *SHAPE), labels


def _read_csv(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
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
