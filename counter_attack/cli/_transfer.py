"""`counter-attack transfer`: black-box attacks by substitutes, single ones and ensembles."""

# No `from __future__ import annotations` here: typer reads the annotations of this class as objects.
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counter_attack.cli import _options as options
from counter_attack.cli._app import new_app
from counter_attack.cli._pool_run import check_place
from counter_attack.cli._subjects import SubjectArguments, Train
from mipverify_py.cli import ExitCode, _parse
from mipverify_py.cli._parse import Names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from counter_attack._classifier import Classifier
    from counter_attack._subject import Subject
    from counter_attack.cli._inputs import Opened

WHITE_BOX = "the model itself"
"""Name of the row in which examples are made on the target."""

HIDDEN = ((64,), (32,), (48, 24))
"""Hidden layers of the substitutes, in turn."""

_SOURCES = "What examples are made on"


@dataclass(frozen=True, slots=True)
class TransferArguments(SubjectArguments):
    """Make examples on other models, and count those that fool this one.

    counter-attack transfer model.onnx --dataset digits --train 200:300 --index 0:100 --eps 0.1,0.2

    Substitutes are trained on classes that the model predicts for the images of --train and for new ones made of them;
    nothing else of it is used. Or name models of your own with --models. The last rows are for comparison: examples
    made on the model itself and, with --exact, how many inputs have one.
    """

    train: Train = None
    eps: Annotated[
        str,
        typer.Option(metavar="NUMBERS", rich_help_panel=_SOURCES, help="Radii, such as 0.1,0.2, in --norm."),
    ] = "0.1"
    substitutes: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=_parse.whole("at least 1", lambda v: v >= 1),
            rich_help_panel=_SOURCES,
            help="How many to train, each with other weights and layers.",
        ),
    ] = 2
    rounds: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=_parse.whole("1 to 12", lambda v: 1 <= v <= 12),
            rich_help_panel=_SOURCES,
            help="Trainings of each substitute; between two of them its training set doubles.",
        ),
    ] = 4
    models: Annotated[
        Names | None,
        typer.Option(
            metavar="FILES",
            parser=_parse.names,
            rich_help_panel=_SOURCES,
            help="Models to make examples on instead, .onnx files or zoo:NAME, separated by commas.",
        ),
    ] = None
    steps: Annotated[
        int,
        typer.Option(
            metavar="N",
            parser=_parse.whole("at least 1", lambda v: v >= 1),
            rich_help_panel=_SOURCES,
            help="Steps along the gradient; 1 is FGSM.",
        ),
    ] = 20
    save: Annotated[
        str | None,
        typer.Option(metavar="FILE.npz", rich_help_panel=options.OUTPUT, help="Save the examples of every source."),
    ] = None

    def run(self) -> int:
        """Trains, attacks, counts and shows; returns the exit code."""
        self.check_inputs()
        self.check_truth()
        check_place("--save", self.save, ".npz")
        if self.models is not None and self.train is not None:
            raise typer.TyperException("--models names what examples are made on, so nothing is trained on --train.")
        radii = radii_of(self.eps)
        from counter_attack.attacks import AttackStop
        from counter_attack.attacks._problem import SpentError
        from counter_attack.cli._tables import ProgressLine

        line = ProgressLine(quiet=self.quiet)
        opened = self.open()
        classifier = opened.classifier(self.device)
        subject = self.subject(opened, classifier)
        learned = None if self.models is not None else self.subject(self.others(self.train, opened), classifier)
        report, interrupted, late, exact = _Report(opened, subject, radii), False, False, None
        try:
            for name, source, asked in self._sources(learned, subject, line.show):
                report.add(name, source, asked, self.steps)
            report.add_ensembles(self.steps)
            report.add(WHITE_BOX, classifier, None, self.steps)
            if self.exact:
                line.show(f"exact distances of {len(subject)} inputs")
            exact = self.searched(subject)
            interrupted = exact is not None and exact.stop_reason is AttackStop.INTERRUPTED
        except KeyboardInterrupt:
            interrupted = True
        except SpentError:
            late = True
        line.clear()
        if exact is not None:
            report.add_exact(exact)
        if self.save is not None:
            report.save(self.save)
        ended = "Interrupted" if interrupted else "The time was used up" if late else None
        report.write(as_json=self.json, ended=ended)
        if interrupted:
            return ExitCode.INTERRUPTED
        settled = not late and (exact is None or bool(exact.exact.all()))
        return ExitCode.ANSWERED if settled else ExitCode.UNKNOWN

    def _sources(
        self, learned: "Subject | None", subject: "Subject", show: "Callable[[str], None]"
    ) -> "Iterator[tuple[str, Classifier, int | None]]":
        """Name, model and number of queries of each source."""
        from counter_attack._classifier import Classifier
        from counter_attack.transfer import SubstitutePlan, oracle_of, train_substitute
        from mipverify_py.cli._inputs import load_model

        if learned is None:
            assert self.models is not None
            for name in self.models.values:
                source = Classifier.of(load_model(name), device=self.device)
                takes, given = math.prod(source.shape), subject.x.shape[1]
                if takes != given:
                    raise typer.TyperException(
                        f"{name} takes {takes} entries, the inputs have {given}; name models for these."
                    )
                yield name, source, None
            return
        classes = int(subject.problem().is_target.shape[1])
        for number in range(self.substitutes):
            show(f"substitute {number + 1} of {self.substitutes}")
            hidden = HIDDEN[number % len(HIDDEN)]
            plan = SubstitutePlan(rounds=self.rounds, hidden=hidden, seed=self.seed + number)
            made = train_substitute(
                oracle_of(subject.classifier), learned.x, plan, classes=classes, domain=subject.domain
            )
            words = "-".join(str(units) for units in hidden)
            yield f"substitute {number + 1} ({words})", made.classifier, made.queries


