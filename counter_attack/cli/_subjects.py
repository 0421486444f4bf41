"""What `universal`, `transfer` and `diagnose` share: inputs that the model gets right, others to learn from, and truth.

Importing this module loads neither numpy nor torch.
"""

# No `from __future__ import annotations` here: typer reads the annotations of these classes as objects.
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from counter_attack.cli import _options as options
from counter_attack.cli._inputs import InputArguments
from mipverify_py.cli import _parse
from mipverify_py.cli._parse import Indices

if TYPE_CHECKING:
    from counter_attack._classifier import Classifier
    from counter_attack._subject import Subject
    from counter_attack.cli._inputs import Opened
    from counter_attack.detection import ExactResult

TRUTH = "Exact distances"
"""The heading of the options below in `--help`."""

Exact = Annotated[
    bool,
    typer.Option("--exact", rich_help_panel=TRUTH, help="Search the exact distance of each input attacked, too."),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        parser=_parse.number("a number of seconds above 0", lambda v: v > 0),
        rich_help_panel=TRUTH,
        help="Stop each exact search after this time; its bracket stays open. Default: no limit.",
    ),
]
Seconds = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        parser=_parse.number("a number of seconds above 0", lambda v: v > 0),
        rich_help_panel=options.OUTPUT,
        help="End all work after this time, with what is done by then. Default: no limit.",
    ),
]
Train = Annotated[
    Indices | None,
    typer.Option(
        "--train",
        metavar="RANGES",
        parser=_parse.indices,
        rich_help_panel=options.INPUTS,
        help="Which images to learn from, such as 200:400; --index names others, on which the outcome is counted.",
    ),
]


@dataclass(frozen=True, slots=True)
class SubjectArguments(InputArguments):
    """The options of inputs, their perturbations and exact distances."""

    norm: options.NormName = "linf"
    device: options.Device = "cpu"
    seed: options.Seed = 0
    exact: Exact = False
    timeout: Timeout = None
    seconds: Seconds = None
    json: options.Json = False
    quiet: options.Quiet = False

    def check_truth(self) -> None:
        """Raises TyperException for a limit of searches that are not asked for."""
        if self.timeout is not None and not self.exact:
            raise typer.TyperException("--timeout limits exact searches, and there are none; add --exact.")

    def subject(self, opened: "Opened", classifier: "Classifier") -> "Subject":
        """The inputs that the model gets right; raises InputError if there is none."""
        from counter_attack._subject import Subject
        from mipverify_py import Norm

        made = Subject.of(
            classifier, opened.x, opened.labels, norm=Norm(self.norm), domain=opened.domain, seed=self.seed
        )
        return made if self.seconds is None else replace(made, deadline=time.monotonic() + self.seconds)

    def others(self, train: Indices | None, opened: "Opened") -> "Opened":
        """The images of --train, with the same model.

        Raises:
            typer.TyperException: there is no --train, or it shares an image with --index.
        """
        if train is None:
            raise typer.TyperException("Which images to learn from is missing; give them as --train, such as 200:400.")
        changed: Any = replace(self, index=train)
        others: Opened = changed.open()
        both = sorted(set(opened.indices) & set(others.indices))
        if both:
            raise typer.TyperException(
                f"--train and --index share image {both[0]}; the outcome has to be counted on images not learned from."
            )
        return others

    def searched(self, subject: "Subject") -> "ExactResult | None":
        """Brackets of exact distances, those known by a limit or a Ctrl-C; None without --exact.

        Raises:
            SpentError: the subject's deadline is over.
        """
        if not self.exact:
            return None
        from counter_attack.detection import ExactAttack
        from mipverify_py import Options

        attack = ExactAttack(subject.norm, Options(time_limit=self.timeout, device=self.device))
        return attack(
            subject.classifier, subject.x, subject.label, domain=subject.domain, seed=self.seed, budget=subject.left()
        )


def heading(opened: "Opened", subject: "Subject") -> str:
    """What model, data and how many inputs a report is about."""
    from counter_attack.cli._attack_report import NORMS
    from mipverify_py.cli._printable import printable

    count = f"{len(subject)} of {len(opened.x)} inputs count, which the model gets right"
    if opened.labels is None:
        count = f"{len(subject)} inputs, the classes to keep are the model's own"
    return f"{printable(opened.model)}: {printable(opened.source)}, {NORMS[subject.norm.value]}; {count}"


def share_cells(count: int, of: int) -> dict[str, Any]:
    """A share in percent and its interval, for a row of a table with `share_columns`."""
    from counter_attack._share import Share

    share = Share(count, of)
    low, high = share.interval
    return {"fooled": count, "of": of, "percent": 100 * share.ratio, "low": 100 * low, "high": 100 * high}


def share_columns() -> tuple[Any, ...]:
    """The columns for `share_cells`."""
    from counter_attack.ug100 import Column

    return (
        Column("fooled", "fooled", "count"),
        Column("of", "of", "count"),
        Column("percent", "fooling\nratio %", "percent"),
        Column("low", "95 %\nfrom", "percent"),
        Column("high", "\nto", "percent"),
    )


def ceiling_rows(exact: "ExactResult", eps: float, /, **cells: Any) -> list[dict[str, Any]]:
    """Rows that say how many inputs can be fooled at all within eps: one if that is known, else both ends."""
    low, high = int((exact.upper <= eps).sum()), int((exact.lower <= eps).sum())
    if low == high:
        return [{**cells, "name": "exact: has an example", **share_cells(low, len(exact.upper))}]
    return [
        {**cells, "name": "exact: at least", **share_cells(low, len(exact.upper))},
        {**cells, "name": "exact: at most", **share_cells(high, len(exact.upper))},
    ]
