"""Detectors of classifiers: the exact one against fractions and distances, the attack's against its distances."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counter_attack import CounterAttack, Multiplicative, make_attack
from counter_attack.reductions import Answer, Basis, ExactDetector, Setting, detector_from_classifier
from mipverify_py import Norm, distance
from onnx_models import ReluNetwork, to_torch
from onnx_models.errors import InputError
from onnx_models.zoo import digits_test, load_zoo
from tests.counter_attack.detection.scripted import Nothing
from tests.counter_attack.reductions.limits import stop_searches
from tests.counter_attack.reductions.line import LineClassifier, random_line
from tests.helpers.networks import networks
from tests.helpers.queries import line_classifier

CLOSE = Fraction(1, 10**5)
"""An answer may stay open only where eps / 2 is as near to d* as this."""


@settings(max_examples=12)
@given(st.integers(0, 2**32 - 1), st.integers(0, 8), st.integers(0, 8))
def test_answers_are_those_in_fractions(seed: int, eps: int, place: int) -> None:
    """With weights and radii that are round numbers, so that eps / 2 often is d* itself."""
    line, x, radius = LineClassifier(random_line(seed, outputs=3)), Fraction(place, 8), Fraction(eps, 32)
    (found,) = detector_from_classifier(line.network, float(2 * radius))([[float(x)]]).answers
    outputs = line.outputs(x)
    label = outputs.index(max(outputs))
    assert found.predicted == label and found.basis is Basis.EXACT
    nearest = line.nearest(x, lambda at: max(v for j, v in enumerate(at) if j != label) >= at[label])
    if found.answer is Answer.OPEN:
        assert nearest is not None and abs(nearest - radius) <= CLOSE and not found.proved and found.stopped
    else:
        rejected = nearest is not None and nearest <= radius
        assert (found.answer is Answer.REJECTED) == rejected and found.proved
        assert (line.detects(x, 2 * radius) is None) == rejected
    assert found.lower <= (np.inf if nearest is None else nearest) <= found.upper


@settings(max_examples=6)
@given(networks(max_relus=6), st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.2, 0.6]))
def test_answers_are_those_of_distances(network: ReluNetwork, seed: int, eps: float) -> None:
    x = np.random.default_rng(seed).random(network.input_size)
    (found,) = detector_from_classifier(network, eps)([x]).answers
    truth = distance(network, x)
    assert found.answer is not Answer.OPEN
    if found.answer is Answer.ACCEPTED:
        assert truth.upper is None or truth.upper > eps / 2
    else:
        assert truth.lower is not None and truth.lower <= eps / 2


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L1])
def test_the_ball_is_closed_and_a_tie_is_a_change(norm: Norm) -> None:
    setting = Setting(norm)
    answers = [
        detector_from_classifier(line_classifier(), eps, setting=setting)([[0.25]]).answers[0].answer
        for eps in (0.5, 0.49999)  # the tie is at 0.5
    ]
    assert answers == [Answer.REJECTED, Answer.ACCEPTED]


def test_a_tie_at_the_input_itself_is_rejected_at_every_radius() -> None:
    (found,) = detector_from_classifier(line_classifier(), 0.0)([[0.5]]).answers
    assert found.answer is Answer.REJECTED and found.upper == 0


def test_the_domain_is_that_of_the_setting() -> None:
    detector = detector_from_classifier(line_classifier(), 1.0, setting=Setting(domain=(0.0, 0.4)))
    (found,) = detector([[0.25]]).answers
    assert found.answer is Answer.ACCEPTED and found.proved


def test_a_time_limit_leaves_a_bracket(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_searches(monkeypatch, lower=0.125)
    (found,) = detector_from_classifier(line_classifier(), 0.5)([[0.25]]).answers
    assert found.answer is Answer.OPEN and not found.proved and found.stopped == "time limit"
    assert (found.lower, found.upper) == (0.125, np.inf)


def test_a_bracket_beyond_eps_over_2_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_searches(monkeypatch, lower=0.125)
    (found,) = detector_from_classifier(line_classifier(), 0.2)([[0.25]]).answers
    assert found.answer is Answer.ACCEPTED and found.lower == 0.125


def test_with_an_attack_the_answer_is_its_distance_less_the_buffer() -> None:
    network, x, eps = load_zoo("digits_small_standard"), digits_test().images[:10], 0.2
    attack = make_attack("fgsm")
    distances = attack(network, x).distance
    found = detector_from_classifier(network, eps, attack=attack)(x)
    assert [one.answer is Answer.REJECTED for one in found.answers] == list(distances <= eps / 2)
    assert [one.upper for one in found.answers] == list(distances)
    assert all(one.basis is Basis.ATTACK for one in found.answers)
    assert [one.proved for one in found.answers] == [one.answer is Answer.REJECTED for one in found.answers]
    buffer = CounterAttack(attack, Multiplicative(), eps / 2, model=network).fit(x, distances / 2).buffer_
    halved = detector_from_classifier(network, eps, attack=attack, buffer=buffer)(x)
    assert [one.answer is Answer.REJECTED for one in halved.answers] == list(distances / 2 <= eps / 2)
    unproved = [one for one in halved.answers if one.answer is Answer.REJECTED and one.upper > eps / 2]
    assert unproved and not any(one.proved for one in unproved)


def test_an_attack_that_finds_nothing_proves_nothing() -> None:
    found = detector_from_classifier(to_torch(line_classifier()), 1.0, attack=Nothing())([[0.25]])
    assert [(one.answer, one.proved, one.upper) for one in found.answers] == [(Answer.ACCEPTED, False, np.inf)]


def test_ctrl_c_keeps_the_answers_so_far() -> None:
    def stop(position: int) -> None:
        if position == 2:
            raise KeyboardInterrupt

    found = ExactDetector(line_classifier(), 0.1)([[0.1], [0.2], [0.3]], progress=stop)
    assert found.interrupted and len(found.answers) == 2 and found.count(Answer.ACCEPTED) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eps": -0.1}, "eps"),
        ({"eps": np.inf}, "eps"),
        ({"buffer": Multiplicative()}, "no attack"),
        ({"f": to_torch(line_classifier())}, "ReluNetwork"),
        ({"attack": make_attack("fgsm"), "setting": Setting(Norm.L2)}, "l2"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        detector_from_classifier(**{"f": line_classifier(), "eps": 0.1, **arguments})


def test_inputs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="no inputs"):
        detector_from_classifier(line_classifier(), 0.1)(np.zeros((0, 1)))
    with pytest.raises(InputError, match="domain"):
        detector_from_classifier(line_classifier(), 0.1)([[1.5]])
    with pytest.raises(InputError, match="2 and 1"):
        detector_from_classifier(line_classifier(), 0.1, setting=Setting(domain=([0.0, 0.0], 1.0)))([[0.5]])
