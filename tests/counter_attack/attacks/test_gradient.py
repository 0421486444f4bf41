"""FGSM, BIM and PGD: their steps against linear programs and closed forms, their results against exact distances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.stats import kstest

from counter_attack.attacks import BIM, FGSM, PGD, Attack, AttackProblem, EpsilonSearch
from counter_attack.attacks._gradient import ascent, project, step, uniform_in_ball
from mipverify_py import Norm, distance
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork
from onnx_models.errors import InputError
from onnx_models.zoo import load_zoo
from tests.helpers.attacks import assert_sound, digits, exact_distances, foolbox_distances, size
from tests.helpers.networks import random_dense

NORMS = list(Norm)
DUAL = {Norm.LINF: Norm.L1, Norm.L1: Norm.LINF, Norm.L2: Norm.L2}


def linear(weight: Array, bias: Array) -> ReluNetwork:
    builder = NetworkBuilder((weight.shape[1],))
    return builder.build(builder.affine([0], [DenseMap(weight)], bias))


def problem_of(points: Array, norm: Norm) -> AttackProblem:
    return AttackProblem(linear(np.zeros((2, points.shape[1])), np.array([1.0, 0.0])), points, norm=norm)


# --------------------------------------------------------------------------------------------------------------- parts


@pytest.mark.parametrize("norm", NORMS)
def test_a_step_grows_a_linear_function_most(norm: Norm) -> None:
    """Against the dual norm in L-infinity and L2, against a linear program over the domain in L1."""
    rng = np.random.default_rng(1)
    points, slope, sizes = rng.random((20, 6)), rng.normal(size=(20, 6)), rng.random(20) * 2
    slope[3], slope[4, 2] = 0.0, 0.0
    points[5] = np.round(points[5])
    moved = step(problem_of(points, norm), *(torch.from_numpy(a) for a in (points, slope, sizes))).numpy()
    assert np.all(size(moved, norm) <= sizes * (1 + 1e-12))
    gain = (moved * slope).sum(axis=1)
    if norm is Norm.L1:
        for k in range(20):
            # s = p - m with p, m >= 0: maximise slope.(p - m) with sum(p + m) <= size within the domain.
            answer = linprog(
                np.concatenate([-slope[k], slope[k]]),
                A_ub=np.ones((1, 12)),
                b_ub=[sizes[k]],
                bounds=[(0.0, room) for room in (*(1 - points[k]), *points[k])],
            )
            assert gain[k] == pytest.approx(-answer.fun, abs=1e-9)
            assert np.all((points[k] + moved[k] >= -1e-12) & (points[k] + moved[k] <= 1 + 1e-12))
    else:
        np.testing.assert_allclose(gain, sizes * size(slope, DUAL[norm]), rtol=1e-12)


def test_tiny_slopes_still_give_a_direction() -> None:
    slope = torch.tensor([[3e-200, -4e-200], [0.0, 0.0]], dtype=torch.float64)
    moved = step(problem_of(np.full((2, 2), 0.5), Norm.L2), slope, slope, torch.ones(2, dtype=torch.float64))
    np.testing.assert_allclose(moved, [[0.6, -0.8], [0.0, 0.0]], atol=1e-15)


@pytest.mark.parametrize("norm", NORMS)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_projection_is_the_nearest_point_of_the_ball(norm: Norm, seed: int) -> None:
    """p is the nearest point of a convex set to v if and only if (v - p).(z - p) <= 0 for each z of the set."""
    rng = np.random.default_rng(seed)
    v, eps = rng.normal(size=(5, 4)) * rng.choice([0.1, 1.0, 10.0]), rng.random(5) + 1e-3
    v[0] = np.round(v[0])  # ties and zeros
    p = project(torch.from_numpy(v), torch.from_numpy(eps), norm).numpy()
    assert np.all(size(p, norm) <= eps * (1 + 1e-12))
    normal = v - p
    furthest = eps * size(normal, DUAL[norm])  # max of normal.z over the ball
    np.testing.assert_allclose((normal * p).sum(axis=1), furthest, atol=1e-9)
    inside = size(v, norm) <= eps
    np.testing.assert_allclose(p[inside], v[inside], atol=1e-15)


@pytest.mark.parametrize("norm", NORMS)
def test_random_starts_are_uniform_in_the_ball(norm: Norm) -> None:
    """The share of the ball within radius t is t^n, and every entry is as often negative as positive."""
    count, n, eps = 4000, 5, 0.3
    problem = problem_of(np.full((1, n), 0.5), norm)
    sizes = torch.full((1,), eps, dtype=torch.float64)
    drawn = np.concatenate([uniform_in_ball(problem, sizes, problem.rows) for _ in range(count)])
    assert kstest((size(drawn, norm) / eps) ** n, "uniform").pvalue > 1e-3
    assert np.all(np.abs((drawn > 0).mean(axis=0) - 0.5) < 0.04)
    halves = size(drawn[:, :2], norm) > size(drawn[:, 3:], norm)
    assert abs(halves.mean() - 0.5) < 0.04


def test_the_gradient_is_that_of_the_cross_entropy() -> None:
    network, x = load_zoo("digits_small_standard"), digits(10)
    problem, rows = AttackProblem(network, x), torch.arange(10)
    leaf = problem.x.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(problem.classifier.logits(leaf), problem.reference, reduction="sum")
    (expected,) = torch.autograd.grad(loss, leaf)
    found = ascent(problem, problem.x, rows)
    cosine = torch.nn.functional.cosine_similarity(found, expected)
    np.testing.assert_allclose(cosine, 1.0, atol=1e-7)


def test_a_sure_model_does_not_hide_its_gradient() -> None:
    """Where 1 - P(c) is nothing in float64, the cross-entropy's own gradient would lose the reference's share."""
    network = linear(np.array([[40.0, 1000.0], [40.0, -1000.0]]), np.array([0.0, 0.0]))
    result = FGSM()(network, [[0.5, 0.9]])
    assert result.success[0] and result.distance[0] == pytest.approx(0.9, rel=1e-6)
    problem = AttackProblem(network, [[0.5, 0.9]])
    np.testing.assert_allclose(ascent(problem, problem.x, torch.tensor([0])), [[0.0, -2000.0]])


# ------------------------------------------------------------------------------------------------------------- results


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", [FGSM, BIM, PGD])
def test_linear_models_have_a_closed_form(kind: type[Attack], norm: Norm) -> None:
    """The distance to a hyperplane w.x = t is |w.x - t| in the dual norm's units, as long as the domain is far."""
    w = np.array([1.0, -2.0, 0.5, 1.5])
    network, x = linear(np.stack([w, np.zeros(4)]), np.array([-0.02, 0.0])), np.full((3, 4), 0.5)
    x += np.array([[0.0], [0.01], [-0.001]])
    truth = np.abs(x @ w - 0.02) / size(w[None], DUAL[norm])
    parameters = {} if kind is FGSM else {"steps": 60, "step_size": 0.02}
    result = kind(norm=norm, **parameters)(network, x)
    assert result.success.all()
    assert np.all(result.distance >= truth * (1 - 1e-12))
    np.testing.assert_allclose(result.distance, truth, rtol=1e-3 if kind is PGD else 1e-5)


