"""The whole path from query to result, against brute force over all activation patterns."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import Bounds
from mipverify_py import (
    Bracket,
    Evidence,
    LinfBall,
    Objective,
    Options,
    Query,
    StopReason,
    Tightening,
    Verdict,
    distance,
    verify,
)
from onnx_models import ReluNetwork
from onnx_models.zoo import digits_test, load_zoo
from tests.helpers.networks import networks
from tests.helpers.oracles import largest_margin
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
ENGINES = ("auto", "cuts", "duals", "mip")


@pytest.mark.parametrize("engine", ["cuts", "duals", "boxes"])
def test_a_domain_in_float32_is_one_in_float64(engine: str) -> None:
    """Torch refuses to mix the two: everything has to be float64 before it gets there."""
    network = load_zoo("digits_small_standard")
    x, ends = digits_test().images[1].reshape(-1), (np.zeros(64, np.float32), np.ones(64, np.float32))
    query = Query(network, x, objective=Objective.WORST, domain=Bounds(*ends), perturbation=LinfBall(0.02))
    same = Query(network, x, objective=Objective.WORST, perturbation=LinfBall(0.02))
    ours, theirs = (verify(one, Options(engine=engine)) for one in (query, same))
    assert query.box.lower.dtype == np.float64 and ours.upper == theirs.upper and ours.lower == theirs.lower


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=15, deadline=None)
@given(network=networks(max_relus=6), seed=seeds)
def test_distance_equals_brute_force(engine: str, network: ReluNetwork, seed: int) -> None:
    query = random_query(network, seed)
    assert_matches(verify(query, Options(engine=engine)), exact_distance(query))


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
    assert above.verdict is Verdict.ADVERSARIAL and above.evidence in OWN
    assert above.witness is not None and above.witness.distance <= result.upper * (1 + 1e-4)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=10, deadline=None)
@given(network=networks(max_relus=6), seed=seeds, radius=st.sampled_from([0.05, 0.3]))
def test_worst_margin_equals_brute_force(engine: str, network: ReluNetwork, seed: int, radius: float) -> None:
    x0 = np.random.default_rng(seed).random(network.input_size)
    query = Query(network, x0, LinfBall(radius), Objective.WORST)
    result = verify(query, Options(engine=engine))
    truth = largest_margin(network, query.target_classes, query.reference, lower=query.box.lower, upper=query.box.upper)
    assert result.stop_reason is StopReason.SOLVED
    assert result.lower is not None and result.upper is not None and result.point is not None
    assert result.lower <= truth + ROUNDING and result.lower == pytest.approx(truth, abs=1e-4)
    assert result.upper >= truth - ROUNDING and result.upper == pytest.approx(truth, abs=1e-4)
    assert query.margin_at(network.forward(result.point)[None])[0] == pytest.approx(result.lower, abs=1e-9)
    if abs(truth) > 1e-4:
        assert result.verdict is (Verdict.ADVERSARIAL if truth > 0 else Verdict.ROBUST)


class TestAnswersKnownInAdvance:
    def test_closed_form(self) -> None:
        result = distance(line_classifier(), np.array([0.25]))
        assert result.lower == pytest.approx(0.25, abs=3e-6) and result.upper == pytest.approx(0.25, abs=1e-9)
        assert (result.predicted, result.target) == (0, 1)

    def test_misclassified_input_has_distance_zero(self) -> None:
        result = distance(line_classifier(), np.array([0.25]), label=1)
        assert (result.lower, result.upper, result.verdict) == (0.0, 0.0, Verdict.ADVERSARIAL)
        assert result.evidence in OWN and result.backend is None

    def test_input_on_the_boundary_has_distance_zero(self) -> None:
        result = distance(line_classifier(), np.array([0.5]))
        assert (result.lower, result.upper) == (0.0, 0.0)

    def test_a_constant_classifier_has_no_adversarial_example(self) -> None:
        result = distance(line_classifier(slope=0.0), np.array([0.25]))
        assert (result.verdict, result.lower, result.upper) == (Verdict.ROBUST, None, None)
        assert result.evidence in OWN

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
    def test_time_limit_gives_a_valid_bracket(self) -> None:
        network, x0 = hard_question()
        full = distance(network, x0, options=Options(time_limit=300))
        short = distance(network, x0, options=Options(time_limit=0.8, tightening=Tightening.LINEAR))
        assert full.lower is not None and full.upper is not None
        assert short.stop_reason in (StopReason.TIME_LIMIT, StopReason.SOLVED)
        assert short.upper is None or short.upper >= full.lower
        assert short.lower is None or short.lower <= full.upper

    def test_node_limit(self) -> None:
        network, x0 = hard_question()
        result = distance(network, x0, options=Options(node_limit=1, tightening=Tightening.INTERVAL))
        assert result.stop_reason in (StopReason.NODE_LIMIT, StopReason.SOLVED)
        assert result.upper is not None and result.lower is not None and result.lower <= result.upper

    def test_interrupt_returns_the_bracket_so_far(self) -> None:
        network, x0 = hard_question()
        seen: list[Bracket] = []

        def interrupt(bracket: Bracket) -> None:
            seen.append(bracket)
            if bracket.lower is not None:
                raise KeyboardInterrupt

        result = distance(network, x0, on_progress=interrupt)
        assert result.stop_reason is StopReason.INTERRUPTED
        assert Bracket(result.lower, result.upper) == seen[-1]
        assert result.verdict is Verdict.ADVERSARIAL

    def test_progress_only_improves(self) -> None:
        network, x0 = hard_question()
        seen: list[Bracket] = []
        distance(network, x0, on_progress=seen.append)
        lowers = [b.lower for b in seen if b.lower is not None]
        uppers = [b.upper for b in seen if b.upper is not None]
        assert lowers == sorted(lowers) and uppers == sorted(uppers, reverse=True)

    def test_same_seed_same_answer(self) -> None:
        network, x0 = hard_question()
        first, second = (distance(network, x0, options=Options(seed=7)) for _ in range(2))
        assert (first.lower, first.upper) == (second.lower, second.upper)
