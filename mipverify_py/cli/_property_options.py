"""The options about VNN-LIB properties, in the form that typer reads."""

# No `from __future__ import annotations` here: typer reads these annotations as objects.
from typing import Annotated

import typer

from mipverify_py.cli._panels import OUTPUT, QUESTION

Vnnlib = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        rich_help_panel=QUESTION,
        help="Instead of an INPUT: is there an input for which this VNN-LIB property (.vnnlib, .gz or not) holds?",
    ),
]
Instances = Annotated[
    str | None,
    typer.Option(
        metavar="FILE.csv",
        rich_help_panel=QUESTION,
        help="Instead of MODEL: answer a list of lines model,property,seconds, each in a process of its own.",
    ),
]
Results = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        rich_help_panel=OUTPUT,
        help="With --vnnlib: write verdict and counterexample to this file, too, as VNN-COMP asks for.",
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        metavar="FILE.csv",
        rich_help_panel=OUTPUT,
        help="With --instances: keep the answers in this file; instances that it answers are not run again.",
    ),
]
