"""The whole path from query to result, against brute force over all activation patterns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mipverify_py.engines._mip as mip_engine
import mipverify_py._tighten as tightening
from bounds import Bounds, MipModel
from mipverify_py import (
    Box,
    Bracket,
    Evidence,
    LinfBall,
    Objective,
    Options,
    Query,
    Result,
    StopReason,
    Targets,
    Tightening,
    Unrestricted,
    Verdict,
    distance,
    verify,
)
from mipverify_py._attack import GradientAttack
from mipverify_py._search import Search
from mipverify_py.backends import MipSolution, SolveLimits, SolveStatus, available_backends
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork
from onnx_models.errors import BackendCrashError, BackendError, BackendLimitError, InvalidBoundsError
from tests.helpers.networks import networks, random_network
from tests.helpers.oracles import largest_margin, nearest_adversarial

seeds = st.integers(0, 2**32 - 1)
ROUNDING = 1e-6
"""How far scipy's LP optima in the oracle may be off."""


def exact_distance(query: Query) -> float | None:
    return nearest_adversarial(
        query.network,
        query.x0,
        query.target_classes,
        query.reference,
        lower=query.box.lower,
        upper=query.box.upper,
        margin=query.margin,
    )


def assert_matches(result: Result, truth: float | None) -> None:
    """The result answers a closest query whose distance is `truth`."""
    assert result.stop_reason is StopReason.SOLVED, result.stop_detail
    if truth is None:
        assert result.verdict is Verdict.ROBUST and result.witness is None and result.upper is None
        return
    assert result.verdict is Verdict.ADVERSARIAL and result.witness is not None
    assert result.lower is not None and result.upper is not None
    assert result.lower <= truth + ROUNDING
    assert truth - ROUNDING <= result.upper <= truth + 2e-6 + 2e-5 * truth + ROUNDING
    assert result.upper == result.witness.distance


def random_query(network: ReluNetwork, seed: int) -> Query:
    """A closest query with a random perturbation set, margin, targets and label."""
    rng = np.random.default_rng(seed)
    x0 = rng.random(network.input_size)
    box = Box.of(np.clip(x0 - rng.random(x0.size), 0, 1), np.clip(x0 + rng.random(x0.size), 0, 1))
    sets = [Unrestricted(), LinfBall(float(rng.random())), box]
    predicted = int(np.argmax(network.forward(x0)))
    others = [j for j in range(network.output_size) if j != predicted]
    targets = [Targets(), Targets.only(int(rng.choice(others))), Targets.excluding(others[0])][int(rng.integers(3))]
    return Query(
        network,
        x0,
        perturbation=sets[int(rng.integers(3))],
        label=predicted if rng.random() < 0.5 else None,
        targets=targets,
        margin=float(rng.choice([0.0, 0.0, 0.2, -0.1])),
    )


@settings(max_examples=40, deadline=None)
@given(networks(max_relus=6), seeds, st.sampled_from(Tightening))
def test_distance_equals_brute_force(network: ReluNetwork, seed: int, tightening: Tightening) -> None:
    query = random_query(network, seed)
    assert_matches(verify(query, Options(tightening=tightening)), exact_distance(query))


@pytest.mark.parametrize("backend", available_backends())
@settings(max_examples=8, deadline=None)
@given(network=networks(max_relus=5), seed=seeds)
def test_every_backend_agrees_with_brute_force(backend: str, network: ReluNetwork, seed: int) -> None:
    query = random_query(network, seed)
    assert_matches(verify(query, Options(backend=backend, tightening=Tightening.LINEAR)), exact_distance(query))


@settings(max_examples=25, deadline=None)
@given(networks(max_relus=6), seeds)
def test_just_below_verifies_and_just_above_finds_a_witness(network: ReluNetwork, seed: int) -> None:
    x0 = np.random.default_rng(seed).random(network.input_size)
    result = distance(network, x0)
    if result.upper is None or result.upper < 1e-3:
        return
    assert result.lower is not None
    below = verify(Query(network, x0, LinfBall(result.lower * (1 - 1e-4)), Objective.FEASIBILITY))
    assert below.verdict is Verdict.ROBUST and below.witness is None
    above = verify(Query(network, x0, LinfBall(result.upper * (1 + 1e-4)), Objective.FEASIBILITY))
    assert above.verdict is Verdict.ADVERSARIAL and above.evidence is Evidence.REPROVED
    assert above.witness is not None and above.witness.distance <= result.upper * (1 + 1e-4)


