"""Checks of a command line about VNN-LIB properties, as far as they need no model."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

import typer

from mipverify_py.cli._arguments import Arguments

ALLOWED = {
    "engine",
    "backend",
    "tightening",
    "device",
    "timeout",
    "jobs",
    "threads",
    "seed",
    "quiet",
}
"""Options that questions about properties share with those about images."""

OWN = {"vnnlib": {"model", "vnnlib", "results"}, "instances": {"instances", "out"}}


def is_about_properties(a: Arguments) -> bool:
    """Whether the command line asks about VNN-LIB properties."""
    return any(value is not None for value in (a.vnnlib, a.instances, a.results, a.out))


def check_properties(a: Arguments) -> None:
    """Returns if the command line makes sense.

    Raises:
        typer.TyperException: the first thing that does not, in one sentence.
    """
    if a.vnnlib is None and a.instances is None:
        name, needs = ("results", "vnnlib") if a.results is not None else ("out", "instances")
        _refuse(f"--{name} needs --{needs}.")
    kind = "instances" if a.instances is not None else "vnnlib"
    plain = Arguments()
    for field in fields(Arguments):
        given = getattr(a, field.name) != getattr(plain, field.name)
        if given and field.name not in ALLOWED | OWN[kind]:
            word = field.name.upper() if field.name in ("model", "input") else f"--{field.name.replace('_', '-')}"
            _refuse(f"{word} means nothing with --{kind}; leave it out.")
    for option, value in (("backend", a.backend), ("tightening", a.tightening)):
        if a.engine != "mip" and value != getattr(plain, option):
            _refuse(f"--{option} {value} is for --engine mip; add that.")
    if a.instances is not None:
        _check_there(a.instances, "--instances ")
        _check_writable(a.out, "--out ")
        return
    assert a.vnnlib is not None
    if a.model is None:
        _refuse("No model is given; name an .onnx file before --vnnlib.")
    _check_there(a.model, "")
    _check_there(a.vnnlib, "--vnnlib ")
    _check_writable(a.results, "--results ")


def file_or_packed(path: Path) -> Path:
    """The path, or with .gz behind it where only that is there: lists of instances name files as if unpacked."""
    packed = Path(f"{path}.gz")
    return packed if not path.exists() and packed.exists() else path


def _check_there(name: str | None, option: str) -> None:
    assert name is not None
    path = file_or_packed(Path(name)) if name else None
    if path is None:
        _refuse(f"{option}'' is no file name.")
    elif path.is_dir():
        _refuse(f"{option}{name} is a folder; name a file in it.")
    elif not path.exists():
        _refuse(f"{option}{name}: there is no such file.")
    elif not os.access(path, os.R_OK):
        _refuse(f"{option}{name}: you may not read this file.")


def _check_writable(name: str | None, option: str) -> None:
    """A file that cannot be written must be known before hours are spent."""
    if name is None:
        return
    path = Path(name)
    if not name or path.is_dir():
        _refuse(f"{option}{name or repr(name)} is no file name.")
    if not path.parent.is_dir():
        _refuse(f"{option}{name}: the folder {path.parent} does not exist.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        _refuse(f"{option}{name}: you may not write there.")


def _refuse(message: str) -> None:
    raise typer.TyperException(message)
