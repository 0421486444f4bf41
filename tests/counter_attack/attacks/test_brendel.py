"""Brendel and Bethge's attack: its trust-region steps against SLSQP, its results against formulas and Foolbox's."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from counter_attack.attacks import AttackProblem, Budget
from counter_attack.attacks._brendel import BISECTIONS, BLENDS, DRAWS, BrendelBethge, _noisy_starts, _onto_boundary
from counter_attack.attacks._brendel_region import Region
from counter_attack.attacks._brendel_search import best_perturbations
from mipverify_py import Norm, Query
from onnx_models import Array
from onnx_models.errors import InputError
from onnx_models.zoo import load_zoo
from tests.helpers.attacked import linear_classifier
from tests.helpers.attacks import assert_sound, digits, exact_distances, foolbox_model, size
from tests.helpers.norms import dense_network, exact_norm_distance

DUAL = {Norm.LINF: 1, Norm.L1: np.inf, Norm.L2: 2}
CLOSE = 1e-6
"""How far SLSQP and the steps may be apart: the steps' own errors are 1e-7 of the radius and of |p|."""


def random_region(norm: Norm, seed: int, count: int = 24, n: int = 5) -> Region:
    """Problems of all kinds: balls that bind and do not, goals out of reach, entries without slope, x on the edge."""
    rng = np.random.default_rng(seed)
    x = rng.random((count, n)).round(1)
    t = rng.random((count, n)) * 0.6 + 0.2 - x
    slope = rng.normal(size=(count, n)) * (rng.random((count, n)) < 0.85) * 10.0 ** rng.integers(-3, 4, (count, 1))
    gap = rng.normal(size=count) * 0.1 * np.linalg.norm(slope, axis=1) * rng.choice([0.0, 0.3, 1.0, 5.0], count)
    radius = rng.choice([0.01, 0.05, 0.2, 1.0, 5.0], count)
    arrays = (torch.from_numpy(a) for a in (slope, gap, t, -x, 1 - x, radius))
    slope_, gap_, t_, low, high, radius_ = arrays
    return Region.of(norm, slope_, gap_, t_, (low, high), radius_)


def norm_of(p: Array, norm: Norm) -> float:
    return float(size(p[None], norm)[0])


