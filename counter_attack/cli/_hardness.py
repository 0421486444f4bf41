"""`counter-attack hardness`: satisfiability as an attack, its growth with size, and fooling the detector on a grid."""

# No `from __future__ import annotations` here: typer reads the annotations of these classes as objects.
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from counter_attack.cli import _options as options
from counter_attack.cli._app import PROGRAM, new_app
from counter_attack.cli._pool_run import check_place
from mipverify_py.cli import ExitCode, _parse
from mipverify_py.cli._complain import complain
from mipverify_py.cli._parse import Names

if TYPE_CHECKING:
    from counter_attack.hardness import GrowthRow

_HELP = (  # one line per paragraph: typer would keep line breaks
    "Decide formulas by attacking networks, after Marro and Lombardi, Computational Asymmetries in Robust "
    "Classification (2023).\n\n"
    "FILE.cnf is a formula in DIMACS form. Its network has an adversarial example within 1/2 of (1/2, ..., 1/2) "
    "exactly if the formula is satisfiable, for real inputs as well as for those of a grid."
)

_SEARCH = "The search"

app = new_app(help=_HELP)


@app.callback(invoke_without_command=True)
def _choose(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        raise typer.TyperException("hardness needs a command: solve, growth, export or fool.")


_File = Annotated[str, typer.Argument(metavar="FILE.cnf", help="A formula in DIMACS form.")]
_Mu = Annotated[
    float,
    typer.Option(
        "--mu",
        metavar="MU",
        parser=_parse.number("1 divided by an even whole number, such as 0.5 or 0.25", lambda v: 0 < v <= 0.5),
        help="The width of a step: the inputs of the grid are multiples of it.",
    ),
]
_Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        parser=_parse.number("a number of seconds above 0", lambda v: v > 0),
        rich_help_panel=_SEARCH,
        help="Stop the search for each formula after this time. Default: no limit.",
    ),
]
_Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="NAME",
        parser=_parse.choice(("auto", "cuts", "duals", "boxes", "mip")),
        rich_help_panel=_SEARCH,
        help="As of verify: auto (the default), cuts, duals, boxes or mip.",
    ),
]
_Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        metavar="N",
        parser=_parse.whole("at least 0 and below 2147483648", lambda v: 0 <= v < 2**31),
        rich_help_panel=_SEARCH,
        help="Seed of all randomness.",
    ),
]


@app.command(
    "solve",
    help="Whether the formula is satisfiable: with an assignment read off an adversarial example, or with the proof "
    "that the network is robust. The exit code is 1 for satisfiable (there is an adversarial example), 0 for not.",
)
@dataclass(frozen=True, slots=True)
class SolveArguments:
    """The options of `hardness solve`."""

    file: _File
    distance: Annotated[
        bool, typer.Option("--distance", rich_help_panel=_SEARCH, help="Also bracket the distance to the boundary.")
    ] = False
    cp_sat: Annotated[bool, typer.Option("--cp-sat", rich_help_panel=_SEARCH, help="Ask OR-Tools CP-SAT as well.")] = (
        False
    )
    mu: _Mu = 0.5
    engine: _Engine = "auto"
    timeout: _Timeout = None
    seed: _Seed = 0
    json: options.Json = False

    def run(self) -> int:
        """Decides, shows the answer, and returns the exit code."""
        from counter_attack.cli import _hardness_report as report
        from counter_attack.hardness import read_dimacs, solve, solve_cp_sat
        from mipverify_py import Objective, Options, StopReason
        from onnx_models.errors import MipverifyError

        formula = read_dimacs(self.file)
        found = solve(
            formula,
            mu=self.mu,
            objective=Objective.CLOSEST if self.distance else Objective.FEASIBILITY,
            options=Options(engine=self.engine, time_limit=self.timeout, seed=self.seed),
        )
        interrupted, other = found.result.stop_reason is StopReason.INTERRUPTED, None
        try:
            if self.cp_sat and not interrupted:
                other = solve_cp_sat(formula, time_limit=self.timeout, seed=self.seed)
        except KeyboardInterrupt:
            interrupted = True
        except MipverifyError:
            report.solved(self.file, found, None, as_json=self.json)
            raise
        code = report.solved(self.file, found, other, as_json=self.json)
        return ExitCode.INTERRUPTED if interrupted else code


