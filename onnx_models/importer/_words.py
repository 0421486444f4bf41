"""How names and lists that come from a file appear in messages: quoted, printable and short."""

from __future__ import annotations

from collections.abc import Sequence

_LONGEST = 80


def quoted(name: str) -> str:
    """`name` in quotes with control characters escaped, cut after 80 characters."""
    shown = name if len(name) <= _LONGEST else name[:_LONGEST] + "..."
    return repr(shown)


def listed(items: Sequence[str], limit: int = 10) -> str:
    """The items joined by commas, the first `limit` of them and a count of the rest."""
    shown = ", ".join(items[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit} more"


def dimensions(shape: Sequence[object]) -> str:
    """A shape as people write it, (1, 28, 28) as 1x28x28; the empty shape as "scalar"."""
    return "x".join(str(d) for d in shape) or "scalar"
