"""The detector: the three statements about buffers, failures, and scikit-learn's ways."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from counter_attack.attacks import BIM, PGD, AttackProblem, Budget
from counter_attack.detection import (
    NON_ROBUST,
    ROBUST,
    CounterAttack,
    ExactAttack,
    ExactResult,
    FunctionBuffer,
    LeastSquares,
    LineBuffer,
    Quantile,
    Zero,
)
from counter_attack.pool import Pool
from mipverify_py import LinfBall, Objective, Query, Verdict, verify
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError
from tests.counter_attack.detection.scripted import Guess, Nothing, exact_distances
from tests.helpers.networks import networks
from tests.helpers.queries import line_classifier

RADII = st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0])
SEEDS = st.integers(0, 2**32 - 1)


def inputs(network: ReluNetwork, seed: int, count: int = 3) -> Array:
    return np.random.default_rng(seed).random((count, network.input_size))


def at(distances: Array, x: Array, points: Array) -> Array:
    """The distances of those inputs x that `points` are."""
    return distances[[int(np.flatnonzero((x == point).all(axis=1))[0]) for point in points]]


@settings(max_examples=8, deadline=None)
@given(network=networks(max_relus=5), seed=SEEDS, eps=RADII)
def test_exact_attack_without_buffer_is_an_exact_robustness_check(network: ReluNetwork, seed: int, eps: float) -> None:
    """Against the other question that can be asked of the exact search: is there an example within eps?"""
    x = inputs(network, seed)
    found = CounterAttack(ExactAttack(), Zero(), eps, model=network).detect(x)
    for row in range(len(x)):
        answer = verify(Query(network, x[row], LinfBall(eps), Objective.FEASIBILITY)).verdict
        assert answer is not Verdict.UNKNOWN
        if found.undecided[row]:  # only where eps is within the gap of the distance
            assert abs(found.distance[row] - eps) <= 1e-6 + 2e-5 * eps
        else:
            assert found.non_robust[row] == (answer is Verdict.ADVERSARIAL)
            assert found.proved_robust[row] == (answer is Verdict.ROBUST)


@settings(max_examples=8, deadline=None)
@given(network=networks(max_relus=5), seed=SEEDS, eps=RADII, share=st.floats(-1, 1))
@pytest.mark.slow
def test_under_estimating_buffer_gives_no_false_positives(
    network: ReluNetwork, seed: int, eps: float, share: float
) -> None:
    x = inputs(network, seed)
    _, truth = exact_distances(network, x)

    def under(points: Array, adversarial: Array, distance: Array) -> Array:
        return np.minimum(share, 1.0) * (distance - at(truth, x, points))  # a share of the excess, or less than none

    found = CounterAttack(Guess(), FunctionBuffer(under), eps, model=network).detect(x)
    assert not np.any(found.non_robust & (truth > eps))


@settings(max_examples=8, deadline=None)
@given(network=networks(max_relus=5), seed=SEEDS, eps=RADII, more=st.floats(0, 1))
def test_over_estimating_buffer_gives_no_false_negatives(
    network: ReluNetwork, seed: int, eps: float, more: float
) -> None:
    x = inputs(network, seed)
    lower, truth = exact_distances(network, x)

    def over(points: Array, adversarial: Array, distance: Array) -> Array:
        return distance - at(lower, x, points) + more

    found = CounterAttack(Guess(draws=200), FunctionBuffer(over), eps, model=network).detect(x)
    there = ~found.failed
    assert not np.any(there & ~found.non_robust & (truth <= eps))
    # where the attack fails there is nothing to correct: the input counts as robust, and the detector says so
    assert not np.any(found.failed & found.non_robust)


@settings(max_examples=6, deadline=None)
@given(network=networks(max_relus=5), seed=SEEDS, eps=RADII)
def test_no_buffer_gives_no_false_positives_whatever_the_attack(network: ReluNetwork, seed: int, eps: float) -> None:
    x = inputs(network, seed)
    lower, _ = exact_distances(network, x)
    found = CounterAttack(Guess(), Zero(), eps, model=network).detect(x)
    assert not np.any(found.non_robust & (lower > eps + 1e-12))
    assert np.array_equal(found.non_robust, found.proved_non_robust)


def test_failures_count_as_robust_and_are_told() -> None:
    found = CounterAttack(Nothing(), Zero(), 10.0, model=line_classifier()).detect([[0.2], [0.9]])
    assert found.failed.all() and not found.non_robust.any()
    assert np.isinf(found.distance).all() and np.isinf(found.estimate).all() and np.isnan(found.buffer).all()
    assert found.undecided.all()


def test_the_rule_takes_equality_for_non_robust() -> None:
    detector = CounterAttack(ExactAttack(), LineBuffer(Zero(), 0.0, 0.25), 0.25, model=line_classifier())
    assert list(detector.predict([[0.2], [0.9]])) == [NON_ROBUST, NON_ROBUST]
    assert list(detector.at(0.2499).predict([[0.2], [0.9]])) == [ROBUST, ROBUST]


def test_scores_and_decisions_follow_the_estimate() -> None:
    detector = CounterAttack(ExactAttack(), LineBuffer(Zero(), 0.5, 0.0), 0.1, model=line_classifier())
    x = [[0.1], [0.45], [0.9]]
    assert detector.score_samples(x) == pytest.approx([0.2, 0.025, 0.2], abs=1e-6)
    assert detector.decision_function(x) == pytest.approx([0.1, -0.075, 0.1], abs=1e-6)
    assert list(detector.predict(x)) == [ROBUST, NON_ROBUST, ROBUST]
    assert list(detector.fit_predict(x)) == [ROBUST, NON_ROBUST, ROBUST]


@pytest.mark.parametrize(
    ("eps", "non_robust", "robust"), [(0.05, False, True), (0.1, False, False), (0.2, False, False), (0.3, True, False)]
)
def test_an_unfinished_search_decides_what_its_bracket_decides(eps: float, non_robust: bool, robust: bool) -> None:
    def cut_short(*given: Any, **named: Any) -> ExactResult:
        whole = ExactAttack()(*given, **named)
        return replace(whole, lower=np.array([0.1]), upper=np.array([0.3]), exact=np.array([False]))

    found = CounterAttack(cut_short, Zero(), eps, model=line_classifier()).detect([[0.2]])
    assert (found.proved_non_robust[0], found.proved_robust[0]) == (non_robust, robust)
    assert found.undecided[0] == (not non_robust and not robust)
    assert found.non_robust[0] == non_robust


def test_an_exact_attack_in_a_pool_keeps_its_proof() -> None:
    pool = Pool({"guess": Guess(), "exact": ExactAttack()})
    found = CounterAttack(pool, Zero(), 0.25, model=line_classifier()).detect([[0.2], [0.4]])
    assert list(found.proved_robust) == [True, False] and list(found.proved_non_robust) == [False, True]
    assert not found.interrupted


def test_an_interrupted_attack_is_told() -> None:
    class Stopped(Guess):
        def run(self, problem: AttackProblem) -> None:
            super().run(problem)
            raise KeyboardInterrupt

    for attack in (Stopped(), Pool({"guess": Guess(), "stopped": Stopped()})):
        assert CounterAttack(attack, Zero(), 0.25, model=line_classifier()).detect([[0.2]]).interrupted


def test_fit_learns_the_buffer_from_exact_distances() -> None:
    network = line_classifier()
    x = np.linspace(0.05, 0.45, 9)[:, None]
    truth = 0.5 - x[:, 0]
    coarse = BIM(steps=5, step_size=0.2)
    detector = CounterAttack(coarse, LeastSquares(), 0.1, model=network).fit(x, truth)
    reached = coarse(network, x).distance
    slope, intercept = np.polyfit(reached, truth, 1)
    assert detector.buffer_.slope == pytest.approx(slope) and detector.buffer_.intercept == pytest.approx(intercept)
    assert detector.score_samples(x) == pytest.approx(slope * reached + intercept)


def test_fit_leaves_out_what_makes_no_pair() -> None:
    network = line_classifier()
    x, truth = np.array([[0.1], [0.2], [0.3]]), np.array([0.4, np.inf, 0.2])
    detector = CounterAttack(ExactAttack(), LeastSquares(), 0.1, model=network)
    assert len(detector.pairs(x, truth)) == 2
    with pytest.raises(InputError, match="Row 1 has the exact distance nan"):
        detector.fit(x, [0.4, np.nan, 0.2])
    with pytest.raises(InputError, match="3 inputs and exact distances of shape"):
        detector.fit(x, [0.4])
    with pytest.raises(InputError, match="failed on every input"):
        CounterAttack(Nothing(), LeastSquares(), 0.1, model=network).fit(x, truth)


def test_a_kind_has_to_be_fitted() -> None:
    detector = CounterAttack(ExactAttack(), Quantile(0.1), 0.1, model=line_classifier())
    with pytest.raises(InputError, match="call fit with exact distances"):
        detector.predict([[0.2]])
    with pytest.raises(InputError, match="give them as y"):
        detector.fit([[0.2]])
    assert isinstance(CounterAttack(ExactAttack()).fit([[0.2]]).buffer_, LineBuffer)


@pytest.mark.parametrize("eps", [-0.1, float("nan"), float("inf"), "0.1"])
def test_bad_eps(eps: float) -> None:
    with pytest.raises(InputError, match="radius"):
        CounterAttack(ExactAttack(), Zero(), eps, model=line_classifier()).detect([[0.2]])


def test_bad_inputs_models_and_buffers() -> None:
    with pytest.raises(InputError, match="no model"):
        CounterAttack(ExactAttack()).predict([[0.2]])
    with pytest.raises(InputError, match="shape"):
        CounterAttack(ExactAttack(), model=line_classifier()).predict([[0.2, 0.3]])
    nan = FunctionBuffer(lambda *found: found[2] * np.nan)
    with pytest.raises(InputError, match="not finite numbers"):
        CounterAttack(ExactAttack(), nan, model=line_classifier()).predict([[0.2]])


def test_any_torch_module_will_do() -> None:
    import torch
    from torch import nn

    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    x = np.random.default_rng(0).random((5, 1, 2, 2))
    detector = CounterAttack(PGD(steps=20), Zero(), 0.2, model=module, budget=Budget(calls=200))
    found = detector.detect(x)
    assert np.array_equal(found.non_robust, found.distance <= 0.2)
    assert np.array_equal(found.predicted, module.double()(torch.from_numpy(x)).argmax(dim=1).numpy())


def test_the_seed_is_kept() -> None:
    network, x = line_classifier(), [[0.2], [0.4]]
    one, two = (CounterAttack(Guess(), model=network, seed=seed).score_samples(x) for seed in (1, 2))
    assert np.array_equal(one, CounterAttack(Guess(), model=network, seed=1).score_samples(x))
    assert not np.array_equal(one, two)


def test_parameters_as_scikit_learn_has_them() -> None:
    network = line_classifier()
    detector = CounterAttack(ExactAttack(), LeastSquares(), 0.1, model=network, seed=3)
    assert detector.get_params()["eps"] == 0.1 and detector.get_params()["seed"] == 3
    assert detector.set_params(eps=0.2) is detector and detector.eps == 0.2
    with pytest.raises(ValueError, match="no parameter 'epsilon'; it has pool, buffer, eps, model"):
        detector.set_params(epsilon=0.3)
    detector.fit([[0.1], [0.2]], [0.4, 0.3])
    copy = clone(detector)
    assert copy is not detector and copy.get_params() == detector.get_params() and not hasattr(copy, "buffer_")
    assert copy.model is network
    assert "LeastSquares()" in repr(copy)


def test_at_the_end_of_a_pipeline() -> None:
    detector = CounterAttack(ExactAttack(), Zero(), 0.1, model=line_classifier())
    x = np.array([[0.2], [0.9]])
    chain = Pipeline([("halve", FunctionTransformer(lambda x: x / 2)), ("detect", detector)]).fit(x)
    assert list(chain.predict(x)) == [ROBUST, NON_ROBUST]
    assert list(chain.set_params(detect__eps=0.01).predict(x)) == [ROBUST, ROBUST]


def test_exact_attack_and_line_give_both_answers() -> None:
    """The statements above are about something: on this line, marked and unmarked inputs both occur."""
    x = np.linspace(0.0, 0.45, 10)[:, None]
    found = CounterAttack(ExactAttack(), Zero(), 0.2, model=line_classifier()).detect(x)
    assert list(found.non_robust) == list(0.5 - x[:, 0] <= 0.2)