@pytest.mark.parametrize("attack", [FGSM(), BIM(steps=50), PGD(steps=50, step_size=1e-2)], ids=lambda a: a.name)
def test_results_are_sound_and_never_below_the_exact_distance(attack: Attack) -> None:
    network, x = load_zoo("digits_small_standard"), digits(20)
    result = attack(network, x)
    assert_sound(result, network, x)
    assert result.success.all()
    exact = exact_distances("digits_small_standard", 20)
    assert np.all(result.distance >= exact)
    assert np.median(result.distance / exact) < 1.1


@pytest.mark.parametrize("norm", [Norm.L1, Norm.L2])
@pytest.mark.parametrize("kind", [FGSM, BIM, PGD])
def test_other_norms_are_never_below_the_exact_distance(kind: type[Attack], norm: Norm) -> None:
    rng = np.random.default_rng(7)
    parameters = {} if kind is FGSM else {"steps": 8, "step_size": 0.05}
    for _ in range(4):
        network = random_dense(rng, max_relus=5)
        x = rng.random((2, network.input_size))
        result = kind(norm=norm, search=EpsilonSearch(bisections=5), **parameters)(network, x)
        assert_sound(result, network, x)
        for row in np.flatnonzero(result.success):
            lower = distance(network, x[row], norm=norm).lower
            assert lower is not None and result.distance[row] >= lower


@pytest.mark.parametrize("attack", [FGSM(), BIM(steps=40), PGD(steps=40, step_size=1e-2)], ids=lambda a: a.name)
def test_targets_are_kept_to(attack: Attack) -> None:
    network, x = load_zoo("digits_small_standard"), digits(8)
    free = attack(network, x)
    targets = np.where(free.found == 3, 5, 3)
    targets = np.where(targets == free.reference, 7, targets)
    result = attack(network, x, targets=targets[:, None])
    assert_sound(result, network, x, targets=[[int(j)] for j in targets])
    assert result.success.sum() >= 4
    assert np.nanmedian(result.distance) > np.median(free.distance)


@pytest.mark.parametrize("attack", [FGSM(eps=0.12), BIM(eps=0.12, steps=40), PGD(eps=0.12, steps=40)])
def test_a_given_eps_is_not_searched_for(attack: FGSM | BIM | PGD) -> None:
    network, x = load_zoo("digits_small_standard"), digits(20)
    result = attack(network, x)
    assert_sound(result, network, x)
    assert 0 < result.success.sum() < 20
    assert np.all(result.distance[result.success] <= 0.12 * (1 + 1e-12))
    assert not np.any(result.success & (exact_distances("digits_small_standard", 20) > 0.12))
    assert result.calls.max() <= 1 + 1 + getattr(attack, "steps", 1)


