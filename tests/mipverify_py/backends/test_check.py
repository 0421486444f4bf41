"""The checker of points, and what is settled before a solver is asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from bounds import MipModel
from mipverify_py.backends import SolveStatus, Violations, violations
from mipverify_py.backends._preflight import canonical, trivial_answer
from onnx_models.errors import InputError
from tests.helpers.mips import INF, mip

MODEL = mip([[1, 2], [100, 0]], ([-INF, 50], [3, INF]), ([0, -1], [1, 1]), [1, 1], integer=[0])

POINTS = {
    "feasible": ([1, 1], Violations(0, 0, 0)),
    "on the edges": ([1, -1], Violations(0, 0, 0)),
    "row": ([1, 1.25], Violations(0.5, 0.25, 0)),
    "lower end of a row": ([0, 0], Violations(50, 0, 0)),
    "column": ([2, -1.5], Violations(0, 1, 0)),
    "integrality": ([0.75, 0], Violations(0, 0, 0.25)),
    "not a number": ([np.nan, 0], Violations(INF, INF, INF)),
    "infinite": ([1, -INF], Violations(INF, INF, INF)),
}


@pytest.mark.parametrize(("point", "expected"), POINTS.values(), ids=POINTS.keys())
def test_violations(point: list[float], expected: Violations) -> None:
    assert violations(MODEL, np.array(point, float)) == expected
    assert expected.largest == max(expected.rows, expected.columns, expected.integrality)


def test_relative_violations_are_measured_by_the_bound() -> None:
    relative = violations(MODEL, np.array([0.0, 0.0]), relative=True)
    assert relative.rows == 1.0  # 50 missed of 50
    assert violations(MODEL, np.array([1.0, 1.25]), relative=True).columns == 0.25  # bounds up to 1 count as 1


def test_no_rows_no_columns() -> None:
    assert violations(mip(np.zeros((0, 0)), ([], []), ([], []), []), np.zeros(0)) == Violations(0, 0, 0)


def test_canonical_matrix() -> None:
    messy = sparse.csr_array((np.array([1.0, 2, 0, 3]), np.array([1, 1, 0, 0]), np.array([0, 3, 4])), shape=(2, 2))
    model = canonical(replace(MODEL, matrix=messy))
    assert model.matrix.has_canonical_format and model.matrix.nnz == 2
    assert model.matrix.indices.dtype == model.matrix.indptr.dtype == np.int32
    np.testing.assert_array_equal(model.matrix.toarray(), [[0, 3], [3, 0]])
    assert messy.nnz == 4  # the original is left alone


BAD = {
    "matrix holds nan at index 0": {"matrix": sparse.csr_array(np.array([[np.nan, 1], [1, 1]]))},
    "matrix holds inf at index 1": {"matrix": sparse.csr_array(np.array([[1, np.inf], [1, 1]]))},
    "cost holds -inf at index 1": {"cost": np.array([0, -np.inf])},
    "offset holds nan": {"offset": np.nan},
    "row_lower holds inf at index 0": {"row_lower": np.array([INF, 0])},
    "row_upper holds nan at index 1": {"row_upper": np.array([0, np.nan])},
    "column_lower holds nan at index 0": {"column_lower": np.array([np.nan, 0])},
    "column_upper holds -inf at index 1": {"column_upper": np.array([0, -INF])},
}


@pytest.mark.parametrize(("message", "change"), BAD.items(), ids=BAD.keys())
def test_bad_numbers_are_named(message: str, change: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"The model's {message}"):
        canonical(replace(MODEL, **change))  # type: ignore[arg-type]


TRIVIAL = {
    "crossed column": (mip([[1]], (0, 1), (2, 1), 1), SolveStatus.INFEASIBLE),
    "crossed row": (mip([[1]], (2, 1), (0, 9), 1), SolveStatus.INFEASIBLE),
    "empty row above 0": (mip([[0]], (1, 2), (0, 9), 1), SolveStatus.INFEASIBLE),
    "empty row below 0": (mip([[0]], (-2, -1), (0, 9), 1), SolveStatus.INFEASIBLE),
    "no columns": (mip(np.zeros((1, 0)), (0, 1), ([], []), []), SolveStatus.OPTIMAL),
    "no columns, empty row above 0": (mip(np.zeros((1, 0)), (1, 1), ([], []), []), SolveStatus.INFEASIBLE),
    "empty row at 0": (mip([[0]], (0, 0), (0, 9), 1), None),
    "ordinary": (MODEL, None),
}


@pytest.mark.parametrize(("model", "status"), TRIVIAL.values(), ids=TRIVIAL.keys())
def test_trivial_models(model: MipModel, status: SolveStatus | None) -> None:
    answer = trivial_answer(canonical(model))
    assert (None if answer is None else answer.status) is status
