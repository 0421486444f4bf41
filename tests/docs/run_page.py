"""Runs the examples of one Markdown page in the current folder: `python tests/docs/run_page.py PAGE`.

`python` blocks run in order in one namespace. Each line of a `bash` block is one command; only `verify` can be run, and
it has to end with the exit code that a comment `# exit N` behind it names, or with 0. Blocks in other languages are
shown and not run: `console` (installation), `text` and `json` (output), `toml`.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any, NamedTuple

SHOWN = {"console", "json", "text", "toml"}
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[a-z]*)[^\n]*\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_EXIT = re.compile(r"#\s*exit (\d+)\s*$")


class ExampleError(Exception):
    """An example does not do what the page says."""


class Block(NamedTuple):
    """A fenced block of a page: its language, its text without indentation, and the line where the text begins."""

    language: str
    body: str
    line: int


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a Markdown page, in order."""
    found = []
    for match in _FENCE.finditer(page):
        indent = len(match["indent"])
        body = "".join(line[indent:] if line.strip() else line for line in match["body"].splitlines(keepends=True))
        found.append(Block(match["language"], body, page.count("\n", 0, match.start()) + 2))
    return found


def run_python(block: Block, page: str, namespace: dict[str, Any]) -> None:
    """Runs a block; a traceback names the page and the line in it."""
    exec(compile("\n" * (block.line - 1) + block.body, page, "exec"), namespace)


def run_bash(block: Block) -> None:
    """Runs each line of a block through the entry point of `verify`."""
    from mipverify_py.cli import run

    for line in block.body.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] != "verify":
            raise ExampleError(f"line {block.line}: only `verify` can be run; show {words[0]!r} in a console block")
        named = _EXIT.search(line)
        expected, code = int(named[1]) if named else 0, int(run(words[1:]))
        if code != expected:
            raise ExampleError(f"line {block.line}: exit code {code} instead of {expected}: {line}")


def main(path: str) -> None:
    """Runs all examples of the page at `path`."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(Path(path).read_text("utf-8")):
        if block.language == "python":
            run_python(block, path, namespace)
        elif block.language == "bash":
            run_bash(block)
        elif block.language not in SHOWN:
            raise ExampleError(
                f"line {block.line}: a block in {block.language or 'no language'!r} is neither run nor shown"
            )


if __name__ == "__main__":
    main(sys.argv[1])
