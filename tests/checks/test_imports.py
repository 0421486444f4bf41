"""Importing is light: no solver, torch or onnxruntime is loaded, and none of the solvers need be installed.

Each case runs in a fresh interpreter, in which an import of a forbidden module fails with a message that names it.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

PACKAGES = ("onnx_models", "bounds", "mipverify_py", "counter_attack")
SOLVERS = ("highspy", "pyscipopt", "pulp", "gurobipy", "ortools")
HEAVY = ("torch", "onnxruntime", "sklearn", "pandas", "matplotlib", *SOLVERS)
TOOLS = ("pytest", "hypothesis", "mypy", "mkdocs", "swiglpk", "jsonschema")

GUARD = textwrap.dedent("""
    import sys

    class Guard:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in {forbidden!r}:
                raise ImportError(f"{{name}} was imported")
            return None

    sys.meta_path.insert(0, Guard())
""")

RESOLVE = "import importlib; m = importlib.import_module({0!r}); [getattr(m, name) for name in m.__all__]"


def run_without(forbidden: tuple[str, ...], code: str) -> None:
    """Runs `code` in a fresh interpreter in which importing any of `forbidden` fails."""
    program = GUARD.format(forbidden=set(forbidden)) + code
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_import_loads_nothing_heavy(package: str) -> None:
    run_without(HEAVY + TOOLS, f"import {package}")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_resolves_without_anything_heavy(package: str) -> None:
    run_without(HEAVY + TOOLS, RESOLVE.format(package))


def test_the_guard_guards() -> None:
    with pytest.raises(AssertionError, match="highspy was imported"):
        run_without(SOLVERS, "import highspy")


def test_help_of_the_command_loads_nothing_heavy() -> None:
    code = """
import sys
from mipverify_py.cli import main
sys.argv = ["verify", "--help"]
try:
    code = main()
except SystemExit as stop:
    code = stop.code
assert code in (0, None), code
"""
    run_without((*HEAVY, *TOOLS, "scipy", "onnx"), code)


def test_importing_does_not_change_global_state() -> None:
    code = """
import logging, os, random, warnings
before = dict(os.environ), list(warnings.filters), logging.getLogger().handlers[:], random.getstate()
import numpy
state = numpy.random.get_state()[1].tolist()
import onnx_models, bounds, mipverify_py, counter_attack
[getattr(mipverify_py, name) for name in mipverify_py.__all__]
assert before[0] == dict(os.environ)
assert before[2] == logging.getLogger().handlers
assert before[3] == random.getstate()
assert state == numpy.random.get_state()[1].tolist()
"""
    run_without(HEAVY, code)
