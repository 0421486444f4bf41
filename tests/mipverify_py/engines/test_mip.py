"""Engine `mip`: every backend against brute force, and solvers that fail or lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mipverify_py._tighten as tightening
import mipverify_py.engines._mip as mip_engine
from bounds import MipModel
from mipverify_py import (
    LinfBall,
    Objective,
    Options,
    Query,
    Result,
    StopReason,
    Tightening,
    Verdict,
    distance,
    verify,
)
from mipverify_py._attack import GradientAttack
from mipverify_py._search import Search
from mipverify_py.backends import MipSolution, SolveLimits, SolveStatus, available_backends
from onnx_models import ReluNetwork
from onnx_models.errors import BackendCrashError, BackendError, BackendLimitError, InvalidBoundsError
from tests.helpers.networks import networks, random_network
from tests.helpers.queries import (
    OWN,
    ROUNDING,
    assert_matches,
    exact_distance,
    hard_question,
    line_classifier,
    random_query,
)

seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=30, deadline=None)
@given(networks(max_relus=6), seeds, st.sampled_from(Tightening))
def test_distance_equals_brute_force(network: ReluNetwork, seed: int, tightening: Tightening) -> None:
    query = random_query(network, seed)
    assert_matches(verify(query, Options(engine="mip", tightening=tightening)), exact_distance(query))


@pytest.mark.parametrize("backend", available_backends())
@settings(max_examples=8, deadline=None)
@given(network=networks(max_relus=5), seed=seeds)
def test_every_backend_agrees_with_brute_force(backend: str, network: ReluNetwork, seed: int) -> None:
    query = random_query(network, seed)
    assert_matches(
        verify(query, Options(engine="mip", backend=backend, tightening=Tightening.LINEAR)), exact_distance(query)
    )


Scripted = Callable[[MipModel], MipSolution]


def solution(status: SolveStatus, **values: object) -> MipSolution:
    empty = MipSolution(status, None, None, None, None, 0, 0.0)
    return replace(empty, **values)  # type: ignore[arg-type]


class TestHostileSolver:
    """Whatever a solver says, the checked end stays checked and a contradiction is reported."""

    network = random_network(np.random.default_rng(13), max_relus=8)
    x0 = np.random.default_rng(12).random(network.input_size)

    def run(self, monkeypatch: pytest.MonkeyPatch, script: Scripted, **options: object) -> Result:
        def scripted(name: str, model: MipModel, limits: SolveLimits, **_: object) -> MipSolution:
            return script(model)

        monkeypatch.setattr(mip_engine, "solve_isolated", scripted)
        return distance(self.network, self.x0, options=Options(engine="mip", tightening=Tightening.LINEAR, **options))  # type: ignore[arg-type]

    @pytest.fixture
    def truth(self) -> float:
        answer = exact_distance(Query(self.network, self.x0))
        assert answer is not None
        return answer

    def test_infeasible_although_a_witness_is_known(self, monkeypatch: pytest.MonkeyPatch, truth: float) -> None:
        result = self.run(monkeypatch, lambda _: solution(SolveStatus.INFEASIBLE))
        assert result.verdict is Verdict.ADVERSARIAL and result.stop_reason is StopReason.SOLVER_FAILED
        assert result.evidence in OWN and result.lower is not None and result.lower <= truth

    def test_a_bound_above_the_witness_is_cut_to_it_and_labelled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        result = self.run(
            monkeypatch, lambda m: solution(SolveStatus.OPTIMAL, dual_bound=9.0, objective=9.0, point=m.column_upper)
        )
        assert result.stop_reason is StopReason.NUMERICAL
        assert result.lower is not None and result.upper is not None and result.lower <= result.upper

    def test_a_point_that_is_no_witness(self, monkeypatch: pytest.MonkeyPatch, truth: float) -> None:
        result = self.run(
            monkeypatch, lambda m: solution(SolveStatus.OPTIMAL, dual_bound=0.0, objective=0.0, point=m.column_lower)
        )
        assert result.stop_reason is StopReason.NUMERICAL
        assert result.upper is not None and result.upper >= truth - ROUNDING

    @pytest.mark.parametrize(
        "status", [SolveStatus.INFEASIBLE_OR_UNBOUNDED, SolveStatus.UNKNOWN, SolveStatus.UNBOUNDED]
    )
    def test_nothing_but_infeasible_proves_infeasibility(
        self, monkeypatch: pytest.MonkeyPatch, status: SolveStatus
    ) -> None:
        result = self.run(monkeypatch, lambda _: solution(status))
        assert result.stop_reason is StopReason.SOLVER_FAILED and status.value in result.stop_detail

    def test_a_crash_keeps_the_bracket(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def crash(_: MipModel) -> MipSolution:
            raise BackendCrashError("highs: its process was ended by signal 11 (SIGSEGV).")

        result = self.run(monkeypatch, crash)
        assert result.stop_reason is StopReason.SOLVER_FAILED and "SIGSEGV" in result.stop_detail
        assert result.upper is not None and result.witness is not None

    def test_a_failure_keeps_the_bracket(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(_: MipModel) -> MipSolution:
            raise BackendError("Backend 'highs' failed: RuntimeError: HiGHS refused the model")

        result = self.run(monkeypatch, refuse)
        assert result.stop_reason is StopReason.SOLVER_FAILED and "refused" in result.stop_detail
        assert result.upper is not None and result.witness is not None

    def test_a_licence_that_is_too_small_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def too_large(_: MipModel) -> MipSolution:
            raise BackendLimitError("The licence allows 2,000 rows.")

        with pytest.raises(BackendLimitError):
            self.run(monkeypatch, too_large)

    def test_an_interrupt_while_repairing_keeps_the_bound(self, monkeypatch: pytest.MonkeyPatch, truth: float) -> None:
        def script(model: MipModel) -> MipSolution:
            if not model.integer.any():
                raise KeyboardInterrupt
            return solution(
                SolveStatus.OPTIMAL, dual_bound=0.9 * truth, objective=0.9 * truth, point=model.column_lower
            )

        result = self.run(monkeypatch, script)
        assert result.stop_reason is StopReason.INTERRUPTED and result.lower == 0.9 * truth


def test_a_solver_without_an_answer_is_asked_again_with_another_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As HiGHS needs it where it calls its own optimum an error."""
    seeds, real = [], mip_engine.solve_isolated

    def scripted(name: str, model: MipModel, limits: SolveLimits, **others: object) -> MipSolution:
        seeds.append(limits.seed)
        return solution(SolveStatus.UNKNOWN) if len(seeds) == 1 else real(name, model, limits, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(mip_engine, "solve_isolated", scripted)
    network, x0 = TestHostileSolver.network, TestHostileSolver.x0
    result = distance(network, x0, options=Options(engine="mip", tightening=Tightening.LINEAR, seed=7))
    assert seeds[:2] == [7, 8]
    assert_matches(result, exact_distance(Query(network, x0)))


def test_a_witness_found_before_the_limit_answers_a_feasibility_query(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x0 = line_classifier(), np.array([0.25])

    def limited(name: str, model: MipModel, limits: SolveLimits, **_: object) -> MipSolution:
        return solution(SolveStatus.TIME_LIMIT, objective=0.0, point=np.where(model.integer, 1.0, model.column_upper))

    monkeypatch.setattr(mip_engine, "solve_isolated", limited)
    monkeypatch.setattr(GradientAttack, "within", lambda *_: None)
    query = Query(network, x0, LinfBall(0.5), Objective.FEASIBILITY)
    result = verify(query, Options(engine="mip"))
    assert result.verdict is Verdict.ADVERSARIAL and result.stop_reason is StopReason.SOLVED


def test_bounds_that_a_witness_refutes_are_an_error() -> None:
    """Neither end would be worth anything, so nothing is returned."""
    search = Search(Query(line_classifier(), np.array([0.25])), Options(), None)
    assert search.offer(np.array([0.75]))
    search.prove(0.25)
    with pytest.raises(InvalidBoundsError, match=r"prove 0\.3, a checked point gives 0\.25"):
        search.prove(0.3)


def test_interrupt_during_tightening_ends_the_query(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend tells of a Ctrl-C by its status; taken for one solve's end, the next would start."""
    calls: list[str] = []

    def interrupted(name: str, *_: object) -> MipSolution:
        calls.append(name)
        return solution(SolveStatus.INTERRUPTED)

    monkeypatch.setattr(tightening, "solve_isolated", interrupted)
    network, x0 = hard_question()
    result = distance(network, x0, options=Options(engine="mip", tightening=Tightening.MIP))
    assert result.stop_reason is StopReason.INTERRUPTED and calls == ["highs"]
    assert result.upper is not None
