"""Written models read back bit by bit, by GLPK's reader; rows with two ends become two rows and nothing is rounded."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import swiglpk as glpk
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import MipModel
from mipverify_py.backends import violations, write_mps
from mipverify_py.backends._mps import ieee_number
from mipverify_py.backends._one_sided import OneSidedRows, count_one_sided
from tests.helpers.mips import INF, KNAPSACK, exact_lp, mip, random_mip

SIZES = st.floats(1e-11, 1e15)  # GLPK's reader takes what is below 1e-12 for zero
FINITE = st.just(0.0) | SIZES | SIZES.map(lambda v: -v)


def read_mps(path: Path) -> MipModel:
    """The model in an MPS file, by GLPK, which takes the objective's right-hand side for the offset as it stands."""
    glpk.glp_term_out(glpk.GLP_OFF)
    problem = glpk.glp_create_prob()
    try:
        assert glpk.glp_read_mps(problem, glpk.GLP_MPS_FILE, None, str(path)) == 0
        return _taken_from(problem)
    finally:
        glpk.glp_delete_prob(problem)


def _taken_from(problem: object) -> MipModel:
    m, n = glpk.glp_get_num_rows(problem), glpk.glp_get_num_cols(problem)
    dense = np.zeros((m, n))
    index, value = glpk.intArray(n + 1), glpk.doubleArray(n + 1)
    for i in range(m):
        for k in range(1, glpk.glp_get_mat_row(problem, i + 1, index, value) + 1):
            dense[i, index[k] - 1] = value[k]

    def ends(kind: int, low: float, high: float) -> tuple[float, float]:
        return (
            -INF if kind in (glpk.GLP_FR, glpk.GLP_UP) else low,
            INF if kind in (glpk.GLP_FR, glpk.GLP_LO) else (low if kind == glpk.GLP_FX else high),
        )

    rows = [
        ends(glpk.glp_get_row_type(problem, i), glpk.glp_get_row_lb(problem, i), glpk.glp_get_row_ub(problem, i))
        for i in range(1, m + 1)
    ]
    columns = [
        ends(glpk.glp_get_col_type(problem, j), glpk.glp_get_col_lb(problem, j), glpk.glp_get_col_ub(problem, j))
        for j in range(1, n + 1)
    ]
    model = mip(
        dense,
        (np.array([r[0] for r in rows]), np.array([r[1] for r in rows])),
        (np.array([c[0] for c in columns]), np.array([c[1] for c in columns])),
        np.array([glpk.glp_get_obj_coef(problem, j + 1) for j in range(n)]),
        integer=[j for j in range(n) if glpk.glp_get_col_kind(problem, j + 1) != glpk.GLP_CV],
        offset=-glpk.glp_get_obj_coef(problem, 0),
    )
    assert [glpk.glp_get_col_name(problem, j + 1) for j in range(n)] == list(model.names)
    return model


def expanded(model: MipModel) -> MipModel:
    """The model with its one-sided rows, which is what a file holds."""
    rows = OneSidedRows.of(model)
    return mip(
        rows.matrix.toarray().reshape(rows.count, model.columns),
        (np.where(rows.sense == "<", -INF, rows.right), np.where(rows.sense == ">", INF, rows.right)),
        (model.column_lower, model.column_upper),
        model.cost,
        integer=np.flatnonzero(model.integer).tolist(),
        offset=model.offset,
    )


def assert_same(got: MipModel, expected: MipModel) -> None:
    np.testing.assert_array_equal(got.matrix.toarray(), expected.matrix.toarray())
    for name in ("row_lower", "row_upper", "column_lower", "column_upper", "cost", "integer"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name), err_msg=name)
    assert got.offset == expected.offset


@settings(max_examples=50)
@given(numbers=st.lists(FINITE, min_size=12, max_size=12), ends=st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_exact_round_trip(tmp_path_factory: pytest.TempPathFactory, numbers: list[float], ends: list[int]) -> None:
    """Two rows, three columns, any finite numbers, and every mix of open and closed ends."""
    low, high = np.sort(np.reshape(numbers[:10], (5, 2)), axis=1).T
    low = np.where(np.array(ends) & 1, low, -INF)
    high = np.where(np.array(ends) & 2, high, INF)
    matrix = [[numbers[0], 0, numbers[7]], [numbers[8], numbers[9], 1 / 3]]
    cost = [numbers[10], 0, -0.1]
    model = mip(matrix, (low[:2], high[:2]), (low[2:], high[2:]), cost, integer=[1], offset=numbers[11])
    path = tmp_path_factory.mktemp("mps") / "model.mps"
    write_mps(model, path)
    assert_same(read_mps(path), expanded(model))


@given(seed=st.integers(0, 10**6))
def test_one_sided_rows_say_the_same(seed: int) -> None:
    model = random_mip(seed)
    rows, twin = OneSidedRows.of(model), expanded(model)
    assert rows.count == count_one_sided(model)
    assert exact_lp(twin) == exact_lp(model)
    point = np.random.default_rng(seed).normal(size=model.columns)
    assert violations(twin, point).rows == violations(model, point).rows


def test_multipliers_of_twin_rows_are_added() -> None:
    model = mip(np.eye(4), ([0, 1, -INF, 2], [1, 1, INF, INF]), (0, 9), 1)
    rows = OneSidedRows.of(model)
    assert rows.sense.tolist() == ["=", ">", ">", "<"] and rows.source.tolist() == [1, 0, 3, 0]
    np.testing.assert_array_equal(rows.collect(np.array([10.0, 1, 3, -0.5]), 4), [0.5, 10, 0, 3])


def test_labels_and_layout(tmp_path: Path) -> None:
    write_mps(KNAPSACK, tmp_path / "knapsack.mps")
    lines = (tmp_path / "knapsack.mps").read_text().splitlines()
    assert lines[:5] == ["NAME model FREE", "ROWS", " N obj", " L r0", "COLUMNS"]
    assert lines[-1] == "ENDATA"


@given(value=st.floats(allow_nan=False))
def test_ieee_digits_spell_the_bits(value: float) -> None:
    digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ*+"
    text = ieee_number(value)
    quarters = [sum(digits.index(c) << (6 * k) for k, c in enumerate(text[i : i + 3])) for i in range(0, 12, 3)]
    assert struct.unpack(">d", struct.pack(">4H", *quarters))[0] == value
