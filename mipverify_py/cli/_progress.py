"""What is shown on stderr while an image is being worked on: its current bracket."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner

from mipverify_py._result import Bracket
from mipverify_py.cli._numbers import rounded_down, rounded_up, seconds

SECONDS_BETWEEN_LINES = 1.0
"""Where lines cannot be overwritten, one is written at most this often, and none for an image done sooner."""


@contextmanager
def progress(index: int, position: int, total: int, *, quiet: bool) -> Iterator[Callable[[Bracket], None]]:
    """Shows the bracket of image `index`, number `position` (from 0) of `total`; yields what to call when it changes.

    On a terminal one line is kept up to date and vanishes at the end; elsewhere lines are added.
    """
    place = f"index {index}" + (f" ({position + 1} of {total})" if total > 1 else "")
    state = _State(place)
    if quiet:
        yield state.update
    elif sys.stderr.isatty():
        spinner = Spinner("dots")

        def line() -> Spinner:
            spinner.update(text=state.line())
            return spinner

        with Live(console=Console(stderr=True), get_renderable=line, transient=True, redirect_stdout=False):
            yield state.update
    else:
        yield state.update_and_write


class _State:
    """The bracket of the image at hand and when it was last written."""

    def __init__(self, place: str) -> None:
        self._place, self._bracket = place, Bracket(None, None)
        self._began = self._written = time.monotonic()

    def update(self, bracket: Bracket) -> None:
        self._bracket = bracket

    def update_and_write(self, bracket: Bracket) -> None:
        known = bracket_words(self._bracket)
        self.update(bracket)
        late = time.monotonic() - self._written >= SECONDS_BETWEEN_LINES
        if late and bracket_words(bracket) != known:
            self._written = time.monotonic()
            with suppress(OSError):  # a full disk under the log must not cost the results
                sys.stderr.write(f"{self.line()}\n")
                sys.stderr.flush()

    def line(self) -> str:
        elapsed = seconds(time.monotonic() - self._began)
        return f"{self._place}: {bracket_words(self._bracket)}{elapsed}"


def bracket_words(bracket: Bracket) -> str:
    """The bracket in words that end where an elapsed time can follow."""
    low, high = bracket.lower, bracket.upper
    if low is None and high is None:
        return ""
    if low is None:
        assert high is not None
        return f"distance <= {rounded_up(high)}, "
    if high is None:
        return f"distance >= {rounded_down(low)}, "
    return f"{rounded_down(low)} <= distance <= {rounded_up(high)}, gap {high - low:.2g}, "
