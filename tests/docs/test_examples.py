"""The pages for readers who try things: every `python` and `bash` block of tutorials, how-to guides and the README runs.

Blocks of one page run in order, in one namespace and one temporary folder, as a reader would run them. Each line of a
`bash` block is one command; only `verify` can be run, and it has to answer with the exit code that a comment
`# exit N` behind it names, or with 0. `console` and `text` blocks are shown and not run (installation, output).
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [REPOSITORY / "README.md", *(page for room in ("tutorial", "how-to") for page in (REPOSITORY / "docs" / room).glob("*.md"))]
)
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[a-z]*)[^\n]*\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_EXIT = re.compile(r"#\s*exit (\d+)\s*$")


class Block(NamedTuple):
    """A fenced block of a page: its language, its text without indentation, and the line where it begins."""

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


def run_python(block: Block, page: Path, namespace: dict[str, Any]) -> None:
    """Runs a block; tracebacks name the page and the line in it."""
    source = "\n" * (block.line - 1) + block.body
    exec(compile(source, str(page), "exec"), namespace)  # the page is part of this repository


def run_bash(block: Block) -> None:
    """Runs each line of a block through the command line's entry point."""
    from mipverify_py.cli import run

    for line in block.body.replace("\\\n", " ").splitlines():
        expected = _EXIT.search(line)
        words = shlex.split(line, comments=True)
        if not words:
            continue
        assert words[0] == "verify", f"only `verify` can be run here, this is {words[0]!r}; show it in a console block"
        assert run(words[1:]) == (int(expected[1]) if expected else 0), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page.read_text("utf-8")):
        if block.language == "python":
            run_python(block, page, namespace)
        elif block.language == "bash":
            run_bash(block)
        else:
            assert block.language in {"console", "text", "toml", "json"}, f"line {block.line}: {block.language!r}"


def test_blocks_are_found_with_language_and_line() -> None:
    page = "# A\n\n```python\nx = 1\n```\n\n1. item\n\n    ```bash\n    verify --help\n\n    verify\n    ```\n"
    assert blocks(page) == [Block("python", "x = 1\n", 4), Block("bash", "verify --help\n\nverify\n", 10)]


def test_a_wrong_exit_code_fails() -> None:
    with pytest.raises(AssertionError, match="--nonsense"):
        run_bash(Block("bash", "verify --nonsense\n", 1))


def test_an_expected_exit_code_passes() -> None:
    run_bash(Block("bash", "verify --nonsense  # exit 3\nverify --version\n", 1))
