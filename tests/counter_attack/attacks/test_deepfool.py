"""DeepFool: exact on linear models, sound on others, and compared with Foolbox's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from counter_attack.attacks import AttackProblem, Budget, DeepFool
from counter_attack.attacks._deepfool import _linearised
from mipverify_py import Norm, distance
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork
from onnx_models.errors import InputError
from onnx_models.zoo import load_zoo
from tests.helpers.attacks import assert_sound, digits, exact_distances, foolbox_distances, size
from tests.helpers.networks import random_dense

NORMS = [Norm.LINF, Norm.L2]
DUAL = {Norm.LINF: Norm.L1, Norm.L2: Norm.L2}


def linear(weight: Array, bias: Array) -> ReluNetwork:
    builder = NetworkBuilder((weight.shape[1],))
    return builder.build(builder.affine([0], [DenseMap(weight)], bias))


@pytest.mark.parametrize("norm", NORMS)
def test_one_step_solves_a_linear_model(norm: Norm) -> None:
    """The nearest of several hyperplanes, beyond which the overshoot goes."""
    rng = np.random.default_rng(0)
    weight, bias, x = rng.normal(size=(5, 8)), rng.normal(size=5) * 0.1, 0.5 + 0.01 * rng.normal(size=(12, 8))
    network = linear(weight, bias - weight @ np.full(8, 0.5))
    logits = network.forward_batch(x)
    c = logits.argmax(axis=1)
    truth = np.array(
        [
            min((z[k] - z[j]) / size((weight[j] - weight[k])[None], DUAL[norm])[0] for j in range(5) if j != k)
            for z, k in zip(logits, c, strict=True)
        ]
    )
    result = DeepFool(norm=norm, overshoot=1e-6)(network, x)
    assert result.success.all()
    np.testing.assert_allclose(result.distance, truth * (1 + 1e-6), rtol=1e-9)
    # The inputs, their logits for the candidates, the gradients there for 4 rivals, and the look at the next point.
    assert np.all(result.calls == 1 + 1 + 4 + 4)


def test_the_nearest_candidate_is_not_always_the_likeliest() -> None:
    """Class 1 has the larger logit, class 2 the nearer boundary; with two candidates only class 1 is looked at."""
    network = linear(np.array([[0.0], [-1.0], [4.0]]), np.array([0.0, 0.1, -2.5]))
    x = [[0.4]]  # logits 0, -0.3, -0.9: boundaries at 0.1 and 0.625
    assert DeepFool(candidates=3)(network, x).distance[0] == pytest.approx(0.225, rel=1e-4)
    assert DeepFool(candidates=2)(network, x).distance[0] == pytest.approx(0.3, rel=1e-4)
    assert DeepFool(candidates=2)(network, x, targets=2).distance[0] == pytest.approx(0.225, rel=1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_linearisations_are_values_and_gradients(norm: Norm) -> None:
    network, x = random_dense(np.random.default_rng(2), outputs=4), np.random.default_rng(3)
    problem = AttackProblem(network, x.random((3, network.input_size)), norm=norm)
    import torch

    rows = torch.tensor([2, 1])
    rivals = torch.stack([problem.reference[rows], (problem.reference[rows] + 1) % 4], dim=1)
    gap, slope = _linearised(problem, problem.x[rows], rivals, rows)
    for k, row in enumerate(rows.tolist()):
        c, j, point = int(problem.reference[row]), int(rivals[k, 1]), problem.x[row].numpy()

        def difference(p: Array, j: int = j, c: int = c) -> float:
            z = network.forward(p)
            return float(z[j] - z[c])

        assert gap[k, 0] == -np.inf and gap[k, 1] == pytest.approx(difference(point))
        steps = 1e-6 * np.eye(len(point))
        numeric = [(difference(point + h) - difference(point - h)) / 2e-6 for h in steps]
        np.testing.assert_allclose(slope[k, 1], numeric, atol=1e-7)


@pytest.mark.parametrize("model", ["digits_small_standard", "digits_conv_adversarial"])
@pytest.mark.parametrize("norm", NORMS)
def test_results_are_sound(model: str, norm: Norm) -> None:
    """The domain's walls take parts of the steps away; nevertheless every digit is brought over the boundary."""
    network, x = load_zoo(model), digits(60)
    result = DeepFool(norm=norm)(network, x)
    assert_sound(result, network, x)
    assert result.success.all()


def test_results_are_never_below_the_exact_distance() -> None:
    network, x = load_zoo("digits_small_standard"), digits(20)
    result, exact = DeepFool()(network, x), exact_distances("digits_small_standard", 20)
    assert np.all(result.distance >= exact)
    assert np.median(result.distance / exact) < 1.1


def test_in_l2_neither() -> None:
    rng = np.random.default_rng(11)
    found = 0
    for _ in range(12):
        network = random_dense(rng, max_relus=5)
        x = rng.random((2, network.input_size))
        result = DeepFool(norm=Norm.L2)(network, x)
        assert_sound(result, network, x)
        for row in np.flatnonzero(result.success):
            lower = distance(network, x[row], norm=Norm.L2).lower
            assert lower is not None and result.distance[row] >= lower
            found += 1
    assert found >= 3


@pytest.mark.parametrize("norm", NORMS)
def test_targets_are_kept_to(norm: Norm) -> None:
    network, x = load_zoo("digits_small_standard"), digits(10)
    free = DeepFool(norm=norm)(network, x)
    mixed = [[j for j in range(10) if j not in (c, f)] for c, f in zip(free.reference, free.found, strict=True)]
    target = np.array([[row[0]] for row in mixed])
    result = DeepFool(norm=norm)(network, x, targets=target)
    assert_sound(result, network, x, targets=target.tolist())
    assert result.success.all() and np.all(result.distance > free.distance)


def test_a_flat_model_is_given_up_at_once() -> None:
    network = linear(np.zeros((3, 4)), np.array([1.0, 0.0, 0.0]))
    result = DeepFool(steps=1000)(network, np.full((2, 4), 0.5))
    assert not result.success.any() and result.calls.max() <= 4


def test_no_overshoot_and_a_budget() -> None:
    network, x = load_zoo("digits_small_standard"), digits(10)
    result = DeepFool(overshoot=0.0, steps=20)(network, x)
    assert_sound(result, network, x)
    assert result.success.sum() >= 9
    short = DeepFool()(network, x, budget=Budget(calls=3))
    assert short.calls.max() == 1 + 1 + 9 and not short.success.any()


@pytest.mark.parametrize("parameters", [{"steps": 0}, {"candidates": 1}, {"overshoot": -0.1}, {"norm": Norm.L1}])
def test_bad_parameters_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        DeepFool(**parameters)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("overshoot", [1e-5, 0.02])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("model", ["digits_small_standard", "digits_conv_adversarial"])
def test_the_median_is_not_worse_than_that_of_foolbox(model: str, norm: Norm, overshoot: float) -> None:
    attacks = pytest.importorskip("foolbox").attacks
    kind = attacks.LinfDeepFoolAttack if norm is Norm.LINF else attacks.L2DeepFoolAttack
    network, x = load_zoo(model), digits(100)
    theirs = foolbox_distances(kind(steps=50, candidates=10, overshoot=overshoot, loss="logits"), network, x, norm)
    ours = DeepFool(norm=norm, steps=50, candidates=10, overshoot=overshoot)(network, x)
    assert ours.success.sum() >= np.isfinite(theirs).sum()
    assert np.median(np.where(ours.success, ours.distance, np.inf)) <= 1.02 * np.median(theirs)
