"""APGD against closed forms, exact distances, the paper's schedule and another implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from counter_attack.attacks._apgd import APGD, checkpoints, cross_entropy, logit_ratio
from counter_attack.attacks._epsilon import EpsilonSearch
from counter_attack.attacks._problem import AttackProblem
from mipverify_py import Norm
from onnx_models import ReluNetwork
from onnx_models.errors import InputError
from tests.helpers.attacked import art_classifier, digits, linear_classifier, robust_share, watched
from tests.helpers.networks import networks

QUICK = EpsilonSearch(decay_steps=30, bisections=7)
"""Ends within 1 % of where the whole search would."""


def problem_of(logits: list[list[float]], targets: object = None) -> tuple[AttackProblem, object]:
    """A problem whose inputs have these logits, and the logits."""
    values = np.array(logits)
    network = linear_classifier(np.eye(values.shape[1]), np.zeros(values.shape[1]))
    problem = AttackProblem(network, values, None, targets, domain=(-20.0, 20.0))
    return problem, torch.tensor(values)


def test_checkpoints_are_the_papers() -> None:
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(1) == [1] and checkpoints(10) == [3, 5, 6, 7, 8, 9, 10]


def test_cross_entropy_is_that_of_the_class() -> None:
    problem, logits = problem_of([[3.0, 1.0, -2.0, 0.5], [0.0, 4.0, 4.5, 1.0]])
    expected = torch.nn.functional.cross_entropy(logits, problem.reference, reduction="none")
    assert torch.allclose(cross_entropy(problem)(logits, torch.arange(2)), expected, rtol=1e-12)


def test_cross_entropy_has_a_gradient_where_the_probability_is_one() -> None:
    problem, logits = problem_of([[19.0, -19.0, -18.0]])
    slope = torch.autograd.functional.jacobian(lambda z: cross_entropy(problem)(10 * z, torch.arange(1)).sum(), logits)
    assert slope[0, 2] > 0 and slope[0, 0] < 0 and slope[0].sum().abs() <= 1e-12 * slope[0].abs().max()


def test_the_logit_ratio_by_hand() -> None:
    rows = torch.arange(1)
    problem, logits = problem_of([[5.0, 3.0, 1.0, -7.0, 0.0]])
    assert logit_ratio(problem)(logits, rows).tolist() == [(3 - 5) / (5 - 1)]
    problem, logits = problem_of([[5.0, 3.0, 1.0, -7.0, 0.0]], targets=3)
    assert logit_ratio(problem)(logits, rows).tolist() == [(-7 - 5) / (5 - 0.5)]
    problem, logits = problem_of([[5.0, 3.0, 1.0, -7.0, 0.0]], targets=[2, 3])
    assert logit_ratio(problem)(logits, rows).tolist() == [(1 - 5) / (5 - 0.5)]
    assert logit_ratio(problem, torch.tensor([3]))(logits, rows).tolist() == [(-7 - 5) / (5 - 0.5)]
    problem, logits = problem_of([[5.0, 3.0, 1.0]], targets=2)
    assert logit_ratio(problem)(logits, rows).tolist() == [-1.0]


@pytest.mark.parametrize("loss", ["ce", "dlr"])
@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
def test_one_boundary_of_a_linear_classifier_has_a_formula(norm: Norm, loss: str) -> None:
    """Inside a wide domain the distance is |f_1 - f_0| / |w_1 - w_0| in the dual norm; a third class is far away."""
    rng = np.random.default_rng(0)
    weight, x = rng.normal(size=(3, 6)), rng.uniform(0.4, 0.6, size=(5, 6))
    weight[2] = 0.0
    bias = np.append(-weight[:2] @ np.full(6, 0.5), -100.0)
    logits = x @ weight.T + bias
    truth = np.abs(logits[:, 1] - logits[:, 0]) / np.linalg.norm(weight[1] - weight[0], 1 if norm is Norm.LINF else 2)
    attack = APGD(norm, loss=loss, search=QUICK)
    found = attack(linear_classifier(weight, bias), x, domain=(-10.0, 10.0)).distance
    assert np.all(found >= truth * (1 - 1e-9)) and np.all(found <= truth * 1.01)


@settings(max_examples=15, deadline=None)
@given(networks(max_relus=6), st.integers(0, 2**32 - 1), st.sampled_from([Norm.LINF, Norm.L2]))
def test_all_points_lie_in_ball_and_domain(network: ReluNetwork, seed: int, norm: Norm) -> None:
    rng = np.random.default_rng(seed)
    x, eps = rng.random((3, network.input_size)), float(rng.uniform(0.01, 0.5))
    with pytest.MonkeyPatch.context() as patch:
        seen = watched(APGD(norm, eps=eps, steps=12, restarts=2), network, x, patch)
    assert np.all(seen.distance <= eps * (1 + 1e-9))
    assert np.all((seen.points >= 0) & (seen.points <= 1))


@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_digits_are_never_nearer_than_they_are(loss: str) -> None:
    data = digits("digits_small_standard", 10)
    found = APGD(loss=loss, search=QUICK)(data.network, data.images)
    assert found.attack == f"apgd-{loss}" and found.success.all()
    assert np.all(found.distance >= data.lower - 1e-12)
    assert np.median(found.distance / data.upper) <= 1.1


def test_a_given_radius_decides_success() -> None:
    data = digits("digits_small_standard", 20)
    eps = float(np.median(data.upper))
    found = APGD(eps=eps)(data.network, data.images)
    assert not found.success[data.lower > eps].any()
    assert found.success[data.upper < 0.8 * eps].all()
    assert np.all(found.distance[found.success] <= eps * (1 + 1e-9))


def test_targets_are_what_is_reached() -> None:
    data = digits("digits_small_standard", 10)
    targets = ((data.labels + 3) % 10)[:, None]
    for loss in ("ce", "dlr"):
        found = APGD(loss=loss, search=EpsilonSearch(bisections=1))(data.network, data.images, targets=targets)
        logits = data.network.forward_batch(found.adversarial[found.success])
        rows = np.arange(len(logits))
        assert found.success.mean() >= 0.9
        reached = logits[rows, targets[found.success, 0]] - logits[rows, data.labels[found.success]]
        assert np.all(reached >= -1e-9)
        assert np.nanmedian(found.distance) > np.median(data.upper)


def test_scaled_logits_do_not_hide_the_gradient() -> None:
    """Cross-entropy in float32 has no gradient left where a probability is 1 to rounding."""
    rng = np.random.default_rng(1)
    weight, x = rng.normal(size=(2, 6)), rng.uniform(0.4, 0.6, size=(5, 6))
    attack = APGD(search=QUICK)
    plain, scaled = (attack(linear_classifier(scale * weight, np.zeros(2)), x).distance for scale in (1.0, 200.0))
    assert np.allclose(plain, scaled, rtol=0.02)


def test_the_seed_decides() -> None:
    data = digits("digits_small_standard", 5)
    first, again, other = (APGD(eps=0.2, steps=5)(data.network, data.images, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.adversarial, again.adversarial, equal_nan=True)
    assert not np.array_equal(first.adversarial, other.adversarial, equal_nan=True)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"loss": "hinge"}, '"ce" or "dlr"'),
        ({"steps": 0}, "at least 1 step"),
        ({"restarts": 0}, "at least 1 step and 1 restart"),
        ({"eps": -1.0}, "eps"),
        ({"norm": Norm.L1}, "does not work in l1"),
    ],
)
def test_bad_parameters(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        APGD(**parameters)  # type: ignore[arg-type]


def test_two_classes_have_no_logit_ratio() -> None:
    network = linear_classifier(np.array([[1.0], [-1.0]]), np.array([0.0, 0.1]))
    with pytest.raises(InputError, match="at least 3 classes"):
        APGD(loss="dlr")(network, np.array([[0.5]]))
    assert APGD()(network, np.array([[0.5]])).success.all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("loss", "other"), [("ce", "cross_entropy"), ("dlr", "difference_logits_ratio")])
@pytest.mark.parametrize("norm", [Norm.LINF, Norm.L2])
@pytest.mark.parametrize("name", ["digits_dense_standard", "digits_small_adversarial"])
def test_as_strong_as_art(name: str, norm: Norm, loss: str, other: str) -> None:
    data = digits(name, 100)
    classifier = art_classifier(data.network)
    from art.attacks.evasion import AutoProjectedGradientDescent

    eps = float(np.median(data.upper)) * (1.0 if norm is Norm.LINF else 5.0)
    attack = AutoProjectedGradientDescent(
        classifier,
        norm=np.inf if norm is Norm.LINF else 2,
        eps=eps,
        eps_step=2 * eps,
        max_iter=100,
        nb_random_init=1,
        batch_size=100,
        loss_type=other,
        verbose=False,
    )
    np.random.seed(0)  # noqa: NPY002 - the source of ART's draws
    theirs = attack.generate(data.images.reshape(-1, *data.network.input_shape).astype(np.float32), data.labels)
    ours = APGD(norm, loss=loss, eps=eps)(data.network, data.images)
    assert 0.05 < ours.success.mean() < 0.95
    assert 1 - ours.success.mean() <= robust_share(theirs.reshape(100, -1), data.network, data.labels) + 0.02