@settings(max_examples=25, deadline=None)
@given(networks(max_relus=6), seeds, st.sampled_from([0.05, 0.3]))
def test_worst_margin_equals_brute_force(network: ReluNetwork, seed: int, radius: float) -> None:
    x0 = np.random.default_rng(seed).random(network.input_size)
    query = Query(network, x0, LinfBall(radius), Objective.WORST)
    result = verify(query)
    truth = largest_margin(network, query.target_classes, query.reference, lower=query.box.lower, upper=query.box.upper)
    assert result.stop_reason is StopReason.SOLVED
    assert result.lower is not None and result.upper is not None and result.point is not None
    assert result.lower <= truth + ROUNDING and result.lower == pytest.approx(truth, abs=1e-4)
    assert result.upper >= truth - ROUNDING and result.upper == pytest.approx(truth, abs=1e-4)
    assert query.margin_at(network.forward(result.point)[None])[0] == pytest.approx(result.lower, abs=1e-9)
    if abs(truth) > 1e-4:
        assert result.verdict is (Verdict.ADVERSARIAL if truth > 0 else Verdict.ROBUST)


def line_classifier(slope: float = 1.0, bias: float = -0.5) -> ReluNetwork:
    """Two classes on [0, 1]: f_1 - f_0 = slope * relu(x) + bias."""
    builder = NetworkBuilder((1,))
    hidden = builder.relu(builder.affine([0], [DenseMap(np.array([[1.0]]))], name="hidden"))
    return builder.build(builder.affine([hidden], [DenseMap(np.array([[0.0], [slope]]))], np.array([0.0, bias])))


class TestAnswersKnownInAdvance:
    def test_closed_form(self) -> None:
        result = distance(line_classifier(), np.array([0.25]))
        assert result.lower == pytest.approx(0.25, abs=2e-6) and result.upper == pytest.approx(0.25, abs=1e-9)
        assert (result.predicted, result.target) == (0, 1)

    def test_misclassified_input_has_distance_zero(self) -> None:
        result = distance(line_classifier(), np.array([0.25]), label=1)
        assert (result.lower, result.upper, result.verdict) == (0.0, 0.0, Verdict.ADVERSARIAL)
        assert result.evidence is Evidence.REPROVED and result.backend is None

    def test_input_on_the_boundary_has_distance_zero(self) -> None:
        result = distance(line_classifier(), np.array([0.5]))
        assert (result.lower, result.upper) == (0.0, 0.0)

    def test_a_constant_classifier_has_no_adversarial_example(self) -> None:
        result = distance(line_classifier(slope=0.0), np.array([0.25]))
        assert (result.verdict, result.lower, result.upper) == (Verdict.ROBUST, None, None)
        assert result.evidence is Evidence.REPROVED

    def test_domain_limits_the_search(self) -> None:
        domain = Bounds(np.array([0.0]), np.array([0.4]))
        assert distance(line_classifier(), np.array([0.25]), domain=domain).verdict is Verdict.ROBUST

    def test_stable_networks_need_no_solver_for_fixed_radius(self) -> None:
        result = verify(Query(line_classifier(), np.array([0.25]), LinfBall(0.2), Objective.FEASIBILITY))
        assert (result.verdict, result.evidence, result.backend) == (Verdict.ROBUST, Evidence.REPROVED, None)

    def test_radius_zero(self) -> None:
        result = verify(Query(line_classifier(), np.array([0.25]), LinfBall(0.0), Objective.FEASIBILITY))
        assert result.verdict is Verdict.ROBUST


