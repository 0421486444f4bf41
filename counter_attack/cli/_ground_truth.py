"""`counter-attack ground-truth`: an attack, and hardened networks, against nearest examples of every target class."""

# No `from __future__ import annotations` here: typer reads the annotations of this class as objects.
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from counter_attack.cli import _options as options
from counter_attack.cli._app import new_app
from counter_attack.cli._inputs import InputArguments
from counter_attack.cli._pool_run import check_place
from mipverify_py.cli import ExitCode, _parse
from mipverify_py.cli._arguments import ENGINES, NORMS
from mipverify_py.cli._more_options import METHODS
from mipverify_py.cli._parse import Names

if TYPE_CHECKING:
    from counter_attack.cli._ground_truth_report import Findings
    from counter_attack.cli._inputs import Opened
    from counter_attack.cli._tables import ProgressLine
    from counter_attack.ground_truth import GroundTruth, Point

DEFAULT_NORMS = ("linf", "l1")
"""Those of the paper."""

DEFAULT_ATTACKS: dict[str, tuple[str, dict[str, int]]] = {
    "linf": ("cw", {"steps": 100}),
    "l1": ("fab", {}),
    "l2": ("cw-l2", {}),
}
"""Name and parameters by norm: Carlini and Wagner's attacks, and one that works in L1, where we have none of theirs.
The L-infinity attack takes a tenth of the steps that it takes otherwise, as in the set balanced-mnist."""

_TRUTH = "Ground truths"


