"""Reading distances: a folder laid out as UG100's, or a table of our own campaigns."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from counter_attack.ug100._campaign import campaign_frame
from counter_attack.ug100._dataset import load_ug100
from counter_attack.ug100._dataset_files import is_data_set
from counter_attack.ug100._frame import COLUMNS, TEXTS, check_frame
from mipverify_py.data._bytes import read_all, read_text
from onnx_models.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

INFEASIBLE = 1e100
"""A `lower` from which on UG100's files mean that the solver claims infeasibility."""

_MIP = "mip"
_ENDINGS = (".json", ".json.gz")


def read_distances(path: Path, *, norm: str | None = None) -> pd.DataFrame:
    """The distances in a folder or a file as a tidy table with the columns `COLUMNS`.

    A folder is a data set of ours (see `load_ug100`) or laid out as UG100's: `mip/NAME.json` maps each index to
    {"lower": l, "upper": u}, and any other folder beside it is an attack set in which `NAME.json` maps each index to
    {"attack": distance, ...}; all may be compressed as .json.gz, null is a missing end or a failure, and a `lower` of
    1e100 a claim of infeasibility. A file is a .csv (or .csv.gz) table with a header line, where an empty field is a
    missing number and `inf` an infinite one, or .parquet, or the .sqlite store of a campaign (see `campaign_frame`).

    Args:
        path: the folder or file.
        norm: "linf", "l1" or "l2": which distances of a store to read; only for a store.

    Raises:
        InputError: nothing there, a damaged file, or contents that make no sense; the message names the place.
    """
    if path.suffix == ".sqlite" and path.is_file():
        from mipverify_py.campaigns._load import load_campaign

        return campaign_frame(load_campaign(path), norm=norm)
    if norm is not None:
        raise InputError(f"{path}: only a campaign's store holds several norms; leave the norm {norm} out.")
    if path.is_dir() and is_data_set(path):
        return load_ug100(path).frame
    if path.is_dir():
        return check_frame(_read_folder(path), str(path))
    if path.name.endswith((".csv", ".csv.gz")):
        return check_frame(_read_csv(path), str(path))
    if path.suffix == ".parquet":
        return check_frame(_read_parquet(path), str(path))
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder.")
    raise InputError(
        f"{path}: is not read; name a folder with mip/ in it, a data set's folder, or a .csv, .csv.gz, .parquet "
        "or .sqlite file."
    )


def write_distances(frame: pd.DataFrame, path: Path) -> None:
    """Writes a tidy table as .csv, with all digits; `read_distances` gives it back.

    Raises:
        InputError: the file does not end in .csv or cannot be written.
    """
    if path.suffix != ".csv":
        raise InputError(f"{path}: has to end in .csv.")
    try:
        frame.loc[:, list(COLUMNS)].to_csv(path, index=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}).") from error


def _read_folder(folder: Path) -> pd.DataFrame:
    import pandas as pd

    brackets = _named_files(folder / _MIP)
    if not brackets:
        raise InputError(f"{folder}: has no {_MIP}/NAME.json or .json.gz; expected the layout of UG100's distances.")
    sets = {
        entry.name: files
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and entry.name != _MIP and (files := _named_files(entry))
    }
    for name, path in brackets.items():
        if not any(name in files for files in sets.values()):
            raise InputError(f"{path}: no folder beside {_MIP}/ has distances by attacks for {name}.")
    parts = []
    for name, path in brackets.items():
        ends = _Brackets.read(path)
        parts += [
            _attack_set(name, attack_set, files[name], ends) for attack_set, files in sets.items() if name in files
        ]
    for files in sets.values():
        for name in files.keys() - brackets.keys():
            raise InputError(f"{files[name]}: there is no {_MIP}/{name}.json with the exact distances.")
    return pd.concat(parts, ignore_index=True)


