"""Risks: against fractions on the line, against each other, and with open ends."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counter_attack.reductions import (
    DetectionRisk,
    Rate,
    RejectNetwork,
    classifier_from_detector,
    decoder_risk,
    detection_risk,
    detector_from_classifier,
    risk,
    robust_risk,
    threshold_detector,
)
from mipverify_py import StopReason, adversarial_accuracy
from onnx_models.errors import InputError
from onnx_models.zoo import digits_test, load_zoo
from tests.counter_attack.reductions.limits import stop_searches
from tests.counter_attack.reductions.line import LineClassifier, LineDetector, random_line
from tests.helpers.queries import line_classifier

PLACES = [Fraction(k, 4) for k in range(5)]
INPUTS = [[float(x)] for x in PLACES]


@settings(max_examples=5)
@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.lists(st.integers(0, 1), min_size=5, max_size=5))
def test_all_risks_of_a_detector_are_those_in_fractions(seed: int, eps: int, labels: list[int]) -> None:
    line, radius = LineDetector(random_line(seed, outputs=3)), Fraction(eps, 16)
    g = RejectNetwork(line.network)
    found = detection_risk(g, INPUTS, labels, float(radius))
    pairs = list(zip(PLACES, labels, strict=True))
    assert found.rejected == tuple(line.rejects(x) for x in PLACES)
    assert found.wrong == tuple(line.outputs(x)[y] <= line.outputs(x)[1 - y] for x, y in pairs)
    _encloses(found.fooled, [line.is_fooled(x, y, radius) for x, y in pairs])
    truth = [line.fails(x, y, radius) for x, y in pairs]
    _encloses(found.failures, truth)
    assert found.risk.lower <= Fraction(sum(truth), 5) <= found.risk.upper <= found.bound.upper
    decoded = decoder_risk(classifier_from_detector(g, float(radius)), labels, INPUTS, found)
    exact = Fraction(sum(line.decoder_fails(x, y, radius) for x, y in pairs), 5)
    assert decoded.lower <= exact <= decoded.upper <= found.risk.upper


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.lists(st.integers(0, 2), min_size=5, max_size=5))
def test_risks_of_a_classifier_are_those_in_fractions(seed: int, eps: int, labels: list[int]) -> None:
    line, radius = LineClassifier(random_line(seed, outputs=3)), Fraction(eps, 16)
    pairs = list(zip(PLACES, labels, strict=True))
    assert risk(line.network, INPUTS, labels) == Rate.of([line.classify(x) != y for x, y in pairs])
    truth = Fraction(sum(line.is_fooled(x, y, radius) for x, y in pairs), 5)
    found = robust_risk(line.network, INPUTS, labels, float(radius))
    assert found.lower <= truth <= found.upper
    assert found.most - found.least <= sum(_at_the_edge(line, x, y, radius) for x, y in pairs)


def test_the_detector_of_a_classifier_has_its_robust_risk() -> None:
    """R^eps_adv-det(g) = R^(eps/2)(f): g fails where it rejects, or accepts with a wrong class, and nowhere else."""
    network, data, eps = load_zoo("digits_small_standard"), digits_test(), 0.2
    x, y = data.images[:12], data.labels[:12]
    answers = detector_from_classifier(network, eps)(x).answers
    fails = [one.answer.value != "accepted" or one.predicted != label for one, label in zip(answers, y, strict=True)]
    assert robust_risk(network, x, y, eps / 2) == Rate.of(fails)
    assert 0 < sum(fails) < 12


def test_robust_risk_is_one_less_robust_accuracy() -> None:
    network, data = load_zoo("digits_small_standard"), digits_test()
    x, y = data.images[:12], data.labels[:12]
    found = adversarial_accuracy(network, x, y, 0.08)
    assert robust_risk(network, x, y, 0.08) == Rate(12 - found.robust, 12 - found.robust, 12)


def test_a_threshold_below_everything_leaves_the_classifier() -> None:
    network, data = load_zoo("digits_small_standard"), digits_test()
    x, y = data.images[:10], data.labels[:10]
    found = detection_risk(threshold_detector(network, -1e6), x, y, 0.08)
    assert found.risk == robust_risk(network, x, y, 0.08)
    assert found.false_positives.most == 0


def test_a_threshold_above_everything_rejects_all() -> None:
    found = detection_risk(threshold_detector(line_classifier(), 10.0), [[0.25], [0.75]], [0, 1], 0.1)
    assert found.rejected == (True, True) and found.fooled == (False, False)
    assert found.risk == Rate(2, 2, 2) and found.bound == Rate(2, 2, 2)


def test_parts_and_bound_of_known_events() -> None:
    found = DetectionRisk(
        eps=0.1,
        rejected=(True, False, False, False, True),
        wrong=(False, True, False, False, False),
        fooled=(True, True, None, False, None),
        examples=(None,) * 5,
        stopped=("",) * 5,
    )
    assert found.failures == (True, True, None, False, True)
    assert found.risk == Rate(3, 4, 5) and not found.risk.is_exact
    assert (found.false_positives, found.standard_risk) == (Rate(2, 2, 5), Rate(1, 1, 5))
    assert found.false_negatives == Rate(1, 3, 5)
    assert found.bound == Rate(4, 6, 5)
    assert found.bound.upper == Fraction(6, 5)


def test_a_limit_leaves_inputs_open(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_searches(monkeypatch)
    g = threshold_detector(line_classifier(), -1.0)
    assert robust_risk(line_classifier(), [[0.1], [0.3]], [0, 0], 0.25) == Rate(0, 2, 2)
    found = detection_risk(g, [[0.1], [0.3]], [0, 0], 0.25)
    assert found.fooled == (None, None) and found.stopped == ("time limit", "time limit")
    assert decoder_risk(classifier_from_detector(g, 0.25), [0, 0], [[0.1], [0.3]], found) == Rate(0, 2, 2)


def test_ctrl_c_leaves_inputs_open() -> None:
    def stop(position: int) -> None:
        if position == 1:
            raise KeyboardInterrupt

    found = detection_risk(threshold_detector(line_classifier(), -1.0), [[0.1], [0.2]], [0, 0], 0.01, progress=stop)
    assert found.fooled == (False, None) and found.stopped == ("", "interrupted")


def test_ctrl_c_in_a_search_for_a_mistake_of_the_classifier_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine takes the signal and only says so: what asks next must not go on as if nothing had been."""
    g = threshold_detector(line_classifier(), -1.0)
    known = detection_risk(g, [[0.3]], [1], 0.25)
    stop_searches(monkeypatch, only=1, reason=StopReason.INTERRUPTED)
    with pytest.raises(KeyboardInterrupt):
        decoder_risk(classifier_from_detector(g, 0.25), [1], [[0.3]], known)


def test_arguments_that_do_not_fit_are_refused() -> None:
    g = threshold_detector(line_classifier(), 0.0)
    with pytest.raises(InputError, match="Label 2 is the output for rejection"):
        detection_risk(g, [[0.1]], [2], 0.1)
    with pytest.raises(InputError, match="one label per input"):
        risk(line_classifier(), [[0.1]], [0, 1])
    with pytest.raises(InputError, match="Label 5"):
        robust_risk(line_classifier(), [[0.1]], [5], 0.1)
    known = detection_risk(g, [[0.1]], [0], 0.1)
    with pytest.raises(InputError, match="make them equal"):
        decoder_risk(classifier_from_detector(g, 0.2), [0], [[0.1]], known)


def _encloses(found: tuple, truth: list[bool]) -> None:
    assert all(one is None or one == right for one, right in zip(found, truth, strict=True))


def _at_the_edge(line: LineClassifier, x: Fraction, label: int, radius: Fraction) -> bool:
    """Whether d* is so near to the radius that an answer may be open."""
    found = line.nearest(x, lambda at: max(v for j, v in enumerate(at) if j != label) >= at[label])
    return found is not None and abs(found - radius) <= Fraction(1, 10**5)
