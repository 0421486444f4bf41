"""The reference pages mention every option, exit code and field, and no field that does not exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mipverify_py.cli import ExitCode
from mipverify_py.cli import _main as main_module

REPOSITORY = Path(__file__).resolve().parents[3]
SCHEMA = json.loads(Path(main_module.__file__).with_name("verify-1.schema.json").read_text())
OPTIONS = sorted({option for parameter in main_module.command().params for option in parameter.opts})


def fields(schema: dict[str, Any]) -> Iterator[str]:
    for name, part in schema.get("properties", {}).items():
        yield name
        yield from fields(part)
        yield from fields(part.get("items", {}))


def in_code(page: str) -> set[str]:
    """Everything that the page sets in code style, split into words."""
    return {word for code in re.findall(r"`([^`\n]+)`", page) for word in re.split(r"[\s,=\"]+", code)}


@pytest.mark.parametrize("option", [name for name in OPTIONS if name.startswith("-")])
def test_every_option_has_a_row(option: str) -> None:
    page = (REPOSITORY / "docs/reference/cli.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert any(option in in_code(row.split("|")[1]) for row in rows)


@pytest.mark.parametrize("code", ExitCode)
def test_every_exit_code_has_a_row(code: ExitCode) -> None:
    assert f"\n| {code.value} | " in (REPOSITORY / "docs/reference/cli.md").read_text()


@pytest.mark.parametrize("kind", SCHEMA["$defs"])
def test_every_field_is_described(kind: str) -> None:
    page = (REPOSITORY / "docs/reference/json.md").read_text()
    section = page[page.index(f"## `{kind}`") :].partition("\n## ")[0]
    assert set(fields(SCHEMA["$defs"][kind])) <= in_code(section) | {"name"}


def test_no_field_is_made_up() -> None:
    page = (REPOSITORY / "docs/reference/json.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    known = {name for part in SCHEMA["$defs"].values() for name in fields(part)}
    assert {word for row in rows for word in in_code(row)} <= known
