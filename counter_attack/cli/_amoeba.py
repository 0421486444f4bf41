"""`counter-attack amoeba`: certified boxes [x - e1, x + e2] around inputs, and what can be made of them."""

# No `from __future__ import annotations` here: typer reads the annotations of these classes as objects.
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from counter_attack.cli import _options as options
from counter_attack.cli._amoeba_explore import GuidedArguments, MapArguments
from counter_attack.cli._app import new_app
from counter_attack.cli._inputs import InputArguments
from counter_attack.cli._pool_run import check_place
from mipverify_py.cli import ExitCode, _parse
from mipverify_py.cli._parse import Names

if TYPE_CHECKING:
    from counter_attack.amoeba import FindSettings

SHAPES, KINDS = ("uniform", "non-uniform", "asymmetric"), ("interval", "crown", "exact")
# They repeat values of counter_attack.amoeba, which takes numpy to import. A test compares them.

_BOXES = "The boxes"
_HELP = (
    "Boxes [x - e1, x + e2] in which a classifier provably keeps its class, each feature with a reach of its own in "
    "both directions (Amoeba, Li et al.)."
)

app = new_app(help=_HELP)


@app.callback(invoke_without_command=True)
def _choose(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        known = ", ".join(one.name or "" for one in app.registered_commands)
        raise typer.TyperException(f"amoeba needs a command: {known}.")


def _positive(what: str, help_text: str) -> typer.models.OptionInfo:
    found: typer.models.OptionInfo = typer.Option(
        metavar="X", parser=_parse.number(f"{what} above 0", lambda v: v > 0), rich_help_panel=_BOXES, help=help_text
    )
    return found


_Step = Annotated[float, _positive("a length", "How near a face of an exact box must be to the example that stops it.")]
_Timeout = Annotated[
    float | None,
    _positive("a number of seconds", "Stop optimising a batch, certifying or growing a box, each after this time."),
]


@app.command("box")
@dataclass(frozen=True, slots=True)
class BoxArguments(InputArguments):
    """Certified boxes around inputs, and how large they are by shape and by the bounds that they are found with.

    counter-attack amoeba box zoo:digits_small_standard --dataset digits --index 0:5 --shape asymmetric --bounds crown

    The size of a box is the geometric mean of its sides. interval and crown boxes come from an optimiser; exact ones
    are grown from the crown box until a checked adversarial example lies at most --step beyond every face. Inputs that
    the model gets wrong have no box.
    """

    shape: Annotated[
        Names | None,
        typer.Option(
            metavar="NAMES",
            parser=_parse.names,
            rich_help_panel=_BOXES,
            help="A comma list of uniform (one radius), non-uniform (one per feature), asymmetric (two per feature). "
            "Default: asymmetric.",
        ),
    ] = None
    bounds: Annotated[
        Names | None,
        typer.Option(
            metavar="NAMES",
            parser=_parse.names,
            rich_help_panel=_BOXES,
            help="A comma list of interval (as in the paper), crown (linear bounds), exact (no face can move "
            "by --step). Default: crown.",
        ),
    ] = None
    step: _Step = 1.0 / 256.0
    tau: Annotated[
        float,
        typer.Option(
            metavar="X",
            parser=_parse.number("between 0 and 1", lambda v: 0 < v < 1),
            rich_help_panel=_BOXES,
            help="A box that cannot be certified is shrunk by this factor until it can.",
        ),
    ] = 0.99
    timeout: _Timeout = None
    out: Annotated[
        str | None,
        typer.Option(metavar="FILE.csv", rich_help_panel=options.OUTPUT, help="Save one line per box."),
    ] = None
    save: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.npz", rich_help_panel=options.OUTPUT, help="Save the certified boxes: x, e1, e2, class, ..."
        ),
    ] = None
    certificate: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.cert",
            rich_help_panel=options.OUTPUT,
            help="Write a certificate that the box, a single one, is robust; `verify --check` checks it.",
        ),
    ] = None
    json: options.Json = False
    quiet: options.Quiet = False

    def run(self) -> int:
        """Finds the boxes, shows and saves them; returns the exit code."""
        self._check()
        from counter_attack.cli._amoeba_report import BoxReport, find_all
        from counter_attack.cli._tables import ProgressLine

        line = ProgressLine(quiet=self.quiet)
        opened = self.open()
        report = BoxReport(opened)
        try:
            for settings in self._settings():
                if not find_all(opened, settings, report, line.show):
                    break
        finally:
            line.clear()
        report.write(as_json=self.json)  # first, so that a file that cannot be written takes nothing away
        if self.out is not None:
            report.save_table(Path(self.out))
        if self.save is not None:
            report.save_boxes(Path(self.save))
        if report.interrupted:
            return ExitCode.INTERRUPTED
        if self.certificate is not None:
            report.certify(Path(self.certificate), time_limit=self.timeout, as_json=self.json)
        return ExitCode.ANSWERED if report.is_settled else ExitCode.UNKNOWN

    @property
    def _shapes(self) -> tuple[str, ...]:
        return ("asymmetric",) if self.shape is None else self.shape.values

    @property
    def _kinds(self) -> tuple[str, ...]:
        return ("crown",) if self.bounds is None else self.bounds.values

    def _check(self) -> None:
        self.check_inputs()
        for option, given, known in (("--shape", self._shapes, SHAPES), ("--bounds", self._kinds, KINDS)):
            for name in given:
                if name not in known:
                    raise typer.TyperException(f"{option} {name}: is unknown; choose from {', '.join(known)}.")
        check_place("--out", self.out, ".csv")
        check_place("--save", self.save, ".npz")
        check_place("--certificate", self.certificate, ".cert")
        if self.certificate is not None and len(self._shapes) * len(self._kinds) != 1:
            raise typer.TyperException("--certificate is for a single box; name one --shape and one of --bounds.")

    def _settings(self) -> "list[FindSettings]":
        from counter_attack.amoeba import BoundKind, BoxSettings, BoxShape, FindSettings, GrowSettings
        from mipverify_py import Options

        optimise = BoxSettings(tau=self.tau, time_limit=self.timeout)
        grow = GrowSettings(step=self.step, time_limit=self.timeout)
        return [
            FindSettings(BoxShape(shape), BoundKind(kind), optimise, grow, Options(time_limit=self.timeout))
            for kind in self._kinds
            for shape in self._shapes
        ]


