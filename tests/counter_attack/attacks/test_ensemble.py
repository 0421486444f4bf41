"""The ensemble against exact distances, its own parts and another implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from counter_attack.attacks._apgd import APGD
from counter_attack.attacks._contract import AttackStop, Budget
from counter_attack.attacks._ensemble import AutoEnsemble, ranked
from counter_attack.attacks._epsilon import EpsilonSearch
from counter_attack.attacks._fab import FAB
from counter_attack.attacks._problem import AttackProblem
from mipverify_py import Norm
from onnx_models.errors import InputError
from tests.helpers.attacked import art_classifier, digits, linear_classifier

SMALL = AutoEnsemble(search=EpsilonSearch(bisections=4), steps=20, queries=20)


def test_targets_are_ranked_by_their_logits() -> None:
    network = linear_classifier(np.eye(4), np.zeros(4))
    x = np.array([[0.9, 0.1, 0.5, 0.3], [0.2, 0.8, 0.0, 0.1]])
    aims = ranked(AttackProblem(network, x), 2)
    assert [aim.tolist() for aim, _ in aims] == [[2, 0], [3, 3]]
    aims = ranked(AttackProblem(network, x, targets=[[1], [3]]), 9)
    assert [(aim.tolist(), usable.tolist()) for aim, usable in aims] == [([1, 3], [True, True])]


def test_it_ends_close_to_the_exact_distances() -> None:
    data = digits("digits_small_standard", 10)
    found = SMALL(data.network, data.images)
    assert found.success.all() and np.all(found.distance >= data.lower - 1e-12)
    assert found.distance.mean() <= 1.02 * data.upper.mean()


@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_it_is_no_worse_than_its_first_part(norm: Norm) -> None:
    data = digits("digits_small_adversarial", 5)
    search = EpsilonSearch(bisections=4)
    whole = AutoEnsemble(norm, search=search, steps=10, targets=2, queries=5)(data.network, data.images)
    part = APGD(norm, search=search, steps=10)(data.network, data.images)
    assert np.all(whole.distance <= part.distance * (1 + 1e-9))


def test_within_a_radius_only_what_is_left_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls of an input end where it is first adversarial within eps."""
    data = digits("digits_small_standard", 20)
    eps = float(np.median(data.upper))
    asked: list[torch.Tensor] = []
    plain = FAB.approach

    def listening(self: FAB, problem: AttackProblem, rows: torch.Tensor, aim: torch.Tensor | None = None) -> None:
        asked.append(rows)
        plain(self, problem, rows, aim)

    monkeypatch.setattr(FAB, "approach", listening)
    attack = AutoEnsemble(eps=eps, steps=20, queries=50)
    found = attack(data.network, data.images)
    first = APGD(eps=eps, steps=20)(data.network, data.images)
    done = first.success
    within = found.success & (found.distance <= eps * (1 + 1e-9))
    assert done.any() and np.all(within[done]) and np.all(within[data.upper < 0.9 * eps])
    assert not within[data.lower > eps].any()
    assert len(asked) == 9 and not set(np.flatnonzero(done)) & set(torch.cat(asked).tolist())
    assert found.calls[done].max() < found.calls[~within].min()


def test_two_classes_leave_the_ratio_out() -> None:
    network = linear_classifier(np.array([[1.0, 0.5], [-1.0, 0.2]]), np.array([0.0, 0.1]))
    found = SMALL(network, np.array([[0.5, 0.5]]))
    assert found.success.all() and abs(found.distance[0] - (0.5 + 0.5 * 0.7 - 0.5 - 0.1 + 0.5) / 2.3) < 0.5


def test_a_single_target() -> None:
    data = digits("digits_small_standard", 3)
    aim = ((data.labels + 1) % 10)[:, None]
    found = SMALL(data.network, data.images, targets=aim)
    logits, rows = data.network.forward_batch(found.adversarial), np.arange(3)
    assert found.success.all() and np.all(logits[rows, aim[:, 0]] >= logits[rows, data.labels] - 1e-9)


def test_a_budget_ends_it_with_what_it_has() -> None:
    data = digits("digits_small_standard", 3)
    found = SMALL(data.network, data.images, budget=Budget(calls=60))
    assert found.stop_reason is AttackStop.BUDGET and found.success.any() and found.calls.max() <= 60 * 3


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"steps": 0}, "at least 1 step"),
        ({"targets": 0}, "1 target at least"),
        ({"queries": 0}, "at least 1 query"),
        ({"eps": 0.0}, "eps"),
        ({"norm": Norm.L1}, "does not work in l1"),
    ],
)
def test_bad_parameters(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AutoEnsemble(**parameters)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["digits_dense_standard", "digits_small_adversarial"])
def test_as_strong_as_art(name: str) -> None:
    data = digits(name, 100)
    classifier = art_classifier(data.network)
    from art.attacks.evasion import AutoProjectedGradientDescent, SquareAttack

    eps = float(np.median(data.upper))
    apgd = [
        AutoProjectedGradientDescent(
            classifier, eps=eps, eps_step=2 * eps, nb_random_init=1, batch_size=100, loss_type=loss, verbose=False
        )
        for loss in ("cross_entropy", "difference_logits_ratio")
    ]
    square = SquareAttack(classifier, max_iter=500, eps=eps, batch_size=100, verbose=False)
    np.random.seed(0)  # noqa: NPY002 - the source of ART's draws
    images, robust = data.images.reshape(-1, *data.network.input_shape).astype(np.float32), np.ones(100, dtype=bool)
    for attack in (*apgd, square):  # what ART's AutoAttack does, which needs one package more
        theirs = attack.generate(images, data.labels).reshape(100, -1)
        robust &= data.network.forward_batch(theirs).argmax(axis=1) == data.labels
    ours = AutoEnsemble(eps=eps, queries=500)(data.network, data.images)
    within = ours.success & (ours.distance <= eps * (1 + 1e-9))
    exact = float(np.mean(data.lower > eps))
    assert exact <= 1 - within.mean() <= min(float(robust.mean()), exact) + 0.02
