"""What `counter-attack train` shows on stderr meanwhile, and how Ctrl-C reaches it."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from counter_attack.training import EpochReport

SECONDS_BETWEEN_LINES = 1.0
"""Where lines cannot be overwritten, epochs get one at most this often; the last one always gets its own."""


class TrainingProgress:
    """On a terminal a bar over all epochs; elsewhere a line per epoch, if they take long enough."""

    def __init__(self, epochs: int, *, quiet: bool) -> None:
        self._epochs = epochs
        self._on_terminal = not quiet and sys.stderr.isatty()
        self._adds_lines = not quiet and not self._on_terminal
        self._written = time.monotonic()
        self._words = ""
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._on_terminal:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
            self._task = self._bar.add_task("training", total=self._epochs)
            self._bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.stop()

    def batch(self, number: int, share: float) -> None:
        """Epoch `number` is done to this share."""
        if self._bar is not None and self._task is not None:
            described = f"epoch {number}/{self._epochs}{self._words}"
            self._bar.update(self._task, completed=number - 1 + share, description=described)

    def epoch(self, report: EpochReport) -> None:
        """An epoch is over."""
        self._words = f": {_words(report)}"
        now = time.monotonic()
        last = report.epoch == report.epochs
        if self._adds_lines and (last or now - self._written >= SECONDS_BETWEEN_LINES):
            self._written = now
            with suppress(OSError):  # a full disk under the log must not cost the training
                sys.stderr.write(f"epoch {report.epoch}/{report.epochs}{self._words}\n")
                sys.stderr.flush()


def _words(report: EpochReport) -> str:
    words = [f"loss {report.loss:.4g}"]
    if report.validation_loss is not None:
        words.append(f"validation loss {report.validation_loss:.4g} (best in epoch {report.best_epoch})")
    if report.validation_accuracy is not None:
        words.append(f"validation accuracy {report.validation_accuracy:.2%}")
    return ", ".join(words)


@contextmanager
def noted_interrupts() -> Iterator[Callable[[], bool]]:
    """Yields a function that tells whether Ctrl-C was pressed; a second Ctrl-C is a KeyboardInterrupt, as usual.

    Where the process ignores Ctrl-C, or in another thread than the main one, nothing is noted.
    """
    before = signal.getsignal(signal.SIGINT)
    noted: list[int] = []

    def note(number: int, _: Any) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(number)

    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield lambda: False
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(noted)
    finally:
        signal.signal(signal.SIGINT, before)
