"""The images that a classifier learns from, those that early stopping looks at, and those that it never sees."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from counter_attack.training._recipe import DATASETS
from mipverify_py.data import DataSet, read_cifar10, read_mnist
from onnx_models.errors import InputError
from onnx_models.zoo import WHITE, LabelledImages, digits_split

CLASSES = 10
"""Classes of every data set here."""

VALIDATION_ROWS = 5000
"""The last so many rows of the training files are validation rows unless another number is asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """Disjoint parts of a data set; the images of all have the same shape.

    Attributes:
        name: one of `DATASETS`.
        train: what the weights are fitted to.
        validation: what early stopping looks at; None: nothing.
        test: what nothing looks at before the end; None: no such rows at hand.
        rows: which rows of which files each part is, in words.
    """

    name: str
    train: DataSet
    validation: DataSet | None
    test: DataSet | None
    rows: dict[str, str]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image: channels, height, width."""
        channels, height, width = self.train.pixels.shape[1:]
        return channels, height, width

    @property
    def parts(self) -> dict[str, DataSet]:
        """The parts that are there, by name."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in named.items() if part is not None}

    def digest(self) -> str:
        """SHA-256 of all parts: names, shapes, white, pixels and labels; hexadecimal."""
        found = hashlib.sha256()
        for name, part in self.parts.items():
            found.update(f"{name} {part.pixels.shape} {part.white}\n".encode())
            found.update(np.ascontiguousarray(part.pixels).tobytes())
            found.update(part.labels.astype("<i8").tobytes())
        return found.hexdigest()


def read_training_data(
    name: str,
    folder: Path | None = None,
    *,
    split: tuple[int, int] | None = None,
    validation_rows: int | None = None,
) -> TrainingData:
    """The data set of that name.

    The digits come in three parts that never change (`onnx_models.zoo.digits_split`). For the others, the training
    files give training rows and, at their end, validation rows; the test files, where they are there, the test rows.

    Args:
        name: "digits", which come with scikit-learn, or "mnist", "fashion-mnist" or "cifar10".
        folder: where the files lie, as `read_mnist` and `read_cifar10` of `mipverify_py.data` want them; None for the
            digits.
        split: (first, stop): read the test files only, train on these rows of them and validate on the others.
        validation_rows: rows at the end of the training files that are kept for validation, 0 for none; default
            `VALIDATION_ROWS`, but at most a tenth.

    Raises:
        InputError: an unknown name, a folder missing or given in vain, unusable files, or rows that are not there.
    """
    if name not in DATASETS:
        raise InputError(f"Data set {name!r} is unknown; choose one of {', '.join(DATASETS)}.")
    if name == "digits":
        if folder is not None or split is not None or validation_rows is not None:
            raise InputError("The digits are bundled and their split is fixed; leave out folder and rows.")
        return _digits()
    if folder is None:
        raise InputError(f"{name} is not bundled; name the folder with its files.")
    if split is not None:
        if validation_rows is not None:
            raise InputError("With a split of the test files the rows outside it validate; leave out their number.")
        return _from_test_files(name, _read(name, folder, "test"), *split)
    return _from_all_files(name, folder, validation_rows)


def _digits() -> TrainingData:
    parts = digits_split()
    train, validation, test = (_as_pixels(part) for part in parts)
    rows = {"train": "1197 rows", "validation": "200 rows", "test": "400 rows, those of the data set digits"}
    return TrainingData("digits", train, validation, test, rows)


def _as_pixels(part: LabelledImages) -> DataSet:
    return DataSet("digits", np.rint(part.images * WHITE).astype(np.uint8), part.labels, WHITE)


def _from_test_files(name: str, test: DataSet, first: int, stop: int) -> TrainingData:
    if not 0 <= first < stop <= len(test):
        raise InputError(f"Rows {first}:{stop} are not there: the test files of {name} have rows 0 to {len(test) - 1}.")
    numbers = np.arange(len(test))
    inside = (numbers >= first) & (numbers < stop)
    rest = _chosen(test, ~inside) if not inside.all() else None
    rows = {"train": f"rows {first} to {stop - 1} of the test files"}
    if rest is not None:
        rows["validation"] = f"the other {len(rest)} rows of the test files"
    return TrainingData(name, _chosen(test, inside), rest, None, rows)


def _from_all_files(name: str, folder: Path, validation_rows: int | None) -> TrainingData:
    if not _has_files(name, folder, "train") and _has_files(name, folder, "test"):
        raise InputError(
            f"{folder}: has test files but no training files of {name}. To learn from some of the test rows, name "
            "these as split, such as 2000:10000."
        )
    whole = _read(name, folder, "train")
    kept = min(VALIDATION_ROWS, len(whole) // 10) if validation_rows is None else validation_rows
    if not 0 <= kept < len(whole):
        raise InputError(f"{kept} validation rows leave nothing to learn from: the training files have {len(whole)}.")
    first = len(whole) - kept
    inside = np.arange(len(whole)) < first
    test = _read(name, folder, "test") if _has_files(name, folder, "test") else None
    rows = {"train": f"rows 0 to {first - 1} of the training files"}
    if kept:
        rows["validation"] = f"rows {first} to {len(whole) - 1} of the training files"
    if test is not None:
        rows["test"] = f"all {len(test)} rows of the test files"
    return TrainingData(name, _chosen(whole, inside), _chosen(whole, ~inside) if kept else None, test, rows)


def _has_files(name: str, folder: Path, split: str) -> bool:
    """Whether some file of that split is there, sound or not; a .csv file of CIFAR-10 counts as test files."""
    if name != "cifar10":
        return any(folder.glob({"train": "train-images*", "test": "t10k-images*"}[split]))
    patterns = {"train": ("data_batch_*", "*/data_batch_*"), "test": ("test_batch*", "*/test_batch*", "*.csv*")}[split]
    return any(True for pattern in patterns for _ in folder.glob(pattern))


def _read(name: str, folder: Path, split: str) -> DataSet:
    data = read_cifar10(folder, split=split) if name == "cifar10" else read_mnist(folder, split=split, name=name)
    expected = (3, 32, 32) if name == "cifar10" else (1, 28, 28)
    if data.pixels.shape[1:] != expected:
        raise InputError(f"{folder}: has images of shape {data.pixels.shape[1:]}; {name} has {expected}.")
    if data.labels.max() >= CLASSES:
        raise InputError(f"{folder}: has label {data.labels.max()}; those of {name} are 0 to {CLASSES - 1}.")
    return data


def _chosen(data: DataSet, rows: np.typing.NDArray[np.bool_]) -> DataSet:
    return replace(data, pixels=data.pixels[rows], labels=data.labels[rows])
