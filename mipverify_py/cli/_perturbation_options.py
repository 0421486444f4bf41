"""Options about perturbation sets, as annotated types, and how their values are read."""

# No `from __future__ import annotations` here: typer reads these annotations as objects.
import math
import re
from dataclasses import dataclass
from typing import Annotated

import typer

from mipverify_py.cli import _parse
from mipverify_py.cli._panels import QUESTION

PERTURBATIONS = ("linf", "box", "unrestricted", "blur", "brightness", "sparse")


@dataclass(frozen=True, slots=True)
class Size:
    """Height and width in pixels."""

    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Range:
    """Two finite numbers, low <= high."""

    low: float
    high: float


def kernel_size(text: str) -> Size:
    """HEIGHTxWIDTH, such as 5x5."""
    found = re.fullmatch(r"([1-9]\d{0,2})x([1-9]\d{0,2})", text, re.ASCII)
    if found is None:
        raise typer.BadParameter(f"{text!r} is not a kernel's size; write height and width like 5x5.")
    return Size(int(found[1]), int(found[2]))


def low_high(text: str) -> Range:
    """LOW,HIGH, such as -0.2,0.2."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not LOW,HIGH, such as -0.2,0.2.") from None
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise typer.BadParameter(f"{text!r} is not allowed; LOW and HIGH must be finite and LOW at most HIGH.")
    return Range(low, high)


Perturbation = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        parser=_parse.choice(PERTURBATIONS),
        rich_help_panel=QUESTION,
        help="Which inputs count: linf (default with --eps), unrestricted (default without), box, blur, brightness, "
        "sparse.",
    ),
]
KernelSize = Annotated[
    Size | None,
    typer.Option(
        metavar="HxW",
        parser=kernel_size,
        rich_help_panel=QUESTION,
        help="blur: height and width of the kernel, such as 5x5.",
    ),
]
BoxLower = Annotated[
    str | None,
    typer.Option(metavar="FILE", rich_help_panel=QUESTION, help="box: least value of every entry, a .npy file."),
]
BoxUpper = Annotated[
    str | None,
    typer.Option(metavar="FILE", rich_help_panel=QUESTION, help="box: largest value of every entry, a .npy file."),
]
MaxPixels = Annotated[
    int | None,
    typer.Option(
        metavar="K",
        parser=_parse.whole("at least 1", lambda v: v >= 1),
        rich_help_panel=QUESTION,
        help="sparse: how many pixels may change; by at most --eps, if that is given.",
    ),
]
BrightnessRange = Annotated[
    Range | None,
    typer.Option(
        metavar="LOW,HIGH",
        parser=low_high,
        rich_help_panel=QUESTION,
        help="brightness: what may be added to all entries.",
    ),
]
ContrastRange = Annotated[
    Range | None,
    typer.Option(
        metavar="LOW,HIGH",
        parser=low_high,
        rich_help_panel=QUESTION,
        help="brightness: by what all entries may be multiplied.",
    ),
]
