"""The licence inside gurobipy's wheel: 2,000 variables and 2,000 rows are solved, one more of either is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from bounds import MipModel, QuadraticRow
from mipverify_py.backends import SolveLimits, SolveStatus, available_backends, solve_isolated
from mipverify_py.backends.gurobi import GurobiBackend
from onnx_models.errors import BackendLimitError


def model(columns: int, rows: int, *, ranged: bool = False) -> MipModel:
    """min sum v  subject to  v_i >= 1 for the first columns, as rows; optimum: the number of rows that bind."""
    index = np.arange(rows) % columns
    return MipModel(
        matrix=sparse.csr_array((np.ones(rows), index, np.arange(rows + 1)), shape=(rows, columns)),
        row_lower=np.ones(rows),
        row_upper=np.full(rows, 5.0 if ranged else np.inf),
        column_lower=np.zeros(columns),
        column_upper=np.full(columns, 9.0),
        cost=np.ones(columns),
        offset=0.0,
        integer=np.arange(columns) < 1,
        names=tuple(f"x{j}" for j in range(columns)),
    )


BUNDLED = "commercial, bundled licence: at most 2,000 variables and 2,000 rows"

CASES = {
    "exactly 2,000 of each": (model(2000, 2000), True),
    "2,001 variables": (model(2001, 2000), False),
    "2,001 rows": (model(2000, 2001), False),
    "1,000 rows with two ends": (model(2000, 1000, ranged=True), True),
    "1,001 rows with two ends": (model(2000, 1001, ranged=True), False),
    "200 variables and a square": (replace(model(200, 1), quadratic=np.eye(1, 200)[0]), True),
    "201 variables and a square": (replace(model(201, 1), quadratic=np.eye(1, 201)[0]), False),
    "201 variables and a row with a square": (
        replace(model(201, 1), quadratic_rows=(QuadraticRow(np.zeros(1, np.intp), np.ones(1), 9.0),)),
        False,
    ),
}


@pytest.mark.parametrize(("case", "fits"), CASES.values(), ids=CASES.keys())
def test_the_count_is_exact(monkeypatch: pytest.MonkeyPatch, case: MipModel, fits: bool) -> None:
    monkeypatch.setattr(GurobiBackend, "licence_is_restricted", lambda _: True)
    if fits:
        GurobiBackend().check_size(case)
        return
    with pytest.raises(BackendLimitError, match=r"the licence that comes with gurobipy allows at most 2,000 of each"):
        GurobiBackend().check_size(case)


def test_a_full_licence_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GurobiBackend, "licence_is_restricted", lambda _: False)
    GurobiBackend().check_size(model(5000, 5000))


@pytest.mark.parametrize(("case", "fits"), CASES.values(), ids=CASES.keys())
def test_gurobi_agrees(case: MipModel, fits: bool) -> None:
    """With the bundled licence Gurobi refuses what the count refuses; a full licence solves everything."""
    if "gurobi" not in available_backends():
        pytest.skip("gurobipy is not installed")
    if not fits and GurobiBackend.licence_note() == BUNDLED:
        with pytest.raises(BackendLimitError, match=f"{case.columns:,} variables"):
            solve_isolated("gurobi", case, SolveLimits())
        return
    solution = solve_isolated("gurobi", case, SolveLimits(seconds=60))
    assert solution.status is SolveStatus.OPTIMAL
    squares = 0.0 if case.quadratic is None else 1.0
    assert solution.objective == pytest.approx(min(case.rows, case.columns) + squares)


def test_the_note_tells_where_a_licence_would_come_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GRB_LICENSE_FILE", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert GurobiBackend.licence_note() == BUNDLED
    monkeypatch.setenv("GRB_WLSACCESSID", "secret-1234")
    note = GurobiBackend.licence_note()
    assert "environment" in note and "secret" not in note
    (tmp_path / "gurobi.lic").write_text("TYPE=NODE\n")
    assert str(tmp_path / "gurobi.lic") in GurobiBackend.licence_note()
    monkeypatch.setenv("GRB_LICENSE_FILE", "/somewhere/else.lic")
    assert "/somewhere/else.lic" in GurobiBackend.licence_note()