@app.command(
    "growth",
    help="How the effort grows: random formulas of three literals, decided by the engine on their networks and by "
    "CP-SAT, a row for each size.",
)
@dataclass(frozen=True, slots=True)
class GrowthArguments:
    """The options of `hardness growth`."""

    variables: Annotated[
        Names | None,
        typer.Option(metavar="LIST", parser=_parse.names, help="Numbers of variables, at least 3. Default: 6,8,10,12."),
    ] = None
    ratios: Annotated[
        Names | None,
        typer.Option(
            metavar="LIST", parser=_parse.names, help="Clauses per variable. Default: 4.26, where the hard ones are."
        ),
    ] = None
    formulas: Annotated[
        int,
        typer.Option(metavar="N", parser=_parse.whole("at least 1", lambda v: v >= 1), help="Of each size and ratio."),
    ] = 10
    engine: _Engine = "auto"
    timeout: _Timeout = None
    seed: _Seed = 0
    without_cp_sat: Annotated[
        bool, typer.Option("--without-cp-sat", rich_help_panel=_SEARCH, help="Ask the engine alone.")
    ] = False
    out: Annotated[
        str | None,
        typer.Option(metavar="FILE.csv", rich_help_panel=options.OUTPUT, help="Save a row for every formula."),
    ] = None
    plot: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.png",
            rich_help_panel=options.OUTPUT,
            help="Draw nodes, seconds and the satisfiable share; needs a single size or a single ratio.",
        ),
    ] = None
    json: options.Json = False
    quiet: options.Quiet = False

    def run(self) -> int:
        """Decides formula after formula, shows and saves what is known; returns the exit code."""
        check_place("--out", self.out, ".csv")
        check_place("--plot", self.plot, ".png")
        variables = self._sizes()
        ratios = self._ratios()
        if self.plot is not None and min(len(set(variables)), len(set(ratios))) > 1:
            raise typer.TyperException("--plot needs a single number of variables or a single ratio.")
        from counter_attack.cli._tables import ProgressLine
        from counter_attack.hardness import ContradictionError, growth
        from mipverify_py import Options
        from onnx_models.errors import MipverifyError

        failure: MipverifyError | None = None
        line = ProgressLine(quiet=self.quiet)
        total, interrupted = len(variables) * len(ratios) * self.formulas, False
        rows: list[GrowthRow] = []
        found = growth(
            variables,
            ratios=ratios,
            formulas=self.formulas,
            seed=self.seed,
            options=Options(engine=self.engine, time_limit=self.timeout),
            cp_sat=not self.without_cp_sat,
        )
        try:
            for row in found:
                rows.append(row)
                line.show(f"formula {len(rows)} of {total}: {row.variables} variables")
        except KeyboardInterrupt:
            interrupted = True
        except MipverifyError as error:
            failure = error
        line.clear()
        if rows or failure is None:
            self._show(rows, total)
        if isinstance(failure, ContradictionError):
            complain(str(failure), PROGRAM)
            return ExitCode.DISAGREEMENT
        if failure is not None:
            raise failure
        if interrupted:
            return ExitCode.INTERRUPTED
        return ExitCode.UNKNOWN if any(row.satisfiable is None for row in rows) else ExitCode.ANSWERED

    def _show(self, rows: "list[GrowthRow]", total: int) -> None:
        from counter_attack.cli import _hardness_report as report
        from counter_attack.hardness import plot_growth

        report.grown(rows, total, out=self.out, as_json=self.json)
        if self.plot is not None and rows:
            plot_growth(rows, self.plot)

    def _sizes(self) -> list[int]:
        words = ("6", "8", "10", "12") if self.variables is None else self.variables.values
        try:
            return [int(word) for word in words]
        except ValueError:
            raise typer.TyperException(f"--variables {','.join(words)}: these are not all whole numbers.") from None

    def _ratios(self) -> list[float]:
        words = ("4.26",) if self.ratios is None else self.ratios.values
        try:
            return [float(word) for word in words]
        except ValueError:
            raise typer.TyperException(f"--ratios {','.join(words)}: these are not all numbers.") from None


@app.command("export", help="Write the network as ONNX, and beside it, as .npy, the input to attack, with label 0.")
@dataclass(frozen=True, slots=True)
class ExportArguments:
    """The options of `hardness export`."""

    file: _File
    model: Annotated[str, typer.Argument(metavar="MODEL.onnx", help="Where the network goes.")]
    mu: _Mu = 0.5
    json: options.Json = False

    def run(self) -> int:
        """Writes both files and their names."""
        check_place("MODEL.onnx", self.model, ".onnx")
        from counter_attack.cli import _hardness_report as report
        from counter_attack.hardness import export_reduction, read_dimacs, reduce_formula

        reduction = reduce_formula(read_dimacs(self.file), mu=self.mu)
        beside = export_reduction(reduction, self.model)
        return report.exported(reduction, self.model, beside, as_json=self.json)


@app.command(
    "fool",
    help="One level up: can a detector that looks around each input be fooled? Builds the network in which it can "
    "exactly if the first variables have values that make the formula false whatever the others are, looks at every "
    "input of the grid of multiples of 1/4, and tries all values of the variables as well. The exit code is 1 if it "
    "can.",
)
@dataclass(frozen=True, slots=True)
class FoolArguments:
    """The options of `hardness fool`."""

    file: _File
    outer: Annotated[
        int,
        typer.Option(
            metavar="K",
            parser=_parse.whole("at least 1", lambda v: v >= 1),
            help="How many variables, the first ones, the attacker sets.",
        ),
    ]
    real: Annotated[
        bool,
        typer.Option(
            "--real",
            rich_help_panel=_SEARCH,
            help="Also bracket the largest exact distance over real inputs; for two or three variables.",
        ),
    ] = False
    timeout: _Timeout = None
    json: options.Json = False

    def run(self) -> int:
        """Enumerates, shows both answers, and returns the exit code."""
        if self.timeout is not None and not self.real:
            raise typer.TyperException("--timeout limits the search over real inputs; see --real.")
        from counter_attack.cli import _hardness_report as report
        from counter_attack.detection import FoolingLimits, FoolingStop, largest_distance
        from counter_attack.hardness import false_for_all, fool_on_grid, fooling_network, read_dimacs

        made = fooling_network(read_dimacs(self.file), self.outer)
        found = fool_on_grid(made.network, made.x0, gamma=made.gamma, eps=made.eps, mu=made.mu)
        values = false_for_all(made.formula, self.outer)
        bound, interrupted = None, False
        if self.real:
            limits = FoolingLimits(seconds=self.timeout)
            try:
                bound = largest_distance(made.network, made.x0, made.gamma, gap=1e-5, eps=made.eps, limits=limits)
                interrupted = bound.stop_reason is FoolingStop.INTERRUPTED
            except KeyboardInterrupt:
                interrupted = True
        code = report.fooled(self.file, made, found, values, bound, as_json=self.json)
        return ExitCode.INTERRUPTED if interrupted else code
