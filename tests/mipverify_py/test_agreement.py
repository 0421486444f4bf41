"""Solvers held against each other: true ones agree, and a lying one is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import highspy
import numpy as np
import pytest

import mipverify_py._agreement as module
from bounds import MipModel, ModelBuilder
from mipverify_py import LinfBall, Norm, Objective, Options, Query, compare_backends
from mipverify_py._agreement import exact_figures
from mipverify_py.backends import MipSolution, SolveLimits, SolveStatus, available_backends, solve_isolated, violations
from onnx_models.errors import BackendAbilityError, BackendCrashError, InputError
from tests.helpers.mips import KNAPSACK, random_mip, relu_model
from tests.helpers.networks import random_network
from tests.helpers.queries import exact_distance, line_classifier, random_query

TRUTHFUL = available_backends()[:2]


def query(objective: Objective = Objective.CLOSEST) -> Query:
    network = random_network(np.random.default_rng(13), max_relus=8)
    return Query(network, np.random.default_rng(12).random(network.input_size), objective=objective)


@pytest.mark.parametrize("objective", Objective)
def test_all_solvers_agree(objective: Objective) -> None:
    report = compare_backends(query(objective), available_backends())
    assert report.disagreements == () and report.compared and report.file is None
    assert [answer.backend for answer in report.answers] == list(available_backends())
    for answer in report.answers:
        assert answer.conclusive and answer.solution is not None and answer.violation is not None
        assert answer.violation <= 1e-6
        assert answer.objective == pytest.approx(answer.solution.objective, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_model_is_the_questions(seed: int) -> None:
    asked = random_query(random_network(np.random.default_rng(seed), max_relus=5), seed)
    report, truth = compare_backends(asked, TRUTHFUL), exact_distance(asked)
    assert report.disagreements == ()
    for answer in report.answers:
        if truth is None:
            assert answer.objective is None
        else:
            assert answer.objective == pytest.approx(truth, abs=1e-5)


Lie = Callable[[MipSolution], MipSolution]


def compare_with_liar(monkeypatch: pytest.MonkeyPatch, lie: Lie, **keywords: object) -> module.AgreementReport:
    def scripted(name: str, model: MipModel, limits: SolveLimits) -> MipSolution:
        solution = solve_isolated(TRUTHFUL[0], model, limits)
        return lie(solution) if name == TRUTHFUL[1] else solution

    monkeypatch.setattr(module, "solve_isolated", scripted)
    return compare_backends(query(), TRUTHFUL, **keywords)  # type: ignore[arg-type]


def raised(solution: MipSolution, by: float) -> MipSolution:
    assert solution.dual_bound is not None
    return replace(solution, dual_bound=solution.dual_bound + by)


@pytest.mark.parametrize(
    ("lie", "sentence"),
    [
        (
            lambda s: replace(s, status=SolveStatus.INFEASIBLE, point=None, objective=None, dual_bound=None),
            "scip calls the model infeasible, highs has a point of cost",
        ),
        (lambda s: raised(s, 1e-3), "scip claims that the optimum is at least"),
        (
            lambda s: replace(s, status=SolveStatus.UNBOUNDED, point=None, objective=None, dual_bound=None),
            "scip calls the model unbounded, highs has an optimum of",
        ),
    ],
)
def test_a_lie_is_named_and_the_model_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lie: Lie, sentence: str
) -> None:
    report = compare_with_liar(monkeypatch, lie, save_model=tmp_path / "model.mps")
    [found] = report.disagreements
    assert sentence in found
    assert report.file == tmp_path / "model.mps"
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    assert highs.readModel(str(report.file)) == highspy.HighsStatus.kOk
    highs.run()
    assert highs.getInfo().objective_function_value == pytest.approx(report.answers[0].objective, abs=1e-6)


@pytest.mark.parametrize(
    "harmless",
    [
        lambda s: raised(s, 1e-7),
        lambda s: replace(s, status=SolveStatus.TIME_LIMIT, point=None, objective=None, dual_bound=0.0),
        lambda s: replace(s, status=SolveStatus.INFEASIBLE_OR_UNBOUNDED, point=None, objective=None, dual_bound=None),
    ],
)
def test_what_is_within_the_gap_or_undecided_is_no_disagreement(monkeypatch: pytest.MonkeyPatch, harmless: Lie) -> None:
    report = compare_with_liar(monkeypatch, harmless)
    assert report.disagreements == ()
    assert report.compared is all(answer.conclusive for answer in report.answers)


def test_a_crash_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(_: MipSolution) -> MipSolution:
        raise BackendCrashError("its process was ended by signal 11 (SIGSEGV).")

    report = compare_with_liar(monkeypatch, crash)
    assert report.disagreements == () and not report.compared
    assert "SIGSEGV" in report.answers[1].error and report.answers[1].solution is None


def test_ctrl_c_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        compare_with_liar(monkeypatch, lambda s: replace(s, status=SolveStatus.INTERRUPTED))


@pytest.mark.parametrize("seed", range(20))
def test_exact_figures_are_what_floats_approximate(seed: int) -> None:
    model = random_mip(seed)
    point = np.random.default_rng(seed).normal(size=model.columns)
    cost, violation = exact_figures(model, point)
    assert float(cost) == pytest.approx(float(model.cost @ point) + model.offset)
    assert float(violation) == pytest.approx(violations(model, point).largest)


def test_squares_are_counted_exactly() -> None:
    builder = ModelBuilder()
    v = builder.add_columns(-10.0, 10.0, ["a", "b"])
    builder.add_quadratic_row(v, [1.0, 0.5], 1.0)
    model = builder.build(squared=v[:1])
    assert exact_figures(model, np.array([0.5, 0.25])) == (Fraction(1, 4), 0)
    assert exact_figures(model, np.array([1.0, 2.0**-30]))[1] == Fraction(1, 2**61)


def test_solvers_that_take_squares_agree_about_them(tmp_path: Path) -> None:
    asked = Query(line_classifier(), np.array([0.25]), norm=Norm.L2)
    able = [name for name in available_backends() if name in ("scip", "gurobi", "ortools")]
    if len(able) < 2:
        pytest.skip("needs two solvers of quadratic programs")
    report = compare_backends(asked, able)
    assert report.disagreements == () and report.compared
    with pytest.raises(InputError, match="cannot be written as an MPS file"):
        compare_backends(asked, able, save_model=tmp_path / "m.mps")
    with pytest.raises(BackendAbilityError, match="'cbc' does not solve"):
        compare_backends(asked, [able[0], "cbc"])


def test_exact_figures_are_exact() -> None:
    assert exact_figures(KNAPSACK, np.array([1.0, 0, 0, 1, 0])) == (-24, 0)
    assert exact_figures(KNAPSACK, np.array([1.0, 2.0**-80, 0, 1, 0]))[1] == Fraction(3, 2**80)
    assert exact_figures(KNAPSACK, np.array([0, 1.5, 0, 0, 0]))[1] == Fraction(1, 2)
    model = relu_model(0)
    assert exact_figures(model, np.zeros(model.columns))[1] > 0


@pytest.mark.parametrize("names", [[], ["highs"], ["highs", "highs"], ["highs", "cplex"]])
def test_names_have_to_be_two_and_known(names: list[str]) -> None:
    with pytest.raises(InputError, match="name at least two|is unknown"):
        compare_backends(Query(query().network, query().x0, LinfBall(0.1)), names)


def test_a_file_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the model cannot be written"):
        compare_backends(query(), TRUTHFUL, Options(), save_model=tmp_path / "none" / "m.mps")
