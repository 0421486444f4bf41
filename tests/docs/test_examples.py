"""Examples in the README, tutorials and how-to guides run, each page as one fresh process in an empty folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.run_page import Block, ExampleError, blocks, run_block, update_page

REPOSITORY = Path(__file__).resolve().parents[2]


def _pages(room: str) -> list[str]:
    return sorted(f"{room}/{page.name}" for page in (REPOSITORY / room).glob("*.md"))


FIRST = ("README.md", "docs/tutorial/quickstart.md")
OTHERS = sorted({*_pages("docs/tutorial"), *_pages("docs/how-to")} - set(FIRST))
PAGES = [*FIRST, *(pytest.param(page, marks=pytest.mark.slow) for page in OTHERS)]


@pytest.mark.parametrize("page", PAGES)
def test_examples_of_a_page_run(page: str, tmp_path: Path) -> None:
    command = [sys.executable, str(REPOSITORY / "tests/docs/run_page.py"), str(REPOSITORY / page)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_blocks_are_found_with_language_text_and_line() -> None:
    page = "# A\n\n```python\nx = 1\n```\n\n1. item\n\n    ```bash\n    verify --help\n\n    verify\n    ```\n"
    assert blocks(page) == [Block("python", "x = 1\n", 4), Block("bash", "verify --help\n\nverify\n", 10)]


def test_a_failing_block_names_its_line() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run_block(Block("python", "x = 1\nx / 0\n", 7), "page.md", {})
    assert caught.traceback[-1].lineno + 1 == 8


@pytest.mark.parametrize(
    ("language", "body", "message"),
    [
        ("bash", "verify --nonsense", "exit code 3 instead of 0"),
        ("bash", "ls", "only `verify`"),
        ("", "what is this?", "neither run nor shown"),
    ],
)
def test_a_wrong_block_fails(language: str, body: str, message: str) -> None:
    with pytest.raises(ExampleError, match=message):
        run_block(Block(language, f"{body}\n", 1), "page.md", {})


def test_an_expected_exit_code_passes() -> None:
    run_block(Block("bash", "verify --nonsense  # exit 3\nverify \\\n  --version\n", 1), "page.md", {})


def test_update_replaces_outputs_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "A\n```text\nkept\n```\n```python\nprint(6 * 7)\n```\n\n```text\nold\n```\nB\n```python\nx = 1\n```\n"
        "```text\nkept too\n```\n```python\nprint(x)\n```\nwords between\n```text\nkept\n```\n"
    )
    expected = page.read_text().replace("old", "42")
    update_page(page)
    assert page.read_text() == expected
