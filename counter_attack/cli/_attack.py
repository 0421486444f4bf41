"""`counter-attack attack`: the closest adversarial example of each input, by one attack or a pool of them."""

# No `from __future__ import annotations` here: typer reads the annotations of this class as objects.
from dataclasses import dataclass
from typing import Annotated

import typer

from counter_attack.cli import _options as options
from counter_attack.cli._app import new_app
from counter_attack.cli._pool_run import PoolArguments, check_place
from mipverify_py.cli import ExitCode, _parse


@dataclass(frozen=True, slots=True)
class AttackArguments(PoolArguments):
    """Look for the nearest adversarial examples with one attack or a pool of them.

    counter-attack attack model.onnx --dataset digits --index 0:50 --attacks pgd,deepfool,fab --finish

    Distances are upper ends: no attack proves that there is nothing nearer (`verify` does). An input that the model
    gets wrong has distance 0.
    """

    eps: Annotated[
        float | None,
        typer.Option(
            metavar="E",
            parser=_parse.number("a radius that is at least 0, such as 0.1", lambda v: v >= 0),
            rich_help_panel=options.OUTPUT,
            help="Say of which inputs the closest example lies within this radius; the exit code is 1 if any does.",
        ),
    ] = None
    save: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.npz",
            rich_help_panel=options.OUTPUT,
            help="Save examples and all distances, anew after every batch.",
        ),
    ] = None
    json: options.Json = False
    quiet: options.Quiet = False

    def run(self) -> int:
        """Attacks batch by batch, shows and saves each as it comes; returns the exit code."""
        self.check_inputs()
        check_place("--save", self.save, ".npz")
        from counter_attack.cli._attack_report import JsonReport, Report, TextReport, save_examples
        from counter_attack.cli._pool_run import Batch
        from counter_attack.cli._tables import ProgressLine

        line = ProgressLine(quiet=self.quiet)
        opened = self.open()
        batches = self.batches(opened, line.show)
        report: Report = (JsonReport if self.json else TextReport)(opened, self.norm, self.eps)
        done: list[Batch] = []
        for batch in batches:
            done.append(batch)
            line.clear()
            if self.save is not None:
                save_examples(opened, done, self.save)
            report.add(batch)
        line.clear()
        report.end()
        if sum(len(batch.rows) for batch in done) < len(opened.x) or not done[-1].is_complete:
            return ExitCode.INTERRUPTED
        return ExitCode.ADVERSARIAL if report.within else ExitCode.ANSWERED


app = new_app()
app.command()(AttackArguments)
