"""The loop around the native searches: brackets, proofs, limits, and the same answer for any number of jobs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mipverify_py import (
    Box,
    LinfBall,
    Objective,
    Options,
    Query,
    Result,
    StopReason,
    Targets,
    Verdict,
    distance,
    replay,
    verify,
)
from mipverify_py.engines import _native
from mipverify_py.engines._cut_search import CutSearch
from mipverify_py.engines._dual_search import DualSearch
from mipverify_py.engines._target import Step
from mipverify_py.proof import TreeReplay
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork
from tests.helpers.networks import networks
from tests.helpers.queries import OWN, exact_distance, hard_question, line_classifier, random_query

seeds = st.integers(0, 2**32 - 1)
NATIVE = ("auto", "cuts", "duals")


def wide_question(seed: int = 3) -> tuple[ReluNetwork, Array]:
    """One dense hidden layer whose units read more inputs than `WIDE_FIELD`; the distance takes trees."""
    rng = np.random.default_rng(seed)
    builder = NetworkBuilder((110,))
    weight, output = rng.normal(size=(28, 110)) / np.sqrt(110), rng.normal(size=(4, 28))
    x0, bias = rng.random(110), np.zeros(4)
    bias[int(np.argmax(output @ np.maximum(weight @ x0, 0.0)))] = 5.0
    node = builder.relu(builder.affine([0], [DenseMap(weight)], rng.normal(size=28) * 0.1))
    return builder.build(builder.affine([node], [DenseMap(output)], bias)), x0


def assert_proved(result: Result) -> None:
    """The result rests on a proof that replays and says what the bracket says."""
    assert result.evidence in OWN and result.proof is not None
    report = replay(result.proof)
    assert report.holds, report.failure
    assert report.leaves >= len(result.proof.trees)


@pytest.mark.parametrize("engine", NATIVE)
@settings(max_examples=20, deadline=None)
@given(network=networks(max_relus=6), seed=seeds)
def test_every_lower_end_comes_with_a_proof(engine: str, network: ReluNetwork, seed: int) -> None:
    query = random_query(network, seed)
    result = verify(query, Options(engine=engine))
    if result.lower == 0.0 or (result.lower is not None and result.lower <= query.clearance):
        return  # x0 itself, or the box's own distance from it, is the answer
    assert_proved(result)
    assert result.proof is not None
    if result.lower is not None:
        inside = np.abs(result.proof.region.upper - query.x0).max() >= 0.999 * result.lower
        assert inside or np.all(result.proof.region.upper == query.box.upper)


@pytest.mark.parametrize("engine", NATIVE)
@pytest.mark.parametrize("question", [hard_question, wide_question])
def test_just_below_is_robust_and_just_above_is_not(engine: str, question: object) -> None:
    network, x0 = question()  # type: ignore[operator]
    full = distance(network, x0, options=Options(engine=engine))
    assert full.stop_reason is StopReason.SOLVED
    assert full.lower is not None and full.upper is not None
    assert_proved(full)
    for radius, verdict in ((full.lower, Verdict.ROBUST), (full.upper * (1 + 1e-6), Verdict.ADVERSARIAL)):
        answer = verify(Query(network, x0, LinfBall(radius), Objective.FEASIBILITY), Options(engine=engine))
        assert answer.verdict is verdict


@pytest.mark.slow
def test_engines_agree_on_questions_that_take_a_search() -> None:
    for question in (hard_question(), wide_question(), wide_question(8)):
        results = [distance(*question, options=Options(engine=engine)) for engine in (*NATIVE, "mip")]
        lower, upper = max(r.lower or 0.0 for r in results), min(r.upper or np.inf for r in results)
        assert lower <= upper + 1e-6
        assert all(r.stop_reason is StopReason.SOLVED for r in results)


@pytest.mark.parametrize("engine", NATIVE)
@pytest.mark.slow
def test_the_answer_is_the_same_for_any_number_of_jobs(engine: str) -> None:
    for network, x0 in (hard_question(), wide_question()):
        results = [distance(network, x0, options=Options(engine=engine, jobs=jobs)) for jobs in (1, 2, 5)]
        first = results[0]
        for other in results[1:]:
            assert (other.lower, other.upper, other.statistics.nodes) == (
                first.lower,
                first.upper,
                first.statistics.nodes,
            )
            assert first.point is not None and other.point is not None
            np.testing.assert_array_equal(other.point, first.point)


def test_a_coarse_gap_takes_fewer_nodes() -> None:
    network, x0 = wide_question()
    fine, coarse = (distance(network, x0, options=Options(gap_relative=gap)) for gap in (1e-5, 0.05))
    assert coarse.lower is not None and coarse.upper is not None
    assert coarse.upper - coarse.lower <= 0.05 * coarse.upper
    assert coarse.statistics.nodes <= fine.statistics.nodes


class TestLimits:
    @pytest.mark.parametrize("engine", NATIVE)
    def test_what_is_cut_short_has_a_proved_lower_end(self, engine: str) -> None:
        network, x0 = wide_question()
        full = distance(network, x0, options=Options(engine=engine))
        short = distance(network, x0, options=Options(engine=engine, node_limit=1))
        assert short.stop_reason is StopReason.NODE_LIMIT
        assert short.lower is not None and short.upper is not None and full.upper is not None
        assert 0 < short.lower <= full.upper <= short.upper
        assert_proved(short)

    def test_the_largest_margin_cut_short_has_a_proved_upper_end(self) -> None:
        network, x0 = wide_question()
        query = Query(network, x0, LinfBall(0.2), Objective.WORST)
        full, short = verify(query), verify(query, Options(node_limit=1))
        assert short.stop_reason is StopReason.NODE_LIMIT
        assert short.lower is not None and short.upper is not None
        assert full.lower is not None and full.upper is not None
        assert short.lower <= full.upper + 1e-9 and full.lower <= short.upper + 1e-9
        assert_proved(short)

    @pytest.mark.parametrize("after", [0, 1, 2])
    def test_an_interrupt_keeps_what_is_known(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        network, x0 = wide_question()
        calls = 0
        whole = DualSearch.advance

        def interrupted(self: DualSearch, nodes: int, deadline: float | None) -> Step:
            nonlocal calls
            calls += 1
            if calls > after:
                raise KeyboardInterrupt
            return whole(self, nodes, deadline)

        monkeypatch.setattr(DualSearch, "advance", interrupted)
        result = distance(network, x0)
        assert result.stop_reason is StopReason.INTERRUPTED
        assert result.lower is not None and result.upper is not None and 0 < result.lower < result.upper
        assert_proved(result)

    def test_a_watched_search_shows_a_lower_end_early(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_native, "PATIENCE", 0.0)
        network, x0 = wide_question()
        lowers: list[float] = []
        result = distance(network, x0, on_progress=lambda b: b.lower is not None and lowers.append(b.lower))
        assert result.lower is not None and len(set(lowers)) >= 2 and lowers == sorted(lowers)
        assert lowers[0] < result.lower


class TestReplayDecides:
    def test_a_leaf_that_fails_its_replay_is_opened_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The first verdict on every tree with a split is made up; the search has to come back with another."""
        refused: set[int] = set()
        whole = TreeReplay.failures

        def failures(self: TreeReplay, deadline: float | None = None) -> list[int]:
            found = whole(self, deadline)
            tree = self._tree
            if not found and len(tree.nodes) > 1 and tree.target not in refused:
                refused.add(tree.target)
                return [k for k, node in enumerate(tree.nodes) if not node.children][:1]
            return found

        monkeypatch.setattr(TreeReplay, "failures", failures)
        for engine in ("cuts", "duals"):
            refused.clear()
            result = distance(*wide_question(), options=Options(engine=engine))
            assert refused and result.stop_reason is StopReason.SOLVED
            assert_proved(result)

    def test_a_search_that_lies_proves_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        network, x0 = wide_question()
        honest = distance(network, x0)

        def lying(self: CutSearch | DualSearch, nodes: int, deadline: float | None) -> Step:
            for node in self.tree.nodes:
                node.multipliers = None
            return Step(_native.Status.PROVED, 1)

        monkeypatch.setattr(DualSearch, "advance", lying)
        result = distance(network, x0, options=Options(time_limit=3.0))
        assert result.stop_reason is StopReason.TIME_LIMIT
        assert honest.upper is not None and (result.lower is None or result.lower <= honest.upper)


