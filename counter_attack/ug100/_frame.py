"""The tidy table of distances that everything here works on, and what makes one sound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from onnx_models.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS: Final = ("configuration", "index", "attack_set", "attack", "distance", "lower", "upper")
"""The columns of a tidy table, one row per image and attack.

`configuration`: name of a network and its data, such as "mnist-a-standard" (data set, architecture, training).
`index`: position of the image in its data set. `attack_set`: parameters of the attacks, such as "strong".
`attack`: its name. `distance`: what it found, NaN for a failure. `lower`, `upper`: the bracket of the exact distance;
NaN where an end is missing, `lower` infinite where a solver claims that there is no adversarial example at all."""

TEXTS: Final = ("configuration", "attack_set", "attack")
"""Columns of names."""

KEY: Final = ("configuration", "index", "attack_set", "attack")
"""Columns that name a row; no two rows share them."""


def check_frame(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The frame with exactly `COLUMNS` and their types, sorted as it came.

    Args:
        frame: names as text, the others as numbers.
        name: of the file or folder, for messages.

    Raises:
        InputError: no rows, a missing column, a number that makes no sense, a row twice, two brackets for one image.
    """
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise InputError(f"{name}: has no column {', '.join(missing)}; expected {', '.join(COLUMNS)}.")
    if frame.empty:
        raise InputError(f"{name}: holds no distances.")
    _check_numbers(frame, name)
    _check_rows(frame, name)
    found = frame.loc[:, list(COLUMNS)].reset_index(drop=True)
    kinds = dict.fromkeys(TEXTS, "category") | {"index": "int64"}
    return found.astype(kinds | dict.fromkeys(("distance", "lower", "upper"), "float64"))


def _check_numbers(frame: pd.DataFrame, name: str) -> None:
    v = {column: frame[column].to_numpy(dtype=np.float64) for column in ("index", "distance", "lower", "upper")}
    number_or_none = {key: np.isnan(values) | (np.isfinite(values) & (values >= 0)) for key, values in v.items()}
    whole = (v["index"] >= 0) & (v["index"] < 2**53) & (v["index"] == np.floor(v["index"]))
    allowed = (
        ("index", whole, "a whole number of at least 0"),
        ("distance", number_or_none["distance"], "a finite number of at least 0, or missing"),
        ("lower", number_or_none["lower"] | (v["lower"] == np.inf), "at least 0 (infinite: no example), or missing"),
        ("upper", number_or_none["upper"], "a finite number of at least 0, or missing"),
    )
    for column, sound, expected in allowed:
        wrong = np.flatnonzero(~sound)
        if len(wrong):
            row = frame.iloc[int(wrong[0])]
            raise InputError(f"{name}: {place(row)} has {column} {v[column][wrong[0]]:g}; expected {expected}.")


def _check_rows(frame: pd.DataFrame, name: str) -> None:
    twice = frame.duplicated(list(KEY))
    if twice.any():
        raise InputError(f"{name}: {place(frame[twice].iloc[0])} comes twice.")
    image = ["configuration", "index"]
    brackets = frame.drop_duplicates([*image, "lower", "upper"])
    several = brackets.duplicated(image)
    if several.any():
        row = brackets[several].iloc[0]
        raise InputError(
            f"{name}: {row['configuration']} has two brackets for index {int(row['index'])}; all its rows need one."
        )


def place(row: pd.Series) -> str:
    """What a row is about, in words."""
    return f"{row['configuration']}, index {row['index']:g}, {row['attack_set']} {row['attack']}"
