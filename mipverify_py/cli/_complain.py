"""Messages to the user on stderr."""

from __future__ import annotations

import contextlib
import sys

from mipverify_py.cli._printable import printable


def complain(message: str, program: str = "verify") -> None:
    """Writes one line to stderr, under the name of the command."""
    with contextlib.suppress(OSError):  # where nobody can be told, the exit code still says what happened
        sys.stderr.write(f"{program}: {printable(message)}\n")
        sys.stderr.flush()
