"""What the exit code says."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of `verify`; over several images the largest counts."""

    ANSWERED = 0
    """Robust at the given eps, or the distance computed to the gap asked for."""
    ADVERSARIAL = 1
    """An adversarial example exists at the given eps."""
    UNKNOWN = 2
    """The search stopped before it knew: a limit, a failed solver, or a bracket that is still open."""
    USAGE = 3
    """The command line or a file is wrong, or the output cannot be written; nothing was computed after that."""
    REPLAY_FAILED = 4
    """A proof did not hold when it was replayed (`--replay`), or a certificate when it was checked (`--check`)."""
    DISAGREEMENT = 5
    """Two solvers contradict each other about the same program (`--compare-backends`)."""
    INTERNAL = 70
    """A bug in this program. Python's own code for it, 1, would read as ADVERSARIAL."""
    INTERRUPTED = 130
    """Stopped with Ctrl-C; what was known by then has been written."""
    BROKEN_PIPE = 141
    """Whoever read the output went away."""
