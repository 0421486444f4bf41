"""Ground truths: against every activation pattern, against attacks, against questions just inside and outside."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog

from counter_attack.attacks import AttackStop, make_attack
from counter_attack.ground_truth import GroundTruth, Point, one_against_all, phase_changes
from counter_attack.ground_truth import _points as module
from counter_attack.ground_truth._points import confirmed, confronted
from mipverify_py import (
    LinfBall,
    Norm,
    Objective,
    Options,
    Query,
    Result,
    StopReason,
    Targets,
    Verdict,
    Witness,
    distance,
    verify,
)
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork
from onnx_models.errors import InputError
from onnx_models.zoo import digits_test, load_zoo
from tests.helpers.norms import dense_network, exact_norm_distance
from tests.helpers.oracles import pieces
from tests.helpers.queries import line_classifier

ROUNDING = 1e-6


def fab(norm: Norm) -> GroundTruth:
    return GroundTruth(make_attack("fab", norm=norm))


def nearest_of_class(network: ReluNetwork, x0: Array, target: int, norm: Norm) -> float | None:
    """The distance to the inputs in [0, 1] that get the class, by a linear program for each activation pattern."""
    n, best = len(x0), None
    others = [j for j in range(network.output_size) if j != target]
    size = np.eye(n) if norm is Norm.L1 else np.ones((n, 1))
    cost = np.concatenate([np.zeros(n), np.ones(size.shape[1])])
    for g, h, f, k in pieces(network):
        rows = np.vstack([g, f[others] - f[target]])
        matrix = np.block([[rows, np.zeros((len(rows), size.shape[1]))], [np.eye(n), -size], [-np.eye(n), -size]])
        right = np.concatenate([h, k[target] - k[others], x0, -x0])
        limits = [(0.0, 1.0)] * n + [(0.0, None)] * size.shape[1]
        answer = linprog(cost, A_ub=matrix, b_ub=right, bounds=limits, method="highs")
        if answer.status == 0 and (best is None or answer.fun < best):
            best = float(answer.fun)
    return best


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L1])
def test_every_point_agrees_with_brute_force(norm: Norm) -> None:
    network = dense_network(6, units=4, classes=4)
    x = np.random.default_rng(0).random((2, 3))
    points = list(fab(norm)(network, x))
    assert len(points) == 6
    for point in points:
        truth = nearest_of_class(network, x[point.index], point.target, norm)
        assert point.terminated and point.stop_reason is StopReason.SOLVED
        if truth is None:
            assert point.lower is None and point.upper is None and point.attack is None and not point.is_exact
            continue
        assert point.lower is not None and point.upper is not None
        assert point.lower <= truth + ROUNDING and truth - ROUNDING <= point.upper
        assert point.upper - point.lower <= 2e-6 + 2e-5 * truth
        assert point.attack is None or point.attack >= point.upper


@pytest.fixture(scope="module")
def digit() -> tuple[ReluNetwork, Array, list[Point]]:
    """A network, an image, and its points with a cheap attack."""
    network, x = load_zoo("digits_small_standard"), digits_test().images[2:3]
    return network, x, list(GroundTruth(make_attack("deepfool"))(network, x))


@pytest.mark.slow
def test_just_below_there_is_nothing_and_just_above_there_is_an_example(
    digit: tuple[ReluNetwork, Array, list[Point]],
) -> None:
    network, x, points = digit
    assert len(points) == 9
    for point in points[::3]:
        assert point.lower is not None and point.upper is not None
        targets = Targets.only(point.target, winning=True)
        asked = Query(network, x[0], targets=targets, objective=Objective.FEASIBILITY)
        below, above = point.lower * (1 - 1e-4), point.upper * (1 + 1e-4)
        assert verify(replace(asked, perturbation=LinfBall(below))).verdict is Verdict.ROBUST
        result = verify(replace(asked, perturbation=LinfBall(above)))
        assert result.witness is not None
        logits = network.forward(result.witness.point)
        assert logits[point.target] >= logits.max() - 1e-9


@pytest.mark.slow
def test_the_least_over_targets_is_the_distance_to_any_other_class(
    digit: tuple[ReluNetwork, Array, list[Point]],
) -> None:
    network, x, points = digit
    assert all(p.attack is None or (p.upper is not None and p.upper <= p.attack) for p in points)
    whole = distance(network, x[0])
    assert min(p.upper for p in points if p.upper is not None) == pytest.approx(whole.upper, rel=2e-5)


def test_a_target_that_only_reaches_is_at_most_as_far() -> None:
    network, x = dense_network(2, units=6, classes=4), np.full((1, 3), 0.5)
    winning = list(fab(Norm.LINF)(network, x))
    reaching = list(replace(fab(Norm.LINF), wins=False)(network, x))
    assert [p.target for p in winning] == [p.target for p in reaching]
    for wins, reaches in zip(winning, reaching, strict=True):
        truth = exact_norm_distance(Query(network, x[0], targets=Targets.only(reaches.target)))
        assert (reaches.upper is None) == (truth is None)
        if reaches.upper is not None:
            assert reaches.upper == pytest.approx(truth, rel=3e-5, abs=ROUNDING)
            assert wins.upper is None or wins.lower is not None
            assert wins.upper is None or wins.upper >= reaches.upper * (1 - 1e-4)


def test_bisection_overlaps_with_the_direct_search() -> None:
    network, x = dense_network(6, units=5, classes=3), np.full((1, 3), 0.5)
    direct = list(fab(Norm.LINF)(network, x))
    halved = list(replace(fab(Norm.LINF), method="bisect", tolerance=0.01)(network, x))
    for a, b in zip(direct, halved, strict=True):
        assert b.terminated and (a.upper is None) == (b.upper is None)
        if a.lower is not None and a.upper is not None and b.lower is not None and b.upper is not None:
            assert b.upper - b.lower <= 0.01
            assert a.lower <= b.upper and b.lower <= a.upper


def test_an_input_that_is_wrong_has_no_points_and_indices_are_kept() -> None:
    network = line_classifier()
    points = list(fab(Norm.LINF)(network, [[0.2], [0.9]], [0, 0], indices=[7, 8], name="line"))
    assert [(p.network, p.index, p.reference, p.target) for p in points] == [("line", 7, 0, 1)]
    assert points[0].upper == pytest.approx(0.3)


def test_a_target_without_an_example_is_a_finished_point_without_distances() -> None:
    (point,) = list(fab(Norm.LINF)(line_classifier(slope=0.4), [[0.2]]))
    assert point.terminated and not point.is_exact and point.evidence is not None
    assert (point.attack, point.lower, point.upper, point.changed) == (None, None, None, ())


def test_a_limit_leaves_the_point_open_with_the_attacks_example() -> None:
    network, x = load_zoo("digits_small_adversarial"), digits_test().images[:1]
    point = next(GroundTruth(make_attack("deepfool"), Options(time_limit=1e-6))(network, x))
    assert not point.terminated and point.stop_reason is StopReason.TIME_LIMIT and not point.is_exact
    assert point.attack is not None and point.upper is not None and point.upper <= point.attack


def test_an_interrupted_search_is_the_last_point(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*given: Any, **named: Any) -> Result:
        return replace(distance(*given, **named), stop_reason=StopReason.INTERRUPTED)

    monkeypatch.setattr(module, "distance", interrupted)
    points = list(fab(Norm.LINF)(dense_network(1), np.full((2, 3), 0.5)))
    assert [p.stop_reason for p in points] == [StopReason.INTERRUPTED]


def test_an_interrupted_attack_goes_on_to_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    attack = make_attack("fab")
    result = replace(attack(dense_network(1), np.full((1, 3), 0.5)), stop_reason=AttackStop.INTERRUPTED)

    def stopped(*given: Any, **named: Any) -> Any:
        return result

    monkeypatch.setattr(type(attack), "__call__", stopped)
    with pytest.raises(KeyboardInterrupt):
        list(GroundTruth(attack)(dense_network(1), np.full((1, 3), 0.5)))


def test_an_example_of_an_attack_counts_only_when_checked() -> None:
    query = Query(line_classifier(), [0.2])
    found = confirmed(query, np.array([0.6]))
    assert found is not None and found.distance == pytest.approx(0.4)
    hair = confirmed(query, np.array([0.5 - 1e-13]))
    assert hair is not None and 0.3 <= hair.distance <= 0.3 + 1e-9
    assert confirmed(query, np.array([0.4])) is None


def test_a_claim_that_an_example_refutes_is_withdrawn() -> None:
    query = Query(line_classifier(), [0.2])
    near, result = Witness(query, [0.5]), distance(line_classifier(), [0.2])
    agreed = confronted(result, near, Options())
    assert agreed.stop_reason is StopReason.SOLVED and agreed.lower == min(result.lower, near.distance)
    for wrong in (replace(result, lower=0.4), replace(result, verdict=Verdict.ROBUST, lower=None, upper=None)):
        found = confronted(wrong, near, Options())
        assert (found.stop_reason, found.lower, found.evidence) == (StopReason.NUMERICAL, None, None)


def test_phases_are_counted_layer_by_layer() -> None:
    builder = NetworkBuilder((2,))
    first = builder.relu(
        builder.affine([0], [DenseMap(np.array([[1.0, 0], [0, 1], [1, 1]]))], np.array([-0.5, -0.5, 1]))
    )
    second = builder.relu(builder.affine([first], [DenseMap(np.array([[1.0, -1.0, 0.0]]))], np.array([-0.1])))
    network = builder.build(builder.affine([second], [DenseMap(np.array([[1.0], [0.0]]))]))
    off, on = np.array([0.2, 0.2]), np.array([0.9, 0.2])
    assert phase_changes(network, off, on) == (1, 1)
    assert phase_changes(network, off, np.array([0.5, 0.2])) == (0, 0)  # on its kink a unit has not changed
    assert phase_changes(network, np.array([0.2, 0.2]), np.array([0.9, 0.9])) == (2, 0)


@pytest.mark.parametrize("classes", [2, 3, 4, 6, 10])
def test_one_against_all_adds_the_largest_of_the_others(classes: int) -> None:
    network = dense_network(6, units=5, classes=classes)
    x = np.random.default_rng(2).random((200, 3))
    logits = network.forward_batch(x)
    others = np.stack([np.delete(logits, target, axis=1).max(axis=1) for target in range(classes)], axis=1)
    expected = np.concatenate([logits, others], axis=1)
    np.testing.assert_allclose(one_against_all(network).forward_batch(x), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: GroundTruth(make_attack("fab"), method="halve"), "one of direct, bisect"),
        (lambda: GroundTruth(make_attack("fab"), tolerance=0.1), "for method 'bisect'"),
        (lambda: list(fab(Norm.LINF)(line_classifier(), [0.2])), "expected"),
        (lambda: list(fab(Norm.LINF)(line_classifier(), [[0.2]], [0, 1])), "1 whole numbers"),
        (lambda: list(fab(Norm.LINF)(line_classifier(), [[0.2]], [0.5])), "whole numbers"),
        (lambda: list(fab(Norm.LINF)(line_classifier(), [[0.2]], [2])), "have 2; the model's classes are 0 to 1"),
        (lambda: list(fab(Norm.LINF)(line_classifier(), [[0.2]], [-1])), "have -1; the model's"),
        (lambda: list(fab(Norm.LINF)(line_classifier(), [[0.2]], indices=[1, 2])), "2 indices"),
    ],
)
def test_bad_arguments_are_named(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_points_know_what_they_have_in_common() -> None:
    (point,) = list(fab(Norm.LINF)(line_classifier(), [[0.2]]))
    assert isinstance(point, Point) and point.key == (Norm.LINF, 0, 0, 1) and point.is_exact