def test_restarts_only_add_successes() -> None:
    network, x = load_zoo("digits_small_standard"), digits(30)
    one, five = (PGD(eps=0.11, steps=5, step_size=0.02, restarts=r)(network, x, seed=3) for r in (1, 5))
    assert np.all(five.success[one.success])
    assert five.calls[one.success].tolist() == one.calls[one.success].tolist()  # a success ends the restarts
    assert five.calls[~five.success].tolist() == [1 + 5 * 6] * int((~five.success).sum())


def test_pgd_is_random_and_follows_its_seed() -> None:
    network, x = load_zoo("digits_small_standard"), digits(5)
    first, again, other = (PGD(steps=10)(network, x, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.adversarial, again.adversarial)
    assert np.any(first.adversarial != other.adversarial)
    plain, bim = PGD(steps=10, step_size=0.01, random_start=False)(network, x), BIM(steps=10)(network, x)
    np.testing.assert_array_equal(plain.adversarial, bim.adversarial)


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        (FGSM, {"eps": 0.0}),
        (FGSM, {"eps": float("nan")}),
        (BIM, {"steps": 0}),
        (BIM, {"step_size": 0.0}),
        (PGD, {"restarts": 0}),
        (PGD, {"restarts": 2, "random_start": False}),
    ],
)
def test_bad_parameters_are_refused(kind: type[Attack], parameters: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="needs"):
        kind(**parameters)


# ------------------------------------------------------------------------------------------------- against Foolbox

GRIDS = {
    Norm.LINF: np.linspace(0.01, 0.255, 50),
    Norm.L1: np.linspace(0.1, 5.0, 50),
    Norm.L2: np.linspace(0.03, 1.5, 50),
}
"""50 radii, as many as our search tries."""
STEP_SIZE = {Norm.LINF: 0.01, Norm.L1: 0.25, Norm.L2: 0.05}
FOOLBOX = {
    FGSM: {Norm.LINF: "LinfFastGradientAttack", Norm.L1: "L1FastGradientAttack", Norm.L2: "L2FastGradientAttack"},
    BIM: {Norm.LINF: "LinfBasicIterativeAttack", Norm.L1: "L1BasicIterativeAttack", Norm.L2: "L2BasicIterativeAttack"},
    PGD: {
        Norm.LINF: "LinfProjectedGradientDescentAttack",
        Norm.L1: "L1ProjectedGradientDescentAttack",
        Norm.L2: "L2ProjectedGradientDescentAttack",
    },
}


def foolbox_medians(kind: type[Attack], norm: Norm, network: ReluNetwork, x: Array, steps: int) -> tuple[float, int]:
    """Foolbox's median distance on the grid of radii, and its number of successes."""
    attacks = pytest.importorskip("foolbox").attacks
    torch.manual_seed(0)  # Foolbox draws from torch's own generator
    parameters = {} if kind is FGSM else {"abs_stepsize": STEP_SIZE[norm], "steps": steps}
    attack = getattr(attacks, FOOLBOX[kind][norm])(**parameters)
    theirs = foolbox_distances(attack, network, x, norm, GRIDS[norm])
    return float(np.median(theirs)), int(np.isfinite(theirs).sum())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", [FGSM, pytest.param(BIM, marks=pytest.mark.slow)])
def test_the_search_is_not_worse_than_a_grid_of_foolbox(kind: type[Attack], norm: Norm) -> None:
    """100 digits; the same loss, steps and step size, and as many radii."""
    network, x, steps = load_zoo("digits_small_standard"), digits(100), 60
    theirs, successes = foolbox_medians(kind, norm, network, x, steps)
    parameters = {} if kind is FGSM else {"steps": steps, "step_size": STEP_SIZE[norm]}
    ours = kind(norm=norm, **parameters)(network, x)
    assert ours.success.sum() >= successes
    assert np.median(np.where(ours.success, ours.distance, np.inf)) <= 1.02 * theirs


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "count", "steps", "norm"),
    [
        (BIM, 25, 20, Norm.LINF),
        (PGD, 25, 40, Norm.LINF),
        (PGD, 25, 40, Norm.L2),
        *(pytest.param(kind, 100, 60, norm, marks=pytest.mark.slow) for kind in (BIM, PGD) for norm in NORMS),
    ],
)
def test_the_same_radii_are_not_worse_than_those_of_foolbox(
    kind: type[BIM | PGD], count: int, steps: int, norm: Norm
) -> None:
    """Random starts make success at a radius a matter of luck, so both get the same radii and no search."""
    network, x = load_zoo("digits_small_standard"), digits(count)
    theirs, _ = foolbox_medians(kind, norm, network, x, steps)
    found = []
    for seed, eps in enumerate(GRIDS[norm].tolist()):
        result = kind(norm=norm, eps=eps, steps=steps, step_size=STEP_SIZE[norm])(network, x, seed=seed)
        found.append(np.where(result.success, result.distance, np.inf))
    ours = np.min(found, axis=0)
    assert np.median(ours) <= 1.02 * theirs
