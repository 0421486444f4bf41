"""Text from files and command lines, made safe to show."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with control characters other than line ends escaped: names in a model file must not steer a terminal."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
