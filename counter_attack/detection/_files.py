"""Pairs of distances, and exact distances, from tables in files."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from counter_attack.detection._pairs import Pairs
from mipverify_py.data._bytes import read_text
from onnx_models import Array
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from counter_attack.ug100 import Rule
    from counter_attack.ug100._cells import Cell

TIDY = ("configuration", "attack_set", "attack", "distance", "upper")
"""Columns by which a table of distances like UG100's is known."""


@dataclass(frozen=True, slots=True, eq=False)
class PairsFile:
    """Pairs from a file.

    Attributes:
        pairs: those that are complete.
        failed: inputs left out because the attack found nothing.
        unknown: inputs left out because their exact distance is missing, or its bracket still open.
    """

    pairs: Pairs
    failed: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Choice:
    """Which part of a table like UG100's is meant.

    Attributes:
        configuration: the network; None: the only one.
        attack_set: the attacks' parameters; None: the only one.
        attacks: whose least distance counts; None: of all in the table.
        rule: which images count, "converged" or "published"; see `counter_attack.ug100.Rule`.
    """

    configuration: str | None = None
    attack_set: str | None = None
    attacks: Sequence[str] | None = None
    rule: str = "converged"


def read_pairs(
    path: str | Path, *, heuristic: str = "heuristic", exact: str = "exact", choice: Choice | None = None
) -> PairsFile:
    """The pairs in a file.

    Args:
        path: a .csv with a header and one column for each of the two distances, an empty field where there is none; or
            whatever `counter_attack.ug100.read_distances` reads, a folder or a table with a row per input and attack.
        heuristic: the column of the attack's distances.
        exact: the column of the exact ones.
        choice: which part of a table of the second form; None: `Choice()`.

    Raises:
        InputError: a file or column that cannot be used, naming it, or no complete pair.
    """
    place = Path(path)
    if not _is_plain(place):
        return _tidy_pairs(place, choice or Choice())
    if choice is not None and choice != Choice():
        raise InputError(f"{path} is a plain table of pairs; a configuration or attacks cannot be chosen from it.")
    columns = _columns(place, (heuristic, exact))
    h, t = (np.array(columns[name]) for name in (heuristic, exact))
    return _paired(str(path), h, t)


def read_exact(path: str | Path, *, configuration: str | None = None) -> dict[int, float]:
    """Exact distances by index; infinite where there is no adversarial example. Missing and open ones are not in it.

    Args:
        path: a .csv with the columns index and exact, or a table or folder like UG100's.
        configuration: the network, in a table of the second form; None: the only one.

    Raises:
        InputError: a file that cannot be used, an index twice, or one that is no whole number.
    """
    place = Path(path)
    if not _is_plain(place):
        return _tidy_exact(place, configuration)
    columns = _columns(place, ("index", "exact"))
    found: dict[int, float] = {}
    for line, (index, distance) in enumerate(zip(columns["index"], columns["exact"], strict=True), start=2):
        if not (math.isfinite(index) and index == int(index)):
            raise InputError(f"{path}, line {line}: index is {index:g}; expected a whole number.")
        if int(index) in found:
            raise InputError(f"{path}, line {line}: index {int(index)} comes twice.")
        if not math.isnan(distance):
            found[int(index)] = distance
    return found