def _named_files(folder: Path) -> dict[str, Path]:
    """Configuration -> file, in the order of the names; one that is there compressed and plain is an error."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        ending = next((ending for ending in _ENDINGS if path.name.endswith(ending)), None)
        if ending is None:
            continue
        name = path.name.removesuffix(ending)
        if name in found:
            raise InputError(f"{path}: {found[name].name} is there, too; keep one of them.")
        found[name] = path
    return found


@dataclass(frozen=True, slots=True)
class _Brackets:
    """The exact distances of one configuration: position of each index, and the ends of the brackets."""

    path: Path
    position: dict[int, int]
    lower: np.ndarray[Any, np.dtype[np.float64]]
    upper: np.ndarray[Any, np.dtype[np.float64]]

    @classmethod
    def read(cls, path: Path) -> _Brackets:
        entries = _read_json(path)
        ends = np.empty((len(entries), 2))
        for row, (index, entry) in enumerate(entries.items()):
            if set(entry) != {"lower", "upper"}:
                raise InputError(f"{path}, index {index}: has {_keys(entry)}; expected lower and upper.")
            for column, end in enumerate(("lower", "upper")):
                ends[row, column] = _number(entry[end], path, index, end)
        lower = np.where(ends[:, 0] >= INFEASIBLE, np.inf, ends[:, 0])
        return cls(path, {index: row for row, index in enumerate(entries)}, lower, ends[:, 1])


def _attack_set(name: str, attack_set: str, path: Path, ends: _Brackets) -> pd.DataFrame:
    """The rows of one configuration and attack set."""
    import pandas as pd

    entries = _read_json(path)
    attacks = list(next(iter(entries.values())))
    if not attacks:
        raise InputError(f"{path}: holds no attacks.")
    for one, other, where in ((entries, ends.position, ends.path), (ends.position, entries, path)):
        absent = sorted(set(one) - set(other))
        if absent:
            raise InputError(f"{where}: lacks {len(absent)} indices of its counterpart, such as {absent[0]}.")
    rows = np.empty((len(entries), len(attacks)))
    for row, (index, entry) in enumerate(entries.items()):
        if entry.keys() != entries[next(iter(entries))].keys():
            raise InputError(f"{path}, index {index}: has {_keys(entry)}; expected {', '.join(attacks)}.")
        rows[row] = [_number(entry[attack], path, index, attack) for attack in attacks]
    order = np.array([ends.position[index] for index in entries])
    count, k = rows.shape
    return pd.DataFrame(
        {
            "configuration": name,
            "index": np.repeat(np.array(list(entries)), k),
            "attack_set": attack_set,
            "attack": attacks * count,
            "distance": rows.ravel(),
            "lower": np.repeat(ends.lower[order], k),
            "upper": np.repeat(ends.upper[order], k),
        }
    )


def _read_json(path: Path) -> dict[int, dict[str, Any]]:
    """Index -> entry, in the file's order."""
    text = read_text(path)
    try:
        top = json.loads(text, object_pairs_hook=_Unique, parse_constant=str, parse_int=float)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: is not sound JSON ({error}).") from error
    except RecursionError:
        raise InputError(f"{path}: is nested too deeply; expected an index -> numbers table.") from None
    except _TwiceError as error:
        raise InputError(f"{path}: the key {error} comes twice in one object.") from None
    if not isinstance(top, dict) or not top:
        raise InputError(f'{path}: holds no object of indices; expected {{"17": {{...}}, ...}}.')
    entries: dict[int, dict[str, Any]] = {}
    for index, entry in top.items():
        if re.fullmatch(r"0|[1-9][0-9]{0,8}", index) is None:
            raise InputError(f'{path}: {index[:20]!r} is not an index; expected a whole number such as "17".')
        if not isinstance(entry, dict):
            raise InputError(f"{path}, index {index}: is {_shown(entry)}; expected an object of numbers.")
        entries[int(index)] = entry
    return entries


class _TwiceError(Exception):
    """A key that an object has twice."""


class _Unique(dict[str, Any]):
    """A dict that refuses a key given twice, where JSON would quietly keep the last."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        if len(self) < len(pairs):
            names = [name for name, _ in pairs]
            raise _TwiceError(repr(next(name for name in names if names.count(name) > 1)))


def _number(value: Any, path: Path, index: int, key: str) -> float:
    """A number, NaN for null; what JSON has no numbers for (NaN, Infinity) comes in as text and is refused, too."""
    if value is None:
        return np.nan
    if not isinstance(value, float) or not 0 <= value < np.inf:
        raise InputError(f"{path}, index {index}: {key} is {_shown(value)}; expected a number of at least 0, or null.")
    return float(value)


def _keys(entry: dict[str, Any]) -> str:
    return ", ".join(str(key)[:20] for key in entry) or "nothing"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 30 else text[:27] + "..."


def _read_csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    data = read_all(path)
    try:
        frame = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not a sound table ({str(error).strip()}).") from error
    for column in COLUMNS:
        if column in TEXTS or column not in frame.columns:
            continue
        words = frame[column].str.strip()
        numbers = pd.to_numeric(words.replace({"inf": "Infinity"}), errors="coerce").astype("float64")
        wrong = np.flatnonzero(np.isnan(numbers) & (words != ""))
        if len(wrong):
            shown = words.iloc[int(wrong[0])][:20]
            raise InputError(f"{path}, line {wrong[0] + 2}: {column} is {shown!r}, which is not a number.")
        frame[column] = numbers
    return frame


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    data = io.BytesIO(read_all(path))
    try:
        frame = pd.read_parquet(data)
    except ImportError:
        raise InputError(f"{path}: reading .parquet needs the package pyarrow; install it, or save as .csv.") from None
    except (OSError, ValueError) as error:  # what pyarrow raises for a damaged file
        raise InputError(f"{path}: is not a sound .parquet file ({str(error).partition(chr(10))[0]}).") from error
    for column in COLUMNS:
        if column in frame.columns and column not in TEXTS and frame[column].dtype.kind not in "fiu":
            raise InputError(f"{path}: the column {column} holds {frame[column].dtype}; expected numbers.")
    return frame
