"""`counter-attack ug100`: building data sets of distances; tables, plots and checks of them and of UG100 itself."""

# No `from __future__ import annotations` here: typer reads the annotations of these classes as objects.
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counter_attack.cli import _options as options
from counter_attack.cli._app import new_app
from counter_attack.cli._ug100_build import BuildArguments
from mipverify_py.cli import ExitCode, _parse
from mipverify_py.cli._parse import Names

if TYPE_CHECKING:
    import pandas as pd

_HELP = (  # one line per paragraph: typer would keep line breaks
    "Build data sets of exact distances, and analyse distances found by attacks against exact ones.\n\n"
    "DISTANCES is a folder that build has written, or one laid out as UG100's (mip/ with the exact distances, one "
    "folder beside it per attack set, in each a .json or .json.gz file per network), a campaign's .sqlite store, or a "
    ".csv or .parquet table with the columns configuration, index, attack_set, attack, distance, lower, upper."
)

app = new_app(help=_HELP)


@app.callback(invoke_without_command=True)
def _choose(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        raise typer.TyperException("ug100 needs a command: build, tables, plots or check.")


app.command(
    "build",
    help="Trains a grid of models, measures the exact distance of test images to their nearest adversarial example, "
    "runs a pool of attacks on them, and writes the data set. The same command goes on where it was interrupted.",
)(BuildArguments)

_Distances = Annotated[str, typer.Argument(metavar="DISTANCES", help="A data set's folder, a store, or a table.")]
_Csv = Annotated[
    str | None,
    typer.Option("--csv", metavar="DIR", rich_help_panel=options.OUTPUT, help="Also save each table as DIR/NAME.csv."),
]
_Norm = Annotated[
    str | None,
    typer.Option(
        "--norm",
        metavar="NAME",
        parser=_parse.choice(("linf", "l1", "l2")),
        help="linf, l1 or l2: which distances of a store whose attacks have several norms.",
    ),
]


def _read(name: str, norm: str | None) -> "pd.DataFrame":
    from counter_attack.ug100 import read_distances

    return read_distances(Path(name), norm=norm)


@app.command(
    "tables",
    help="Tightness, difference, share below 1/255, R2, single attacks, dropped attacks, best pools, quantile "
    "calibration, labels; each under the published rule and over converged images only.",
)
@dataclass(frozen=True, slots=True)
class TablesArguments:
    """The options of `ug100 tables`."""

    distances: _Distances
    table: Annotated[
        Names | None,
        typer.Option(
            "--table",
            metavar="NAMES",
            parser=_parse.names,
            help="A comma list of tightness, configurations, trainings, attacks, drop-one, pools, calibration, "
            "labels. Default: all; calibration takes about half a minute.",
        ),
    ] = None
    mnist: Annotated[
        str | None, typer.Option("--mnist", metavar="DIR", help="Where MNIST's test labels lie, for the table labels.")
    ] = None
    cifar10: Annotated[
        str | None, typer.Option("--cifar10", metavar="DIR", help="Where CIFAR-10's test batch lies, likewise.")
    ] = None
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            metavar="N",
            parser=_parse.whole("at least 0 and below 2147483648", lambda v: 0 <= v < 2**31),
            help="Seed of the folds of the calibration.",
        ),
    ] = 0
    norm: _Norm = None
    json: options.Json = False
    csv: _Csv = None
    quiet: options.Quiet = False

    def run(self) -> int:
        """Writes the tables."""
        from counter_attack.cli._tables import ProgressLine, TableWriter
        from counter_attack.ug100 import tables

        found = _read(self.distances, self.norm)
        writer = TableWriter(as_json=self.json, folder=None if self.csv is None else Path(self.csv))
        names = None if self.table is None else self.table.values
        line = ProgressLine(quiet=self.quiet)
        for table in tables(found, names, labels=self._labels(), seed=self.seed, progress=line.show):
            line.clear()
            writer.add(table)
        return ExitCode.ANSWERED

    def _labels(self) -> dict[str, Any]:
        from mipverify_py.data import read_cifar10, read_mnist

        folders = (("mnist", self.mnist, read_mnist), ("cifar10", self.cifar10, read_cifar10))
        return {name: reader(Path(folder)).labels for name, folder, reader in folders if folder is not None}


@app.command(
    "plots",
    help="PNG files: attacks' against exact distances with the ideal line, the best R2 by pool size, and the F1 score "
    "of a detector by radius, with 8/255 marked.",
)
@dataclass(frozen=True, slots=True)
class PlotsArguments:
    """The options of `ug100 plots`."""

    distances: _Distances
    out: Annotated[
        str, typer.Option("--out", metavar="DIR", rich_help_panel=options.OUTPUT, help="Where the files go.")
    ] = "."
    norm: _Norm = None
    json: options.Json = False
    quiet: options.Quiet = False

    def run(self) -> int:
        """Draws the figures and writes their names."""
        from importlib.metadata import version

        from counter_attack.cli._tables import ProgressLine
        from counter_attack.ug100 import plots
        from mipverify_py.cli._json import SCHEMA, write_line
        from mipverify_py.cli._output import Output

        line = ProgressLine(quiet=self.quiet)
        files = plots(
            _read(self.distances, self.norm), Path(self.out), progress=lambda path: line.show(f"drawing {path}")
        )
        line.clear()
        for path in files:
            if self.json:
                write_line({"schema": SCHEMA, "kind": "plot", "version": version("mipverify-py"), "file": str(path)})
            else:
                Output().line(str(path))
        return ExitCode.ANSWERED


@app.command(
    "check",
    help="Lists what contradicts itself: attacks nearer than a proved lower end, claims of infeasibility that attacks "
    "refute, upper ends below lower ends, and so on. The exit code is 0 whatever is found.",
)
@dataclass(frozen=True, slots=True)
class CheckArguments:
    """The options of `ug100 check`."""

    distances: _Distances
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance",
            metavar="T",
            parser=_parse.number("at least 0, such as 1e-6", lambda v: v >= 0),
            help="By how much a distance may undercut an end of a bracket and pass.",
        ),
    ] = 0.0
    rows: Annotated[
        int,
        typer.Option(
            "--rows",
            metavar="N",
            parser=_parse.whole("at least 0", lambda v: v >= 0),
            rich_help_panel=options.OUTPUT,
            help="Show this many cases of each kind.",
        ),
    ] = 5
    norm: _Norm = None
    json: options.Json = False
    csv: _Csv = None

    def run(self) -> int:
        """Writes the findings."""
        from counter_attack.cli._tables import TableWriter
        from counter_attack.ug100 import check_distances

        writer = TableWriter(as_json=self.json, folder=None if self.csv is None else Path(self.csv))
        for finding in check_distances(_read(self.distances, self.norm), tolerance=self.tolerance):
            writer.add(finding, rows=self.rows, kind="check")
        return ExitCode.ANSWERED
