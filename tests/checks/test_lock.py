"""The lock file names everything that is asked for, at one exact version each."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[2]


def _pins() -> dict[str, str]:
    lines = (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines()
    pins = [re.fullmatch(r"([a-z0-9-]+)==([0-9][0-9a-z.]*)", line) for line in lines if not line.startswith("#")]
    assert all(pins), "every line is name==version, without a local label"
    return {pin[1]: pin[2] for pin in pins if pin}


def _asked() -> list[Requirement]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    named = [Requirement(line) for group in groups for line in group]
    return [requirement for requirement in named if requirement.name != project["name"]]


@pytest.mark.parametrize("requirement", _asked(), ids=lambda r: r.name)
def test_lock_satisfies_every_direct_dependency(requirement: Requirement) -> None:
    assert requirement.specifier.contains(_pins()[canonicalize_name(requirement.name)])


def test_lock_is_sorted_so_that_changes_are_easy_to_read() -> None:
    names = list(_pins())
    assert names == sorted(names)
