"""The linearised attack: exact on linear models, never below exact distances, within its groups, and reproducible."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq, linprog

from counter_attack.attacks import AttackStop, Budget, EpsilonSearch, make_attack
from counter_attack.attacks._registry import attack_parameters
from counter_attack.pool import Pool
from counter_attack.unified import PRESETS, LinearisedAttack, preset_attack
from mipverify_py import Norm, distance
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork
from onnx_models.errors import InputError
from onnx_models.zoo import load_zoo
from tests.helpers.attacked import linear_classifier
from tests.helpers.attacks import assert_sound, digits, exact_distances, size
from tests.helpers.networks import random_dense

NORMS = list(Norm)


def colour_classifier(rng: np.random.Generator) -> ReluNetwork:
    """A linear model of images of 3 channels and 2 x 3 pixels, 4 classes."""
    builder = NetworkBuilder((3, 2, 3))
    return builder.build(builder.affine([0], [DenseMap(rng.normal(size=(4, 18)))], 3 * rng.normal(size=4)))


def least_in_pixel(gap: float, slope: Array, room: Array, norm: Norm) -> float:
    """The least size of a change of 3 channels with slope.change >= gap: by a program in L1, else by root finding."""
    weight = np.abs(slope)
    if weight @ room <= gap:
        return np.inf
    if norm is Norm.L1:
        return float(linprog(np.ones(3), A_ub=-weight[None], b_ub=[-gap], bounds=[(0.0, r) for r in room]).fun)

    def moves(t: float) -> Array:
        return np.minimum(t * (1.0 if norm is Norm.LINF else weight), room)

    root = brentq(lambda t: float(weight @ moves(t)) - gap, 0.0, 1e6, xtol=1e-15)
    return float(size(moves(root)[None], norm)[0])


@pytest.mark.parametrize("norm", NORMS)
def test_one_pixel_attacks_find_the_pixel_of_an_exhaustive_search(norm: Norm) -> None:
    """On a linear model with three channels; some inputs have no such pixel, and both say so."""
    rng = np.random.default_rng(2)
    network = colour_classifier(rng)
    weight = np.stack([network.forward(row) for row in np.eye(18)]).T - network.forward(np.zeros(18))[:, None]
    x = rng.random((12, 18))
    logits = network.forward_batch(x)
    truth = np.full(12, np.inf)
    for k, c in enumerate(logits.argmax(axis=1)):
        for j in set(range(4)) - {c}:
            slope = weight[j] - weight[c]
            room = np.where(slope > 0, 1 - x[k], x[k])
            for pixel in range(6):
                place = np.array([pixel, pixel + 6, pixel + 12])
                truth[k] = min(truth[k], least_in_pixel(logits[k, c] - logits[k, j], slope[place], room[place], norm))
    assert 0 < np.isinf(truth).sum() < 12
    for attack in (
        LinearisedAttack(norm=norm, groups="pixels", subsets=1),
        preset_attack("one-pixel", norm, search=EpsilonSearch(bisections=40)),
    ):
        found = attack(network, x)
        np.testing.assert_array_equal(found.success, np.isfinite(truth))
        np.testing.assert_allclose(found.distance[found.success], truth[found.success], rtol=1e-4)
        assert found.distance[found.success].min() > 0
        changed = (found.adversarial - x)[found.success].reshape(-1, 3, 6) != 0
        assert np.all(changed.any(axis=1).sum(axis=1) == 1)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("parameters", [{}, {"box": False}, {"problem": "constrained", "steps": 1}])
def test_linear_models_are_solved(norm: Norm, parameters: dict[str, Any]) -> None:
    """The nearest of several boundaries, the domain included where the problem knows it."""
    rng = np.random.default_rng(0)
    network = linear_classifier(rng.normal(size=(4, 5)), 0.3 * rng.normal(size=4))
    x = rng.random((2, 5))
    found = LinearisedAttack(norm=norm, **parameters)(network, x)
    exact = [distance(network, row, norm=norm) for row in x]
    lower = np.array([result.lower for result in exact])
    assert found.success.all() and np.all(found.distance >= lower * (1 - 1e-12))
    if parameters.get("box", True):
        np.testing.assert_allclose(found.distance, lower, rtol=1e-4)


SHORT = EpsilonSearch(decay_steps=12, bisections=2)
ATTACKS: list[dict[str, Any]] = [
    {},
    {"objective": "targeted"},
    {"dither": 0.05},
    {"subsets": 6},
    {"subsets": 6, "dither": 0.05},
    {"problem": "constrained", "steps": 3},
    {"problem": "constrained", "objective": "targeted", "steps": 2},
    {"problem": "constrained", "steps": 4, "step_size": 0.05, "random_start": True},
    {"problem": "constrained", "steps": 2, "groups": "pixels", "subsets": 6},
    {"problem": "constrained", "objective": "output-change", "steps": 2, "subsets": 6, "dither": 0.01, "search": SHORT},
    {"problem": "constrained", "objective": "cross-entropy", "steps": 3, "dither": 0.02},
]


@pytest.mark.parametrize("parameters", ATTACKS, ids=str)
def test_results_are_sound_and_never_below_the_exact_distance(parameters: dict[str, Any]) -> None:
    network, x = load_zoo("digits_small_standard"), digits(6)
    attack = LinearisedAttack(**parameters)
    found = attack(network, x)
    assert_sound(found, network, x)
    assert found.success.sum() >= (2 if attack.objective == "output-change" else 5)
    truth = exact_distances("digits_small_standard", 6)
    assert np.all(found.distance[found.success] >= truth[found.success])
    if attack.subsets is not None:
        assert np.all((found.adversarial != x)[found.success].sum(axis=1) <= attack.subsets)
    again = attack(network, x[3:5])
    np.testing.assert_allclose(again.distance, found.distance[3:5], rtol=1e-9)


@pytest.mark.parametrize("norm", [Norm.L1, Norm.L2])
def test_other_norms_are_never_below_either(norm: Norm) -> None:
    rng, found_any = np.random.default_rng(5), 0
    while found_any < 5:
        network = random_dense(rng, max_relus=3)
        x = rng.random((1, network.input_size))
        others = network.forward_batch(rng.random((50, network.input_size))).argmax(axis=1)
        if np.all(others == network.forward(x[0]).argmax()):
            continue
        lower = distance(network, x[0], norm=norm).lower
        assert lower is not None
        for name, parameters in PRESETS.items():
            few = {"steps": 3, "search": EpsilonSearch(bisections=3)} if parameters["problem"] == "constrained" else {}
            found = preset_attack(name, norm, **few)(network, x)
            assert_sound(found, network, x)
            assert not found.success[0] or found.distance[0] >= lower
            found_any += bool(found.success[0])


def test_a_radius_is_kept() -> None:
    network, x = load_zoo("digits_small_standard"), digits(20)
    for norm, eps in ((Norm.LINF, 0.15), (Norm.L2, 0.8), (Norm.L1, 2.0)):
        for parameters in ({"steps": 5}, {"steps": 5, "step_size": eps / 2}):
            found = LinearisedAttack(norm=norm, problem="constrained", eps=eps, **parameters)(network, x)
            assert found.success.sum() > 0
            sizes = size((found.adversarial - x)[found.success], norm)
            assert np.all(sizes <= eps * (1 + 1e-9))


def test_dithering_leaves_a_point_without_gradient() -> None:
    """relu(x - 0.6) is flat at 0.5: the attack without dithering is stuck there."""
    builder = NetworkBuilder((1,))
    hidden = builder.relu(builder.affine([0], [DenseMap(np.array([[1.0]]))], np.array([-0.6])))
    network = builder.build(builder.affine([hidden], [DenseMap(np.array([[0.0], [1.0]]))], np.array([0.1, 0.0])))
    stuck = LinearisedAttack()(network, [[0.5]])
    assert not stuck.success[0]
    freed = LinearisedAttack(dither=0.3, problem="constrained", steps=20)(network, [[0.5]])
    assert freed.success[0] and freed.distance[0] == pytest.approx(0.2, rel=0.2)


def test_pools_and_names_know_it() -> None:
    network, x = load_zoo("digits_small_standard"), digits(3)
    named = {name: make_attack(name) for name in ("linearised", "gnm", "one-pixel", "few-pixel")}
    found = Pool(named)(network, x)
    assert list(found.results) == list(named) and found.success.all()
    assert [result.attack for result in found.results.values()] == list(named)
    for name, attack in named.items():
        assert make_attack(name, **attack_parameters(name, attack)) == attack
    assert make_attack("gnm", steps=2) == dataclasses.replace(named["gnm"], steps=2)  # type: ignore[call-arg]


def test_budgets_end_it() -> None:
    network, x = load_zoo("digits_small_standard"), digits(3)
    found = make_attack("gnm")(network, x, budget=Budget(calls=3))
    assert found.stop_reason is AttackStop.BUDGET


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"objective": "loss"}, "one of cross-entropy, margin, targeted, output-change as its objective; got 'loss'"),
        ({"problem": "best"}, "constrained, minimum as its problem"),
        ({"groups": "rows"}, "entries, pixels as its groups"),
        ({"steps": 0}, "at least 1 step"),
        ({"candidates": 1}, "2 candidates"),
        ({"dither": -0.1}, "at least 0"),
        ({"overshoot": float("nan")}, "at least 0"),
        ({"step_size": 0.0, "problem": "constrained"}, "step_size above 0"),
        ({"subsets": 0}, "at least 1 group"),
        ({"subsets": 1.5}, "a whole number"),
        ({"groups": "pixels"}, "need `subsets`"),
        ({"objective": "cross-entropy"}, "cross-entropy has none; choose a margin"),
        ({"objective": "output-change"}, "output-change has none"),
        ({"eps": 0.1}, "are for 'constrained'"),
        ({"random_start": True}, "are for 'constrained'"),
        ({"problem": "constrained", "eps": -1.0}, "needs eps > 0"),
    ],
)
def test_parameters_that_cannot_be_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LinearisedAttack(**parameters)
