"""Which inputs a campaign is about: a data set or a file of arrays, and which rows of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from mipverify_py.campaigns._records import InputRecord
from mipverify_py.campaigns._spec_table import SpecError, Table, at, is_whole
from mipverify_py.data import DataSet, InputFile, fit_images, read_cifar10, read_digits, read_input, read_mnist
from onnx_models import Array
from onnx_models.errors import InputError

DATASETS: Final = ("digits", "mnist", "fashion-mnist", "cifar10")
"""The data sets that are known by name; all but the digits are read from a folder."""

SPLITS: Final = ("test", "train")


@dataclass(frozen=True, slots=True)
class Indices:
    """Rows of a data set.

    Attributes:
        ranges: half-open ranges (start, stop), where stop None is the end; in this order.
        sample: how many of these rows to draw; None: all of them.
        seed: of the sample. A larger sample of the same seed contains the smaller one, so a campaign can grow.

    Raises:
        InputError: an empty range, a negative number, or a sample of nothing.
    """

    ranges: tuple[tuple[int, int | None], ...] = ((0, None),)
    sample: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.ranges or any(start < 0 or (stop is not None and stop <= start) for start, stop in self.ranges):
            raise InputError(f"The rows {self.ranges} name an empty range or a negative row.")
        if self.sample is not None and self.sample < 1:
            raise InputError(f"A sample of {self.sample} rows is empty; draw at least 1.")

    @classmethod
    def of(cls, value: str | int | Iterable[int] | Indices) -> Indices:
        """Rows as people write them: "0:10,17" (10 is not included), 17, or [0, 5, 17].

        Raises:
            InputError: anything else.
        """
        if isinstance(value, Indices):
            return value
        if isinstance(value, str):
            return cls(tuple(_range(part.strip(), value) for part in value.split(",")))
        rows = list(value) if isinstance(value, Iterable) else [value]
        if not rows or not all(is_whole(row) and row >= 0 for row in rows):
            raise InputError(f"{value!r} names no rows; write them like '0:10,17' (10 is not included) or [0, 5, 17].")
        return cls(tuple((row, row + 1) for row in rows))

    def resolve(self, count: int, name: str) -> list[int]:
        """The rows, each once, for the `count` rows of `name`; a sample comes in ascending order.

        Raises:
            InputError: a row that is not there, or fewer rows than the sample wants.
        """
        found: dict[int, None] = {}
        for start, stop in self.ranges:
            last = count if stop is None else stop
            if last > count or start >= count:
                raise InputError(
                    f"Index {max(start, last - 1)} is out of range: {name} has the indices 0 to {count - 1}."
                )
            found.update(dict.fromkeys(range(start, last)))
        if self.sample is None:
            return list(found)
        if self.sample > len(found):
            raise InputError(f"A sample of {self.sample} cannot be drawn from {len(found)} rows of {name}.")
        # Ranked by a hash: the draw is the same whatever the version of Python or numpy, and samples are nested.
        return sorted(sorted(found, key=self._rank)[: self.sample])

    def _rank(self, row: int) -> bytes:
        return hashlib.sha256(f"{self.seed}:{row}".encode()).digest()


@dataclass(frozen=True)
class DataSource:
    """Inputs with labels.

    Attributes:
        dataset: one of `DATASETS`; None for a file.
        folder: where a data set lies that is not bundled; the files are those that `mipverify_py.data` reads.
        split: "test" or "train", of a data set with both.
        file: a .npy, .npz, .csv, .png or .jpg file instead; FILE.npz:NAME picks one array of several.
        labels: a file with the true class of each row of `file`, likewise; None: unknown.
        name: what to call the inputs; default the data set's name, or the file's without its ending.
        indices: which rows; as `Indices.of` takes them, too.

    Raises:
        InputError: values that do not go together.
    """

    dataset: str | None = None
    folder: Path | None = None
    split: str = "test"
    file: str | None = None
    labels: str | None = None
    name: str | None = None
    indices: Any = Indices()

    def __post_init__(self) -> None:
        for wrong, message in (
            ((self.dataset is None) == (self.file is None), "The data needs a dataset or a file, one of the two."),
            (
                self.dataset is not None and self.dataset not in DATASETS,
                f"Data set {self.dataset!r} is unknown; choose one of {', '.join(DATASETS)}.",
            ),
            (
                self.dataset == "digits" and self.folder is not None,
                "The digits are bundled; leave out the folder of the data.",
            ),
            (
                self.dataset not in (None, "digits") and self.folder is None,
                f"{self.dataset} is not bundled; name the folder with its files.",
            ),
            (self.split not in SPLITS, f"Split {self.split!r} is unknown; there are {' and '.join(SPLITS)}."),
            (
                self.split == "train" and self.dataset in (None, "digits"),
                f"{self.dataset or 'A file'} has no split 'train'; leave out the split.",
            ),
            (
                self.file is not None and self.folder is not None,
                "A file of arrays needs no folder; put the whole path into the file's name.",
            ),
            (self.file is None and self.labels is not None, "A data set has its own labels; leave them out."),
        ):
            if wrong:
                raise InputError(message)
        object.__setattr__(self, "indices", Indices.of(self.indices))

    @property
    def title(self) -> str:
        """What the inputs are called."""
        if self.name is not None:
            return self.name
        return self.dataset if self.dataset is not None else Path(location(self.file or "")[0]).stem

    def inputs(self, shape: tuple[int, ...]) -> list[InputRecord]:
        """The inputs for a model that takes `shape`.

        Raises:
            InputError: they cannot be read, do not fit, or an index is not there.
        """
        source = self._source
        if isinstance(source, DataSet):
            rows = self.indices.resolve(len(source), self.title)
            images = {row: fit_images(source.image(row)[None], shape, name=f"An image of {self.title}") for row in rows}
            return [InputRecord(images[row][0], self.title, row, int(source.labels[row])) for row in rows]
        values = source.fitted(shape)
        rows = self.indices.resolve(len(values), self.title)
        labels = self._labels(len(values))
        return [InputRecord(values[row], self.title, row, None if labels is None else labels[row]) for row in rows]

    def record(self) -> dict[str, Any]:
        """What was asked for, as JSON, without paths: a store is shown to others."""
        chosen: Indices = self.indices
        rows = {"ranges": [list(ends) for ends in chosen.ranges], "sample": chosen.sample, "seed": chosen.seed}
        return {"name": self.title, "dataset": self.dataset, "split": self.split, "indices": rows}

    @cached_property
    def _source(self) -> DataSet | InputFile:
        if self.file is not None:
            path, array = location(self.file)
            return read_input(path, array=array)
        if self.folder is None:
            return read_digits()
        if self.dataset == "cifar10":
            return read_cifar10(self.folder, split=self.split)
        assert self.dataset is not None
        return read_mnist(self.folder, split=self.split, name=self.dataset)

    def _labels(self, count: int) -> list[int] | None:
        if self.labels is None:
            return None
        path, array = location(self.labels)
        values: Array | None = read_input(path, array=array).values
        if values is None or values.size != count or np.any(values != np.rint(values)) or np.any(values < 0):
            raise InputError(
                f"{self.labels}: must hold {count} whole numbers from 0, a class for each of {self.title}."
            )
        return [int(value) for value in values.reshape(-1)]


def location(text: str) -> tuple[Path, str | None]:
    """The path and, for `FILE.npz:NAME`, the name of the array."""
    head, colon, tail = text.rpartition(":")
    return (Path(head), tail) if colon and head.lower().endswith(".npz") else (Path(text), None)


def read_data(table: Table, folder: Path) -> DataSource:
    """The `data` table of a spec; paths are relative to `folder`.

    Raises:
        InputError: a key or value that is wrong, naming it.
    """
    table.only("dataset", "folder", "split", "file", "labels", "name", "indices")
    where, file, labels = (table.text(key) for key in ("folder", "file", "labels"))
    dataset = table.text("dataset", among=DATASETS)
    if dataset is not None and "indices" not in table:
        raise SpecError(f"{table.place}: indices are missing; say which images, such as '0:10' (':' for all).")
    return at(
        table.place,
        lambda: DataSource(
            dataset=dataset,
            folder=None if where is None else folder / Path(where).expanduser(),
            split=table.text("split", "test", among=SPLITS) or "test",
            file=None if file is None else str(folder / Path(file).expanduser()),
            labels=None if labels is None else str(folder / Path(labels).expanduser()),
            name=table.text("name"),
            indices=_read_indices(table),
        ),
    )


def _read_indices(table: Table) -> Indices:
    if "indices" not in table:
        return Indices()
    value = table["indices"]
    if not isinstance(value, dict):
        return Indices.of(value)
    drawn = Table(value, f"{table.place}, indices")
    drawn.only("sample", "seed", "from")
    if "sample" not in drawn:
        raise SpecError(f"{drawn.place}: sample is missing; how many rows are to be drawn?")
    return Indices(
        ranges=Indices.of(drawn["from"]).ranges if "from" in drawn else ((0, None),),
        sample=drawn.whole("sample", 1, "a whole number of at least 1", lambda v: v >= 1),
        seed=drawn.whole("seed", 0, "a whole number of at least 0", lambda v: v >= 0),
    )


def _range(part: str, whole: str) -> tuple[int, int | None]:
    ends = [end.strip() for end in part.split(":")]
    if len(ends) > 2 or not all(end == "" or (end.isascii() and end.isdigit()) for end in ends) or part == "":
        raise InputError(f"{whole!r} names no rows; write them like '0:10,17' (10 is not included) or [0, 5, 17].")
    start = int(ends[0] or 0)
    if len(ends) == 1:
        return start, start + 1
    stop = int(ends[1]) if ends[1] else None
    if stop is not None and stop <= start:
        raise InputError(f"The range {part!r} selects nothing; its first index must be below its second.")
    return start, stop
