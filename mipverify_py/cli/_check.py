"""Checks of the command line that need no model: options against each other, and whether the files are there."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import typer

from mipverify_py.cli._arguments import Arguments
from mipverify_py.cli._parse import INPUT_SUFFIXES

WITNESS_SUFFIXES = (".npz", ".png")
ZOO_PREFIX = "zoo:"


def check(arguments: Arguments) -> None:
    """Returns if the command line makes sense.

    Raises:
        typer.TyperException: the first thing that does not, in one sentence.
    """
    a = arguments
    if a.version or a.backends or a.list_zoo:
        return
    if a.model is None:
        _refuse("No model is given; name an .onnx file or zoo:NAME (see --list-zoo).")
    _check_combinations(a)
    _check_model(a.model)
    if a.input is not None:
        _check_input(a.input)
    if a.data_dir is not None and not Path(a.data_dir).exists():
        _refuse(f"--data-dir {a.data_dir}: there is no such folder.")
    if a.domain is not None and a.domain.file is not None:
        _check_file(a.domain.file, "--domain ")
    if a.save_witness is not None:
        _check_witness(a.save_witness)


def _check_combinations(a: Arguments) -> None:
    pairs = (
        (a.input is not None and a.dataset is not None, "INPUT and --dataset exclude each other; give one of them."),
        (a.target is not None and a.not_target is not None, "--target and --not-target exclude each other."),
        (a.quiet and a.verbose, "--quiet and --verbose exclude each other."),
        (
            a.input is None and a.dataset is None and not a.inspect,
            "No input is given; name a file (.npy, .npz, .csv, .png, .jpg) or a --dataset.",
        ),
        (
            a.dataset in ("mnist", "cifar10") and a.data_dir is None,
            f"--dataset {a.dataset} is not bundled; say with --data-dir where its files lie.",
        ),
        (a.dataset == "digits" and a.data_dir is not None, "--dataset digits is bundled and takes no --data-dir."),
        (a.dataset is None and a.data_dir is not None, "--data-dir needs --dataset mnist or --dataset cifar10."),
        (
            a.dataset is not None and a.index is None,
            "--dataset needs --index: say which images, such as --index 0:10 (all of them: --index :).",
        ),
        (
            a.index is not None and a.input is None and a.dataset is None,
            "--index needs an input file or a --dataset to choose from.",
        ),
        (a.engine != "mip" and a.backend != "highs", f"--backend {a.backend} is for --engine mip; add that."),
        (a.engine != "mip" and a.tightening != "lp", f"--tightening {a.tightening} is for --engine mip; add that."),
        (a.inspect and a.save_witness is not None, "--inspect computes no witness; leave out --save-witness."),
        (a.inspect and a.replay, "--inspect searches no proof; leave out --replay."),
        (
            a.inspect and (a.input or a.dataset) is not None and a.eps is None,
            "--inspect with an input needs --eps, the radius for which unstable units are counted.",
        ),
        (
            a.inspect and a.eps is not None and a.input is None and a.dataset is None,
            "--inspect with --eps needs an input around which unstable units are counted.",
        ),
    )
    for wrong, message in pairs:
        if wrong:
            _refuse(message)


def _check_model(model: str | None) -> None:
    assert model is not None
    if not model.startswith(ZOO_PREFIX):
        _check_file(model, "")
    elif model.removeprefix(ZOO_PREFIX) not in zoo_names():
        _refuse(f"{model}: there is no such bundled model; choose from {', '.join(zoo_names())}.")


def zoo_names() -> list[str]:
    """Names of the bundled models, from the file names alone: `onnx_models.zoo` takes long to import."""
    spec = importlib.util.find_spec("onnx_models")
    assert spec is not None
    folders = spec.submodule_search_locations or []
    return sorted(file.stem for folder in folders for file in Path(folder, "zoo").glob("*.onnx"))


def _check_input(location: str) -> None:
    path, _ = split_location(location)
    if not path.is_dir() and path.suffix.lower() not in INPUT_SUFFIXES:
        _refuse(
            f"{location}: files ending in {path.suffix or 'nothing'!r} are not read as inputs; "
            f"use one of {', '.join(INPUT_SUFFIXES)}."
        )
    _check_file(str(path), "")


def _check_file(name: str, option: str) -> None:
    path = Path(name)
    if not name:  # which Path takes for the current folder
        _refuse(f"{option}'' is no file name.")
    if path.is_dir():
        _refuse(f"{option}{name} is a folder; name a file in it.")
    if not path.exists():
        _refuse(f"{option}{name}: there is no such file.")
    if not os.access(path, os.R_OK):
        _refuse(f"{option}{name}: you may not read this file.")


def _check_witness(name: str) -> None:
    """A witness that cannot be written must be known before hours are spent on finding it."""
    path = Path(name)
    if path.suffix.lower() not in WITNESS_SUFFIXES:
        _refuse(f"--save-witness {name}: must end in {' or '.join(WITNESS_SUFFIXES)}.")
    if path.is_dir():
        _refuse(f"--save-witness {name} is a folder; name a file in it.")
    if not path.parent.is_dir():
        _refuse(f"--save-witness {name}: the folder {path.parent} does not exist.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        _refuse(f"--save-witness {name}: you may not write there.")


def split_location(location: str) -> tuple[Path, str | None]:
    """The path and, for `FILE.npz:NAME`, the name of the array."""
    head, colon, tail = location.rpartition(":")
    return (Path(head), tail) if colon and head.lower().endswith(".npz") else (Path(location), None)


def _refuse(message: str) -> None:
    raise typer.TyperException(message)
