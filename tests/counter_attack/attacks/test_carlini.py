"""Carlini and Wagner's attacks: their variables and optimiser, formulas, exact distances, ART and Foolbox."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from counter_attack.attacks import AttackProblem
from counter_attack.attacks._carlini import CarliniWagnerLinf
from counter_attack.attacks._carlini_l2 import CarliniWagnerL2
from counter_attack.attacks._carlini_variables import Runs, TanhSpace, shortfall
from mipverify_py import Norm, Query
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError
from onnx_models.zoo import load_zoo
from tests.helpers.attacked import art_classifier, linear_classifier
from tests.helpers.attacks import assert_sound, digits, exact_distances, foolbox_distances, size
from tests.helpers.norms import dense_network, exact_norm_distance

LINF = CarliniWagnerLinf(tau_factor=0.97, steps=100)
L2 = CarliniWagnerL2(steps=300)


def linear_question(dual: float) -> tuple[ReluNetwork, Array, Array]:
    """A linear classifier that says 0, inputs away from the domain's ends, and the distances of classes 1 to 3."""
    rng = np.random.default_rng(2)
    weight, x = rng.normal(size=(4, 6)), rng.uniform(0.47, 0.53, size=(6, 6))
    network = linear_classifier(weight, -weight @ np.full(6, 0.5) + np.array([0.8, 0.0, 0.0, 0.0]))
    logits = network.forward_batch(x)
    assert np.all(logits.argmax(axis=1) == 0)
    slopes = [np.linalg.norm(weight[j] - weight[0], dual) for j in (1, 2, 3)]
    return network, x, (logits[:, :1] - logits[:, 1:]) / np.array(slopes)


# -------------------------------------------------------------------------------------------- variables and optimiser


def test_the_optimiser_is_adam() -> None:
    """Each run agrees with torch's own, also after a restart of one of them and without another."""
    torch.manual_seed(0)
    start, slopes = torch.randn(3, 5, dtype=torch.float64), torch.randn(30, 3, 5, dtype=torch.float64)
    runs = Runs.begin(start.clone())
    for slope in slopes[:10]:
        runs.advance(slope, 0.03)
    runs.restart(torch.tensor([1]), start[[1]])
    runs.keep(torch.tensor([True, True, False]))
    for slope in slopes[10:]:
        runs.advance(slope[:2], 0.03)
    for row, taken in ((0, slopes), (1, slopes[10:])):
        w = start[row].clone().requires_grad_()
        adam = torch.optim.Adam([w], lr=0.03)
        for slope in taken:
            w.grad = slope[row].clone()
            adam.step()
        torch.testing.assert_close(runs.w[row], w.detach(), rtol=1e-9, atol=1e-12)
        assert runs.step[row] == len(taken)


def test_variables_stand_for_points_of_the_domain() -> None:
    domain = (np.array([-2.0, 0.0, 0.5]), np.array([6.0, 1.0, 0.5]))
    x = np.array([[-2.0, 1.0, 0.5], [6.0, 0.25, 0.5], [1.0, 0.0, 0.5]])
    problem = AttackProblem(linear_classifier(np.eye(3), np.zeros(3)), x, domain=domain)
    space = TanhSpace(problem)
    w = space.variables(problem.x)
    points, inner = space.points(w)
    assert bool(w.isfinite().all()) and float((points - problem.x).abs().max()) <= 4e-6 * (1 + 1e-6)
    slope = torch.autograd.functional.jacobian(lambda v: space.points(v)[0].sum(), w)
    torch.testing.assert_close(inner, slope, rtol=1e-9, atol=1e-12)
    far, _ = space.points(torch.full_like(w, 40.0))
    torch.testing.assert_close(far[0].numpy(), domain[1])


def test_the_loss_by_hand() -> None:
    problem = AttackProblem(linear_classifier(np.eye(3), np.zeros(3)), np.array([[0.5, 0.2, 0.4]]))
    logits = torch.tensor([[5.0, 2.0, 4.0]])
    assert shortfall(problem, torch.arange(1))(logits).tolist() == [1.0]
    assert shortfall(problem, torch.arange(1), 0.5)(logits).tolist() == [1.5]
    assert shortfall(problem, torch.arange(1))(-logits).tolist() == [0.0]
    aimed = AttackProblem(problem.classifier, np.array([[0.5, 0.2, 0.4]]), targets=1)
    assert shortfall(aimed, torch.arange(1))(logits).tolist() == [3.0]


