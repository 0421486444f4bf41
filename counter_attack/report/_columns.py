"""Tables as JSON, by column: numbers as they are, words once each."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def encoded(frame: pd.DataFrame) -> dict[str, Any]:
    """{"count": rows, "columns": {name: column}}.

    A column of numbers (or truth values) is {"numbers": [...]}: null where there is none, and "Infinity" or "-Infinity"
    for what JSON has no number for. Any other is {"words": [...], "codes": [...]}: the position of each row's word,
    null where there is none. Numbers keep all their digits.
    """
    return {"count": len(frame), "columns": {str(name): _column(frame[name]) for name in frame.columns}}


def _column(values: pd.Series) -> dict[str, Any]:
    from pandas.api.types import is_numeric_dtype

    if is_numeric_dtype(values.dtype):
        return {"numbers": [_number(value) for value in values.tolist()]}
    return _words(None if _missing(value) else str(value) for value in values.tolist())


def _words(values: Iterable[str | None]) -> dict[str, Any]:
    known: dict[str, int] = {}
    codes = [None if value is None else known.setdefault(value, len(known)) for value in values]
    return {"words": list(known), "codes": codes}


def _missing(value: object) -> bool:
    from pandas import NA, NaT

    return value is None or value is NA or value is NaT or (isinstance(value, float) and math.isnan(value))


def _number(value: object) -> float | int | str | None:
    if _missing(value):
        return None
    number = float(value)  # type: ignore[arg-type]
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return int(number) if number.is_integer() and abs(number) < 2**53 else number
