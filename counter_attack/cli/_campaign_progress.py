"""What `counter-attack campaign run` and `resume` show on stderr meanwhile."""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from mipverify_py._result import Bracket
from mipverify_py.campaigns._run import Progress
from mipverify_py.campaigns.executors import Running
from mipverify_py.cli._numbers import seconds
from mipverify_py.cli._printable import printable
from mipverify_py.cli._progress import bracket_words

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

SECONDS_BETWEEN_LINES = 5.0
"""Where lines cannot be overwritten one is added this often."""

LARGEST = 12
"""Brackets shown at a time; on a cluster there are thousands."""


class CampaignProgress:
    """Called with the progress of a run: on a terminal a bar with the current brackets, elsewhere a line now and then.

    Args:
        quiet: show nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._on_terminal = not quiet and sys.stderr.isatty()
        self._adds_lines = not quiet and not self._on_terminal
        self._latest: Progress | None = None
        self._written = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, progress: Progress) -> None:
        """Shows how far the run is."""
        self._latest = progress
        if self._on_terminal and self._live is None:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(
                console=Console(stderr=True), get_renderable=self._lines, transient=True, redirect_stdout=False
            )
            self._live.start()
        now = time.monotonic()
        if self._adds_lines and now - self._written >= SECONDS_BETWEEN_LINES:
            self._written = now
            with suppress(OSError):  # a full disk under the log must not cost the results
                sys.stderr.write(f"{summary(progress)}\n")
                sys.stderr.flush()

    def _lines(self) -> Group:
        from rich.console import Group
        from rich.padding import Padding
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        progress = self._latest
        assert progress is not None
        room = max(1, min(LARGEST, shutil.get_terminal_size().lines - 4))
        longest = sorted(progress.running, key=lambda running: -running.seconds)
        lines = [
            Text(printable(running_line(running)), no_wrap=True, overflow="ellipsis") for running in longest[:room]
        ]
        if len(longest) > room:
            lines.append(Text(f"... and {len(longest) - room:,} more", "dim"))
        return Group(
            Padding(ProgressBar(total=progress.total, completed=progress.finished), 0),  # a bar ends no line by itself
            Text(summary(progress), no_wrap=True, overflow="ellipsis"),
            *lines,
        )


def summary(progress: Progress) -> str:
    """A run in one line: "12 of 50 done: 10 decided, 2 open, 0 failed; 1.8 per second, about 21 s left"."""
    left = "" if progress.seconds_left is None else f", about {seconds(progress.seconds_left)} left"
    rate = progress.rate
    speed = f"{rate:.2g} per second" if rate >= 1 or rate == 0 else f"{60 * rate:.2g} per minute"
    states = f"{progress.decided:,} decided, {progress.open:,} open, {progress.failed:,} failed"
    return f"{progress.finished:,} of {progress.total:,} done: {states}; {speed}{left}"


def running_line(running: Running) -> str:
    """A query that is being worked on, with its bracket."""
    record = running.task.record
    question = record.question
    words = [record.kind.value, question.get("set"), question["norm"], question.get("eps")]
    asked = " ".join(str(word) for word in words if word is not None)
    bracket = bracket_words(Bracket(running.lower, running.upper))
    more = f" and {len(running.task.companions)} more" if running.task.companions else ""
    place = f"{record.configuration}, {record.input.dataset} {record.input.index}{more}, {asked}"
    return f"  {place}: {bracket}{seconds(running.seconds)}"
