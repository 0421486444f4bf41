"""Growth: rows that are right, their summaries, contradictions, the picture, and the file of the network."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pytest
from PIL import Image

from counter_attack.hardness import (
    DEFENCES,
    ContradictionError,
    CpSatAnswer,
    Formula,
    _growth,
    export_reduction,
    growth,
    plot_growth,
    random_formula,
    reduce_formula,
    summarise_growth,
)
from mipverify_py import Evidence, LinfBall, Objective, Options, Query, Verdict, verify
from onnx_models import load_onnx
from onnx_models.errors import InputError
from tests.counter_attack.hardness.formulas import models
from tests.helpers.queries import OWN

DOCS = Path(__file__).parents[3] / "docs"


class Scripted:
    """A CP-SAT that tries all assignments, or that says the opposite."""

    lies = False

    def __init__(self, *, time_limit: float | None) -> None:
        self.time_limit = time_limit

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def solve(self, formula: Formula, *, seed: int) -> CpSatAnswer:
        return CpSatAnswer(bool(models(formula)) is not self.lies, None, "SCRIPTED", 0.25, seed, 3)


@pytest.fixture
def solver(monkeypatch: pytest.MonkeyPatch) -> type[Scripted]:
    monkeypatch.setattr(_growth, "CpSat", Scripted)
    monkeypatch.setattr(Scripted, "lies", False)
    return Scripted


def test_rows_and_summaries(solver: type[Scripted]) -> None:
    rows = list(growth([4, 5], ratios=[2.0, 8.0], formulas=2, seed=5))
    assert [(r.variables, r.ratio, r.seed) for r in rows] == [
        (n, ratio, seed) for n in (4, 5) for ratio in (2.0, 8.0) for seed in (5, 6)
    ]
    for row in rows:
        formula = random_formula(row.variables, row.clauses, seed=row.seed)
        assert row.clauses == round(row.ratio * row.variables)
        assert row.satisfiable is row.cp_sat is bool(models(formula))
        assert row.evidence == "assignment" if row.satisfiable else Evidence(row.evidence) in OWN
    for summary, group in zip(summarise_growth(rows), (rows[:2], rows[2:4], rows[4:6], rows[6:]), strict=True):
        assert (summary.variables, summary.ratio, summary.formulas) == (group[0].variables, group[0].ratio, 2)
        assert summary.satisfiable == sum(row.satisfiable is True for row in group)
        assert summary.unsatisfiable == 2 - summary.satisfiable and summary.unknown == 0
        assert summary.share == pytest.approx(summary.satisfiable / 2)
        assert summary.nodes == np.median([row.nodes for row in group])
        assert summary.seconds == np.median([row.seconds for row in group])
        assert (summary.cp_sat_seconds, summary.cp_sat_conflicts, summary.agreed) == (0.25, 3, 2)


def test_open_formulas_count_as_such() -> None:
    (row,) = growth([40], ratios=[5.0], formulas=1, options=Options(time_limit=0.01), cp_sat=False)
    assert row.satisfiable is None and row.evidence is None and row.cp_sat is None
    (summary,) = summarise_growth([row])
    assert (summary.unknown, summary.share, summary.cp_sat_seconds, summary.agreed) == (1, None, None, 0)


def test_a_contradiction_is_an_error(solver: type[Scripted]) -> None:
    solver.lies = True
    with pytest.raises(ContradictionError, match=r"random_formula\(4, 12, seed=0\)"):
        list(growth([4], ratios=[3.0], formulas=1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variables": []}, "at least one is needed"),
        ({"variables": [2]}, "none below 3"),
        ({"variables": [4, 4]}, "named twice"),
        ({"variables": [4], "ratios": [2.0, 3.0, 2.0]}, "named twice"),
        ({"variables": [4], "ratios": [math.inf]}, "finite"),
        ({"variables": [4], "ratios": []}, "at least one is needed"),
        ({"variables": [4], "formulas": 0}, "at least one formula"),
        ({"variables": [4], "seed": -1}, "must not be negative"),
    ],
)
def test_arguments_are_checked(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(growth(**arguments))


def test_pictures(solver: type[Scripted], tmp_path: Path) -> None:
    (row,) = growth([4], ratios=[2.0], formulas=1)
    open_one = replace(row, seed=1, satisfiable=None, evidence=None, cp_sat=None)
    for name, rows in {
        "sizes": [row, open_one, replace(row, variables=5, satisfiable=False)],
        "ratios": [row, replace(row, ratio=4.26, cp_sat_seconds=None, cp_sat_conflicts=None)],
        "open": [open_one],
    }.items():
        plot_growth(rows, tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.width > 600
    with pytest.raises(InputError, match="several sizes at one ratio"):
        plot_growth([row, replace(row, variables=5, ratio=3.0)], tmp_path / "both.png")
    with pytest.raises(InputError, match="cannot be written"):
        plot_growth([row], tmp_path / "no" / "such.png")


@pytest.mark.parametrize("mu", [1 / 2, 1 / 4])
def test_the_file_is_the_network(tmp_path: Path, mu: float) -> None:
    for formula, verdict in (
        (random_formula(4, 8, seed=1), Verdict.ADVERSARIAL),
        (Formula(1, ((1,), (-1,))), Verdict.ROBUST),
    ):
        reduction = reduce_formula(formula, mu=mu)
        beside = export_reduction(reduction, tmp_path / "formula.onnx")
        network, x0 = load_onnx(tmp_path / "formula.onnx"), np.load(beside)
        points = np.random.default_rng(0).random((50, network.input_size))
        assert np.array_equal(network.forward_batch(points), reduction.network.forward_batch(points))
        query = Query(network, x0, perturbation=LinfBall(0.5), objective=Objective.FEASIBILITY, label=0)
        assert verify(query).verdict is verdict
        assert bool(models(formula)) is (verdict is Verdict.ADVERSARIAL)


def test_formulas_without_clauses_or_literals_are_written_as_well(tmp_path: Path) -> None:
    for formula in (Formula(0, ()), Formula(2, ()), Formula(0, ((),)), Formula(1, ((), (1,)))):
        reduction = reduce_formula(formula)
        export_reduction(reduction, tmp_path / "formula.onnx")
        points = np.random.default_rng(0).random((9, len(reduction.x0)))
        expected = reduction.network.forward_batch(points)
        assert np.allclose(load_onnx(tmp_path / "formula.onnx").forward_batch(points), expected)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        export_reduction(reduce_formula(Formula(1, ((1,),))), tmp_path / "no" / "such.onnx")


def test_the_page_shows_the_table_of_defences() -> None:
    page = (DOCS / "explanation" / "asymmetries.md").read_text("utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    for d in DEFENCES:
        cells = [d.reference, d.method, d.acts, d.data, f"{d.radius} ({d.norm})", f"{d.accuracy} %", d.remark]
        assert cells in rows
    assert sum(len(row) == 7 for row in rows) == len(DEFENCES) + 2  # heading and rule


def test_public_names_load_nothing_heavy() -> None:
    program = (
        "import sys, counter_attack.hardness as h; [getattr(h, name) for name in h.__all__]; "
        "print(*({'torch', 'matplotlib', 'ortools', 'highspy', 'sklearn', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr
