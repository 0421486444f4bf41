"""FAB and its projections, against scipy, closed forms and exact distances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize

from counter_attack.attacks._fab import FAB
from counter_attack.attacks._hyperplane import onto_hyperplane
from counter_attack.attacks._problem import AttackProblem
from mipverify_py import Norm, Query
from onnx_models import Array
from onnx_models.errors import InputError
from tests.helpers.attacked import digits, linear_classifier, watched
from tests.helpers.norms import dense_network, exact_norm_distance

seeds = st.integers(0, 2**32 - 1)


def projected(x: Array, normal: Array, gap: float, low: Array, high: Array, norm: Norm) -> Array:
    row = (torch.from_numpy(a)[None] for a in (x, normal))
    box = (torch.from_numpy(low), torch.from_numpy(high))
    return onto_hyperplane(*row, torch.tensor([gap], dtype=torch.float64), box, norm)[0].numpy()


def least_step(x: Array, normal: Array, gap: float, low: Array, high: Array, norm: Norm) -> float | None:
    """The size of the smallest step by scipy, for L2 its square's root by SLSQP; None if there is none."""
    n = len(x)
    feasible = linprog(np.zeros(n), A_eq=normal[None], b_eq=[gap], bounds=list(zip(low - x, high - x, strict=True)))
    if feasible.status == 2:
        return None
    if norm is Norm.L2:
        found = minimize(
            lambda d: d @ d,
            feasible.x,
            jac=lambda d: 2 * d,
            bounds=list(zip(low - x, high - x, strict=True)),
            constraints={"type": "eq", "fun": lambda d: normal @ d - gap, "jac": lambda _: normal},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        return float(np.sqrt(found.fun))
    sizes = 1 if norm is Norm.LINF else n
    spread = np.ones((n, 1)) if norm is Norm.LINF else np.eye(n)
    found = linprog(
        np.concatenate([np.zeros(n), np.ones(sizes)]),
        A_ub=np.block([[np.eye(n), -spread], [-np.eye(n), -spread]]),
        b_ub=np.zeros(2 * n),
        A_eq=np.concatenate([normal, np.zeros(sizes)])[None],
        b_eq=[gap],
        bounds=[*zip(low - x, high - x, strict=True), *[(0, None)] * sizes],
    )
    assert found.status == 0
    return float(found.fun)


def size(d: Array, norm: Norm) -> float:
    return float(np.linalg.norm(d, {Norm.LINF: np.inf, Norm.L1: 1, Norm.L2: 2}[norm]))


@pytest.mark.parametrize("norm", list(Norm))
@settings(max_examples=60, deadline=None)
@given(seeds)
def test_projections_are_the_smallest_steps(norm: Norm, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 7))
    low, high = -rng.random(n), rng.random(n)
    x = np.where(rng.random(n) < 0.3, np.where(rng.random(n) < 0.5, low, high), rng.uniform(low, high))
    normal = rng.normal(size=n) * (rng.random(n) < 0.8) * 10.0 ** rng.integers(-3, 3)
    most = float(np.maximum(normal * (high - x), normal * (low - x)).sum())
    gap = float(rng.uniform(-1.2, 1.2) * most)
    d = projected(x, normal, gap, low, high, norm)
    assert np.all(x + d >= low - 1e-12) and np.all(x + d <= high + 1e-12)
    truth = least_step(x, normal, gap, low, high, norm)
    if truth is None:
        reach = max(0.0, np.sign(gap) * float((normal * d).sum()))
        corner = np.where(np.sign(gap) * normal > 0, high - x, low - x)
        assert np.isclose(reach, np.sign(gap) * (normal @ corner), rtol=1e-9, atol=1e-12)
    elif abs(gap) < most * (1 - 1e-6):
        assert np.isclose(normal @ d, gap, rtol=1e-9, atol=1e-12)
        assert size(d, norm) <= truth * (1 + 1e-6) + 1e-7


@pytest.mark.parametrize("norm", list(Norm))
def test_projections_without_anything_to_do(norm: Norm) -> None:
    x, low, high = np.array([0.0, 0.5, 1.0]), np.zeros(3), np.ones(3)
    assert projected(x, np.array([1.0, 2.0, 3.0]), 0.0, low, high, norm).tolist() == [0, 0, 0]
    assert projected(x, np.zeros(3), 1.0, low, high, norm).tolist() == [0, 0, 0]
    assert projected(x, np.array([-1.0, 0.0, 1.0]), 5.0, low, high, norm).tolist() == [0, 0, 0]