class TestOddQuestions:
    @pytest.mark.parametrize("engine", NATIVE)
    def test_a_box_that_misses_x0(self, engine: str) -> None:
        box = Box.of(np.array([0.6]), np.array([0.9]))
        result = verify(Query(line_classifier(), np.array([0.25]), box), Options(engine=engine))
        assert result.stop_reason is StopReason.SOLVED
        assert result.lower == pytest.approx(0.35, abs=2e-6) and result.upper == pytest.approx(0.35)

    @pytest.mark.parametrize("engine", NATIVE)
    def test_a_network_without_hidden_units(self, engine: str) -> None:
        builder = NetworkBuilder((2,))
        network = builder.build(builder.affine([0], [DenseMap(np.array([[1.0, 0.0], [0.0, 1.0]]))]))
        result = distance(network, np.array([0.7, 0.3]), options=Options(engine=engine))
        assert result.stop_reason is StopReason.SOLVED and result.upper == pytest.approx(0.2)
        assert_proved(result)

    @pytest.mark.parametrize("engine", NATIVE)
    def test_no_gap_at_all(self, engine: str) -> None:
        """A gap of 0 cannot be reached in floats; the bracket is as narrow as they allow and says so."""
        result = distance(
            *wide_question(), options=Options(engine=engine, gap_absolute=0.0, gap_relative=0.0, time_limit=5.0)
        )
        assert result.lower is not None and result.upper is not None and result.lower <= result.upper

    @pytest.mark.slow
    @pytest.mark.parametrize("engine", NATIVE)
    def test_one_target(self, engine: str) -> None:
        network, x0 = wide_question()
        query = Query(network, x0)
        every = verify(query, Options(engine=engine))
        single = [verify(replace_targets(query, j), Options(engine=engine)) for j in query.target_classes]
        assert every.upper == pytest.approx(min(r.upper for r in single if r.upper is not None), rel=2e-5)


def replace_targets(query: Query, target: int) -> Query:
    return Query(query.network, query.x0, query.perturbation, targets=Targets.only(target))


@settings(max_examples=15, deadline=None)
@given(networks(max_relus=5), seeds)
def test_a_fixed_radius_is_decided_as_the_distance_says(network: ReluNetwork, seed: int) -> None:
    query = random_query(network, seed)
    truth = exact_distance(query)
    for radius in (0.05, 0.3):
        if truth is not None and abs(truth - radius) < 1e-5:
            continue
        ball = (
            Box.of(np.maximum(query.box.lower, query.x0 - radius), np.minimum(query.box.upper, query.x0 + radius))
            if query.clearance < radius
            else None
        )
        if ball is None:
            continue
        asked = Query(
            network,
            query.x0,
            ball,
            Objective.FEASIBILITY,
            label=query.label,
            targets=query.targets,
            margin=query.margin,
        )
        result = verify(asked)
        expected = truth is not None and truth <= radius
        assert result.verdict is (Verdict.ADVERSARIAL if expected else Verdict.ROBUST)