def solved(region: Region, k: int, begin: Array) -> Array | None:
    """The p of problem k by SLSQP, with the norm written with extra variables; None if it breaks a constraint."""
    g, t, low, high = (part[k].numpy() for part in (region.g, region.t, region.low, region.high))
    goal, radius, n = float(region.goal[k]), float(region.radius[k]), len(t)
    extra = {Norm.LINF: np.abs(begin).max(keepdims=True), Norm.L1: np.abs(begin), Norm.L2: np.zeros(0)}[region.norm]
    rules: list[dict[str, Any]] = [
        {"type": "eq", "fun": lambda z: g @ z[:n] - goal},
        {"type": "ineq", "fun": lambda z: radius**2 - (z[:n] - t) @ (z[:n] - t)},
    ]
    if len(extra):
        rules += [{"type": "ineq", "fun": lambda z: z[n:] - z[:n]}, {"type": "ineq", "fun": lambda z: z[n:] + z[:n]}]
    answer = minimize(
        (lambda z: z[n:].sum()) if len(extra) else (lambda z: z @ z),
        np.concatenate([begin, extra]),
        bounds=[*zip(low, high, strict=True), *[(0.0, None)] * len(extra)],
        constraints=rules,
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    p = np.clip(answer.x[:n], low, high)
    good = abs(g @ p - goal) <= 1e-8 and np.linalg.norm(p - t) <= radius + 1e-8
    return p if good else None


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("norm", list(Norm))
def test_steps_are_optimal(norm: Norm, seed: int) -> None:
    """Where the boundary can be met, SLSQP finds nothing better: neither from the step itself nor from t."""
    region = random_region(norm, seed)
    p = best_perturbations(region).numpy()
    low, high, t = (part.numpy() for part in (region.low, region.high, region.t))
    assert np.all((p >= low) & (p <= high))
    assert np.all(np.linalg.norm(p - t, axis=1) <= region.radius.numpy() * (1 + 1e-6))
    met = np.abs((region.g.numpy() * p).sum(axis=1) - region.goal.numpy()) <= 1e-8
    assert met.sum() >= 10
    agreed = 0
    for k in np.flatnonzero(met):
        ours = norm_of(p[k], norm)
        best = [norm_of(q, norm) for q in (solved(region, k, p[k]), solved(region, k, t[k])) if q is not None]
        assert all(ours <= other + CLOSE for other in best)
        agreed += any(abs(ours - other) <= CLOSE for other in best)
    assert agreed >= 0.9 * met.sum()


@pytest.mark.parametrize("norm", list(Norm))
def test_a_boundary_out_of_reach_is_approached(norm: Norm) -> None:
    """Where it cannot be met, no point of the ball and the box is nearer to it."""
    region = random_region(norm, seed=7, count=60)
    p = best_perturbations(region).numpy()
    gap = (region.g.numpy() * p).sum(axis=1) - region.goal.numpy()
    missed = np.flatnonzero(np.abs(gap) > 1e-8)
    assert len(missed) >= 10
    for k in missed:
        g, t, low, high = (part[k].numpy() for part in (region.g, region.t, region.low, region.high))
        radius, way = float(region.radius[k]), np.sign(gap[k])
        assert np.all((p[k] >= low) & (p[k] <= high)) and np.linalg.norm(p[k] - t) <= radius * (1 + 1e-6)
        answer = minimize(
            lambda z, g=g, way=way: way * (g @ z),
            t,
            bounds=list(zip(low, high, strict=True)),
            constraints=[{"type": "ineq", "fun": lambda z, t=t, r=radius: r**2 - (z - t) @ (z - t)}],
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert way * (g @ p[k]) <= way * (g @ answer.x) + CLOSE


@pytest.mark.parametrize("norm", list(Norm))
def test_a_step_does_not_depend_on_its_batch(norm: Norm) -> None:
    region = random_region(norm, seed=11, count=40, n=30)
    together = best_perturbations(region)
    for k in range(len(together)):
        alone = best_perturbations(region.take(torch.tensor([k])))
        torch.testing.assert_close(alone[0], together[k], rtol=0, atol=1e-7)


@pytest.mark.parametrize("norm", list(Norm))
def test_without_a_slope_a_step_goes_straight_to_the_input(norm: Norm) -> None:
    t = torch.tensor([[0.3, -0.4, 0.0]], dtype=torch.float64)
    box = (torch.full_like(t, -1.0), torch.full_like(t, 1.0))
    for radius, left in ((0.25, 0.5), (2.0, 0.0)):
        ball = torch.tensor([radius]).double()
        region = Region.of(norm, torch.zeros_like(t), torch.tensor([0.7]).double(), t, box, ball)
        p = best_perturbations(region)[0]
        assert float((p - t[0]).norm()) <= radius * (1 + 1e-6)
        if norm is Norm.L2:
            torch.testing.assert_close(p, t[0] * left, rtol=0, atol=1e-6)
        if left == 0.0:
            torch.testing.assert_close(p, torch.zeros_like(p), rtol=0, atol=1e-6)
        assert norm_of(p.numpy(), norm) < norm_of(t[0].numpy(), norm)


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("targets", [None, 2])
def test_linear_classifiers_have_a_formula(norm: Norm, targets: int | None) -> None:
    """Away from the domain's ends the distance is the least |f_j - f_c| / |w_j - w_c| in the dual norm."""
    rng = np.random.default_rng(3)
    weight, x = rng.normal(size=(4, 6)), rng.uniform(0.45, 0.55, size=(8, 6))
    network = linear_classifier(weight, -weight @ np.full(6, 0.5))
    logits = network.forward_batch(x)
    c = logits.argmax(axis=1)
    use = c != 2
    x, c, logits = x[use], c[use], logits[use]
    rivals = range(4) if targets is None else [targets]
    truth = np.array(
        [
            min((z[k] - z[j]) / np.linalg.norm(weight[j] - weight[k], DUAL[norm]) for j in rivals if j != k)
            for z, k in zip(logits, c, strict=True)
        ]
    )
    result = BrendelBethge(norm, steps=300, lr=5e-3)(network, x, targets=targets)
    assert_sound(result, network, x, None if targets is None else [[targets]] * len(x))
    assert result.success.all() and np.all(result.distance >= truth * (1 - 1e-9))
    share = 1 + 1e-5 if targets is not None else 1.5  # of several hyperplanes, a start may lead to one that is farther
    assert np.all(result.distance <= truth * share)


def test_domains_may_have_any_ends() -> None:
    """One entry is fixed, the others have widths of their own; the boundary is x_0 + x_1 + x_2 = 3, x_1 ends at 1."""
    network = linear_classifier(np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]), np.array([0.0, -3.0]))
    domain = (np.array([-2.0, 0.5, 0.25]), np.array([6.0, 1.0, 0.25]))
    result = BrendelBethge(steps=200)(network, [[0.5, 0.75, 0.25]], domain=domain)
    assert result.distance[0] == pytest.approx(1.25, rel=1e-6)  # 0.25 at most from x_1, the rest from x_0
    np.testing.assert_allclose(result.adversarial[0], [1.75, 1.0, 0.25], atol=1e-5)


