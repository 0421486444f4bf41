"""`counter-attack ug100 build`: from images to a data set of exact distances."""

# No `from __future__ import annotations` here: typer reads the annotations of this class as objects.
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from counter_attack.cli import _campaign_options as campaign
from counter_attack.cli import _options as options
from mipverify_py.cli import _parse
from mipverify_py.cli._parse import Indices, Names

if TYPE_CHECKING:
    from counter_attack.ug100 import BuildPlan
    from mipverify_py.campaigns import Limits
    from mipverify_py.campaigns._spec import RunSettings

_DATA, _MODELS = "The images", "The models"

DATA = ("digits", "mnist", "cifar10")
POOLS = ("strong", "balanced")
# These repeat names of counter_attack.ug100, which takes too long to import for `--help`. A test compares them.


@dataclass(frozen=True, slots=True)
class BuildArguments:
    """The options of `ug100 build`."""

    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="NAME",
            parser=_parse.choice(DATA),
            rich_help_panel=_DATA,
            help="digits (bundled, minutes), mnist or cifar10.",
        ),
    ]
    out: Annotated[
        str,
        typer.Option("--out", metavar="DIR", rich_help_panel=options.OUTPUT, help="Where everything goes."),
    ]
    path: Annotated[
        str | None,
        typer.Option(
            "--path",
            metavar="DIR",
            rich_help_panel=_DATA,
            help="Where the files of mnist (IDX) or cifar10 (batches) lie, training and test.",
        ),
    ] = None
    split: Annotated[
        Indices | None,
        typer.Option(
            "--split",
            metavar="A:B",
            parser=_parse.indices,
            rich_help_panel=_DATA,
            help="With test files only: learn from rows A to B - 1 of them, and measure others.",
        ),
    ] = None
    indices: Annotated[
        str | None,
        typer.Option(
            "--indices",
            metavar="RANGES",
            rich_help_panel=_DATA,
            help="Test rows to measure, such as 0:10,17 (10 is not included). Default: 0:30 of digits, else 250:2500.",
        ),
    ] = None
    architectures: Annotated[
        Names | None,
        typer.Option(
            "--architectures",
            metavar="NAMES",
            parser=_parse.names,
            rich_help_panel=_MODELS,
            help="A comma list of A, B, C. Default: all.",
        ),
    ] = None
    trainings: Annotated[
        Names | None,
        typer.Option(
            "--trainings",
            metavar="NAMES",
            parser=_parse.names,
            rich_help_panel=_MODELS,
            help="A comma list of standard, adversarial, relu. Default: all.",
        ),
    ] = None
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            metavar="N",
            parser=_parse.whole("at least 1", lambda v: v >= 1),
            rich_help_panel=_MODELS,
            help="Passes over the training rows. Default: 40 for digits, 425 as published for the others.",
        ),
    ] = None
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            rich_help_panel=_MODELS,
            help="mnist, cifar10: 30 epochs at a learning rate of 1e-3 against 7 steps of attack instead of the "
            "published 425 at 1e-4 against 200: hours instead of days.",
        ),
    ] = False
    pool: Annotated[
        str,
        typer.Option(
            "--pool",
            metavar="NAME",
            parser=_parse.choice(POOLS),
            rich_help_panel=options.ATTACKS,
            help="The attacks' published parameters: strong or balanced.",
        ),
    ] = "balanced"
    finish: Annotated[
        bool,
        typer.Option(
            "--finish/--no-finish",
            rich_help_panel=options.ATTACKS,
            help="Exact local search from the closest example of the attacks, as one more attack.",
        ),
    ] = False
    seed: options.Seed = 0
    time_limit: Annotated[
        float | None,
        typer.Option(
            "--time-limit",
            metavar="SECONDS",
            parser=_parse.number("a number of seconds above 0", lambda v: v > 0),
            rich_help_panel=campaign.LIMITS,
            help="For one query. Default: 600 for digits, else 3600.",
        ),
    ] = None
    gap: Annotated[
        float | None,
        typer.Option(
            "--gap",
            metavar="SHARE",
            parser=_parse.number("at least 0 and below 1, such as 1e-5", lambda v: 0 <= v < 1),
            rich_help_panel=campaign.LIMITS,
            help="How narrow a bracket has to be, as a share of the distance. Default: 1e-5.",
        ),
    ] = None
    executor: Annotated[
        str,
        typer.Option(
            "--executor",
            metavar="NAME",
            parser=_parse.choice(campaign.EXECUTORS),
            rich_help_panel=campaign.RUN,
            help="inline (this process), processes (on this machine) or dask.",
        ),
    ] = "processes"
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            parser=_parse.whole("at least 1", lambda v: v >= 1),
            rich_help_panel=campaign.RUN,
            help="Queries that are worked on at a time. Default: one for each core.",
        ),
    ] = None
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler",
            metavar="ADDRESS",
            rich_help_panel=campaign.RUN,
            help="A Dask scheduler that is running, such as tls://10.0.0.1:8786.",
        ),
    ] = None
    json: options.Json = False
    quiet: options.Quiet = False

    def run(self) -> int:
        """Builds; returns the exit code."""
        self._check()
        from counter_attack.cli._ug100_build_run import build

        return build(self, self._plan(), self._settings())

    def _check(self) -> None:
        """Raises TyperException for what can be known to be wrong without reading anything."""
        if self.data == "digits" and self.path is not None:
            raise typer.TyperException("The digits are bundled; leave out --path.")
        if self.data != "digits" and self.path is None:
            raise typer.TyperException(f"{self.data} is not bundled; name the folder with its files with --path.")
        if self.split is not None and (len(self.split.ranges) != 1 or None in self.split.ranges[0]):
            raise typer.TyperException("--split is one range of rows with both ends, such as 2000:10000.")
        if Path(self.out).exists() and not Path(self.out).is_dir():
            raise typer.TyperException(f"--out {self.out} is a file; name a folder.")

    def _plan(self) -> "BuildPlan":
        from counter_attack.ug100 import BuildPlan

        first, stop = self.split.ranges[0] if self.split is not None else (None, None)
        changes = {
            name: value.values
            for name, value in (("architectures", self.architectures), ("trainings", self.trainings))
            if value is not None
        }
        return BuildPlan(
            self.data,
            None if self.path is None else Path(self.path),
            None if first is None or stop is None else (first, stop),
            epochs=self.epochs,
            quick=self.quick,
            indices=self.indices,
            pool=self.pool,
            finish=self.finish,
            limits=self._limits(),
            seed=self.seed,
            **changes,
        )

    def _limits(self) -> "Limits":
        from counter_attack.ug100._build import TIME_LIMITS
        from mipverify_py.campaigns import Limits

        time_limit = TIME_LIMITS[self.data] if self.time_limit is None else self.time_limit
        return Limits(time_limit) if self.gap is None else Limits(time_limit, gap_relative=self.gap)

    def _settings(self) -> "RunSettings":
        from mipverify_py.campaigns._spec import RunSettings

        return RunSettings(self.executor, self.workers, scheduler=self.scheduler)
