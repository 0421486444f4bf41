"""`counter-attack unified`: the linearised attack, by the names of known attacks or by its parameters."""

# No `from __future__ import annotations` here: typer reads the annotations of this class as objects.
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counter_attack.cli import _options as options
from counter_attack.cli._app import new_app
from counter_attack.cli._inputs import InputArguments
from counter_attack.cli._pool_run import Batch, check_place
from counter_attack.unified._settings import PRESETS
from mipverify_py.cli import ExitCode, _parse
from mipverify_py.cli._arguments import NORMS
from mipverify_py.cli._parse import Classes, Names

if TYPE_CHECKING:
    from counter_attack.attacks import Attack
    from counter_attack.cli._inputs import Opened

BATCH = 100
"""Inputs attacked side by side."""

_LINEAR, _TRUTH = "The linearised problem", "Exact distances"


@dataclass(frozen=True, slots=True)
class UnifiedArguments(InputArguments):
    """The linearised attack: FGSM, DeepFool, PGD, one-pixel attacks and others as cases of one closed form.

    counter-attack unified model.onnx --dataset digits --index 0:20 --preset fgsm,gnm,deepfool --exact

    counter-attack unified model.onnx --dataset digits --problem minimum --groups pixels --subsets 3

    With --preset, the other options change the preset's parameters. Distances are upper ends, as those of every attack.
    """

    preset: Annotated[
        Names | None,
        typer.Option(
            metavar="NAMES",
            parser=_parse.names,
            rich_help_panel=_LINEAR,
            help=f"A comma list of {', '.join(PRESETS)}. Default: margin, minimum, within the domain.",
        ),
    ] = None
    objective: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            parser=_parse.choice(("cross-entropy", "margin", "targeted", "output-change")),
            rich_help_panel=_LINEAR,
            help="What is made to grow: cross-entropy, margin, targeted (to be the class itself) or output-change.",
        ),
    ] = None
    problem: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            parser=_parse.choice(("constrained", "minimum")),
            rich_help_panel=_LINEAR,
            help="constrained: the most within a radius; minimum: the smallest perturbation onto the boundary.",
        ),
    ] = None
    norm: options.NormName = "linf"
    output_norm: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            parser=_parse.choice(NORMS),
            rich_help_panel=_LINEAR,
            help="How output-change measures outputs: linf, l1 or l2 (the default).",
        ),
    ] = None
    eps: Annotated[
        float | None,
        typer.Option(
            metavar="E",
            parser=_parse.number("a radius above 0, such as 0.1", lambda v: v > 0),
            rich_help_panel=_LINEAR,
            help="The radius of constrained problems; default: the least that succeeds. Any example within it: code 1.",
        ),
    ] = None
    iterations: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            parser=_parse.whole("at least 1", lambda v: v >= 1),
            rich_help_panel=_LINEAR,
            help="How often the objective is linearised anew at most.",
        ),
    ] = None
    step_size: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            parser=_parse.number("a length above 0", lambda v: v > 0),
            rich_help_panel=_LINEAR,
            help="Length of a constrained step, each followed by a projection. Default: eps / iterations.",
        ),
    ] = None
    dither: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            parser=_parse.number("at least 0", lambda v: v >= 0),
            rich_help_panel=_LINEAR,
            help="Take each gradient at a point moved by uniform noise of at most this.",
        ),
    ] = None
    groups: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            parser=_parse.choice(("entries", "pixels")),
            rich_help_panel=_LINEAR,
            help="What --subsets counts: entries, or pixels with all their channels.",
        ),
    ] = None
    subsets: Annotated[
        int | None,
        typer.Option(
            metavar="M",
            parser=_parse.whole("at least 1", lambda v: v >= 1),
            rich_help_panel=_LINEAR,
            help="Change so many entries or pixels at most. Default: all entries.",
        ),
    ] = None
    targets: Annotated[
        Classes | None,
        typer.Option(
            metavar="CLASSES",
            parser=_parse.classes,
            rich_help_panel=_LINEAR,
            help="Only these classes count as wrong, such as 3 or 0,2. Default: all but the label.",
        ),
    ] = None
    device: options.Device = "cpu"
    seed: options.Seed = 0
    exact: Annotated[
        bool,
        typer.Option("--exact", rich_help_panel=_TRUTH, help="Search the exact distances, too, for the last table."),
    ] = False
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            parser=_parse.number("a number of seconds above 0", lambda v: v > 0),
            rich_help_panel=_TRUTH,
            help="Stop each exact search, or the steps that change outputs, after this time. Default: no limit.",
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
    out: Annotated[
        str | None,
        typer.Option(metavar="DIR", rich_help_panel=options.OUTPUT, help="Save the last table there as .csv."),
    ] = None
    json: options.Json = False
    quiet: options.Quiet = False

    def run(self) -> int:
        """Attacks batch by batch, shows and saves each as it comes; returns the exit code."""
        self.check_inputs()
        check_place("--save", self.save, ".npz")
        from counter_attack.cli._tables import ProgressLine, make_folder

        if self.out is not None:
            make_folder(Path(self.out))
        if self._is_regression:
            return self._regression()
        if self.timeout is not None and not self.exact:
            raise typer.TyperException("--timeout limits exact searches, and there are none; add --exact.")
        named = self._named()
        line = ProgressLine(quiet=self.quiet)
        return self._attack(self.open(), named, line.show, line.clear)

    @property
    def _presets(self) -> tuple[str, ...]:
        return ("linearised",) if self.preset is None else self.preset.values

    @property
    def _is_regression(self) -> bool:
        return self.objective == "output-change" or (self.objective is None and self._presets == ("regression",))

    def _changes(self) -> dict[str, Any]:
        """The parameters given on the command line."""
        from mipverify_py import Norm

        given = {
            "objective": self.objective,
            "problem": self.problem,
            "steps": self.iterations,
            "step_size": self.step_size,
            "dither": self.dither,
            "groups": self.groups,
            "subsets": self.subsets,
            "output_norm": None if self.output_norm is None else Norm(self.output_norm),
        }
        return {name: value for name, value in given.items() if value is not None}

    def _named(self) -> "dict[str, Attack]":
        """The attacks by name; those of a constrained problem have the radius."""
        from counter_attack.unified import LinearisedAttack, preset_attack
        from mipverify_py import Norm

        named: dict[str, Attack] = {}
        for name in self._presets:
            changes = self._changes()
            problem = changes.get("problem", PRESETS.get(name, {}).get("problem", "minimum"))
            if self.eps is not None and problem == "constrained":
                changes["eps"] = self.eps
            if name == "linearised":
                named[name] = LinearisedAttack(norm=Norm(self.norm), **changes)
            else:
                named[name] = preset_attack(name, Norm(self.norm), **changes)
        return named

    def _attack(
        self, opened: "Opened", named: "dict[str, Attack]", show: Callable[[str], None], clear: Callable[[], None]
    ) -> int:
        from counter_attack.attacks import AttackStop
        from counter_attack.cli._attack_report import JsonReport, Report, TextReport, save_examples
        from counter_attack.cli._unified_report import show_table

        report: Report = (JsonReport if self.json else TextReport)(opened, self.norm, self.eps)
        done: list[Batch] = []
        for batch in self._batches(opened, named, show):
            done.append(batch)
            clear()
            if self.save is not None:
                save_examples(opened, done, self.save)
            report.add(batch)
        clear()
        report.end()
        complete = [batch for batch in done if batch.is_complete]
        exact = show_table(self, opened, complete, show, clear)
        stopped = exact is not None and exact.stop_reason is AttackStop.INTERRUPTED
        if sum(len(batch.rows) for batch in complete) < len(opened.x) or stopped:
            return ExitCode.INTERRUPTED
        if exact is not None and not exact.exact.all():
            return ExitCode.UNKNOWN
        return ExitCode.ADVERSARIAL if report.within else ExitCode.ANSWERED

    def _batches(self, opened: "Opened", named: "dict[str, Attack]", show: Callable[[str], None]) -> "Iterator[Batch]":
        """The attacks on one batch after the other; after Ctrl-C the last batch may be partial, or missing."""
        from counter_attack.pool import Pool, PoolProgress

        classifier, count = opened.classifier(self.device), len(opened.x)
        for start in range(0, count, BATCH):
            rows = range(start, min(start + BATCH, count))

            def tell(progress: PoolProgress, rows: range = rows) -> None:
                if progress.result is None:
                    show(f"{progress.attack} on inputs {rows.start + 1} to {rows.stop} of {count}")

            pool, chosen = Pool(named, tell), slice(rows.start, rows.stop)
            try:
                found = pool(
                    classifier,
                    opened.x[chosen],
                    None if opened.labels is None else opened.labels[chosen],
                    None if self.targets is None else list(self.targets.values),
                    domain=opened.domain,
                    seed=self.seed,
                )
            except KeyboardInterrupt:
                return
            yield Batch(rows, pool.names, found)
            if found.interrupted:
                return

    def _regression(self) -> int:
        """Shows how far the outputs can be moved; success is not a question here."""
        from counter_attack.attacks import AttackStop
        from counter_attack.cli._unified_report import show_changes

        if self.eps is None:
            raise typer.TyperException("A change of outputs needs a radius; give --eps, such as --eps 0.1.")
        unused = [
            option
            for option, value in (
                ("--problem minimum", self.problem == "minimum"),
                ("--dither", self.dither),
                ("--groups", self.groups),
                ("--subsets", self.subsets),
                ("--step-size", self.step_size),
                ("--targets", self.targets),
                ("--exact", self.exact),
                (f"--preset {','.join(self._presets)}", self.preset is not None and self._presets != ("regression",)),
            )
            if value
        ]
        if unused:
            raise typer.TyperException(f"{unused[0]} has no meaning for a change of outputs; leave it out.")
        stop = show_changes(self, self.open(), iterations=self.iterations or int(PRESETS["regression"]["steps"]))
        return ExitCode.INTERRUPTED if stop is AttackStop.INTERRUPTED else ExitCode.ANSWERED


app = new_app()
app.command()(UnifiedArguments)
