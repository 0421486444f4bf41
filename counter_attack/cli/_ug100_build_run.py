"""What `counter-attack ug100 build` does, and what it shows meanwhile and in the end."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counter_attack.cli._app import PROGRAM
from counter_attack.cli._campaign_progress import CampaignProgress
from counter_attack.cli._campaign_run import stopped_by_sigterm
from counter_attack.cli._tables import ProgressLine
from counter_attack.cli._train_progress import TrainingProgress, noted_interrupts
from counter_attack.ug100._build import BuildInterruptedError, BuildPlan, build_ug100
from counter_attack.ug100._build_models import TrainingWatch
from mipverify_py.cli import ExitCode
from mipverify_py.cli._complain import complain
from mipverify_py.cli._json import SCHEMA, write_line
from mipverify_py.cli._numbers import seconds
from mipverify_py.cli._output import Output
from mipverify_py.cli._printable import printable
from onnx_models.errors import MipverifyError

if TYPE_CHECKING:
    from counter_attack.cli._ug100_build import BuildArguments
    from counter_attack.training import EpochReport, Job
    from counter_attack.ug100 import UG100Data
    from counter_attack.ug100._dataset_verify import VerifyReport
    from mipverify_py.campaigns._spec import RunSettings


class UnsoundDataError(MipverifyError):
    """What was written does not survive being computed anew: a bug, or a disk that loses data."""


def build(arguments: BuildArguments, plan: BuildPlan, settings: RunSettings) -> int:
    """Builds, looks at the result again, and says what there is; returns the exit code.

    Raises:
        UnsoundDataError: something in the data set is wrong.
        MipverifyError: as `build_ug100`.
    """
    folder, began = Path(arguments.out), time.monotonic()
    try:
        with (
            noted_interrupts() as noted,
            stopped_by_sigterm() as ended,
            _ShownTraining(quiet=arguments.quiet) as training,
            CampaignProgress(quiet=arguments.quiet) as progress,
        ):
            watch = TrainingWatch(
                lambda: noted() or ended.is_set(), training.model, on_batch=training.batch, on_epoch=training.epoch
            )
            data = build_ug100(plan, folder, settings=settings, training=watch, watch=progress, stop=ended)
    except BuildInterruptedError as error:
        complain(f"interrupted: {error}. All of it is in {folder}; the same command goes on.", PROGRAM)
        return ExitCode.INTERRUPTED
    report = _verified(data, quiet=arguments.quiet)
    if arguments.json:
        write_line(_record(data, report, time.monotonic() - began))
    else:
        _show(data, report, time.monotonic() - began)
    count = data.card["cases"]
    whole = count["decided"] == count["total"] and data.card["attacks"]["cases"] == count["total"]
    return ExitCode.ANSWERED if whole else ExitCode.UNKNOWN


def _verified(data: UG100Data, *, quiet: bool) -> VerifyReport:
    line = ProgressLine(quiet=quiet or not sys.stderr.isatty())
    report = data.verify(lambda done, total: line.show(f"computing anew: case {done:,} of {total:,}"))
    line.clear()
    if not report.sound:
        raise UnsoundDataError(f"{data.folder}: {report.summary()}")
    return report


class _ShownTraining:
    """On stderr, model by model; a context that ends what it shows."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._shown: TrainingProgress | None = None

    def __enter__(self) -> _ShownTraining:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown is not None:
            self._shown.__exit__()
        self._shown = None

    def model(self, name: str, number: int, count: int, job: Job | None) -> None:
        """A model's turn."""
        self.__exit__()
        state = "is there already" if job is None else f"training for {job.recipe.epochs} epochs"
        if not self._quiet:
            with suppress(OSError):  # progress that cannot be shown must not cost the results
                sys.stderr.write(f"model {number} of {count}, {printable(name)}: {state}\n")
                sys.stderr.flush()
        if job is not None:
            self._shown = TrainingProgress(job.recipe.epochs, quiet=self._quiet).__enter__()

    def batch(self, number: int, share: float) -> None:
        """Epoch `number` is done to this share."""
        if self._shown is not None:
            self._shown.batch(number, share)

    def epoch(self, report: EpochReport) -> None:
        """An epoch is over."""
        if self._shown is not None:
            self._shown.epoch(report)
            if report.epoch == report.epochs:
                self.__exit__()


def _record(data: UG100Data, report: VerifyReport, spent: float) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "kind": "ug100-build",
        "version": version("mipverify-py"),
        "folder": str(data.folder),
        "configurations": [one["name"] for one in data.card["configurations"]],
        "cases": data.card["cases"],
        "attacked": data.card["attacks"]["cases"],
        "verified": asdict(report),
        "seconds": spent,
    }


def _show(data: UG100Data, report: VerifyReport, spent: float) -> None:
    out, count = Output(), data.card["cases"]
    out.line(printable(f"{data.folder}: {count['total']:,} cases, {len(data.card['configurations'])} configurations"))
    out.fact("cases", f"{count['decided']:,} decided, {count['open']:,} open, {count['failed']:,} failed")
    out.fact("evidence", ", ".join(f"{number:,} {level}" for level, number in count["evidence"].items()))
    missing = count["total"] - data.card["attacks"]["cases"]
    without = f"; {missing:,} cases without" if missing else ""
    out.fact("attacks", f"{data.card['attacks']['rows']:,} distances{without}")
    out.fact("verified", report.summary())
    out.fact("time", seconds(spent))
    if count["decided"] < count["total"] or missing:
        store = data.folder / "campaign.sqlite"
        out.line(
            printable(
                f"for what is left: {PROGRAM} campaign resume {store} --policy retry --time-limit SECONDS, then the "
                "same build again"
            )
        )