@app.command("plane")
@dataclass(frozen=True, slots=True)
class PlaneArguments:
    """Boxes in the plane: ten random seeds in [-1, 1]^2, nearest-seed labels, a small network trained here.

    counter-attack amoeba plane --plot plane.png

    Shows the uniform, the non-uniform and the asymmetric box around one point, and the exact asymmetric one, over the
    decision regions of the network (Figure 2 of the paper).
    """

    hidden: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=_parse.whole("from 1 to 256", lambda v: 1 <= v <= 256),
            rich_help_panel=_BOXES,
            help="Hidden ReLU units of the network.",
        ),
    ] = 32
    bounds: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            parser=_parse.choice(KINDS[:2]),
            rich_help_panel=_BOXES,
            help="What the three boxes are found with: interval or crown.",
        ),
    ] = "crown"
    at: Annotated[
        str | None,
        typer.Option(
            "--point",
            metavar="X,Y",
            rich_help_panel=_BOXES,
            help="The point, in [-1, 1]^2. Default: the seed of a class that is nearest to the middle.",
        ),
    ] = None
    step: _Step = 1.0 / 1024.0
    seed: options.Seed = 0
    plot: Annotated[
        str | None, typer.Option(metavar="FILE.png", rich_help_panel=options.OUTPUT, help="Draw the picture.")
    ] = None
    out: Annotated[
        str | None, typer.Option(metavar="FILE.csv", rich_help_panel=options.OUTPUT, help="Save one line per box.")
    ] = None
    json: options.Json = False
    quiet: options.Quiet = False

    def run(self) -> int:
        """Trains the network, finds the boxes, shows and draws them; returns the exit code."""
        check_place("--plot", self.plot, ".png")
        check_place("--out", self.out, ".csv")
        from counter_attack.cli._amoeba_plane import Plane
        from counter_attack.cli._tables import ProgressLine

        line = ProgressLine(quiet=self.quiet)
        line.show("training the network")
        plane = Plane.trained(self.hidden, self.seed, self.at)
        try:
            plane.find(self.bounds, self.step, line.show)
        finally:
            line.clear()
        plane.write(as_json=self.json)
        if self.out is not None:
            plane.save_table(Path(self.out))
        if self.plot is not None and (plane.certified or not plane.interrupted):
            plane.draw(Path(self.plot))
        if plane.interrupted:
            return ExitCode.INTERRUPTED
        return ExitCode.ANSWERED if plane.is_settled else ExitCode.UNKNOWN


# Further commands are registered here, one line each, from modules of their own.
app.command("map")(MapArguments)
app.command("attack")(GuidedArguments)
