"""What all that starts worker processes says to them and of them."""

from __future__ import annotations

import signal


def thread_limits(threads: int) -> dict[str, str]:
    """Environment variables that hold numerical libraries to so many threads."""
    return {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}


def ending(code: int) -> str:
    """How a process ended, in words, from its exit code, or minus the number of the signal that ended it."""
    if code >= 0:
        return f"ended with exit code {code}"
    known = {int(number): number.name for number in signal.Signals}
    hint = " (often: out of memory)" if -code == signal.SIGKILL else ""
    return f"was ended by {known.get(-code, f'signal {-code}')}{hint}"