def write_pairs(path: str | Path, index: Sequence[int], heuristic: ArrayLike, exact: ArrayLike) -> None:
    """Writes distances by index as a .csv that `read_pairs` and `read_exact` read, with all digits.

    Args:
        path: the file; replaced if it is there.
        index: of the N inputs.
        heuristic: the attack's distances, shape (N,); infinite where it found nothing: an empty field.
        exact: exact ones, shape (N,); NaN where unknown: an empty field; infinite where there is no example: inf.

    Raises:
        InputError: the file cannot be written.
    """
    h, t = np.asarray(heuristic, dtype=np.float64), np.asarray(exact, dtype=np.float64)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("index", "heuristic", "exact"))
    for place, found, truth in zip(index, h.tolist(), t.tolist(), strict=True):
        writer.writerow((place, found if math.isfinite(found) else "", "" if math.isnan(truth) else truth))
    try:
        Path(path).write_text(stream.getvalue(), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: the pairs cannot be written ({error.strerror}).") from error


def _is_plain(path: Path) -> bool:
    """Whether it is a .csv without the columns of a table like UG100's."""
    if path.is_dir() or not path.name.endswith(".csv"):
        return False
    try:
        header = next(csv.reader(io.StringIO(read_text(path).removeprefix("\ufeff"))), [])
    except csv.Error:
        return True  # reading its columns says what is wrong
    return not set(TIDY) <= {name.strip() for name in header}


def _columns(path: Path, names: Sequence[str]) -> dict[str, list[float]]:
    """These columns as numbers of at least 0, NaN for an empty field."""
    reader = csv.DictReader(io.StringIO(read_text(path).removeprefix("\ufeff")), skipinitialspace=True)
    found: dict[str, list[float]] = {name: [] for name in names}
    try:
        header = list(reader.fieldnames or [])
        for name in names:
            if name not in header:
                raise InputError(f"{path}: has no column {name!r}; it has {', '.join(header) or 'no header'}.")
        for row in reader:
            for name in names:
                found[name].append(_number(row[name], f"{path}, line {reader.line_num}: {name}"))
    except csv.Error as error:  # a field that never ends, for example
        raise InputError(f"{path}: is not a sound table after line {reader.line_num} ({error}).") from error
    if not found[names[0]]:
        raise InputError(f"{path}: holds no distances.")
    return found


def _number(text: str | None, place: str) -> float:
    word = (text or "").strip()
    if not word:
        return math.nan
    try:
        value = float(word)
    except ValueError:
        raise InputError(f"{place} is {word[:20]!r}, which is not a number.") from None
    if not value >= 0:
        raise InputError(f"{place} is {word[:20]}; expected a number of at least 0, or an empty field.")
    return value


def _tidy_pairs(path: Path, choice: Choice) -> PairsFile:
    from counter_attack.ug100 import Rule

    cell = _cell(path, choice.configuration, choice.attack_set)
    table = cell.table if choice.attacks is None else cell.table.only(choice.attacks)
    exact = np.where(cell.counts(_rule(Rule, choice.rule)), cell.upper, np.nan)
    return _paired(str(path), table.closest().distance, exact)


def _tidy_exact(path: Path, configuration: str | None) -> dict[int, float]:
    from counter_attack.ug100 import Rule

    cell = _cell(path, configuration, None, any_attack_set=True)
    known, none = cell.counts(Rule.CONVERGED), np.isposinf(cell.lower) & np.isnan(cell.upper)
    distances = np.where(none, np.inf, cell.upper)
    kept = known | none
    return dict(zip(cell.index[kept].tolist(), distances[kept].tolist(), strict=True))


def _rule(kind: type[Rule], name: str) -> Rule:
    try:
        return kind(name)
    except ValueError:
        raise InputError(f"There is no rule {name!r}; there are {', '.join(rule.value for rule in kind)}.") from None


def _cell(path: Path, configuration: str | None, attack_set: str | None, *, any_attack_set: bool = False) -> Cell:
    """The part of a table that is meant; raises InputError, listing the choices, unless it is exactly one."""
    from counter_attack.ug100 import cells, read_distances

    frame = read_distances(path)
    for column, wanted in (("configuration", configuration), ("attack_set", attack_set)):
        known = sorted(str(value) for value in frame[column].unique())
        words = column.replace("_", " ")
        if wanted is not None and wanted not in known:
            raise InputError(f"{path}: has no {words} {wanted!r}; it has {', '.join(known)}.")
        if wanted is None and len(known) > 1 and not (any_attack_set and column == "attack_set"):
            raise InputError(f"{path}: holds several; choose one {words} of {', '.join(known)}.")
        if wanted is not None:
            frame = frame[frame[column] == wanted]
    return cells(frame)[0]


def _paired(name: str, heuristic: Array, exact: Array) -> PairsFile:
    known, there = np.isfinite(exact), np.isfinite(heuristic)
    kept = known & there
    failed, unknown = int((known & ~there).sum()), int((~known).sum())
    if not kept.any():
        raise InputError(
            f"{name}: no input has both distances: on {failed} the attack failed, of {unknown} the exact distance is "
            "missing."
        )
    return PairsFile(Pairs(heuristic[kept], exact[kept]), failed, unknown)
