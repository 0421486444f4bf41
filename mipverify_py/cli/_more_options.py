"""Options about several answers for one image and about what goes beside an answer, as annotated types."""

# No `from __future__ import annotations` here: typer reads these annotations as objects.
from typing import Annotated

import typer

from mipverify_py.cli import _parse
from mipverify_py.cli._panels import OTHER, OUTPUT, QUESTION, SEARCH
from mipverify_py.cli._parse import Names

ARITHMETICS = ("real", "float32")
METHODS = ("direct", "bisect")
CERTIFY = ("never", "cheap", "always")

Arithmetic = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        parser=_parse.choice(ARITHMETICS),
        rich_help_panel=QUESTION,
        help="real: answers about the network of real numbers; float32: beside them for all its float32 evaluations.",
    ),
]
AllTargets = Annotated[
    bool,
    typer.Option("--all-targets", rich_help_panel=QUESTION, help="One answer per wrong class instead of one in all."),
]
TargetWins = Annotated[
    bool,
    typer.Option(
        "--target-wins",
        rich_help_panel=QUESTION,
        help="A target has to reach every class that is no target, not only the input's own.",
    ),
]
Method = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        parser=_parse.choice(METHODS),
        rich_help_panel=SEARCH,
        help="How a distance is searched: direct, or bisect: by questions about fixed radii, up to --tolerance.",
    ),
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        metavar="WIDTH",
        parser=_parse.number("a width above 0, such as 0.001", lambda v: v > 0),
        rich_help_panel=SEARCH,
        help="With --method bisect: stop when upper - lower is at most this. Default: 0.001.",
    ),
]
Witnesses = Annotated[
    int | None,
    typer.Option(
        metavar="K",
        parser=_parse.whole("at least 1", lambda v: v >= 1),
        rich_help_panel=QUESTION,
        help="Instead of one answer: up to K adversarial examples within --eps that are --min-distance apart.",
    ),
]
MinDistance = Annotated[
    float | None,
    typer.Option(
        metavar="D",
        parser=_parse.number("a distance above 0, such as 0.05", lambda v: v > 0),
        rich_help_panel=QUESTION,
        help="How far apart, in L-infinity, any two examples of --witnesses are at least.",
    ),
]
BoundsIn = Annotated[
    str | None,
    typer.Option(
        "--bounds",
        metavar="FILE.npz",
        rich_help_panel=SEARCH,
        help="Bounds of the network's units, taken on trust; for engine mip and one image.",
    ),
]
BoundsOut = Annotated[
    str | None,
    typer.Option(
        "--save-bounds",
        metavar="FILE.npz",
        rich_help_panel=OUTPUT,
        help="Save the bounds of the network's units that the search came to; for one image.",
    ),
]
ModelOut = Annotated[
    str | None,
    typer.Option(
        "--save-model",
        metavar="FILE.mps",
        rich_help_panel=OUTPUT,
        help="With --compare-backends: save the program that the solvers were given.",
    ),
]
CertificateOut = Annotated[
    str | None,
    typer.Option(
        "--certificate",
        metavar="FILE.cert",
        rich_help_panel=OUTPUT,
        help="Write a proof of the answer that can be checked without this program's search; "
        "with several images FILE-0017.cert for index 17.",
    ),
]
Certify = Annotated[
    str,
    typer.Option(
        metavar="WHEN",
        parser=_parse.choice(CERTIFY),
        rich_help_panel=SEARCH,
        help="Show answers again in exact arithmetic: never, cheap (where that takes little) or always. "
        "The column evidence tells which: re-proved or replayed.",
    ),
]
CheckCertificate = Annotated[
    str | None,
    typer.Option(
        "--check",
        metavar="FILE.cert",
        rich_help_panel=OTHER,
        help="Check a certificate in exact arithmetic; with MODEL also whether it is about that model.",
    ),
]
FastCheck = Annotated[
    bool,
    typer.Option(
        "--fast",
        rich_help_panel=OTHER,
        help="With --check: as exactly, but with numpy's arithmetic instead of Python's.",
    ),
]
CompareBackends = Annotated[
    Names | None,
    typer.Option(
        metavar="NAMES",
        parser=_parse.names,
        rich_help_panel=OTHER,
        help="Give the same program to each of these solvers (a comma list) and say where they disagree.",
    ),
]
