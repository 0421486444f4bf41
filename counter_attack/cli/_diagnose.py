"""`counter-attack diagnose`: do gradients mislead? Checks that warn, fooling curves, and robustness measures."""

# No `from __future__ import annotations` here: typer reads the annotations of this class as objects.
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counter_attack.cli import _options as options
from counter_attack.cli._app import new_app
from counter_attack.cli._pool_run import check_place
from counter_attack.cli._subjects import SubjectArguments
from mipverify_py.cli import ExitCode, _parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from counter_attack.cli._diagnose_report import Outcome

POINTS = 8
"""Radii of the curves by default, up to twice --eps."""

_CHECKS = "The checks"


@dataclass(frozen=True, slots=True)
class DiagnoseArguments(SubjectArguments):
    """Look for signs that a model hides its gradients rather than being robust.

    counter-attack diagnose model.onnx --dataset digits --index 0:50 --eps 0.1 --exact --plot curves.png

    The exit code is 1 if a check warns. Only inputs that the model gets right count. With --exact the last check is a
    proof: the attack fails where there is a checked example.
    """

    eps: Annotated[
        float | None,
        typer.Option(
            metavar="E",
            parser=_parse.number("a radius above 0, such as 0.1", lambda v: v > 0),
            rich_help_panel=_CHECKS,
            help="The radius, in --norm, at which the model is said to be robust.",
        ),
    ] = None
    attack: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            parser=_parse.choice(("bim", "pgd")),
            rich_help_panel=_CHECKS,
            help="The attack by gradients that is looked at: bim, or pgd, whose random start can hide vanishing ones.",
        ),
    ] = "bim"
    steps: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=_parse.whole("at least 1", lambda v: v >= 1),
            rich_help_panel=_CHECKS,
            help="Its steps; all together are 2.5 times as long as the radius.",
        ),
    ] = 100
    samples: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=_parse.whole("at least 1", lambda v: v >= 1),
            rich_help_panel=_CHECKS,
            help="Random points per input in the check by sampling.",
        ),
    ] = 1000
    queries: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=_parse.whole("at least 1", lambda v: v >= 1),
            rich_help_panel=_CHECKS,
            help="Queries per input of the black-box attack Square.",
        ),
    ] = 1000
    curves: Annotated[
        str,
        typer.Option(
            metavar="NAMES", rich_help_panel=options.ATTACKS, help="Attacks to draw curves and take measures of."
        ),
    ] = "fgsm,bim,deepfool"
    out: Annotated[
        str | None,
        typer.Option(metavar="DIR", rich_help_panel=options.OUTPUT, help="Save every table as a .csv file there."),
    ] = None
    plot: Annotated[
        str | None,
        typer.Option(metavar="FILE.png", rich_help_panel=options.OUTPUT, help="Draw the fooling curves."),
    ] = None

    def run(self) -> int:
        """Checks, measures, draws and shows; returns the exit code."""
        self.check_inputs()
        self.check_truth()
        if self.eps is None:
            raise typer.TyperException("--eps is missing: the radius at which the model is said to be robust.")
        check_place("--plot", self.plot, ".png")
        from counter_attack.attacks._problem import SpentError
        from counter_attack.cli._diagnose_report import Outcome, write
        from counter_attack.cli._tables import ProgressLine, make_folder
        from counter_attack.diagnostics import draw_curves

        if self.out is not None:
            make_folder(Path(self.out))
        line = ProgressLine(quiet=self.quiet)
        opened = self.open()
        subject = self.subject(opened, opened.classifier(self.device))
        outcome = Outcome(opened, subject, self.eps)
        try:
            self._fill(outcome, line.show)
        except KeyboardInterrupt:
            outcome.interrupted = True
        except SpentError:
            outcome.late = True
        line.clear()
        write(outcome, as_json=self.json, folder=None if self.out is None else Path(self.out))
        if self.plot is not None and (outcome.curves or outcome.exact_curve is not None):
            title = f"Fooling ratio, {len(subject)} inputs"
            draw_curves(outcome.curves, outcome.exact_curve, self.plot, title=title)
        return self._exit_code(outcome)

    def _fill(self, outcome: "Outcome", show: "Callable[[str], None]") -> None:
        """Does the work, in the order in which it is of most use if Ctrl-C ends it."""
        from counter_attack.attacks import BIM, PGD, AttackStop
        from counter_attack.cli._inputs import named_attacks
        from counter_attack.diagnostics import Plan, diagnose, exact_curve, fooling_curve, measures

        subject = outcome.subject
        assert self.eps is not None
        named = named_attacks(_parse.names(self.curves), None, None, norm=self.norm)
        looked_at = (BIM if self.attack == "bim" else PGD)(norm=subject.norm, steps=self.steps)
        plan = Plan(self.eps, looked_at, self.samples, self.queries)
        if self.exact:
            show(f"exact distances of {len(subject)} inputs")
            outcome.exact = self.searched(subject)
        radii = [2 * self.eps * (k + 1) / POINTS for k in range(POINTS)]
        if outcome.exact is not None:
            outcome.exact_curve = exact_curve(outcome.exact, radii)
            outcome.measures = measures(subject, {}, outcome.exact)
        if outcome.exact is not None and outcome.exact.stop_reason is AttackStop.INTERRUPTED:
            raise KeyboardInterrupt
        for finding in diagnose(subject, plan, outcome.exact, tell=show):
            outcome.findings.append(finding)
        found: dict[str, Any] = {}
        for name, attack in named.items():
            show(f"curve of {name}")
            outcome.curves.append(fooling_curve(subject, name, attack, radii))
            show(f"distances by {name}")
            found[name] = subject.attacked(attack)
            outcome.measures = measures(subject, found, outcome.exact)

    def _exit_code(self, outcome: "Outcome") -> int:
        if outcome.interrupted:
            return ExitCode.INTERRUPTED
        if any(finding.warns for finding in outcome.findings):
            return ExitCode.ADVERSARIAL
        settled = not outcome.late and (outcome.exact is None or bool(outcome.exact.exact.all()))
        return ExitCode.ANSWERED if settled else ExitCode.UNKNOWN


app = new_app()
app.command()(DiagnoseArguments)
