"""`counter-attack compare`: attacks, alone and as pools, against exact distances."""

# No `from __future__ import annotations` here: typer reads the annotations of this class as objects.
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from counter_attack.cli import _options as options
from counter_attack.cli._app import new_app
from counter_attack.cli._pool_run import Batch, PoolArguments, check_place, joined
from mipverify_py.cli import ExitCode, _parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from counter_attack.cli._compare_report import Brackets
    from counter_attack.cli._inputs import Opened

COMPUTE = "compute"
"""What --exact may say instead of a file."""

SECONDS_BETWEEN_LINES = 1.0
"""Progress of the exact searches is told at most this often."""

_TRUTH = "Exact distances"


@dataclass(frozen=True, slots=True)
class CompareArguments(PoolArguments):
    """Compare attacks with each other and with exact distances.

    counter-attack compare model.onnx --dataset digits --index 0:50 --attacks fgsm,pgd,fab --out table.csv

    With a the closest distance by attacks and t the exact one: difference is (mean(a) - mean(t)) / mean(t), < 1/255 the
    share of inputs with |t - a| < 1/255, R2 the squared correlation of a and t. Inputs whose exact distance is not
    known do not count.
    """

    exact: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            rich_help_panel=_TRUTH,
            help="compute (the default); or a .csv with the columns index and exact, or a table made with --out.",
        ),
    ] = COMPUTE
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            parser=_parse.number("a number of seconds above 0", lambda v: v > 0),
            rich_help_panel=_TRUTH,
            help="Stop each exact search after this time. Default: no limit.",
        ),
    ] = None
    configuration: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=options.OUTPUT,
            help="What the network is called in --out, such as digits-b-standard. Default: the model's name.",
        ),
    ] = None
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.csv",
            rich_help_panel=options.OUTPUT,
            help="Save all distances, in the columns that counter-attack ug100 and fit-buffer read.",
        ),
    ] = None
    plot: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.png", rich_help_panel=options.OUTPUT, help="Draw the pool's distances against the exact ones."
        ),
    ] = None
    json: options.Json = False
    quiet: options.Quiet = False

    def run(self) -> int:
        """Attacks, searches, compares, saves and shows; returns the exit code."""
        self._check()
        from counter_attack.cli import _compare_report as report
        from counter_attack.cli._tables import ProgressLine
        from counter_attack.detection import read_exact
        from onnx_models.errors import InputError

        line = ProgressLine(quiet=self.quiet)
        known = None if self.exact == COMPUTE else read_exact(self.exact)
        opened = self.open()
        if known is not None and not any(index in known for index in opened.indices):
            raise InputError(f"--exact {self.exact}: has the exact distance of none of these inputs.")
        batches: list[Batch] = [batch for batch in self.batches(opened, line.show) if batch.is_complete]
        found = joined(batches)
        if found is None:
            line.clear()
            raise KeyboardInterrupt
        attacks_cut_short = len(found) < len(opened.x)
        brackets = report.Brackets.unknown(len(found))
        if known is not None:
            brackets.fill(opened.indices, known)
        elif not attacks_cut_short:
            self._search(opened, brackets, line.show)
        line.clear()
        comparison = report.Comparison(
            opened=opened,
            configuration=self.configuration or report.configuration(opened.model),
            attack_set=self._attack_set(),
            found=found,
            brackets=brackets,
            interrupted=attacks_cut_short or brackets.interrupted,
        )
        if self.out is not None:
            report.save_table(comparison, Path(self.out))
        report.write(comparison, as_json=self.json)
        if self.plot is not None:
            report.draw(comparison, Path(self.plot))
        if comparison.interrupted:
            return ExitCode.INTERRUPTED
        return ExitCode.ANSWERED if bool(brackets.settled.all()) else ExitCode.UNKNOWN

    def _check(self) -> None:
        """Raises TyperException for what can be known to be wrong without reading anything."""
        self.check_inputs()
        check_place("--out", self.out, ".csv")
        check_place("--plot", self.plot, ".png")
        if self.timeout is not None and self.exact != COMPUTE:
            raise typer.TyperException("--timeout limits exact searches, and there are none; see --exact compute.")

    def _attack_set(self) -> str:
        """A name for the attacks' parameters."""
        given = self.parameters
        if given is None and self.attacks is not None and len(self.attacks.values) == 1:
            from counter_attack._parameters import SETS

            (name,) = self.attacks.values
            given = name if name in SETS or name.endswith(".toml") else None
        return "default" if given is None else Path(given).stem

    def _search(self, opened: "Opened", brackets: "Brackets", show: "Callable[[str], None]") -> None:
        """The exact distances one by one, until Ctrl-C."""
        from counter_attack.attacks import AttackStop
        from counter_attack.detection import ExactAttack
        from mipverify_py import Norm, Options

        attack = ExactAttack(Norm(self.norm), Options(time_limit=self.timeout, device=self.device))
        told = -math.inf
        for row, index in enumerate(opened.indices):
            if time.monotonic() - told >= SECONDS_BETWEEN_LINES:
                told = time.monotonic()
                show(f"exact distance of index {index} ({row + 1} of {len(opened.indices)})")
            label = None if opened.labels is None else opened.labels[row : row + 1]
            try:
                one = attack(opened.network, opened.x[row : row + 1], label, domain=opened.domain, seed=self.seed)
            except KeyboardInterrupt:
                brackets.interrupted = True
                return
            brackets.set(row, one)
            if one.stop_reason is AttackStop.INTERRUPTED:
                brackets.interrupted = True
                return


app = new_app()
app.command()(CompareArguments)
