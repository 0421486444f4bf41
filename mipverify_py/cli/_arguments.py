"""Every argument and option of `verify`, each declared once."""

# No `from __future__ import annotations` here: typer reads the annotations of this class as objects.
import math
from dataclasses import dataclass
from typing import Annotated

import typer

from mipverify_py.cli import _more_options as more
from mipverify_py.cli import _parse
from mipverify_py.cli import _perturbation_options as sets
from mipverify_py.cli import _property_options as properties
from mipverify_py.cli._panels import INPUTS as _INPUTS
from mipverify_py.cli._panels import OTHER as _OTHER
from mipverify_py.cli._panels import OUTPUT as _OUTPUT
from mipverify_py.cli._panels import QUESTION as _QUESTION
from mipverify_py.cli._panels import SEARCH as _SEARCH
from mipverify_py.cli._parse import Classes, Domain, Indices

BACKENDS = ("highs", "scip", "cbc", "gurobi", "ortools")
ENGINES = ("auto", "cuts", "duals", "boxes", "mip")
TIGHTENINGS = ("interval", "linear", "lp", "mip")
NORMS = ("linf", "l1", "l2")
QUADRATIC_BACKENDS = ("scip", "gurobi", "ortools")
DATASETS = ("digits", "mnist", "cifar10")
# The six above repeat names that live where they are used: importing those places takes too long for `--help`.
# A test compares them.


