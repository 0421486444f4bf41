"""What stands at the top level of the repository, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = {"onnx_models", "bounds", "mipverify_py", "counter_attack"}
FILES = {"README.md", "LICENSE", "CHANGELOG.md", "Makefile", "pyproject.toml", "constraints.txt"}


def test_the_top_level_holds_what_belongs_there() -> None:
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("needs git and a clone, to tell files of the project from others")
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    top = {Path(name).parts[0] for name in listed.stdout.splitlines()}
    assert {name for name in top if not name.startswith(".")} == FILES | PACKAGES | {"tests", "docs"}
