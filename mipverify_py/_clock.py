"""Wall-clock time by phase of a search."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PHASES = ("attack", "bounds", "search", "replay")
"""What a search's time is divided into, see `Statistics.phase_seconds`."""


class Clock:
    """Adds up seconds per phase; several threads may run the same phase at once, and each is counted."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Counts the time inside towards a phase, also when it ends with an exception."""
        began = time.monotonic()
        try:
            yield
        finally:
            passed = time.monotonic() - began
            with self._lock:
                self._seconds[phase] = self._seconds.get(phase, 0.0) + passed

    def seconds(self, phase: str) -> float:
        """What a phase has taken so far."""
        return self._seconds.get(phase, 0.0)

    def phases(self) -> tuple[tuple[str, float], ...]:
        """Seconds of each of the `PHASES`; search is the time of the phase "engine" outside bounds."""
        taken = {phase: self.seconds(phase) for phase in PHASES}
        taken["search"] = max(0.0, self.seconds("engine") - taken["bounds"])
        return tuple(taken.items())