# --------------------------------------------------------------------------------------------------- both attacks


@pytest.mark.parametrize("target", [None, 2])
def test_linear_classifiers_have_a_formula(target: int | None) -> None:
    """The nearest point of the class that was found. In L-infinity the last tau, 0.97 of the result, was too small."""
    for attack, dual, share in ((LINF, 1, 1 / 0.97), (L2, 2, 1.01)):
        network, x, planes = linear_question(dual)
        result = attack(network, x, targets=target)
        assert_sound(result, network, x, None if target is None else [[target]] * len(x))
        assert result.success.all()
        best = planes.min(axis=1) if target is None else planes[:, target - 1]
        assert np.all(result.distance >= best * (1 - 1e-9))
        reached = planes[np.arange(len(x)), result.found - 1] if target is None else best
        assert np.all(result.distance <= reached * share)


def test_digits_are_never_nearer_than_they_are() -> None:
    model = "digits_small_standard"
    network, x, truth = load_zoo(model), digits(10), exact_distances(model, 10)
    result = CarliniWagnerLinf(steps=50)(network, x)
    assert_sound(result, network, x)
    assert result.success.all()
    assert np.all(result.distance >= truth - 1e-9) and np.median(result.distance / truth) <= 1.15


def test_tiny_networks_are_never_nearer_than_they_are_in_l2() -> None:
    network, x = dense_network(5), np.random.default_rng(1).random((10, 3))
    result = L2(network, x)
    assert_sound(result, network, x)
    truth = [exact_norm_distance(Query(network, point, norm=Norm.L2)) for point in x]
    assert None not in truth and result.success.all()
    share = result.distance / np.array(truth, dtype=np.float64)
    assert np.all(share >= 1 - 1e-6) and np.median(share) <= 1.01


@pytest.mark.parametrize("attack", [CarliniWagnerLinf(steps=30), CarliniWagnerL2(steps=50)], ids=["linf", "l2"])
def test_an_input_fares_the_same_alone(attack: CarliniWagnerLinf | CarliniWagnerL2) -> None:
    """Inputs run side by side with values of their own: neither results nor model calls depend on the others."""
    network, x, _ = linear_question(1)
    together = attack(network, x)
    assert together.calls.min() < together.calls.max()
    for k, point in enumerate(x[:4]):
        alone = attack(network, point[None])
        assert alone.calls[0] == together.calls[k]
        assert alone.distance[0] == pytest.approx(together.distance[k], rel=1e-9)


# ------------------------------------------------------------------------------------------------------- L-infinity


def test_const_grows_until_it_is_too_large() -> None:
    """Nothing reaches the target: `steps` calls for each of const = 1, 2, 4, 8, and no success."""
    network = linear_classifier(np.array([[1.0], [-1.0]]), np.array([5.0, 0.0]))
    result = CarliniWagnerLinf(steps=7, const=1.0, max_const=16.0)(network, [[0.5]])
    assert not result.success[0] and result.calls[0] == 1 + 4 * 7


def test_tau_ends_at_its_least_value() -> None:
    """A boundary closer than `min_tau` is not looked for any further."""
    network = linear_classifier(np.array([[0.0], [1.0]]), np.array([0.5 + 1e-4, 0.0]))
    coarse, fine = (CarliniWagnerLinf(min_tau=tau, steps=100)(network, [[0.5]]) for tau in (0.01, 1e-5))
    assert coarse.success[0] and fine.success[0] and coarse.calls[0] < fine.calls[0]
    assert 1e-4 * (1 - 1e-9) <= fine.distance[0] <= 1e-4 / 0.9


@pytest.mark.parametrize("change", [{"warm_start": False}, {"abort_early": False}])
def test_variants_solve_linear_classifiers_as_well(change: dict[str, Any]) -> None:
    network, x, planes = linear_question(1)
    result = CarliniWagnerLinf(steps=60, **change)(network, x, targets=3)
    assert result.success.all()
    assert np.all(result.distance >= planes[:, 2] * (1 - 1e-9)) and np.all(result.distance <= planes[:, 2] / 0.9)


