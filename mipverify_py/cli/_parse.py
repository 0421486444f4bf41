"""What the values of options mean: numbers in range, classes, index ranges, domains, file names."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import typer

INPUT_SUFFIXES = (".npy", ".npz", ".csv", ".png", ".jpg", ".jpeg")
"""Endings of input files; the same as `mipverify_py.data` reads, repeated here because importing that takes time."""


def number(expected: str, accepts: Callable[[float], bool]) -> Callable[[str | float], float]:
    """A parser of finite numbers that `accepts` likes; `expected` finishes the sentence "it must be ..."."""

    def parse(text: str | float) -> float:  # typer sends default values through here, too
        try:
            value = float(text)
        except ValueError:
            raise typer.BadParameter(f"{text!r} is not a number; it must be {expected}.") from None
        if not (math.isfinite(value) and accepts(value)):
            raise typer.BadParameter(f"{text} is not allowed; it must be {expected}.")
        return value

    return parse


def whole(expected: str, accepts: Callable[[int], bool]) -> Callable[[str | int], int]:
    """A parser of whole numbers, like `number`."""

    def parse(text: str | int) -> int:  # typer sends default values through here, too
        word = str(text)
        value = _digits(word.removeprefix("-"))
        if value is None:
            raise typer.BadParameter(f"{text!r} is not a whole number; it must be {expected}.")
        value = -value if word.startswith("-") else value
        if not accepts(value):
            raise typer.BadParameter(f"{text} is not allowed; it must be {expected}.")
        return value

    return parse


def device(text: str) -> str:
    """Where torch computes: cpu, cuda, or one of several GPUs as cuda:1."""
    if re.fullmatch(r"cpu|cuda(:\d+)?", text, re.ASCII) is None:
        raise typer.BadParameter(f"{text!r} is unknown; choose from cpu, cuda, or cuda:1 and so on.")
    return text


def choice(names: Sequence[str]) -> Callable[[str], str]:
    """A parser that accepts exactly these names."""

    def parse(text: str) -> str:
        if text not in names:
            raise typer.BadParameter(f"{text!r} is unknown; choose from {', '.join(names)}.")
        return text

    return parse


@dataclass(frozen=True, slots=True)
class Classes:
    """Zero-based classes, at least one."""

    values: tuple[int, ...]


def classes(text: str) -> Classes:
    """Zero-based classes separated by commas, such as "3" or "0,2,7"."""
    values = [_digits(part) for part in text.split(",")]
    if None in values:
        raise typer.BadParameter(f"{text!r} is not a class or a comma list of classes; write it like 3 or 0,2,7.")
    return Classes(tuple(v for v in values if v is not None))


@dataclass(frozen=True, slots=True)
class Names:
    """Different names, at least one."""

    values: tuple[str, ...]


def names(text: str) -> Names:
    """Names separated by commas, such as "highs,scip"."""
    found = tuple(part.strip() for part in text.split(","))
    if not all(found) or len(set(found)) < len(found):
        raise typer.BadParameter(f"{text!r} is not a comma list of different names, such as highs,scip.")
    return Names(found)


@dataclass(frozen=True, slots=True)
class Indices:
    """Positions of images: half-open ranges (start, stop), where None stands for an open end."""

    ranges: tuple[tuple[int | None, int | None], ...]

    def resolve(self, count: int, name: str) -> list[int]:
        """The positions in the order given, each once, for the `count` images of `name`.

        Raises:
            typer.TyperException: a position is `count` or more, or a range is empty.
        """
        found: dict[int, None] = {}
        for start, stop in self.ranges:
            first, last = start or 0, count if stop is None else stop
            if last > count or first >= count:
                wrong = max(first, last - 1)
                raise typer.TyperException(f"--index {wrong} is out of range: {name} has images 0 to {count - 1}.")
            found.update(dict.fromkeys(range(first, last)))
        return list(found)


def indices(text: str) -> Indices:
    """Index ranges as in Python, "0:10,17": single positions and half-open ranges, each end of a range optional."""
    return Indices(tuple(_index_range(part.strip(), text) for part in text.split(",")))


def _index_range(part: str, whole_text: str) -> tuple[int | None, int | None]:
    ends = [(end.strip(), _digits(end.strip())) for end in part.split(":")]
    well_formed = all(value is not None or (text == "" and len(ends) == 2) for text, value in ends)
    if not well_formed or len(ends) > 2:
        raise typer.BadParameter(
            f"{whole_text!r} is not a list of indices; write single ones and ranges like 0:10,17 (10 is not included)."
        )
    start = ends[0][1]
    if len(ends) == 1:
        assert start is not None
        return start, start + 1
    stop = ends[1][1]
    if stop is not None and (start or 0) >= stop:
        raise typer.BadParameter(f"the range {part!r} selects nothing; its first index must be below its second.")
    return start, stop


@dataclass(frozen=True, slots=True)
class Domain:
    """Valid inputs: `low` <= every entry <= `high`, or bounds per entry from the arrays of a .npz file."""

    low: float | None = None
    high: float | None = None
    file: str | None = None


def domain(text: str) -> Domain:
    """LOW,HIGH or the name of a .npz file."""
    if text.lower().endswith(".npz"):
        return Domain(file=text)
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither LOW,HIGH (such as -1,1) nor a .npz file.") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise typer.BadParameter(f"{text!r} is not allowed; LOW and HIGH must be finite and LOW below HIGH.")
    return Domain(low, high)


def _digits(text: str) -> int | None:
    """A number written in plain decimal digits, None for anything else (int() would take '1_0', '+1' and '१' too)."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
