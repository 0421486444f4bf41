"""Ctrl-C at moments that cannot bear it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Interruption:
    """Handles SIGINT: raises KeyboardInterrupt once, and only while a search is under way.

    So it can cut no message in two, and a second signal cannot disturb the search while it writes down what it knows.

    Attributes:
        asked: whether the signal has come.
    """

    def __init__(self) -> None:
        self.asked = self._armed = False

    def __call__(self, number: int, frame: object) -> None:
        """Notes the signal and raises KeyboardInterrupt if this is the time for it."""
        self.asked = True
        self._raise_if_armed()

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Inside it may be raised, at once if the signal has come already."""
        self._armed = True
        try:
            self._raise_if_armed()
            yield
        finally:
            self._armed = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside it is put off to the end."""
        before, self._armed = self._armed, False
        try:
            yield
        finally:
            self._armed = before
        self._raise_if_armed()

    def _raise_if_armed(self) -> None:
        if self.asked and self._armed:
            self._armed = False
            raise KeyboardInterrupt
