"""`counter-attack universal`: one perturbation for all inputs, and what it does to inputs it was not made for."""

# No `from __future__ import annotations` here: typer reads the annotations of this class as objects.
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counter_attack.cli import _options as options
from counter_attack.cli._app import new_app
from counter_attack.cli._pool_run import check_place
from counter_attack.cli._subjects import SubjectArguments, Train
from mipverify_py.cli import ExitCode, _parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from counter_attack._subject import Subject
    from counter_attack.cli._inputs import Opened
    from counter_attack.detection import ExactResult
    from counter_attack.universal import UniversalPerturbation

METHODS = ("projection", "singular")

_PERTURBATION = "The perturbation"


@dataclass(frozen=True, slots=True)
class UniversalArguments(SubjectArguments):
    """Make one perturbation for all inputs, and count the inputs that it fools.

    counter-attack universal model.onnx --dataset digits --train 200:300 --index 0:200 --eps 0.2 --save v.npz

    Only inputs that the model gets right count. The interval is Wilson's for the share among all such inputs. With
    --exact the last row is a ceiling: no perturbation of this size, universal or not, fools more.
    """

    train: Train = None
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            parser=_parse.choice(METHODS),
            rich_help_panel=_PERTURBATION,
            help="projection (sums of DeepFool's steps) or singular (of a layer's Jacobian).",
        ),
    ] = "projection"
    eps: Annotated[
        float | None,
        typer.Option(
            metavar="E",
            parser=_parse.number("a radius above 0, such as 0.2", lambda v: v > 0),
            rich_help_panel=_PERTURBATION,
            help="Size of the perturbation in --norm.",
        ),
    ] = None
    share: Annotated[
        float,
        typer.Option(
            metavar="S",
            parser=_parse.number("a share above 0, at most 1", lambda v: 0 < v <= 1),
            rich_help_panel=_PERTURBATION,
            help="projection: end once this share of the training images is fooled.",
        ),
    ] = 0.8
    passes: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=_parse.whole("at least 1", lambda v: v >= 1),
            rich_help_panel=_PERTURBATION,
            help="projection: passes over the training images at most.",
        ),
    ] = 10
    layer: Annotated[
        int,
        typer.Option(
            metavar="K",
            parser=_parse.whole("a layer, at least 1", lambda v: v >= 1),
            rich_help_panel=_PERTURBATION,
            help="singular: 1 is what the first ReLUs get, the next ones follow, the last is the logits.",
        ),
    ] = 1
    q: Annotated[
        float,
        typer.Option(
            metavar="Q",
            parser=_parse.number("at least 1", lambda v: v >= 1),
            rich_help_panel=_PERTURBATION,
            help="singular: the norm of the layer's change that is made large.",
        ),
    ] = 10.0
    save: Annotated[
        str | None,
        typer.Option(metavar="FILE.npz", rich_help_panel=options.OUTPUT, help="Save the perturbation."),
    ] = None
    plot: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.png", rich_help_panel=options.OUTPUT, help="Draw it, and four images without and with it."
        ),
    ] = None

    def run(self) -> int:
        """Makes, counts, saves, draws and shows; returns the exit code."""
        self.check_inputs()
        self.check_truth()
        if self.eps is None:
            raise typer.TyperException("--eps is missing: the size of the perturbation, such as 0.2.")
        check_place("--save", self.save, ".npz")
        check_place("--plot", self.plot, ".png")
        from counter_attack.attacks import AttackStop
        from counter_attack.attacks._problem import SpentError
        from counter_attack.cli._tables import ProgressLine
        from counter_attack.universal import draw_universal

        line = ProgressLine(quiet=self.quiet)
        opened = self.open()
        learned = self.others(self.train, opened)
        classifier = opened.classifier(self.device)
        fitted, held_out = self.subject(learned, classifier), self.subject(opened, classifier)
        found = self._made(fitted, self.eps, line.show)
        shape, network = opened.network.input_shape, opened.network
        if self.save is not None:
            found.save(Path(self.save), shape, network.digest)
        if self.plot is not None:
            draw_universal(found, held_out, shape, self.plot)
        exact = None
        if found.stop is not AttackStop.INTERRUPTED:
            line.show(f"exact distances of {len(held_out)} inputs" if self.exact else "counting")
            with suppress(SpentError):
                exact = self.searched(held_out)
        line.clear()
        self._report(opened, (fitted, held_out), found, exact)
        stops = {found.stop} | ({exact.stop_reason} if exact is not None else set())
        if AttackStop.INTERRUPTED in stops:
            return ExitCode.INTERRUPTED
        settled = not self.exact if exact is None else bool(exact.exact.all())
        return ExitCode.ANSWERED if settled else ExitCode.UNKNOWN

    def _made(self, fitted: "Subject", eps: float, show: "Callable[[str], None]") -> "UniversalPerturbation":
        from counter_attack.universal import by_projection, by_singular_vector, singular_vector

        if self.method == "projection":
            return by_projection(fitted, eps, share=self.share, passes=self.passes, seconds=self.seconds, tell=show)
        show(f"singular vectors of layer {self.layer}")
        return by_singular_vector(fitted, eps, singular_vector(fitted, layer=self.layer, q=self.q))

    def _report(
        self,
        opened: "Opened",
        subjects: "tuple[Subject, Subject]",
        found: "UniversalPerturbation",
        exact: "ExactResult | None",
    ) -> None:
        from importlib.metadata import version

        from counter_attack.cli._subjects import ceiling_rows, heading, share_cells, share_columns
        from counter_attack.cli._tables import TableWriter
        from counter_attack.ug100 import Column, Table
        from counter_attack.universal import random_perturbation
        from mipverify_py.cli._json import SCHEMA, write_line
        from mipverify_py.cli._output import Output

        rows: list[dict[str, Any]] = []
        for place, subject in zip(("training", "held out"), subjects, strict=True):
            for v in (found, random_perturbation(subjects[0], found.eps)):
                share = v.fooling(subject)
                rows.append({"name": v.method, "place": place, **share_cells(share.count, share.of)})
        if exact is not None:
            rows += ceiling_rows(exact, found.eps, place="held out")
        table = Table(
            name="fooling",
            title=f"One perturbation of size {found.eps:g} for all inputs",
            columns=(Column("name", "perturbation", "text"), Column("place", "images", "text"), *share_columns()),
            rows=tuple(rows),
            note=f"The {found.method} method ended: {_ENDS[found.stop.value]} ({len(found.progress)} steps).",
        )
        if not self.json:
            out = Output()
            out.line(heading(opened, subjects[1]))
            out.line("")
            out.flush()
        TableWriter(as_json=self.json, folder=None).add(table)
        if self.json:
            write_line(
                {
                    "schema": SCHEMA,
                    "kind": "universal",
                    "version": version("mipverify-py"),
                    "model": opened.model,
                    "digest": opened.network.digest,
                    "method": found.method,
                    "norm": found.norm.value,
                    "eps": found.eps,
                    "stop": found.stop.value,
                    "progress": list(found.progress),
                    "indices": opened.indices,
                    "open": None if exact is None else int((~exact.exact).sum()),
                }
            )


_ENDS = {
    "finished": "it had what it looked for, or no step was of use any more",
    "budget": "all its passes or steps were done",
    "time": "its time was used up",
    "interrupted": "interrupted",
}


app = new_app()
app.command()(UniversalArguments)
