"""Which backends there are: cheap to ask, loads nothing, says how to install what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from importlib.machinery import ModuleSpec

import pytest

from mipverify_py.backends import BACKEND_NAMES, available_backends, backend_status, get_backend, solve_isolated
from mipverify_py.backends._base import SolveLimits, SolveStatus
from mipverify_py.backends._registry import backend_class
from onnx_models.errors import BackendMissingError, InputError
from tests.helpers.mips import KNAPSACK

HEAVY = {"highspy", "pyscipopt", "pulp", "gurobipy", "ortools", "torch", "onnxruntime", "onnx"}


def test_names() -> None:
    assert BACKEND_NAMES == ("highs", "scip", "cbc", "gurobi", "ortools")
    for name in BACKEND_NAMES:
        assert backend_class(name).name == name
    for name in available_backends():
        assert get_backend(name).name == name


def test_an_unknown_name_is_an_input_error() -> None:
    with pytest.raises(InputError, match="Backend 'cplex' is unknown; choose one of highs, scip, cbc, gurobi, ortools"):
        get_backend("cplex")


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Hides the package of a backend, whose name it returns."""
    name: str = request.param
    real, hidden = importlib.util.find_spec, backend_class(name).module

    def find_spec(module: str, package: str | None = None) -> ModuleSpec | None:
        return None if module.partition(".")[0] == hidden else real(module, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    return name


@pytest.mark.parametrize("without", BACKEND_NAMES, indirect=True)
def test_a_missing_package_says_how_to_get_it(without: str) -> None:
    assert without not in available_backends()
    for use in (lambda: get_backend(without), lambda: solve_isolated(without, KNAPSACK, SolveLimits())):
        with pytest.raises(BackendMissingError) as caught:
            use()
        assert f'pip install "mipverify-py[{without}]"' in str(caught.value)
    row = next(row for row in backend_status() if row.name == without)
    assert (row.installed, row.version) == (False, None)


def test_status_rows() -> None:
    rows = backend_status()
    assert tuple(row.name for row in rows) == BACKEND_NAMES
    for row in rows:
        assert row.installed == (row.name in available_backends()) == (row.version is not None)
        assert row.licence and row.install == f'pip install "mipverify-py[{row.name}]"'


def test_asking_loads_no_solver() -> None:
    code = """
import sys
import mipverify_py.backends as backends
for name in backends.BACKEND_NAMES:
    backends.available_backends(), backends.backend_status()
print(sorted(HEAVY & set(sys.modules)))
"""
    code = f"HEAVY = {HEAVY}\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("name", available_backends())
def test_a_worker_loads_its_own_solver_only(name: str) -> None:
    code = f"""
import sys
from mipverify_py.backends import _worker
from mipverify_py.backends._registry import backend_class
backend_class({name!r})().load()
print(sorted({HEAVY} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    own = [] if name == "cbc" else [backend_class(name).module]  # CBC is a program, not a module
    assert done.stdout == f"{own}\n"


ENUMS = {
    "highs": "import highspy; print(*highspy.HighsModelStatus.__members__, sep='\\n')",
    "scip": "import pyscipopt; print(*[n.lower() for n in vars(pyscipopt.SCIP_STATUS) if n[0] != '_'], sep='\\n')",
    "gurobi": "import gurobipy; print(*[n for n in dir(gurobipy.GRB.Status) if n.isupper()], sep='\\n')",
    "ortools": """
from ortools.math_opt.python import mathopt
print(*[r.name for r in mathopt.TerminationReason], *['limit ' + l.name for l in mathopt.Limit], sep='\\n')
""",
}


@pytest.mark.parametrize("name", [name for name in ENUMS if name in available_backends()])
def test_every_status_of_the_solver_is_in_the_table(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", ENUMS[name]], capture_output=True, text=True, check=True)
    assert set(done.stdout.split("\n")[:-1]) == set(backend_class(name).statuses)


def test_every_status_of_cbc_is_a_phrase_of_its_binary() -> None:
    from mipverify_py.backends.cbc import _binary

    path = _binary()
    if path is None:
        pytest.skip("PuLP's CBC is not installed for this machine")
    text = path.read_bytes()
    for phrase in backend_class("cbc").statuses:
        parts = phrase.replace("Stopped on ", "Stopped on |").replace(" (", "| (").split("|")
        assert all(part.encode() in text for part in parts), phrase


@pytest.mark.parametrize("name", BACKEND_NAMES)
def test_an_unheard_of_status_is_unknown(name: str) -> None:
    cls = backend_class(name)
    assert cls.translate("kFinishedSomehow") is SolveStatus.UNKNOWN
    successes = {status for status, ours in cls.statuses.items() if ours is SolveStatus.OPTIMAL}
    assert all("ptimal" in status.lower() or status == "gaplimit" for status in successes)
    refutations = {status for status, ours in cls.statuses.items() if ours is SolveStatus.INFEASIBLE}
    assert all("infeasible" in status.lower() and "unbounded" not in status.lower() for status in refutations)


def test_the_wrong_version_of_highs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "1.14.0")
    with pytest.raises(ImportError, match=r"1\.14\.0 returns wrong optima"):
        backend_class("highs")().load()
