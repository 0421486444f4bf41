"""Classifiers of detectors: decoding against fractions, against the theorem, and by an attack."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counter_attack import make_attack
from counter_attack.reductions import (
    Basis,
    Nearest,
    RejectNetwork,
    Setting,
    classifier_from_detector,
    detection_risk,
    threshold_detector,
)
from mipverify_py import Norm
from onnx_models import DenseMap, NetworkBuilder, ReluNetwork, to_torch
from onnx_models.errors import InputError
from onnx_models.zoo import digits_test, load_zoo
from tests.counter_attack.reductions.limits import stop_searches
from tests.counter_attack.reductions.line import LineDetector, random_line
from tests.helpers.networks import networks
from tests.helpers.queries import line_classifier

CLOSE = Fraction(1, 10**5)


def two_sides() -> ReluNetwork:
    """On [0, 1]: class 0 is accepted up to 1/4, class 1 from 3/4 on, and what is between is rejected."""
    builder = NetworkBuilder((1,))
    weight = DenseMap(np.array([[-1.0], [1.0], [0.0]]))
    return builder.build(builder.affine((0,), (weight,), np.array([0.25, -0.75, 0.0])))


@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1), st.integers(0, 16), st.integers(0, 8))
def test_answers_are_those_in_fractions(seed: int, eps: int, place: int) -> None:
    line, z, radius = LineDetector(random_line(seed, outputs=3)), Fraction(place, 8), Fraction(eps, 32)
    found = classifier_from_detector(RejectNetwork(line.network), float(2 * radius)).decode([float(z)])
    truth, distances = line.decode(z, 2 * radius), line.distances(z)
    least = min(distances.values(), default=None)
    assert found.basis is Basis.EXACT
    if found.status is Nearest.DECIDED:
        assert truth == {found.label} == set(found.candidates)
    elif found.status is Nearest.EMPTY:
        assert truth == set() and found.label is None
    elif found.status is Nearest.TIED:
        assert len(found.candidates) == 2 and found.label in found.candidates
        assert all(distances[j] - least <= CLOSE for j in found.candidates)
    else:
        assert least is not None and abs(least - radius) <= CLOSE and found.stopped
    if least is not None:
        assert found.lower <= least + CLOSE and least <= found.upper


@settings(max_examples=4)
@given(networks(max_relus=5), st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.15, 0.4]))
def test_the_classifier_is_right_near_every_input_where_the_detector_does_not_fail(
    network: ReluNetwork, seed: int, eps: float
) -> None:
    """The theorem, with more inputs than one: for z drawn from the ball, and on its corners."""
    rng, g = np.random.default_rng(seed), RejectNetwork(network)
    h = classifier_from_detector(g, eps)
    for x in rng.random((3, network.input_size)):
        label = int(np.argmax(network.forward(x)[:2]))
        if detection_risk(g, [x], [label], eps).failures[0] is not False:
            continue
        for step in (rng.uniform(-1, 1, x.size), rng.choice([-1.0, 1.0], x.size)):
            z = np.clip(x + 0.999999 * eps / 2 * step, 0, 1)
            found = h.decode(z)
            assert (found.status, found.label) == (Nearest.DECIDED, label)
            assert found.point is not None and not g.rejects(found.point)


def test_nearest_first_then_the_class() -> None:
    h = classifier_from_detector(two_sides(), 0.625)
    found = h([[0.125], [0.375], [0.625], [0.9]])
    assert [(one.status, one.label) for one in found.answers] == [
        (Nearest.DECIDED, 0),
        (Nearest.DECIDED, 0),
        (Nearest.DECIDED, 1),
        (Nearest.DECIDED, 1),
    ]
    for one, gap in zip(found.answers, (0, 0.125, 0.125, 0), strict=True):
        assert one.lower <= gap <= one.upper <= gap + 2e-6
    assert found.count(Nearest.DECIDED) == 4


def test_halfway_between_two_classes_is_a_tie() -> None:
    found = classifier_from_detector(two_sides(), 0.5).decode([0.5])  # both within 1/4, just
    assert found.status is Nearest.TIED and found.candidates == (0, 1) and found.label in (0, 1)


def test_no_accepted_input_within_reach_is_no_answer() -> None:
    found = classifier_from_detector(two_sides(), 0.49).decode([0.5])
    assert (found.status, found.label, found.point) == (Nearest.EMPTY, None, None)
    assert found.lower == 0.245 and found.upper == np.inf


def test_the_reject_output_may_stand_anywhere() -> None:
    builder = NetworkBuilder((1,))
    weight = DenseMap(np.array([[0.0], [-1.0], [1.0]]))
    network = builder.build(builder.affine((0,), (weight,), np.array([0.0, 0.25, -0.75])))
    assert classifier_from_detector(network, 0.5, reject=0).decode([0.625]).label == 2
    g = RejectNetwork(network, 0)
    assert g.classes == (1, 2) and g.rejects([0.5]) and not g.rejects([0.25])
    assert g([[0.5], [0.0]]).tolist() == [None, 1]


def test_a_threshold_rejects_what_no_logit_reaches() -> None:
    network, x = load_zoo("digits_small_standard"), digits_test().images[:10]
    logits = network.forward_batch(x)
    level = float(np.median(logits.max(axis=1)))
    g = threshold_detector(network, level)
    found = g(x)
    assert g.reject == 10 and list(found.mask) == list(logits.max(axis=1) < level)
    assert list(found.data) == list(logits.argmax(axis=1))
    assert [g.rejects(one) for one in x] == list(found.mask)


def test_a_time_limit_leaves_the_answer_open(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_searches(monkeypatch, lower=0.01)
    found = classifier_from_detector(two_sides(), 0.5).decode([0.375])
    assert (found.status, found.label, found.lower, found.upper) == (Nearest.OPEN, None, 0.01, np.inf)
    assert found.stopped == "time limit"


def test_a_time_limit_after_the_first_search_keeps_what_that_found(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_searches(monkeypatch, after=1)
    found = classifier_from_detector(two_sides(), 0.5).decode([0.375])
    assert (found.status, found.label, found.candidates) == (Nearest.OPEN, 0, (0,))
    assert found.lower <= 0.125 <= found.upper and found.stopped == "time limit"


def test_an_attack_finds_an_accepted_input_no_nearer_than_the_nearest() -> None:
    network, x = load_zoo("digits_small_standard"), digits_test().images[:4]
    g = threshold_detector(network, float(np.median(network.forward_batch(x).max(axis=1))))
    exact = classifier_from_detector(g, 0.4)(x).answers
    attack = make_attack("fab")
    found = classifier_from_detector(g, 0.4, attack=attack)(x)
    module = classifier_from_detector(to_torch(g.network), 0.4, attack=attack)(x)
    assert [one.label for one in module.answers] == [one.label for one in found.answers]
    for heuristic, truth, row in zip(found.answers, exact, x, strict=True):
        assert heuristic.basis is Basis.ATTACK and heuristic.upper >= truth.lower
        assert (heuristic.status is Nearest.DECIDED) == (not g.rejects(row))
        if heuristic.label is not None:
            assert heuristic.point is not None and heuristic.upper <= 0.2
            assert int(np.argmax(network.forward(heuristic.point))) == heuristic.label
    assert any(one.upper > 0 for one in found.answers)


def test_an_attack_that_finds_nothing_within_eps_has_no_answer() -> None:
    (found,) = classifier_from_detector(two_sides(), 0.1, attack=make_attack("fgsm"), reject=2)([[0.5]]).answers
    assert (found.status, found.label, found.upper) == (Nearest.OPEN, None, np.inf)


def test_ctrl_c_keeps_the_answers_so_far() -> None:
    def stop(position: int) -> None:
        if position == 1:
            raise KeyboardInterrupt

    found = classifier_from_detector(two_sides(), 0.5)([[0.1], [0.2]], progress=stop)
    assert found.interrupted and len(found.answers) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eps": -1.0}, "eps"),
        ({"g": line_classifier()}, "2 outputs"),
        ({"reject": 3}, "0 to 2"),
        ({"reject": -2}, "0 to 2"),
        ({"g": to_torch(two_sides())}, "RejectNetwork"),
        ({"attack": make_attack("fgsm"), "setting": Setting(Norm.L1)}, "l1"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        classifier_from_detector(**{"g": two_sides(), "eps": 0.1, **arguments})


@pytest.mark.parametrize("level", [np.nan, np.inf])
def test_a_threshold_is_a_number(level: float) -> None:
    with pytest.raises(InputError, match="threshold"):
        threshold_detector(line_classifier(), level)


@pytest.mark.parametrize("reject", [-2, 3])
def test_an_attack_needs_an_output_for_rejection_that_exists(reject: int) -> None:
    h = classifier_from_detector(two_sides(), 0.1, attack=make_attack("fgsm"), reject=reject)
    with pytest.raises(InputError, match="0 to 2"):
        h([[0.5]])
