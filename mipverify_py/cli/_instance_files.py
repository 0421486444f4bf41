"""Lists of instances as VNN-COMP has them, and the file in which their answers are kept."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from mipverify_py.cli._complain import complain
from onnx_models.errors import InputError

VERDICTS = ("sat", "unsat", "unknown", "timeout", "error")


@dataclass(frozen=True, slots=True)
class Instance:
    """A line of the list.

    Attributes:
        onnx, vnnlib, timeout: as written.
        model, property: the files.
        seconds: the limit, None for none.
    """

    onnx: str
    vnnlib: str
    timeout: str
    model: Path
    property: Path
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """An answer as it is kept.

    Attributes:
        onnx, vnnlib, timeout: the line of the list.
        verdict: one of `VERDICTS`.
        seconds: how long the process took, from start to end.
        detail: what the verdict rests on, or why there is none.
    """

    onnx: str
    vnnlib: str
    timeout: str
    verdict: str
    seconds: float
    detail: str


HEADER = [field.name for field in fields(Row)]


def read_instances(path: Path, cap: float | None) -> list[Instance]:
    """The lines `onnx,vnnlib,seconds` of a list, file names relative to its folder; a limit is at most `cap`.

    Raises:
        InputError: a line of another form, with its number.
    """
    instances = []
    for number, row in enumerate(csv.reader(io.StringIO(_text(path))), start=1):
        if not "".join(row).strip():
            continue
        if len(row) not in (2, 3):
            raise InputError(f"{path}, line {number}: expected onnx,vnnlib,seconds, got {len(row)} columns.")
        onnx, vnnlib, timeout = (cell.strip() for cell in (*row, "")[:3])
        limit = _limit(timeout)
        if timeout and limit is None:
            raise InputError(f"{path}, line {number}: expected a number of seconds above 0, got {timeout!r}.")
        limits = [value for value in (limit, cap) if value is not None]
        model, prop = path.parent / onnx, path.parent / vnnlib
        instances.append(Instance(onnx, vnnlib, timeout, model, prop, min(limits, default=None)))
    if not instances:
        raise InputError(f"{path}: there are no instances; expected lines onnx,vnnlib,seconds.")
    return instances


def _limit(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < math.inf else None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected text: {error}.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from error


class AnswerFile:
    """Answers in a .csv file that grows by one line each, on disk at once; without a file they are not kept.

    A last line that was cut off when a run was killed counts as absent.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._rows: list[Row] = []
        self._text = "" if path is None or not path.exists() else _text(path)
        lines = list(csv.reader(io.StringIO(self._text)))
        if lines and lines[0] != HEADER:
            raise InputError(f"{path}: is no file of answers; its first line should be {','.join(HEADER)}.")
        for line in lines[1:]:
            row = _row(line)
            if row is None:
                complain(f"{path}: an unreadable line is left alone, its instance answered again.")
            else:
                self._rows.append(row)

    @property
    def folder(self) -> Path | None:
        """Where counterexamples go: a folder beside the file, named after it."""
        return None if self._path is None else self._path.with_name(f"{self._path.stem}-counterexamples")

    def match(self, instances: Sequence[Instance]) -> dict[int, Row]:
        """The answers by position in the list; each answers one line of the same text."""
        answers = defaultdict(list)
        for row in reversed(self._rows):
            answers[row.onnx, row.vnnlib, row.timeout].append(row)
        found = {}
        for place, one in enumerate(instances):
            fitting = answers[one.onnx, one.vnnlib, one.timeout]
            if fitting:
                found[place] = fitting.pop()
        return found

    def add(self, row: Row) -> None:
        """Appends an answer.

        Raises:
            InputError: the file cannot be written.
        """
        if self._path is None:
            return
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        if not self._text:
            writer.writerow(HEADER)
        writer.writerow([*astuple(row)[:4], f"{row.seconds:.3f}", row.detail])
        gap = "\n" if self._text and not self._text.endswith("\n") else ""
        self._text = "\n"
        try:
            with self._path.open("a", encoding="utf-8", newline="") as stream:
                stream.write(gap + buffer.getvalue())
        except OSError as error:
            raise InputError(f"--out {self._path}: cannot be written: {error.strerror}.") from error


def _row(line: Sequence[str]) -> Row | None:
    if len(line) != len(HEADER) or line[3] not in VERDICTS:
        return None
    taken = _limit(line[4])
    return None if taken is None else Row(line[0], line[1], line[2], line[3], taken, line[5])