def test_results_on_digits_are_sound_and_above_the_exact_distance() -> None:
    model = "digits_small_standard"
    network, x = load_zoo(model), digits(20)
    result = BrendelBethge(steps=150)(network, x)
    assert_sound(result, network, x)
    assert result.success.all()
    truth = exact_distances(model, 20)
    assert np.all(result.distance >= truth - 1e-9) and np.median(result.distance / truth) <= 1.3


@pytest.mark.parametrize("norm", [Norm.L1, Norm.L2])
def test_results_on_tiny_networks_are_above_the_exact_distance(norm: Norm) -> None:
    network, x = dense_network(5), np.random.default_rng(1).random((10, 3))
    result = BrendelBethge(norm, steps=150, lr=0.02)(network, x)
    assert_sound(result, network, x)
    truth = [exact_norm_distance(Query(network, point, norm=norm)) for point in x]
    assert None not in truth and result.success.sum() >= 8
    share = (result.distance / np.array(truth, dtype=np.float64))[result.success]
    assert np.all(share >= 1 - 1e-6) and np.median(share) <= 1.2


def test_more_steps_never_lose_a_success() -> None:
    network, x = load_zoo("digits_small_standard"), digits(20)
    found = [BrendelBethge(lr=0.02)(network, x, budget=Budget(calls=calls)).distance for calls in (12, 13, 20, 40, 90)]
    for before, after in itertools.pairwise(found):
        assert np.all(after <= before)


def test_an_input_without_a_start_is_a_failure() -> None:
    """No noise reaches class 2; the input that class 1 wins has noise of class 0 and is not held up."""
    network = linear_classifier(np.array([[1.0], [-1.0], [0.0]]), np.array([-0.5, 0.5, -9.0]))
    result = BrendelBethge(steps=5)(network, [[0.6], [0.7]], targets=2)
    assert not result.success.any() and np.isnan(result.distance).all()
    assert np.all(result.calls == 1 + DRAWS * BLENDS)
    assert BrendelBethge(steps=20)(network, [[0.6], [0.7]]).success.all()


@pytest.mark.parametrize("norm", list(Norm))
def test_the_start_moves_to_the_boundary(norm: Norm) -> None:
    problem = AttackProblem(load_zoo("digits_small_standard"), digits(20), norm=norm)
    problem.start()
    with torch.no_grad():
        rows, noisy = _noisy_starts(problem)
        assert sorted(rows.tolist()) == list(range(20))
        nearer = _onto_boundary(problem, noisy, rows)
        assert bool((problem.margin(problem.logits(nearer, rows), rows) >= 0).all())
    before, after = problem.distance(noisy, rows), problem.distance(nearer, rows)
    assert bool((after <= before).all()) and float((after / before).median()) < 0.95
    assert int(problem.calls[rows].max()) >= 1 + BLENDS + BISECTIONS


@pytest.mark.parametrize(
    "parameters",
    [
        {"steps": 0},
        {"lr": 0.0},
        {"lr_decay": 1.5},
        {"lr_decay_every": 0},
        {"momentum": 1.0},
        {"overshoot": 0.9},
        {"init": "ones"},
    ],
)
def test_bad_parameters_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        BrendelBethge(**parameters)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", list(Norm))
def test_the_median_is_not_worse_than_that_of_foolbox(norm: Norm) -> None:
    """From the same starts, with as many steps of the same radii; Foolbox multiplies the radius by the batch's size."""
    attacks = pytest.importorskip("foolbox").attacks
    pytest.importorskip("numba")
    kind = {
        Norm.LINF: attacks.LinfinityBrendelBethgeAttack,
        Norm.L1: attacks.L1BrendelBethgeAttack,
        Norm.L2: attacks.L2BrendelBethgeAttack,
    }[norm]
    network, x, steps = load_zoo("digits_dense_standard"), digits(100), 200
    problem = AttackProblem(network, x, norm=norm, seed=1)
    problem.start()
    with torch.no_grad():
        rows, starts = _noisy_starts(problem)
    assert sorted(rows.tolist()) == list(range(100))
    theirs = kind(steps=steps, lr=1e-3 / 100, lr_decay=0.75, lr_num_decay=steps // 50, momentum=0.8, overshoot=1.1)
    model, begin = foolbox_model(network), starts[torch.argsort(rows)].float()
    points = theirs.run(model, torch.from_numpy(x).float(), problem.reference, starting_points=begin)
    ours = BrendelBethge(norm, steps=steps)(network, x, seed=1)
    assert ours.success.all()
    assert np.median(ours.distance) <= 1.02 * np.median(size(points.numpy() - x, norm))