class _Report:
    """Rows as they come."""

    def __init__(self, opened: "Opened", subject: "Subject", radii: tuple[float, ...]) -> None:
        self.opened, self.subject, self.radii = opened, subject, radii
        self._rows: list[dict[str, Any]] = []
        self._sources: list[Classifier] = []
        self._points: dict[str, Any] = {}

    def add(self, name: str, source: "Classifier", queries: int | None, steps: int, *, single: bool = True) -> None:
        """A source at all radii."""
        from counter_attack.cli._subjects import share_cells
        from counter_attack.transfer import oracle_of, transfer

        if single and name != WHITE_BOX:
            self._sources.append(source)
        agrees = 100 * float((oracle_of(source)(self.subject.x) == self.subject.label).mean())
        for eps in self.radii:
            self.subject.left()  # raises SpentError after the deadline
            found = transfer(self.subject, name, source, eps, steps=steps)
            self._points[f"{name}, {eps:g}"] = found.points
            self._rows.append(
                {
                    "name": name,
                    "eps": eps,
                    "queries": queries,
                    "agrees": agrees,
                    "on_source": 100 * float(found.on_source.mean()),
                    **share_cells(found.share.count, found.share.of),
                }
            )

    def add_ensembles(self, steps: int) -> None:
        """Means of all sources so far, if there are several."""
        from counter_attack.transfer import ensemble

        if len(self._sources) > 1:
            self.add("mean of probabilities", ensemble(self._sources), None, steps, single=False)
            self.add("mean of logits", ensemble(self._sources, "logits"), None, steps, single=False)

    def add_exact(self, exact: Any) -> None:
        """How many inputs have an example at all."""
        from counter_attack.cli._subjects import ceiling_rows

        for eps in self.radii:
            self._rows += ceiling_rows(exact, eps, eps=eps)

    def save(self, path: str) -> None:
        """The examples, by source and radius, and the inputs."""
        import io
        from pathlib import Path

        import numpy as np

        from counter_attack.training._files import write_whole

        shape, stream = self.opened.network.input_shape, io.BytesIO()
        np.savez(
            stream,
            index=np.array([self.opened.indices[row] for row in self.subject.kept.tolist()]),
            x0=self.subject.x.reshape(-1, *shape),
            names=np.array(list(self._points)),
            adversarial=np.stack([points.reshape(-1, *shape) for points in self._points.values()])
            if self._points
            else np.zeros((0, len(self.subject), *shape)),
        )
        write_whole(Path(path), stream.getvalue())

    def write(self, *, as_json: bool, ended: str | None) -> None:
        """Shows the table; `ended` is what cut it short."""
        from counter_attack.cli._subjects import heading, share_columns
        from counter_attack.cli._tables import TableWriter
        from counter_attack.ug100 import Column, Table
        from mipverify_py.cli._output import Output

        table = Table(
            name="transfer",
            title="Examples made on other models, counted on this one",
            columns=(
                Column("name", "made on", "text"),
                Column("eps", "eps", "distance"),
                Column("queries", "queries", "count"),
                Column("agrees", "agrees\n%", "percent"),
                Column("on_source", "fools its\nsource %", "percent"),
                *share_columns(),
            ),
            rows=tuple(self._rows),
            note="" if ended is None else f"{ended}: what was done by then.",
        )
        if not as_json:
            out = Output()
            out.line(heading(self.opened, self.subject))
            out.line("")
            out.flush()
        TableWriter(as_json=as_json, folder=None).add(table)


def radii_of(text: str) -> tuple[float, ...]:
    """Ascending radii above 0 from a comma list; raises TyperException for anything else."""
    parse = _parse.number("a radius above 0", lambda v: v > 0)
    radii = tuple(parse(part.strip()) for part in text.split(","))
    if list(radii) != sorted(set(radii)):
        raise typer.TyperException(f"--eps {text}: radii have to ascend, such as 0.1,0.2.")
    return radii


app = new_app()
app.command()(TransferArguments)
