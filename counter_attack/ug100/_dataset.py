"""A data set of exact distances, as read from its folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from counter_attack.ug100._dataset_files import ATTACKS, CARD, CASES, EXAMPLES, MODELS, ORIGINALS, Files, read_table
from counter_attack.ug100._frame import COLUMNS, check_frame
from mipverify_py import Norm, Query, Targets
from mipverify_py.data import read_input
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from counter_attack.ug100._dataset_verify import VerifyReport

SCHEMA: Final = 1
"""Version of the layout; it grows when a reader of an older one would go wrong."""

CASE_COLUMNS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "case": "int64",
        "configuration": "str",
        "architecture": "str",
        "training": "str",
        "dataset": "str",
        "index": "int64",
        "label": "Int64",
        "predicted": "Int64",
        "state": "str",
        "verdict": "str",
        "lower": "float64",
        "upper": "float64",
        "gap": "float64",
        "evidence": "str",
        "stop_reason": "str",
        "contradiction": "str",
        "seconds": "float64",
        "engine": "str",
        "backend": "str",
        "model": "str",
        "input": "str",
    }
)
"""Columns of cases.parquet and their types; `docs/reference/ug100.md` says what each holds."""

ATTACK_COLUMNS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "case": "int64",
        "attack_set": "str",
        "attack": "str",
        "distance": "float64",
        "target": "Int64",
        "seconds": "float64",
        "calls": "Int64",
    }
)
"""Columns of attacks.parquet and their types."""


class UG100Data:
    """A data set; files are read when they are asked for, and compared with their checksums then.

    Args:
        files: where it lies.

    Raises:
        InputError: card or tables are missing or damaged, or of a newer version; the message names the file.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self.folder: Path = files.folder
        """Where it lies."""
        self.card: dict[str, Any] = _read_card(files)
        """What it is, see `docs/reference/ug100.md`."""
        self.cases: pd.DataFrame = _sound_cases(read_table(files, CASES, CASE_COLUMNS), files.folder / CASES)
        """One row per case, number `case` from 0; columns `CASE_COLUMNS`."""
        self.attacks: pd.DataFrame = read_table(files, ATTACKS, ATTACK_COLUMNS)
        """One row per case and attack; columns `ATTACK_COLUMNS`."""
        self._networks: dict[str, ReluNetwork] = {}
        self._read: dict[str, Mapping[int, Array]] = {}

    def __len__(self) -> int:
        return len(self.cases)

    def __repr__(self) -> str:
        return f"UG100Data({self.card['name']!r}, {len(self)} cases, {len(self.card['configurations'])} configurations)"

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The tidy table of distances with the columns `COLUMNS`, as all analysis here takes it."""
        rows = self.attacks.merge(self.cases, on="case", validate="many_to_one")
        rows["lower"] = rows["lower"].mask(rows["verdict"] == "robust", np.inf)
        order = ["configuration", "index", "attack_set", "attack"]
        return check_frame(rows[list(COLUMNS)].sort_values(order, kind="stable"), str(self.folder))

    def original(self, case: int) -> Array:
        """The image of a case, float64, of the model's shape.

        Raises:
            InputError: no such case, or a damaged file.
        """
        row = self._row(case)
        return self._array(f"{ORIGINALS}/{row['dataset']}.npz", "index", "image", int(row["index"]))

    def example(self, case: int) -> Array | None:
        """The nearest adversarial example that is known, at distance `upper`, float64, of the model's shape.

        None where there is none, that is where `upper` is missing.

        Raises:
            InputError: no such case, or a damaged file.
        """
        row = self._row(case)
        if np.isnan(row["upper"]):
            return None
        return self._array(f"{EXAMPLES}/{row['configuration']}.npz", "case", "example", case)

    def model(self, configuration: str) -> ReluNetwork:
        """The network of a configuration; the same object at each call.

        Raises:
            InputError: no such configuration, a damaged file, or another network than the cases are about.
        """
        from onnx_models.importer import load_onnx_bytes

        if configuration not in self._networks:
            names = self.cases["configuration"]
            if not (names == configuration).any():
                raise InputError(f"{self.folder}: has no configuration {configuration!r}; it has {self._names()}.")
            name = f"{MODELS}/{configuration}.onnx"
            network = load_onnx_bytes(self._files.read(name), configuration)
            if not (self.cases.loc[names == configuration, "model"] == network.digest).all():
                raise InputError(f"{self.folder / name}: is another network than the cases are about.")
            self._networks[configuration] = network
        return self._networks[configuration]

    def query(self, case: int) -> Query:
        """The question that lower and upper end of a case answer.

        Raises:
            InputError: no such case, or a damaged file.
        """
        import pandas as pd

        from mipverify_py.campaigns._answer import domain_box

        row, asked = self._row(case), self.card["question"]
        network = self.model(row["configuration"])
        return Query(
            network,
            self.original(case),
            label=int(row["label"]) if asked["reference"] == "label" and row["label"] is not pd.NA else None,
            targets=Targets() if asked["targets"] is None else Targets.only(asked["targets"]),
            margin=asked["margin"],
            norm=Norm(asked["norm"]),
            domain=domain_box(asked["domain"], network),
        )

    def verify(self, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
        """Looks at everything again: all checksums, every model, every image and, exactly, every example.

        Args:
            progress: told after each case how many are done, and of how many.
        """
        from counter_attack.ug100._dataset_verify import verify

        return verify(self, self._files, progress)

    def _row(self, case: int) -> pd.Series:
        if not 0 <= case < len(self):
            raise InputError(f"{self.folder}: there is no case {case}; the cases are 0 to {len(self) - 1}.")
        return self.cases.iloc[case]

    def _names(self) -> str:
        return ", ".join(sorted(self.cases["configuration"].unique()))

    def _array(self, name: str, key: str, values: str, wanted: int) -> Array:
        """The entry of an .npz file whose key is `wanted`; the file is kept."""
        if name not in self._read:
            path = self._files.checked(name)
            keys, entries = (read_input(path, array=array).values for array in (key, values))
            assert keys is not None and entries is not None
            if keys.ndim != 1 or len(entries) != len(keys):
                raise InputError(f"{path}: holds {len(entries)} arrays for {keys.size} numbers of {key}.")
            self._read[name] = dict(zip(keys.astype(np.int64).tolist(), entries, strict=True))
        if wanted not in self._read[name]:
            raise InputError(f"{self.folder / name}: has no {values} for {key} {wanted}.")
        return self._read[name][wanted]


def load_ug100(path: Path | str) -> UG100Data:
    """The data set in a folder that `ug100 build` or `write_ug100` has written.

    Raises:
        InputError: a file is missing, damaged, or of a newer version; the message names it.
    """
    return UG100Data(Files.of(Path(path)))


def _read_card(files: Files) -> dict[str, Any]:
    place = files.folder / CARD
    try:
        card = json.loads(files.read(CARD))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{place}: is no sound JSON ({error}).") from error
    if not isinstance(card, dict) or card.get("kind") != "ug100-data-set":
        raise InputError(f"{place}: is no card of a data set of distances.")
    if card.get("schema") != SCHEMA:
        raise InputError(
            f"{place}: has version {card.get('schema')} of the layout; this program reads version {SCHEMA}."
        )
    return card


def _sound_cases(cases: pd.DataFrame, path: Path) -> pd.DataFrame:
    if cases["case"].tolist() != list(range(len(cases))):
        raise InputError(f"{path}: its cases are not numbered from 0 in order.")
    return cases
