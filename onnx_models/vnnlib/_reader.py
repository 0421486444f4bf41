"""Parenthesised text as nested lists that remember where they stand, and messages that name the line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from onnx_models.errors import InputError

MAX_DEPTH = 100
"""How deep brackets may nest; files of the competition use four levels."""

_TOKENS = re.compile(r'\s+|;[^\n]*|([()])|(\[[^\]\n]*\])|("[^"\n]*")|([^\s()\[\]";]+)|(.)')


@dataclass(frozen=True, slots=True)
class Word:
    """A name, number or string, with its offset in the text."""

    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class Group:
    """What stands between a pair of brackets, with the offset of the first."""

    offset: int
    items: list[Word | Group]

    @property
    def head(self) -> str:
        """The first word, empty if there is none."""
        first = self.items[0] if self.items else None
        return first.text if isinstance(first, Word) else ""


Expression = Word | Group


@dataclass(frozen=True, slots=True)
class Source:
    """The text and what to call it."""

    text: str
    name: str

    def error(self, where: Expression | int, message: str) -> InputError:
        """An InputError that begins with the name and the line."""
        offset = where if isinstance(where, int) else where.offset
        return InputError(f"{self.name}, line {self.text.count(chr(10), 0, offset) + 1}: {message}")


def read_groups(source: Source) -> list[Group]:
    """The groups at the top level, comments dropped; `name [0, 1]` becomes the one word `name[0,1]`.

    Raises:
        InputError: brackets that do not match or nest too deeply, or words outside of any.
    """
    top: list[Expression] = []
    stack: list[tuple[int, list[Expression]]] = [(0, top)]
    for match in _TOKENS.finditer(source.text):
        kind, offset = match.lastindex, match.start()
        if kind is None:  # white space or a comment
            continue
        items = stack[-1][1]
        if kind == 5:
            raise source.error(offset, f"expected brackets, names or numbers, got {match.group()!r}.")
        if kind == 2:
            _attach(source, items, offset, match.group())
        elif kind in (3, 4):
            items.append(Word(offset, match.group()))
        elif match.group() == "(":
            if len(stack) > MAX_DEPTH:
                raise source.error(offset, f"brackets nest deeper than {MAX_DEPTH} levels; flatten the formula.")
            stack.append((offset, []))
        else:
            if len(stack) == 1:
                raise source.error(offset, "a closing bracket has no opening one.")
            start, inner = stack.pop()
            stack[-1][1].append(Group(start, inner))
    if len(stack) > 1:
        raise source.error(stack[-1][0], "this bracket is never closed; is the file cut off?")
    return _groups(source, top)


def _attach(source: Source, items: list[Expression], offset: int, index: str) -> None:
    """Joins `[0, 1]` to the name before it."""
    if not items or not isinstance(items[-1], Word):
        raise source.error(offset, f"expected a name before {index}.")
    items[-1] = Word(items[-1].offset, items[-1].text + re.sub(r"\s+", "", index))


def _groups(source: Source, items: Sequence[Expression]) -> list[Group]:
    groups: list[Group] = []
    for item in items:
        if isinstance(item, Word):
            raise source.error(item, f"expected a command in brackets, got {item.text!r}.")
        groups.append(item)
    return groups
