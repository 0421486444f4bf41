"""Tables as values: rows of plain numbers, and how each column is to be shown."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Style = Literal["text", "count", "percent", "share", "distance", "precise"]

_FORMATS = {"count": "{:,}", "percent": "{:z.2f}", "share": "{:z.3f}", "distance": "{:.3g}", "precise": "{:.8g}"}


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        key: where its values are in a row; a spread (standard deviation) may stand beside them, at `key_std`.
        heading: what stands above it; lines are separated by line breaks.
        style: how values are shown: as text, as a whole number, in percent with two digits (values are percentages),
            with three digits (neither has a negative zero), or with three or eight significant ones.
    """

    key: str
    heading: str
    style: Style

    def show(self, row: Mapping[str, Any]) -> str:
        """The value of a row as people read it; a dash where there is none."""
        value, spread = row.get(self.key), row.get(f"{self.key}_std")
        if value is None:
            return "-"
        if self.style == "text" or isinstance(value, str):
            return str(value)
        shown = _FORMATS[self.style].format(value)
        return shown if spread is None else f"{shown} ± {_FORMATS[self.style].format(spread)}"


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        name: short, for file names and JSON: "configurations-mnist-strong".
        title: says what is counted and on how many images.
        columns: the columns shown.
        rows: values by key: text, numbers, or None where there is nothing to say.
        note: what a reader has to know beside it; may be empty.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Any], ...]
    note: str = ""

    def record(self) -> dict[str, Any]:
        """The table as an object for JSON, with unrounded numbers."""
        return {
            "name": self.name,
            "title": self.title,
            "note": self.note,
            "columns": [{"key": column.key, "heading": column.heading.replace("\n", " ")} for column in self.columns],
            "rows": [dict(row) for row in self.rows],
        }

    def csv(self) -> str:
        """The table as CSV with a header line and unrounded numbers; an empty field where there is nothing."""
        keys: dict[str, None] = {}
        for row in self.rows:
            keys.update(dict.fromkeys(row))
        stream = io.StringIO()
        writer = csv.DictWriter(stream, list(keys) or [column.key for column in self.columns], lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return stream.getvalue()


def file_name(name: str) -> str:
    """The name of a table or figure as that of a file: what no file's name can hold is written as in addresses."""
    return re.sub(r"[%/\\\0]", lambda found: f"%{ord(found[0]):02X}", name)