# --------------------------------------------------------------------------------------------------------------- L2


def test_confidence_asks_for_more_than_it_needs_to_count() -> None:
    """The run passes the boundary on its way to the margin asked for; the first points beyond are the result."""
    network, x, planes = linear_question(2)
    aimed: dict[str, Any] = {"steps": 200, "initial_const": 1e-3}
    plain, sure = (CarliniWagnerL2(confidence=k, **aimed)(network, x, targets=1) for k in (0.0, 0.5))
    assert plain.success.all() and sure.success.all()
    assert np.all(sure.distance >= planes[:, 0] * (1 - 1e-9)) and np.all(sure.distance <= plain.distance * 1.05)


def test_a_const_is_given_up_without_progress() -> None:
    network, x, _ = linear_question(2)
    patient, hasty = (CarliniWagnerL2(steps=300, abort_early=early)(network, x) for early in (False, True))
    assert np.all(patient.calls == 1 + 9 * 300) and np.all(hasty.calls < patient.calls)


def test_the_last_of_many_consts_is_the_best() -> None:
    """The search may end above the least const that gave a success; with ten values the last one is that const."""
    network, x, planes = linear_question(2)
    few, many = (CarliniWagnerL2(steps=200, binary_search_steps=n)(network, x, targets=1) for n in (4, 10))
    assert many.success.all() and np.all(many.distance <= planes[:, 0] * 1.01)
    assert few.success.all() and np.all(many.distance <= few.distance)


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        (CarliniWagnerLinf, {"tau": 0.0}),
        (CarliniWagnerLinf, {"tau_factor": 1.0}),
        (CarliniWagnerLinf, {"const_factor": 1.0}),
        (CarliniWagnerLinf, {"const": 30.0}),
        (CarliniWagnerLinf, {"steps": 0}),
        (CarliniWagnerLinf, {"norm": Norm.L2}),
        (CarliniWagnerL2, {"binary_search_steps": 0}),
        (CarliniWagnerL2, {"lr": 0.0}),
        (CarliniWagnerL2, {"confidence": -1.0}),
        (CarliniWagnerL2, {"norm": Norm.LINF}),
    ],
)
def test_bad_parameters_are_refused(kind: Any, parameters: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        kind(**parameters)


# -------------------------------------------------------------------------------------------------- other libraries


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_median_is_not_worse_than_that_of_art(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same parameters and fewer points evaluated: ART tries every const for every tau, always from x."""
    network, x = load_zoo("digits_dense_standard"), digits(20)
    estimator = art_classifier(network)
    from art.attacks.evasion import CarliniLInfMethod

    asked, plain = [], estimator.predict

    def counting(points: Array, *args: Any, **kwargs: Any) -> Array:
        asked.append(len(points))
        return plain(points, *args, **kwargs)

    monkeypatch.setattr(estimator, "predict", counting)
    theirs = CarliniLInfMethod(estimator, learning_rate=0.1, max_iter=50, initial_const=0.5, verbose=False)
    points = theirs.generate(x.reshape(-1, *network.input_shape).astype(np.float32)).reshape(x.shape)
    label = network.forward_batch(x).argmax(axis=1)
    good = network.forward_batch(points).argmax(axis=1) != label
    assert good.mean() >= 0.9
    ours = CarliniWagnerLinf(lr=0.1, steps=50, const=0.5, min_tau=1 / 256)(network, x)
    assert ours.success.all() and ours.calls.sum() <= sum(asked)
    median = np.median(np.where(good, size(points - x, Norm.LINF), np.inf))
    assert np.median(ours.distance) <= 1.02 * median


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_median_is_not_worse_than_that_of_foolbox() -> None:
    attacks = pytest.importorskip("foolbox").attacks
    network, x = load_zoo("digits_dense_standard"), digits(100)
    plain = {"binary_search_steps": 9, "steps": 200, "initial_const": 1e-3, "abort_early": True}
    theirs = foolbox_distances(attacks.L2CarliniWagnerAttack(stepsize=1e-2, **plain), network, x, Norm.L2)
    ours = CarliniWagnerL2(lr=1e-2, **plain)(network, x)
    assert ours.success.sum() >= np.isfinite(theirs).sum()
    assert np.median(np.where(ours.success, ours.distance, np.inf)) <= 1.02 * np.median(theirs)
