"""Checks of the command line that need no model: options against each other, and whether the files are there."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import fields
from pathlib import Path

import typer

from mipverify_py.cli._arguments import BACKENDS, QUADRATIC_BACKENDS, Arguments
from mipverify_py.cli._check_perturbation import perturbation_pairs
from mipverify_py.cli._check_properties import check_properties, is_about_properties
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
    if a.fast and a.check is None:
        _refuse("--fast is for --check; add that.")
    if is_about_properties(a):
        check_properties(a)
        return
    if a.check is not None:
        _check_certificate(a, a.check)
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
        suffixes = WITNESS_SUFFIXES[:1] if a.witnesses is not None else WITNESS_SUFFIXES
        _check_output("--save-witness", a.save_witness, suffixes)
    if a.save_bounds is not None:
        _check_output("--save-bounds", a.save_bounds, (".npz",))
    if a.certificate is not None:
        _check_output("--certificate", a.certificate, (".cert",))
    if a.save_model is not None:
        _check_output("--save-model", a.save_model, (".mps",))
    for option, name in (("--bounds", a.bounds), ("--box-lower", a.box_lower), ("--box-upper", a.box_upper)):
        if name is not None:
            _check_file(name, f"{option} ")


def _check_combinations(a: Arguments) -> None:
    pairs = (
        *_norms(a),
        *perturbation_pairs(a),
        *_several_answers(a),
        *_beside_answers(a),
        *_arithmetic(a),
        *_method(a),
        (a.input is not None and a.dataset is not None, "INPUT and --dataset exclude each other; give one of them."),
        (a.target is not None and a.not_target is not None, "--target and --not-target exclude each other."),
        (
            a.target_wins and a.target is None and a.not_target is None and not a.all_targets,
            "--target-wins needs targets; name them with --target or --not-target, or ask for --all-targets.",
        ),
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
        (
            a.engine != "mip" and a.witnesses is None and a.backend != "highs",
            f"--backend {a.backend} is for --engine mip; add that.",
        ),
        (
            a.engine != "mip" and a.witnesses is None and a.compare_backends is None and a.tightening != "lp",
            f"--tightening {a.tightening} is for --engine mip; add that.",
        ),
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


def _norms(a: Arguments) -> tuple[tuple[bool, str], ...]:
    """What does not go with --norm."""
    native = a.engine not in ("auto", "mip")
    able = a.backend in QUADRATIC_BACKENDS
    return (
        (
            native and a.norm != "linf",
            f"--engine {a.engine} knows only --norm linf; take --engine auto or mip for {a.norm}.",
        ),
        (
            a.engine == "mip" and a.norm == "l2" and not able,
            f"--backend {a.backend} solves no MIQP, which --norm l2 needs; choose {' or '.join(QUADRATIC_BACKENDS)}.",
        ),
        (a.inspect and a.norm != "linf", "--inspect counts units in an L-infinity ball; leave out --norm."),
    )


def _several_answers(a: Arguments) -> tuple[tuple[bool, str], ...]:
    """What does not go with --all-targets, --witnesses and --compare-backends."""
    chosen = [
        name
        for name, given in (
            ("--all-targets", a.all_targets),
            ("--witnesses", a.witnesses is not None),
            ("--compare-backends", a.compare_backends is not None),
            ("--inspect", a.inspect),
        )
        if given
    ]
    named = [] if a.compare_backends is None else a.compare_backends.values
    unknown = [name for name in named if name not in BACKENDS]
    return (
        (len(chosen) > 1, f"{' and '.join(chosen)} exclude each other."),
        (a.witnesses is not None and a.eps is None, "--witnesses needs --eps: within which radius?"),
        (
            a.witnesses is not None and a.min_distance is None,
            "--witnesses needs --min-distance: how far apart must any two examples be?",
        ),
        (a.witnesses is None and a.min_distance is not None, "--min-distance is for --witnesses; add that."),
        (bool(unknown), f"--compare-backends {','.join(unknown)}: choose from {', '.join(BACKENDS)}."),
        (len(named) == 1, f"--compare-backends {','.join(named)}: name at least two solvers."),
        (a.witnesses is not None and a.replay, "--witnesses leaves no proof; leave out --replay."),
        (
            a.compare_backends is not None and (a.replay or a.save_witness is not None),
            "--compare-backends looks at solvers alone; leave out --replay and --save-witness.",
        ),
    )


def _beside_answers(a: Arguments) -> tuple[tuple[bool, str], ...]:
    """What does not go with bounds and models in files."""
    no_proof = a.witnesses is not None or a.compare_backends is not None or a.inspect
    other = no_proof or a.all_targets
    return (
        (a.bounds is not None and a.engine != "mip", "--bounds is for --engine mip; the others prove everything."),
        (a.bounds is not None and other, "--bounds is for one answer about one image."),
        (a.save_bounds is not None and other, "--save-bounds is for one answer about one image."),
        (a.certificate is not None and no_proof, "--certificate is for one answer per image; leave out the others."),
        (
            a.certificate is not None and a.arithmetic == "float32",
            "--certificate proves answers about real numbers; leave out --arithmetic float32.",
        ),
        (a.save_model is not None and a.compare_backends is None, "--save-model is for --compare-backends; add that."),
    )


def _arithmetic(a: Arguments) -> tuple[tuple[bool, str], ...]:
    """What does not go with --arithmetic float32."""
    other = a.witnesses is not None or a.compare_backends is not None or a.inspect
    files = a.bounds is not None or a.save_bounds is not None
    return (
        (
            a.arithmetic == "float32" and (other or files or a.replay),
            "--arithmetic float32 goes with none of --witnesses, --compare-backends, --inspect, --replay and --bounds.",
        ),
    )


def _method(a: Arguments) -> tuple[tuple[bool, str], ...]:
    """What does not go with --method bisect and --tolerance."""
    bisect = a.method == "bisect"
    other = a.witnesses is not None or a.compare_backends is not None or a.inspect
    beside = a.arithmetic == "float32" or a.bounds is not None
    return (
        (a.tolerance is not None and not bisect, "--tolerance is for --method bisect; add that."),
        (bisect and a.eps is not None, "--method bisect searches a distance; leave out --eps."),
        (
            bisect and a.perturbation not in (None, "unrestricted"),
            f"--method bisect looks in balls around the input; leave out --perturbation {a.perturbation}.",
        ),
        (
            bisect and (other or beside),
            "--method bisect goes with none of --witnesses, --compare-backends, --inspect, --bounds and float32.",
        ),
    )


def _check_certificate(a: Arguments, certificate: str) -> None:
    """What goes with --check: a model, and nothing else."""
    plain = Arguments(model=a.model, check=certificate, fast=a.fast, quiet=a.quiet)
    for field in fields(Arguments):
        if getattr(a, field.name) != getattr(plain, field.name):
            word = "INPUT" if field.name == "input" else f"--{field.name.replace('_', '-')}"
            _refuse(f"{word} means nothing with --check; leave it out.")
    _check_file(certificate, "--check ")
    if a.model is not None:
        _check_model(a.model)


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


def _check_output(option: str, name: str, suffixes: tuple[str, ...]) -> None:
    """A file that cannot be written must be known before hours are spent on what goes into it."""
    path = Path(name)
    if path.suffix.lower() not in suffixes:
        _refuse(f"{option} {name}: must end in {' or '.join(suffixes)}.")
    if path.is_dir():
        _refuse(f"{option} {name} is a folder; name a file in it.")
    if not path.parent.is_dir():
        _refuse(f"{option} {name}: the folder {path.parent} does not exist.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        _refuse(f"{option} {name}: you may not write there.")


def split_location(location: str) -> tuple[Path, str | None]:
    """The path and, for `FILE.npz:NAME`, the name of the array."""
    head, colon, tail = location.rpartition(":")
    return (Path(head), tail) if colon and head.lower().endswith(".npz") else (Path(location), None)


def _refuse(message: str) -> None:
    raise typer.TyperException(message)
