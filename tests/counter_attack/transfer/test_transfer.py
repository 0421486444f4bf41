"""Substitutes, ensembles and transferred examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from counter_attack import Classifier
from counter_attack.attacks import FGSM
from counter_attack.detection import ExactAttack
from counter_attack.diagnostics import Subject
from counter_attack.transfer import SubstitutePlan, ensemble, oracle_of, push, train_substitute, transfer
from mipverify_py import Norm
from onnx_models import Array
from onnx_models.errors import InputError
from onnx_models.zoo import digits_split, load_zoo

QUICK = SubstitutePlan(rounds=3, hidden=(16,), epochs=15)


def above(rows: Array) -> np.ndarray[Any, Any]:
    """Class 1 where the first entry exceeds the second."""
    return (rows[:, 0] > rows[:, 1]).astype(np.int64)


def target(count: int = 20, norm: Norm = Norm.LINF) -> Subject:
    data = digits_split().test
    return Subject.of(load_zoo("digits_small_standard"), data.images[:count], data.labels[:count], norm=norm)


@pytest.mark.slow
def test_a_substitute_learns_a_rule_from_answers_alone() -> None:
    """It sees nothing but the oracle, is asked twice as often in every round, and answers new inputs as the rule."""
    rng, asked = np.random.default_rng(0), []

    def oracle(rows: Array) -> np.ndarray[Any, Any]:
        asked.append(rows)
        assert rows.min() >= 0 and rows.max() <= 1
        return above(rows)

    plan = SubstitutePlan(rounds=4, step=0.1, hidden=(16,), epochs=60, learning_rate=1e-2)
    found = train_substitute(oracle, rng.random((25, 3)), plan, classes=2)
    assert [len(rows) for rows in asked] == [25, 25, 50, 100]
    assert found.queries == 200 and len(found.agreement) == 4
    new = rng.random((500, 3))
    assert np.mean(oracle_of(found.classifier)(new) == above(new)) > 0.9


def test_new_inputs_are_steps_of_the_stated_length_and_the_sign_alternates() -> None:
    """With a linear oracle at entries 0 and 1 inputs in the middle of the domain move by lambda exactly."""
    asked: list[Array] = []

    def oracle(rows: Array) -> np.ndarray[Any, Any]:
        asked.append(rows)
        return above(rows)

    start = 0.5 + 0.1 * np.random.default_rng(1).random((10, 3))
    train_substitute(oracle, start, SubstitutePlan(rounds=3, step=0.05, period=1, hidden=(), epochs=5), classes=2)
    np.testing.assert_allclose(np.abs(asked[1] - start), 0.05, rtol=1e-12)
    together = np.concatenate(asked[:2])
    np.testing.assert_allclose(np.abs(asked[2] - together), 0.05, rtol=1e-12)
    # A linear substitute's directions hardly change between rounds, so the second round steps back.
    assert np.mean(np.sign(asked[1] - start) == -np.sign(asked[2][:10] - start)) > 0.6


def test_the_same_plan_gives_the_same_substitute() -> None:
    x = np.random.default_rng(2).random((12, 3))
    one, two = (train_substitute(above, x, QUICK, classes=2).classifier for _ in range(2))
    rows = torch.rand(5, 3, dtype=torch.float64)
    assert torch.equal(one.logits(rows), two.logits(rows))


@pytest.mark.parametrize("norm", list(Norm))
def test_pushed_points_are_in_the_ball_and_the_domain(norm: Norm) -> None:
    subject, eps = target(norm=norm), {Norm.LINF: 0.1, Norm.L1: 3.0, Norm.L2: 0.8}[norm]
    points = push(subject.classifier, subject, eps, steps=8)
    order = {Norm.LINF: np.inf, Norm.L1: 1, Norm.L2: 2}[norm]
    assert np.all(np.linalg.norm(points - subject.x, ord=order, axis=1) <= eps * (1 + 1e-12))
    assert points.min() >= 0 and points.max() <= 1


def test_one_step_is_fgsm() -> None:
    """Where that succeeds its example is the same point; what it fools is what the transfer fools."""
    subject = target()
    found = FGSM(eps=0.1)(subject.classifier, subject.x, subject.label)
    points = push(subject.classifier, subject, 0.1, steps=1)
    assert found.success.any()
    np.testing.assert_array_equal(points[found.success], found.adversarial[found.success])
    assert np.array_equal(subject.fooled(points), found.success)


@pytest.mark.slow
def test_counts_are_the_network_s_own_and_fooled_inputs_have_examples() -> None:
    network, subject = load_zoo("digits_small_standard"), target(10)
    source = Classifier.of(load_zoo("digits_conv_standard"))
    found = transfer(subject, "conv", source, 0.15)
    classes = network.forward_batch(found.points).argmax(axis=1)
    assert np.array_equal(found.on_target, classes != subject.label)
    other = load_zoo("digits_conv_standard").forward_batch(found.points.reshape(-1, 1, 8, 8)).argmax(axis=1)
    assert np.array_equal(found.on_source, other != subject.label)
    assert found.on_source.sum() >= found.on_target.sum() == found.share.count > 0
    exact = subject.attacked(ExactAttack())
    assert np.all(exact.lower[found.on_target] <= 0.15 * (1 + 1e-12))


def test_the_mean_of_models_is_the_mean() -> None:
    models = [Classifier.of(load_zoo(name)) for name in ("digits_small_standard", "digits_conv_standard")]
    rows = torch.from_numpy(target(5).x)
    each = torch.stack([model.logits(rows) for model in models])
    probabilities = torch.softmax(ensemble(models).logits(rows), dim=1)
    torch.testing.assert_close(probabilities, torch.softmax(each, dim=2).mean(dim=0))
    torch.testing.assert_close(ensemble(models, "logits").logits(rows), each.mean(dim=0))


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: SubstitutePlan(rounds=0), "rounds"),
        (lambda: SubstitutePlan(hidden=(0,)), "hidden"),
        (lambda: SubstitutePlan(step=0.0), "step"),
        (lambda: train_substitute(above, np.zeros(3), classes=2), "shape"),
        (lambda: train_substitute(above, np.eye(3), classes=1), "classes"),
        (lambda: train_substitute(lambda rows: rows[:, 0], np.eye(3), classes=2), "classes"),
        (lambda: ensemble([]), "none"),
        (lambda: ensemble([Classifier.of(load_zoo("digits_small_standard"))], "nonsense"), "nonsense"),
        (lambda: push(target(2).classifier, target(2), 0.0), "radius"),
        (lambda: push(target(2).classifier, target(2), 0.1, steps=0), "step"),
    ],
)
def test_what_cannot_be_is_refused(call: Any, part: str) -> None:
    with pytest.raises(InputError, match=part):
        call()
