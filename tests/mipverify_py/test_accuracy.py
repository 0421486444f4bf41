"""Accuracy against counting, and accuracy within a radius against brute force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import mipverify_py._accuracy as accuracy
from mipverify_py import (
    AccuracyBounds,
    LinfBall,
    Options,
    Query,
    Result,
    StopReason,
    Verdict,
    adversarial_accuracy,
    distance,
    fraction_correct,
)
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError
from tests.helpers.networks import random_inputs, random_network
from tests.helpers.queries import exact_distance, hard_question, line_classifier

EPS = 0.1


def cases(seed: int, count: int = 12) -> tuple[ReluNetwork, Array, Array]:
    """A network, inputs, and labels of which some are wrong."""
    rng = np.random.default_rng(seed)
    network = random_network(rng, max_relus=5)
    inputs = random_inputs(rng, network, count)
    labels = np.array([int(np.argmax(network.forward(x.reshape(-1)))) for x in inputs])
    labels[:3] = (labels[:3] + 1) % network.output_size
    return network, inputs, labels


def test_fraction_correct_counts_the_labels_that_are_met(monkeypatch: pytest.MonkeyPatch) -> None:
    network, inputs, labels = cases(0)
    assert fraction_correct(network, inputs, labels) == (9, 12)
    monkeypatch.setattr(accuracy, "BATCH", 5)
    assert fraction_correct(network, inputs.reshape(12, -1), labels) == (9, 12)


@pytest.mark.parametrize("seed", range(3))
def test_adversarial_accuracy_equals_brute_force(seed: int) -> None:
    network, inputs, labels = cases(seed)
    seen: list[int] = []
    found = adversarial_accuracy(network, inputs, labels, EPS, on_result=lambda position, _: seen.append(position))
    robust = sum(
        exact_distance(Query(network, x.reshape(-1), LinfBall(EPS), label=int(label))) is None
        for x, label in zip(inputs, labels, strict=True)
    )
    assert (found.robust, found.misclassified, found.unknown, found.count) == (robust, 3, 0, 12)
    assert found.lower == found.upper == robust / 12
    assert seen == list(range(12))


def test_the_unknown_count_for_both_ends() -> None:
    bounds = AccuracyBounds(robust=2, adversarial=1, misclassified=1, unknown=4)
    assert (bounds.lower, bounds.upper, bounds.count) == (0.25, 0.75, 8)


def test_a_limit_leaves_inputs_unknown_and_never_robust() -> None:
    network, x = hard_question()
    label, options = int(np.argmax(network.forward(x))), Options(engine="mip", time_limit=1e-9)
    truth = distance(network, x).lower
    assert truth is not None
    found = adversarial_accuracy(network, [x], [label], 0.99 * truth, options)
    assert (found.unknown, found.lower, found.upper) == (1, 0.0, 1.0)


def test_a_tie_at_the_input_itself_is_not_kept() -> None:
    assert adversarial_accuracy(line_classifier(), [[0.5]], [0], 0.0) == AccuracyBounds(0, 1, 0, 0)


def test_ctrl_c_leaves_the_rest_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    network, inputs, labels = cases(1)
    real, calls = accuracy.verify, []

    def interrupted(query: Query, options: Options | None) -> Result:
        calls.append(query)
        result = real(query, options)
        late = replace(result, verdict=Verdict.UNKNOWN, stop_reason=StopReason.INTERRUPTED)
        return late if len(calls) == 5 else result

    monkeypatch.setattr(accuracy, "verify", interrupted)
    found = adversarial_accuracy(network, inputs, labels, EPS)
    assert len(calls) == 5
    assert (found.misclassified, found.unknown, found.robust + found.adversarial) == (3, 8, 1)


@pytest.mark.parametrize(
    ("count", "labels", "message"),
    [
        (0, [], "0 inputs and 0 labels"),
        (2, [0], "2 inputs and 1 labels"),
        (1, [2], "Label 2 is out of range"),
        (1, [-1], "Label -1 is out of range"),
        (1, [0.5], "must be a whole number"),
    ],
)
def test_wrong_arguments_are_refused(count: int, labels: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fraction_correct(line_classifier(), np.full((count, 1), 0.2), labels)