@dataclass(frozen=True, slots=True)
class Arguments:
    """The command line as values; checked one by one, not yet against each other."""

    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="An .onnx file, or zoo:NAME for a bundled model.")
    ] = None
    input: Annotated[
        str | None,
        typer.Argument(
            metavar="INPUT", help="A .npy, .npz, .csv, .png or .jpg file; FILE.npz:NAME picks one array of several."
        ),
    ] = None

    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            parser=_parse.choice(DATASETS),
            rich_help_panel=_INPUTS,
            help="digits (bundled), mnist or cifar10: images with their labels, instead of INPUT.",
        ),
    ] = None
    data_dir: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=_INPUTS,
            help="Where mnist (IDX files, .gz or not) or cifar10 (binary or python batches, or .csv) lies.",
        ),
    ] = None
    index: Annotated[
        Indices | None,
        typer.Option(
            metavar="RANGES",
            parser=_parse.indices,
            rich_help_panel=_INPUTS,
            help="Which images, such as 0:10,17 (10 is not included). Default: all inputs of a file.",
        ),
    ] = None
    label: Annotated[
        int | None,
        typer.Option(
            metavar="CLASS",
            parser=_parse.whole("a zero-based class", lambda v: v >= 0),
            rich_help_panel=_INPUTS,
            help="The true class. Default: the data set's label, or for a file the class that the model predicts.",
        ),
    ] = None
    domain: Annotated[
        Domain | None,
        typer.Option(
            metavar="LOW,HIGH",
            parser=_parse.domain,
            rich_help_panel=_INPUTS,
            help="The values an input may have; also FILE.npz with arrays lower and upper. Default: 0,1.",
        ),
    ] = None

    eps: Annotated[
        float | None,
        typer.Option(
            metavar="E",
            parser=_parse.number("a radius that is at least 0, such as 0.1", lambda v: v >= 0),
            rich_help_panel=_QUESTION,
            help="Is there an adversarial example within this radius, in --norm? Without it: how near is the nearest?",
        ),
    ] = None
    norm: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            parser=_parse.choice(NORMS),
            rich_help_panel=_QUESTION,
            help="How perturbations are measured: linf (largest change), l1 (sum of changes) or l2 (Euclidean).",
        ),
    ] = "linf"
    target: Annotated[
        Classes | None,
        typer.Option(
            metavar="CLASSES",
            parser=_parse.classes,
            rich_help_panel=_QUESTION,
            help="Only these wrong classes count: a zero-based class or a comma list. Default: all.",
        ),
    ] = None
    not_target: Annotated[
        Classes | None,
        typer.Option(
            metavar="CLASSES",
            parser=_parse.classes,
            rich_help_panel=_QUESTION,
            help="All wrong classes count but these.",
        ),
    ] = None
    target_wins: more.TargetWins = False
    margin: Annotated[
        float,
        typer.Option(
            metavar="M",
            parser=_parse.number("a finite number", math.isfinite),
            rich_help_panel=_QUESTION,
            help="By how much (in logits) a wrong class must reach the input's own; ties count at 0.",
        ),
    ] = 0.0
    perturbation: sets.Perturbation = None
    kernel_size: sets.KernelSize = None
    box_lower: sets.BoxLower = None
    box_upper: sets.BoxUpper = None
    max_pixels: sets.MaxPixels = None
    brightness: sets.BrightnessRange = None
    contrast: sets.ContrastRange = None
    arithmetic: more.Arithmetic = "real"
    all_targets: more.AllTargets = False
    witnesses: more.Witnesses = None
    min_distance: more.MinDistance = None

    vnnlib: properties.Vnnlib = None
    instances: properties.Instances = None

    engine: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            parser=_parse.choice(ENGINES),
            rich_help_panel=_SEARCH,
            help="How to search: cuts, duals, boxes, auto (chooses one of them), or mip (one program for a solver).",
        ),
    ] = "auto"
    method: more.Method = "direct"
    tolerance: more.Tolerance = None
    device: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            parser=_parse.device,
            rich_help_panel=_SEARCH,
            help="Where engines duals and boxes compute: cpu or cuda (cuda:1, ...).",
        ),
    ] = "cpu"
    backend: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            parser=_parse.choice(BACKENDS),
            rich_help_panel=_SEARCH,
            help=f"The MIP solver of engine mip: {', '.join(BACKENDS)}; see --backends.",
        ),
    ] = "highs"
    tightening: Annotated[
        str,
        typer.Option(
            metavar="STAGE",
            parser=_parse.choice(TIGHTENINGS),
            rich_help_panel=_SEARCH,
            help=f"Last stage of bound tightening in engine mip: {', '.join(TIGHTENINGS)}.",
        ),
    ] = "lp"
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            parser=_parse.number("a number of seconds above 0", lambda v: v > 0),
            rich_help_panel=_SEARCH,
            help="Stop each answer (with --compare-backends: each solver) after this time. Default: no limit.",
        ),
    ] = None
    gap: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            parser=_parse.number("at least 0 and below 1", lambda v: 0 <= v < 1),
            rich_help_panel=_SEARCH,
            help="A distance is done when upper - lower is at most this share of upper (or at most 1e-6).",
        ),
    ] = 1e-5
    jobs: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=_parse.whole("at least 1", lambda v: v >= 1),
            rich_help_panel=_SEARCH,
            help="Images answered at the same time; with fewer images than that, also target classes of an image.",
        ),
    ] = 1
    threads: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=_parse.whole("at least 1", lambda v: v >= 1),
            rich_help_panel=_SEARCH,
            help="Threads of the MIP solver in each of these jobs; the native engines use them like jobs.",
        ),
    ] = 1
    seed: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=_parse.whole("at least 0 and below 2147483648", lambda v: 0 <= v < 2**31),
            rich_help_panel=_SEARCH,
            help="Seed of the attack and of the solver.",
        ),
    ] = 0
    bounds: more.BoundsIn = None

    replay: Annotated[
        bool,
        typer.Option(
            "--replay", rich_help_panel=_OUTPUT, help="Replay the proof of each answer and say whether it holds."
        ),
    ] = False
    json: Annotated[
        bool, typer.Option("--json", rich_help_panel=_OUTPUT, help="One JSON object per image on stdout, nothing else.")
    ] = False
    save_witness: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_OUTPUT,
            help="Save the adversarial example as .npz (exact) or .png (to look at, 8 bits); "
            "with several images FILE-0017.npz for index 17.",
        ),
    ] = None
    save_bounds: more.BoundsOut = None
    certificate: more.CertificateOut = None
    certify: more.Certify = "cheap"
    save_model: more.ModelOut = None
    results: properties.Results = None
    out: properties.Out = None
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", rich_help_panel=_OUTPUT, help="No progress; only results and errors.")
    ] = False
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", rich_help_panel=_OUTPUT, help="Statistics of bounds, model and search.")
    ] = False

    inspect: Annotated[
        bool,
        typer.Option(
            "--inspect",
            rich_help_panel=_OTHER,
            help="Show the model's layers and sizes; with an input and --eps also how many units are unstable.",
        ),
    ] = False
    compare_backends: more.CompareBackends = None
    check: more.CheckCertificate = None
    fast: more.FastCheck = False
    backends: Annotated[
        bool, typer.Option("--backends", rich_help_panel=_OTHER, help="List the solvers and whether each can be used.")
    ] = False
    list_zoo: Annotated[bool, typer.Option("--list-zoo", rich_help_panel=_OTHER, help="List the bundled models.")] = (
        False
    )
    version: Annotated[bool, typer.Option("--version", rich_help_panel=_OTHER, help="Show the version.")] = False