@dataclass(frozen=True, slots=True)
class GroundTruthArguments(InputArguments):
    """Judge an attack, and hardened networks, by nearest examples of every target class.

    counter-attack ground-truth standard.onnx --against hardened.onnx --dataset digits --index 0:10

    For each input that a model gets right and each wrong class, an attack looks for an example of that class, then an
    exact search for the nearest one. A search that a limit ends is counted as open, and enters means over all points
    with the nearest example known.
    """

    against: Annotated[
        Names | None,
        typer.Option(
            metavar="MODELS",
            parser=_parse.names,
            rich_help_panel=options.INPUTS,
            help="More models for the same inputs, a comma list, such as hardened ones; each is compared with MODEL.",
        ),
    ] = None
    norms: Annotated[
        Names | None,
        typer.Option(
            metavar="NAMES",
            parser=_parse.names,
            rich_help_panel=_TRUTH,
            help="A comma list of linf, l1 and l2. Default: linf,l1.",
        ),
    ] = None
    attacks: Annotated[
        Names | None,
        typer.Option(
            metavar="NAMES",
            parser=_parse.names,
            rich_help_panel=options.ATTACKS,
            help="One for every norm, or one for all of them. Default: cw with 100 steps for linf, fab for l1, cw-l2 "
            "for l2.",
        ),
    ] = None
    parameters: options.Parameters = None
    reaches: Annotated[
        bool,
        typer.Option(
            "--reaches",
            rich_help_panel=_TRUTH,
            help="A target has to reach the input's own class only; by default it has to win against all others.",
        ),
    ] = False
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            parser=_parse.choice(METHODS),
            rich_help_panel=_TRUTH,
            help="direct, or bisect: by questions about fixed radii, as in the paper.",
        ),
    ] = "direct"
    tolerance: Annotated[
        float | None,
        typer.Option(
            metavar="WIDTH",
            parser=_parse.number("a width above 0, such as 0.001", lambda v: v > 0),
            rich_help_panel=_TRUTH,
            help="With --method bisect: stop when the bracket is at most this wide. Default: 0.001.",
        ),
    ] = None
    engine: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            parser=_parse.choice(ENGINES),
            rich_help_panel=_TRUTH,
            help="How to search, as in verify: auto, cuts, duals, boxes or mip.",
        ),
    ] = "auto"
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            parser=_parse.number("a number of seconds above 0", lambda v: v > 0),
            rich_help_panel=_TRUTH,
            help="Stop each exact search after this time. Default: no limit.",
        ),
    ] = None
    seed: options.Seed = 0
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=options.OUTPUT,
            help="Save a row per point, as .csv or .parquet.",
        ),
    ] = None
    plot: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.png",
            rich_help_panel=options.OUTPUT,
            help="Draw attacks against ground truths, and the models against the first.",
        ),
    ] = None
    json: options.Json = False
    quiet: options.Quiet = False

    def run(self) -> int:
        """Attacks and searches model by model and norm by norm; saves and shows; returns the exit code."""
        self._check()
        from counter_attack.cli import _ground_truth_report as report
        from counter_attack.cli._tables import ProgressLine

        line = ProgressLine(quiet=self.quiet)
        findings = report.Findings([(report.network_name(one.model), one) for one in self._opened()])
        ways = self._ways(findings)
        try:
            self._search(findings, ways, line)
        except KeyboardInterrupt:
            findings.interrupted = True
        line.clear()
        if findings.interrupted and not findings.points:
            raise KeyboardInterrupt
        try:
            if self.out is not None:
                report.save(findings, Path(self.out))
        finally:
            report.write(findings, self._norms, as_json=self.json)
        if self.plot is not None:
            report.draw(findings, Path(self.plot))
        if findings.interrupted:
            return ExitCode.INTERRUPTED
        return ExitCode.ANSWERED if all(p.terminated for p in findings.points) else ExitCode.UNKNOWN

    def _check(self) -> None:
        """Raises TyperException for what can be known to be wrong without reading a model."""
        for model in self._models():
            replace(self, model=model).check_inputs()
        norms, attacks = self._norms, self.attacks
        unknown = [name for name in norms if name not in NORMS]
        if unknown:
            raise typer.TyperException(f"--norms {','.join(unknown)}: choose from {', '.join(NORMS)}.")
        if attacks is not None and len(attacks.values) not in (1, len(norms)):
            raise typer.TyperException(
                f"--attacks names {len(attacks.values)} attacks for {len(norms)} norms; name one, or one for each."
            )
        if self.engine not in ("auto", "mip") and norms != ("linf",):
            raise typer.TyperException(f"--engine {self.engine} knows only --norms linf; take auto or mip for others.")
        if self.tolerance is not None and self.method != "bisect":
            raise typer.TyperException("--tolerance is for --method bisect; add that.")
        if self.out is not None:
            suffix = Path(self.out).suffix.lower()
            if suffix not in (".csv", ".parquet"):
                raise typer.TyperException(f"--out {self.out}: must end in .csv or .parquet.")
            check_place("--out", self.out, suffix)
        check_place("--plot", self.plot, ".png")

    @property
    def _norms(self) -> tuple[str, ...]:
        return DEFAULT_NORMS if self.norms is None else self.norms.values

    def _models(self) -> list[str | None]:
        return [self.model, *(() if self.against is None else self.against.values)]

    def _opened(self) -> "list[Opened]":
        from counter_attack.cli._ground_truth_report import network_name
        from onnx_models.errors import InputError

        names = [network_name(model) for model in self._models() if model is not None]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"Two models are called {twice}; rename one of the files.")
        opened = [replace(self, model=model).open() for model in self._models()]
        classes = [one.network.output_size for one in opened]
        if len(set(classes)) > 1:
            raise InputError(f"The models have {', '.join(map(str, classes))} classes; only like can be compared.")
        return opened

    def _ways(self, findings: "Findings") -> "list[GroundTruth]":
        """How the points of each norm are found."""
        from counter_attack.attacks import make_attack
        from counter_attack.cli._inputs import named_attacks
        from counter_attack.ground_truth import GroundTruth
        from mipverify_py import Options

        given = None if self.attacks is None else self.attacks.values
        data_set = findings.models[0][1].data_set
        ways = []
        for place, norm in enumerate(self._norms):
            name, usual = DEFAULT_ATTACKS[norm]
            if given is None and self.parameters is None:
                attack = make_attack(name, norm=norm, **usual)
            else:
                name = name if given is None else given[min(place, len(given) - 1)]
                (attack,) = named_attacks(Names((name,)), self.parameters, data_set, norm=norm).values()
            search = Options(engine=self.engine, time_limit=self.timeout, seed=self.seed)
            ways.append(GroundTruth(attack, search, self.method, self.tolerance, not self.reaches))
        return ways

    def _search(self, findings: "Findings", ways: "list[GroundTruth]", line: "ProgressLine") -> None:
        """Fills the findings, point by point; raises KeyboardInterrupt where Ctrl-C leaves something out."""
        from mipverify_py import StopReason

        for name, opened in findings.models:
            for way in ways:
                norm = way.attack.norm.value
                line.show(f"{name}: {way.attack.name} in {norm} on {len(opened.x)} inputs")
                found = way(
                    opened.network,
                    opened.x,
                    opened.labels,
                    name=name,
                    indices=opened.indices,
                    domain=opened.domain,
                )
                for point in found:
                    findings.points.append(point)
                    line.show(f"{name}: {_words(point)}")
                    if point.stop_reason is StopReason.INTERRUPTED:
                        raise KeyboardInterrupt


def _words(point: "Point") -> str:
    """What came out for a point, for the progress line."""
    ends = ("?" if end is None else f"{end:.6g}" for end in (point.lower, point.upper))
    return f"{point.norm.value} index {point.index} to class {point.target}: [{', '.join(ends)}]"


app = new_app()
app.command()(GroundTruthArguments)