@pytest.mark.parametrize("norm", list(Norm))
def test_projections_of_rows_do_not_depend_on_each_other(norm: Norm) -> None:
    rng = np.random.default_rng(3)
    x, normal, gap = rng.random((20, 5)), rng.normal(size=(20, 5)), rng.normal(size=20)
    low, high = np.zeros(5), np.ones(5)
    box = (torch.from_numpy(low), torch.from_numpy(high))
    together = onto_hyperplane(*(torch.from_numpy(a) for a in (x, normal, gap)), box, norm).numpy()
    alone = [projected(x[k], normal[k], gap[k], low, high, norm) for k in range(20)]
    assert np.allclose(together, alone, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("domain", [(-10.0, 10.0), (0.3, 0.7)], ids=["wide", "narrow"])
@pytest.mark.parametrize(("classes", "steps", "excess"), [(2, 5, 1e-6), (4, 100, 1e-3)])
@pytest.mark.parametrize("norm", list(Norm))
def test_linear_classifiers_are_solved(
    norm: Norm, classes: int, steps: int, excess: float, domain: tuple[float, float]
) -> None:
    """The linearisation is the classifier itself: with one boundary a few steps find the exact distance."""
    rng = np.random.default_rng(0)
    weight, x = rng.normal(size=(classes, 6)), rng.uniform(0.4, 0.6, size=(8, 6))
    bias = -weight @ np.full(6, 0.5)
    found = FAB(norm, steps=steps)(linear_classifier(weight, bias), x, domain=domain)
    logits = x @ weight.T + bias
    for row, own in enumerate(logits.argmax(axis=1)):
        sizes = [
            least_step(
                x[row],
                weight[j] - weight[own],
                logits[row, own] - logits[row, j],
                np.full(6, domain[0]),
                np.full(6, domain[1]),
                norm,
            )
            for j in range(classes)
            if j != own
        ]
        truth = min((step for step in sizes if step is not None), default=None)
        assert found.success[row] == (truth is not None)
        assert truth is None or -1e-7 <= found.distance[row] - truth <= excess * truth + 1e-7


@pytest.mark.parametrize("name", ["digits_small_standard", "digits_small_adversarial"])
def test_digits_are_nearly_solved_and_never_nearer(name: str) -> None:
    data = digits(name, 20)
    found = FAB()(data.network, data.images)
    assert found.success.all() and np.all(found.distance >= data.lower - 1e-12)
    assert found.distance.mean() <= 1.05 * data.upper.mean()


@pytest.mark.slow
@pytest.mark.parametrize("norm", [Norm.L1, Norm.L2])
def test_other_norms_are_mostly_solved_and_never_nearer(norm: Norm) -> None:
    excess = []
    for seed in range(8):
        network, x0 = dense_network(seed), np.random.default_rng(seed).random(3)
        truth = exact_norm_distance(Query(network, x0, norm=norm))
        found = FAB(norm, steps=50, restarts=3)(network, x0)
        assert truth is not None or not found.success[0]
        if truth:
            assert not found.success[0] or found.distance[0] >= truth - 1e-7
            excess.append(found.distance[0] / truth - 1.0 if found.success[0] else np.inf)
    assert len(excess) >= 3 and np.mean(np.array(excess) < 0.01) >= 0.7


def test_restarts_never_make_it_worse_and_stay_in_the_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    data = digits("digits_small_standard", 10)
    once, thrice = (FAB(steps=20, restarts=count)(data.network, data.images) for count in (1, 3))
    assert np.all(thrice.distance <= once.distance * (1 + 1e-6))
    seen = watched(FAB(steps=5, restarts=2), data.network, data.images, monkeypatch)
    assert seen.points.min() >= 0 and seen.points.max() <= 1


def test_an_aim_is_followed_and_other_successes_are_kept() -> None:
    data = digits("digits_small_standard", 10)
    aim = (data.labels + 1) % 10
    only = FAB(steps=30)(data.network, data.images, targets=aim[:, None])
    problem = AttackProblem(data.network, data.images)
    problem.start()
    FAB(steps=30).approach(problem, torch.arange(10), torch.from_numpy(aim))
    aimed = problem.check()
    logits, rows = data.network.forward_batch(only.adversarial), np.arange(10)
    assert only.success.all() and np.all(logits[rows, aim] >= logits[rows, data.labels] - 1e-9)
    assert np.all(aimed.distance <= only.distance * (1 + 1e-3))


def test_flat_networks_have_no_boundary() -> None:
    found = FAB(steps=3)(linear_classifier(np.zeros((2, 3)), np.array([1.0, 0.0])), np.full((2, 3), 0.5))
    assert not found.success.any() and np.isnan(found.distance).all()


@pytest.mark.parametrize("parameters", [{"steps": 0}, {"restarts": 0}])
def test_bad_parameters(parameters: dict[str, int]) -> None:
    with pytest.raises(InputError, match="at least 1 step and 1 restart"):
        FAB(**parameters)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", list(Norm))
def test_as_near_as_foolbox(norm: Norm) -> None:
    """FMN has the same purpose and cost: 200 gradients against 100 steps of two calls."""
    foolbox = pytest.importorskip("foolbox")
    from onnx_models import to_torch

    data = digits("digits_dense_standard", 100)
    model = foolbox.PyTorchModel(to_torch(data.network, dtype=torch.float32), bounds=(0, 1), device="cpu")
    kind = {Norm.LINF: foolbox.attacks.LInfFMNAttack, Norm.L2: foolbox.attacks.L2FMNAttack}
    attack = kind.get(norm, foolbox.attacks.L1FMNAttack)(steps=200)
    images = torch.from_numpy(data.images.astype(np.float32)).reshape(-1, *data.network.input_shape)
    _, clipped, success = attack(model, images, torch.from_numpy(data.labels), epsilons=None)
    theirs = [size(a, norm) for a in clipped.reshape(100, -1).double().numpy() - data.images]
    ours = FAB(norm)(data.network, data.images)
    assert ours.success.all()
    assert np.median(ours.distance) <= 1.02 * np.median(np.where(success.numpy(), theirs, np.inf))
