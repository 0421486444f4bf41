"""Exact finishing as an attack, against exact distances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from counter_attack.attacks._apgd import APGD
from counter_attack.attacks._contract import Attack, AttackStop, Budget
from counter_attack.attacks._fab import FAB
from counter_attack.attacks._finish import ExactFinish
from counter_attack.attacks._problem import AttackProblem
from counter_attack.attacks._square import Square
from mipverify_py import Norm, Query
from onnx_models import to_torch
from onnx_models.errors import InputError
from tests.helpers.attacked import digits, linear_classifier
from tests.helpers.norms import dense_network, exact_norm_distance


@pytest.mark.parametrize("name", ["digits_small_standard", "digits_small_adversarial"])
@pytest.mark.parametrize("inner", [None, FAB(steps=10), Square(eps=0.5, queries=150)], ids=["none", "fab", "square"])
def test_most_digits_are_solved_and_none_is_nearer(name: str, inner: Attack | None) -> None:
    data = digits(name, 8)
    found = ExactFinish(inner=inner)(data.network, data.images)
    assert found.success.all()
    assert np.all(found.distance >= data.lower - 1e-9)
    assert np.mean(found.distance <= data.upper * (1 + 1e-5)) >= 0.75
    if inner is not None:
        plain, settled = (
            inner(data.network, data.images),
            ExactFinish(inner=inner, kicks=False)(data.network, data.images),
        )
        assert np.all(settled.distance <= plain.distance)
        assert np.all(found.distance <= settled.distance * (1 + 1e-9))
        assert settled.distance.mean() < plain.distance.mean()


@pytest.mark.parametrize("norm", [Norm.L1, Norm.L2])
def test_other_norms(norm: Norm) -> None:
    excess = []
    for seed in range(12):
        network, x0 = dense_network(seed), np.random.default_rng(seed).random(3)
        truth = exact_norm_distance(Query(network, x0, norm=norm))
        found = ExactFinish(norm, inner=FAB(norm, steps=20))(network, x0)
        assert truth is not None or not found.success[0]
        if truth and found.success[0]:
            assert found.distance[0] >= truth - 1e-7
            excess.append(found.distance[0] / truth - 1)
    assert excess and np.median(excess) < 1e-4


def test_a_failure_stays_one() -> None:
    data = digits("digits_small_standard", 3)
    found = ExactFinish(inner=APGD(eps=1e-5, steps=2))(data.network, data.images)
    assert not found.success.any() and np.isnan(found.distance).all()


def test_labels_targets_and_domain_count() -> None:
    data = digits("digits_small_standard", 4)
    targets = ((data.labels + 1) % 10)[:, None]
    low, high = np.minimum(data.images.min(axis=0), 0.1), np.maximum(data.images.max(axis=0), 0.9)
    found = ExactFinish()(data.network, data.images, data.labels, targets, domain=(low, high))
    logits, rows = data.network.forward_batch(found.adversarial), np.arange(4)
    assert found.success.all() and np.all(logits[rows, targets[:, 0]] >= logits[rows, data.labels])
    assert np.all(found.adversarial >= low) and np.all(found.adversarial <= high)
    wrong = ExactFinish()(data.network, data.images, (data.labels + 1) % 10)
    assert np.all(wrong.distance == 0)


def test_a_ball_far_from_zero_and_one() -> None:
    """The domain is any box: the boundary of this classifier lies at x_0 = 3, two steps from the input."""
    network = linear_classifier(np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([3.0, 0.0]))
    found = ExactFinish()(network, np.array([[1.0, 5.0]]), domain=(-10.0, 10.0))
    assert abs(found.distance[0] - 2.0) < 1e-9


def test_models_without_cells_are_refused_before_any_work() -> None:
    class Counting(nn.Module):
        calls = 0

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            Counting.calls += 1
            return torch.stack([batch[:, 0], 1 - batch[:, 0]], dim=1)

    with pytest.raises(InputError, match="needs the activation cells of a ReluNetwork, got a Counting"):
        ExactFinish(inner=FAB())(Counting(), np.full((2, 1), 0.7))
    assert Counting.calls == 1


def test_the_exact_search_costs_no_calls() -> None:
    data = digits("digits_small_standard", 3)
    plain, found = FAB(steps=5)(data.network, data.images), ExactFinish(inner=FAB(steps=5))(data.network, data.images)
    assert np.array_equal(found.calls, plain.calls) and found.distance.mean() < plain.distance.mean()


def test_time_ends_it_with_what_the_inner_attack_has(monkeypatch: pytest.MonkeyPatch) -> None:
    data = digits("digits_small_standard", 3)

    class Clock:
        now = 0.0

        @classmethod
        def monotonic(cls) -> float:
            return cls.now

    plain = FAB.run

    def slow(self: FAB, problem: AttackProblem) -> None:
        plain(self, problem)
        Clock.now = 100.0

    monkeypatch.setattr("counter_attack.attacks._problem.time", Clock)
    monkeypatch.setattr("counter_attack.attacks._contract.time", Clock)
    monkeypatch.setattr("counter_attack.attacks._finish.time", Clock)
    monkeypatch.setattr(FAB, "run", slow)
    found = ExactFinish(inner=FAB(steps=5))(data.network, data.images, budget=Budget(seconds=50))
    assert found.stop_reason is AttackStop.TIME and found.success.all()
    assert found.seconds == 100.0


def test_calls_that_are_used_up_are_no_reason_not_to_finish() -> None:
    data = digits("digits_small_standard", 3)
    budget = Budget(calls=12)
    plain = FAB()(data.network, data.images, budget=budget)
    found = ExactFinish(inner=FAB())(data.network, data.images, budget=budget)
    assert found.stop_reason is AttackStop.BUDGET and np.array_equal(found.calls, plain.calls)
    assert plain.success.all() and found.distance.mean() < plain.distance.mean()


def test_seconds_per_input_leave_a_success() -> None:
    data = digits("digits_small_standard", 3)
    found = ExactFinish(inner=FAB(steps=5), seconds=1e-9)(data.network, data.images)
    assert found.success.all() and found.stop_reason is AttackStop.FINISHED


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"inner": FAB(Norm.L2)}, "The attack fab works in l2, the finishing in linf"),
        ({"seconds": 0.0}, "more than 0 seconds"),
    ],
)
def test_bad_parameters(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ExactFinish(**parameters)  # type: ignore[arg-type]


def test_a_torch_copy_of_a_network_has_cells() -> None:
    network = dense_network(0)
    x = np.random.default_rng(0).random((1, 3))
    assert np.array_equal(
        ExactFinish()(to_torch(network), x).distance, ExactFinish()(network, x).distance, equal_nan=True
    )


def test_one_target_is_no_nearer_than_all() -> None:
    data = digits("digits_small_standard", 2)
    free = ExactFinish()(data.network, data.images)
    aimed = ExactFinish()(data.network, data.images, targets=((data.labels + 5) % 10)[:, None])
    assert np.all(aimed.distance >= free.distance * (1 - 1e-9))