class TestAnytime:
    def hard(self) -> tuple[ReluNetwork, Array]:
        rng = np.random.default_rng(5)
        builder, node = NetworkBuilder((12,)), 0
        for _ in range(3):
            weight = DenseMap(rng.normal(size=(30, builder.size(node))) / np.sqrt(builder.size(node)))
            node = builder.relu(builder.affine([node], [weight], rng.normal(size=30) * 0.2))
        return builder.build(builder.affine([node], [DenseMap(rng.normal(size=(4, 30)))])), rng.random(12)

    def test_time_limit_gives_a_valid_bracket(self) -> None:
        network, x0 = self.hard()
        full = distance(network, x0, options=Options(time_limit=300))
        short = distance(network, x0, options=Options(time_limit=0.8, tightening=Tightening.LINEAR))
        assert full.lower is not None and full.upper is not None
        assert short.stop_reason in (StopReason.TIME_LIMIT, StopReason.SOLVED)
        assert short.upper is None or short.upper >= full.lower
        assert short.lower is None or short.lower <= full.upper

    def test_node_limit(self) -> None:
        network, x0 = self.hard()
        result = distance(network, x0, options=Options(node_limit=1, tightening=Tightening.INTERVAL))
        assert result.stop_reason in (StopReason.NODE_LIMIT, StopReason.SOLVED)
        assert result.upper is not None and result.lower is not None and result.lower <= result.upper

    def test_interrupt_returns_the_bracket_so_far(self) -> None:
        network, x0 = self.hard()
        seen: list[Bracket] = []

        def interrupt(bracket: Bracket) -> None:
            seen.append(bracket)
            if bracket.lower is not None:
                raise KeyboardInterrupt

        result = distance(network, x0, on_progress=interrupt)
        assert result.stop_reason is StopReason.INTERRUPTED
        assert Bracket(result.lower, result.upper) == seen[-1]
        assert result.verdict is Verdict.ADVERSARIAL

    def test_interrupt_during_tightening_ends_the_query(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A backend tells of a Ctrl-C by its status; taken for one solve's end, the next would start."""
        calls: list[str] = []

        def interrupted(name: str, *_: object) -> MipSolution:
            calls.append(name)
            return solution(SolveStatus.INTERRUPTED)

        monkeypatch.setattr(tightening, "solve_isolated", interrupted)
        network, x0 = self.hard()
        result = distance(network, x0, options=Options(tightening=Tightening.MIP))
        assert result.stop_reason is StopReason.INTERRUPTED and calls == ["highs"]
        assert result.upper is not None

    def test_progress_only_improves(self) -> None:
        network, x0 = self.hard()
        seen: list[Bracket] = []
        distance(network, x0, on_progress=seen.append)
        lowers = [b.lower for b in seen if b.lower is not None]
        uppers = [b.upper for b in seen if b.upper is not None]
        assert lowers == sorted(lowers) and uppers == sorted(uppers, reverse=True)

    def test_same_seed_same_answer(self) -> None:
        network, x0 = self.hard()
        first, second = (distance(network, x0, options=Options(seed=7)) for _ in range(2))
        assert (first.lower, first.upper) == (second.lower, second.upper)


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
        return distance(self.network, self.x0, options=Options(tightening=Tightening.LINEAR, **options))  # type: ignore[arg-type]

    @pytest.fixture
    def truth(self) -> float:
        answer = exact_distance(Query(self.network, self.x0))
        assert answer is not None
        return answer

    def test_infeasible_although_a_witness_is_known(self, monkeypatch: pytest.MonkeyPatch, truth: float) -> None:
        result = self.run(monkeypatch, lambda _: solution(SolveStatus.INFEASIBLE))
        assert result.verdict is Verdict.ADVERSARIAL and result.stop_reason is StopReason.SOLVER_FAILED
        assert result.evidence is Evidence.REPROVED and result.lower is not None and result.lower <= truth

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


def test_a_witness_found_before_the_limit_answers_a_feasibility_query(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x0 = line_classifier(), np.array([0.25])

    def limited(name: str, model: MipModel, limits: SolveLimits, **_: object) -> MipSolution:
        return solution(SolveStatus.TIME_LIMIT, objective=0.0, point=np.where(model.integer, 1.0, model.column_upper))

    monkeypatch.setattr(mip_engine, "solve_isolated", limited)
    monkeypatch.setattr(GradientAttack, "within", lambda *_: None)
    result = verify(Query(network, x0, LinfBall(0.5), Objective.FEASIBILITY))
    assert result.verdict is Verdict.ADVERSARIAL and result.stop_reason is StopReason.SOLVED


def test_bounds_that_a_witness_refutes_are_an_error() -> None:
    """Neither end would be worth anything, so nothing is returned."""
    search = Search(Query(line_classifier(), np.array([0.25])), Options(), None)
    assert search.offer(np.array([0.75]))
    search.prove(0.25)
    with pytest.raises(InvalidBoundsError, match=r"prove 0\.3, a checked point gives 0\.25"):
        search.prove(0.3)
