"""Text on stdout: lines and named facts, in colour on a terminal and plain elsewhere."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.text import Text


class Output:
    """Writes to stdout; nothing is wrapped, and no text is taken for markup."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stdout, highlight=False, soft_wrap=True)

    def line(self, text: str | Text, style: str = "") -> None:
        """Writes one line."""
        self._console.print(Text(text, style) if isinstance(text, str) else text)

    def fact(self, name: str, text: str, style: str = "") -> None:
        """Writes one indented line: the name, then what there is to say under it."""
        self._console.print(Text.assemble((f"  {name:<9} ", "dim"), (text, style)))

    def flush(self) -> None:
        """Makes sure that everything written so far has left this process."""
        self._console.file.flush()
