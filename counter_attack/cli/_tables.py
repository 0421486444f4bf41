"""Showing and saving tables: what all commands that answer in tables share."""

from __future__ import annotations

import contextlib
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from counter_attack.ug100 import Table
from counter_attack.ug100._table import file_name
from mipverify_py.cli._json import SCHEMA, write_line
from mipverify_py.cli._printable import printable
from onnx_models.errors import InputError

_ERASE = "\r\x1b[2K"
"""Back to the beginning of the line, and what stands there goes."""

_NO_TERMINAL = 1000
"""Columns of an output that is no terminal: nothing is wrapped there."""


class TableWriter:
    """Writes tables to stdout, one blank line between two, or as JSON objects; and each to a CSV file if asked to.

    Args:
        as_json: write objects of this kind instead: {"schema": ..., "kind": "table", ...}.
        folder: where to put NAME.csv for each table; None: nowhere. Made if it is not there.
    """

    def __init__(self, *, as_json: bool, folder: Path | None) -> None:
        self._as_json, self._folder, self._written = as_json, folder, 0
        width = None if sys.stdout.isatty() else _NO_TERMINAL
        self._console = Console(file=sys.stdout, highlight=False, width=width)
        if folder is not None:
            make_folder(folder)

    def add(self, table: Table, *, rows: int | None = None, kind: str = "table") -> None:
        """Writes one table.

        Args:
            table: what to write.
            rows: how many rows to show as text; None: all. JSON and CSV have all.
            kind: of the JSON object.
        """
        if self._folder is not None:
            self._save(self._folder / f"{file_name(table.name)}.csv", table)
        if self._as_json:
            write_line({"schema": SCHEMA, "kind": kind, "version": version("mipverify-py"), **table.record()})
            return
        if self._written:
            self._console.print()
        self._written += 1
        self._console.print(Text(printable(table.title), "bold"), soft_wrap=True)
        if table.rows:
            self._console.print(_drawn(table, rows))
        if rows is not None and len(table.rows) > rows:
            self._line(f"... and {len(table.rows) - rows:,} more; --json and --csv have all.")
        if table.note:
            self._line(table.note)

    def _line(self, text: str) -> None:
        self._console.print(Text(printable(text), "dim"), soft_wrap=True)

    def _save(self, path: Path, table: Table) -> None:
        try:
            path.write_text(table.csv(), "utf-8")
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror or error}).") from error


def make_folder(folder: Path) -> None:
    """Makes the folder that tables are saved in; commands that take long call it before their work.

    Raises:
        InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: the folder cannot be made ({error.strerror or error}).") from error


def _drawn(table: Table, rows: int | None) -> RichTable:
    drawn = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in table.columns:
        justify: Any = "left" if column.style == "text" else "right"
        drawn.add_column(printable(column.heading), justify=justify, no_wrap=column.style != "text")
    for row in table.rows[:rows]:
        drawn.add_row(*[Text(printable(column.show(row))) for column in table.columns])
    return drawn


class ProgressLine:
    """The work at hand, on stderr: on a terminal one line that is kept up to date, elsewhere lines are added.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet, self._on_terminal = quiet, sys.stderr.isatty()

    def show(self, text: str) -> None:
        """Says what is being done now."""
        if not self._quiet:
            width = shutil.get_terminal_size().columns - 1  # a line that wraps could not be taken back
            self._write(f"{_ERASE}{printable(text)[:width]}" if self._on_terminal else f"{printable(text)}\n")

    def clear(self) -> None:
        """Frees the terminal for results."""
        if self._on_terminal and not self._quiet:
            self._write(_ERASE)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # progress that cannot be shown must not cost the results
            sys.stderr.write(text)
            sys.stderr.flush()
