"""Options that several commands of `counter-attack` have, as annotated types, each declared once.

    from counter_attack.cli import _options as options

    seed: options.Seed = 0

The options that choose a model and its inputs are the fields of `_inputs.InputArguments`.
"""

# No `from __future__ import annotations` here: typer reads these annotations as objects.
from typing import Annotated

import typer

from mipverify_py.cli import _parse
from mipverify_py.cli._arguments import DATASETS, NORMS
from mipverify_py.cli._parse import Domain, Indices, Names

INPUTS, ATTACKS, OUTPUT = "The input", "The attacks", "What is shown and saved"
"""The headings under which `--help` lists options."""

Model = Annotated[str | None, typer.Argument(metavar="MODEL", help="An .onnx file, or zoo:NAME for a bundled model.")]
Input = Annotated[
    str | None,
    typer.Argument(
        metavar="INPUT", help="A .npy, .npz, .csv, .png or .jpg file; FILE.npz:NAME picks one array of several."
    ),
]
DataSetName = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="NAME",
        parser=_parse.choice(DATASETS),
        rich_help_panel=INPUTS,
        help="digits (bundled), mnist or cifar10: images with their labels, instead of INPUT.",
    ),
]
DataDir = Annotated[
    str | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        rich_help_panel=INPUTS,
        help="Where mnist (IDX files, .gz or not) or cifar10 (binary or python batches, or .csv) lies.",
    ),
]
Index = Annotated[
    Indices | None,
    typer.Option(
        "--index",
        metavar="RANGES",
        parser=_parse.indices,
        rich_help_panel=INPUTS,
        help="Which images, such as 0:10,17 (10 is not included). Default: all inputs of a file.",
    ),
]
Label = Annotated[
    int | None,
    typer.Option(
        "--label",
        metavar="CLASS",
        parser=_parse.whole("a zero-based class", lambda v: v >= 0),
        rich_help_panel=INPUTS,
        help="The true class. Default: the data set's label, or for a file the class that the model predicts.",
    ),
]
DomainOfInputs = Annotated[
    Domain | None,
    typer.Option(
        "--domain",
        metavar="LOW,HIGH",
        parser=_parse.domain,
        rich_help_panel=INPUTS,
        help="The values an input may have; also FILE.npz with arrays lower and upper. Default: 0,1.",
    ),
]

Attacks = Annotated[
    Names | None,
    typer.Option(
        "--attacks",
        metavar="NAMES",
        parser=_parse.names,
        rich_help_panel=ATTACKS,
        help="A comma list such as pgd,fab; or one set, such as balanced-mnist or a .toml file, for all attacks in it. "
        "Default: all of --parameters, or without that pgd.",
    ),
]
Parameters = Annotated[
    str | None,
    typer.Option(
        "--parameters",
        metavar="SET",
        rich_help_panel=ATTACKS,
        help="The attacks' parameters: strong, balanced or mip-start, or a .toml file of your own.",
    ),
]
NormName = Annotated[
    str,
    typer.Option(
        "--norm",
        metavar="NAME",
        parser=_parse.choice(NORMS),
        rich_help_panel=ATTACKS,
        help="How perturbations are measured: linf (largest change), l1 (sum of changes) or l2 (Euclidean).",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        parser=_parse.device,
        rich_help_panel=ATTACKS,
        help="Where the model is evaluated: cpu or cuda (cuda:1, ...).",
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        metavar="N",
        parser=_parse.whole("at least 0 and below 2147483648", lambda v: 0 <= v < 2**31),
        rich_help_panel=ATTACKS,
        help="Seed of all randomness.",
    ),
]

Json = Annotated[
    bool, typer.Option("--json", rich_help_panel=OUTPUT, help="JSON objects, one per line, on stdout, nothing else.")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", rich_help_panel=OUTPUT, help="No progress; only results and errors.")
]
