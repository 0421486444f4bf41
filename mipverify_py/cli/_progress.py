"""What is shown on stderr while images are being worked on: their current brackets."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner

from mipverify_py._result import Bracket
from mipverify_py.cli._numbers import rounded_down, rounded_up, seconds
from mipverify_py.cli._questions import Place

SECONDS_BETWEEN_LINES = 1.0
"""Where lines cannot be overwritten, an image gets one at most this often, and none if it is done sooner."""


class Progress:
    """The brackets of the images at hand: on a terminal one line each, kept up to date; elsewhere lines are added.

    Args:
        places: positions of the images (and classes) in their data set or file, in the order of the run.
        quiet: show nothing.
    """

    def __init__(self, places: Sequence[Place], *, quiet: bool) -> None:
        self._places = places
        self._on_terminal = not quiet and sys.stderr.isatty()
        self._adds_lines = not quiet and not self._on_terminal
        self._images: dict[int, _Image] = {}
        self._live: Live | None = None
        self._writer: _Writer | None = None

    def begin(self, position: int) -> None:
        """Image number `position` (from 0) of the run is being worked on."""
        total = len(self._places)
        place = f"index {self._places[position]}" + (f" ({position + 1} of {total})" if total > 1 else "")
        self._images[position] = _Image(place)
        self._show()
        if self._adds_lines and self._writer is None:
            self._writer = _Writer(self._images)

    def update(self, position: int, bracket: Bracket) -> None:
        """Its bracket is now this."""
        self._images[position].bracket = bracket

    def end(self, position: int) -> None:
        """It is not being worked on any more."""
        self._images.pop(position, None)
        if not self._images:
            self.close()

    @contextmanager
    def image(self, position: int) -> Iterator[Callable[[Bracket], None]]:
        """Begins and ends an image; yields what to call when its bracket changes."""
        self.begin(position)
        try:
            yield lambda bracket: self.update(position, bracket)
        finally:
            self.end(position)

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Inside, the terminal is free for results."""
        self._hide()
        yield
        self._show()

    def close(self) -> None:
        """Forgets all images; nothing is left on the terminal."""
        self._images.clear()
        self._hide()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _show(self) -> None:
        if self._on_terminal and self._live is None and self._images:
            self._live = Live(
                console=Console(stderr=True), get_renderable=self._lines, transient=True, redirect_stdout=False
            )
            self._live.start()

    def _hide(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _lines(self) -> Group:
        return Group(*[image.spinner() for image in list(self._images.values())])


class _Image:
    """The bracket of one image and what was last written of it."""

    def __init__(self, place: str) -> None:
        self.bracket = Bracket(None, None)
        self._place, self._written, self._began = place, "", time.monotonic()
        self._spinner = Spinner("dots")

    def spinner(self) -> Spinner:
        self._spinner.update(text=self._line())
        return self._spinner

    def news(self) -> str | None:
        """A line if the image is not done soon and its bracket is not the one that was written last."""
        words = bracket_words(self.bracket)
        if words == self._written or time.monotonic() - self._began < SECONDS_BETWEEN_LINES:
            return None
        self._written = words
        return self._line()

    def _line(self) -> str:
        elapsed = seconds(time.monotonic() - self._began)
        return f"{self._place}: {bracket_words(self.bracket)}{elapsed}"


class _Writer:
    """A thread that writes the news of all images now and then: a bracket may be known early and then stand still."""

    def __init__(self, images: dict[int, _Image]) -> None:
        self._images, self._closed = images, threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        self._closed.set()
        self._thread.join()

    def _write(self) -> None:
        while not self._closed.wait(SECONDS_BETWEEN_LINES):
            lines = [line for image in list(self._images.values()) if (line := image.news()) is not None]
            if not lines:
                continue
            with suppress(OSError):  # a full disk under the log must not cost the results
                sys.stderr.write("".join(f"{line}\n" for line in lines))
                sys.stderr.flush()


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
