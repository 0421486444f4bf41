"""The rejecting classifier: what is accepted, and what accepted classes are worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from counter_attack.detection import CounterAttack, ExactAttack, LeastSquares, RejectingClassifier, Zero
from onnx_models import ReluNetwork
from onnx_models.errors import InputError
from tests.counter_attack.detection.scripted import Nothing
from tests.helpers.networks import networks
from tests.helpers.queries import line_classifier


def test_rejects_what_is_near_the_boundary() -> None:
    detector = CounterAttack(ExactAttack(), Zero(), 0.1, model=line_classifier())
    found = RejectingClassifier(detector).predict([[0.2], [0.45], [0.58], [0.9]])
    assert list(found.accepted) == [True, False, False, True]
    assert list(found.predicted) == [0, 0, 1, 1]
    assert found.classes.tolist() == [0, None, None, 1]
    assert found.coverage == 0.5
    assert found.accuracy([0, 0, 0, 0]) == 0.5
    with pytest.raises(InputError, match=r"shape \(2,\)"):
        found.accuracy([0, 1])


def test_accuracy_of_nothing_is_none() -> None:
    detector = CounterAttack(ExactAttack(), Zero(), 1.0, model=line_classifier())
    found = RejectingClassifier(detector).predict([[0.2], [0.9]])
    assert found.coverage == 0.0 and found.accuracy([0, 1]) is None


@settings(max_examples=6, deadline=None)
@given(network=networks(max_relus=5), seed=st.integers(0, 2**32 - 1), eps=st.sampled_from([0.02, 0.1, 0.3]))
def test_accepted_classes_hold_in_the_whole_ball(network: ReluNetwork, seed: int, eps: float) -> None:
    """With an exact attack: no point of the ball that was tried has another class."""
    rng = np.random.default_rng(seed)
    x = rng.random((3, network.input_size))
    found = RejectingClassifier(CounterAttack(ExactAttack(), Zero(), eps, model=network)).predict(x)
    for row in np.flatnonzero(found.accepted):
        points = np.clip(x[row] + rng.uniform(-eps, eps, (500, network.input_size)), 0, 1)
        corners = np.clip(x[row] + eps * rng.choice([-1.0, 1.0], (500, network.input_size)), 0, 1)
        logits = network.forward_batch(np.concatenate([points, corners]))
        assert np.all(logits.argmax(axis=1) == found.predicted[row])


def test_failures_are_accepted_and_told() -> None:
    found = RejectingClassifier(CounterAttack(Nothing(), Zero(), 0.1, model=line_classifier())).predict([[0.49]])
    assert found.accepted.all() and found.detection.failed.all()


def test_parameters_reach_the_detector() -> None:
    network = line_classifier()
    classifier = RejectingClassifier(CounterAttack(ExactAttack(), LeastSquares(), 0.1, model=network))
    classifier.fit([[0.1], [0.2], [0.3]], [0.4, 0.3, 0.2])
    assert classifier.set_params(detector__eps=0.3).predict([[0.3]]).coverage == 0.0
    assert classifier.get_params()["detector__eps"] == 0.3
    copy = clone(classifier)
    assert copy.detector is not classifier.detector and copy.get_params()["detector__eps"] == 0.3
    assert not hasattr(copy.detector, "buffer_")
