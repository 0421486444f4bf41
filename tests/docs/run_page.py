"""Runs the examples of one Markdown page in the current folder: `python tests/docs/run_page.py PAGE [--update]`.

`python` blocks run in order in one namespace. Each line of a `bash` block is one command; only `verify` and
`counter-attack` can be run, and they have to end with the exit code that a comment `# exit N` behind them names, or
with 0. Blocks in other languages are shown and not run: `console` (installation), `text` and `json` (output), `toml`.

With `--update` a `text` block that directly follows one that ran is replaced by what was printed.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
from collections.abc import Iterator
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
    """A fenced block: its language, its text without indentation, and the line where the text begins."""

    language: str
    body: str
    line: int


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a Markdown page, in order."""
    return [_block(match, page) for match in _FENCE.finditer(page)]


def _block(match: re.Match[str], page: str) -> Block:
    indent = len(match["indent"])
    body = "".join(line[indent:] if line.strip() else line for line in match["body"].splitlines(keepends=True))
    return Block(match["language"], body, page.count("\n", 0, match.start()) + 2)


def run_block(block: Block, page: str, namespace: dict[str, Any]) -> None:
    """Runs a block, or raises ExampleError if its language is neither run nor shown."""
    if block.language == "python":
        # The line breaks in front make a traceback name the line of the page.
        exec(compile("\n" * (block.line - 1) + block.body, page, "exec"), namespace)
    elif block.language == "bash":
        _run_bash(block)
    elif block.language not in SHOWN:
        raise ExampleError(
            f"line {block.line}: a block in {block.language or 'no language'!r} is neither run nor shown"
        )


def _run_bash(block: Block) -> None:
    import counter_attack.cli
    import mipverify_py.cli

    programs = {"verify": mipverify_py.cli.run, "counter-attack": counter_attack.cli.run}
    for line in block.body.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] not in programs:
            runnable = " and ".join(f"`{name}`" for name in programs)
            raise ExampleError(f"line {block.line}: only {runnable} can be run; show {words[0]!r} in a console block")
        named = _EXIT.search(line)
        expected, code = int(named[1]) if named else 0, int(programs[words[0]](words[1:]))
        if code != expected:
            raise ExampleError(f"line {block.line}: exit code {code} instead of {expected}: {line}")


def run_page(path: Path) -> None:
    """Runs all examples of a page."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(path.read_text("utf-8")):
        run_block(block, str(path), namespace)


def update_page(path: Path) -> None:
    """Runs all examples of a page and rewrites the outputs that it shows."""
    page = path.read_text("utf-8")
    path.write_text("".join(_updated(page, str(path))), "utf-8")


def _updated(page: str, name: str) -> Iterator[str]:
    """The page in pieces, with new outputs."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    end, printed = 0, ""
    for match in _FENCE.finditer(page):
        between, block = page[end : match.start()], _block(match, page)
        yield between
        if block.language == "text" and printed and not between.strip():
            yield f"```text\n{printed.rstrip()}\n```"
        else:
            yield match[0]
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            run_block(block, name, namespace)
        end, printed = match.end(), output.getvalue()
    yield page[end:]


if __name__ == "__main__":
    action = update_page if "--update" in sys.argv[2:] else run_page
    action(Path(sys.argv[1]))
