"""The files of a data set: their names, their checksums, and arrays and tables as bytes that depend on nothing else."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from counter_attack.training._files import write_whole
from mipverify_py.data._bytes import read_all, read_text
from onnx_models.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

CASES: Final = "cases.parquet"
ATTACKS: Final = "attacks.parquet"
CARD: Final = "card.json"
CARD_TEXT: Final = "card.md"
CHECKSUMS: Final = "checksums.txt"
"""Written last and removed first: without it the data set is not complete."""

STORE: Final = "campaign.sqlite"
"""The campaign that a data set is built from; it lies beside the files and is none of them."""

MODELS, EXAMPLES, ORIGINALS = "models", "examples", "originals"
"""Folders: models and their cards by configuration, examples by configuration, images by data set."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_name(name: str) -> None:
    """Raises InputError for a configuration or data set that cannot be a file name on every system."""
    if _NAME.fullmatch(name) is None:
        raise InputError(f"{name!r} cannot name a file of a data set; use letters, digits, hyphens, dots, underscores.")


def is_data_set(folder: Path) -> bool:
    """Whether the folder is one that `ug100 build` writes into, complete or not."""
    return any((folder / name).exists() for name in (CARD, CHECKSUMS, STORE, CASES))


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a complete data set; each is compared with its checksum before anything is read from it.

    Attributes:
        folder: where they lie.
        digests: SHA-256 by name, which is a path within the folder.
    """

    folder: Path
    digests: Mapping[str, str]

    @classmethod
    def of(cls, folder: Path) -> Files:
        """Those of a folder.

        Raises:
            InputError: no such folder, or no sound list of checksums in it.
        """
        if not folder.is_dir():
            raise InputError(f"{folder}: there is no such folder.")
        place = folder / CHECKSUMS
        if not place.exists():
            raise InputError(
                f"{folder}: has no {CHECKSUMS}, so it is no complete data set; let `ug100 build` finish it."
            )
        digests = {}
        for number, line in enumerate(read_text(place).splitlines(), start=1):
            found = re.fullmatch(r"([0-9a-f]{64})  (\S+)", line)
            if found is None or found[2].startswith("/") or ".." in found[2].split("/"):
                raise InputError(f"{place}, line {number}: is no checksum with the name of a file in this folder.")
            digests[found[2]] = found[1]
        missing = [name for name in (CARD, CARD_TEXT, CASES, ATTACKS) if name not in digests]
        if missing:
            raise InputError(f"{place}: does not list {missing[0]}; the file is cut off or damaged.")
        return cls(folder, digests)

    def checked(self, name: str) -> Path:
        """Where the file of that name is.

        Raises:
            InputError: it is missing, or not as it was written.
        """
        path = self.folder / name
        if name not in self.digests:
            raise InputError(f"{path}: is not part of the data set; {CHECKSUMS} does not list it.")
        if not path.exists():
            raise InputError(f"{path}: is missing, though {CHECKSUMS} lists it; get it again, or build it again.")
        if _digest(path) != self.digests[name]:
            raise InputError(f"{path}: is damaged; its SHA-256 is not the one in {CHECKSUMS}.")
        return path

    def read(self, name: str) -> bytes:
        """The contents of a file; raises InputError as `checked` does."""
        return read_all(self.checked(name))


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error


@dataclass(slots=True)
class Writer:
    """Writes a data set: `begin`, any number of `add`, `finish`. In between it counts as incomplete.

    Attributes:
        folder: where the files go; made if it is not there.
        digests: SHA-256 of what was written, by name.
    """

    folder: Path
    digests: dict[str, str] = field(default_factory=dict)

    def begin(self) -> None:
        """Marks what is there as incomplete; raises InputError where the folder cannot be written to."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / CHECKSUMS).unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be written to ({error.strerror or error}).") from error

    def add(self, name: str, data: bytes) -> None:
        """Writes one file, whole or not at all; raises InputError where that fails."""
        path = self.folder / name
        try:
            path.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"{path.parent}: cannot be made ({error.strerror or error}).") from error
        write_whole(path, data)
        self.digests[name] = hashlib.sha256(data).hexdigest()

    def finish(self) -> None:
        """Writes the checksums, one line per file sorted by name, as the command `sha256sum --check` reads them."""
        lines = "".join(f"{self.digests[name]}  {name}\n" for name in sorted(self.digests))
        write_whole(self.folder / CHECKSUMS, lines.encode())


def model_card_bytes(card: Mapping[str, Any]) -> bytes:
    """The card of a model as indented JSON with sorted keys: the same whether it comes from a training or a store."""
    return (json.dumps(card, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def array_bytes(**arrays: np.ndarray[Any, Any]) -> bytes:
    """The arrays as a compressed .npz file: exact, with shapes and types, read by NumPy alone and without pickle."""
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)  # the dates within are constant
    return stream.getvalue()


def table_bytes(frame: pd.DataFrame) -> bytes:
    """The table as Parquet."""
    stream = io.BytesIO()
    frame.to_parquet(stream, engine="pyarrow", compression="zstd", index=False)
    return stream.getvalue()


def read_table(files: Files, name: str, columns: Mapping[str, str]) -> pd.DataFrame:
    """A table of the data set with these columns and types.

    Raises:
        InputError: the file is missing or damaged, or its columns are others.
    """
    import pandas as pd

    place = files.folder / name
    data = io.BytesIO(files.read(name))
    try:
        frame = pd.read_parquet(data, engine="pyarrow")
    except ImportError:
        raise InputError(f"{place}: reading Parquet needs the package pyarrow; install it.") from None
    except (OSError, ValueError) as error:  # what pyarrow raises for a file of another kind
        raise InputError(f"{place}: is not a sound .parquet file ({str(error).partition(chr(10))[0]}).") from error
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise InputError(f"{place}: has no column {', '.join(missing)}.")
    try:
        return frame[list(columns)].astype(dict(columns))
    except (ValueError, TypeError) as error:
        raise InputError(f"{place}: holds other kinds of values than expected ({error}).") from error
