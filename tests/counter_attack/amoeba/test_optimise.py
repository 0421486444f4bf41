"""The optimiser, against closed forms for linear classifiers, and its promises for others."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from counter_attack.amoeba import BoundKind, BoxSettings, BoxShape, MarginBounds, mean_side, optimise_boxes
from onnx_models import Array, DenseMap, NetworkBuilder
from onnx_models.errors import InputError
from onnx_models.zoo import digits_test, load_zoo
from tests.helpers.amoeba import linear_classifier

WEIGHTS = np.array([1.0, -2.0, 0.5, -0.25])
QUICK = BoxSettings(rounds=8, steps=10)


def water_filling(w: Array, margin: float, room: Array, free: Array) -> Array:
    """The t, 0 <= t <= room, of largest sum of log(t + free) with |w| t <= margin: t + free = 1 / (nu |w|), cut off."""

    def sides(nu: float) -> Array:
        filled: Array = np.clip(1.0 / (nu * np.abs(w)) - free, 0.0, room)
        return filled

    low, high = 1e-9, 1e9
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if np.abs(w) @ sides(middle) > margin else (low, middle)
    return sides(high)


@pytest.mark.parametrize("kind", [BoundKind.INTERVAL, BoundKind.CROWN])
def test_the_non_uniform_box_of_a_half_space_has_equal_shares(kind: BoundKind) -> None:
    # max sum log e_i with sum |w_i| e_i <= m is attained at e_i = m / (n |w_i|).
    network, m = linear_classifier(WEIGHTS, 1.5), 1.5
    found = optimise_boxes(network, np.zeros(4), shape=BoxShape.NON_UNIFORM, kind=kind, domain=(-100.0, 100.0))
    expected = m / (4 * np.abs(WEIGHTS))
    (box,) = found.boxes
    assert box.e1 == pytest.approx(expected, rel=0.05) and box.e2 == pytest.approx(expected, rel=0.05)
    best = float(np.log(2 * expected).sum())
    assert best - 0.01 <= box.log_volume <= best + 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_the_asymmetric_box_of_a_half_space_fills_up(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, m = rng.uniform(0.2, 0.8, size=4), 0.6
    network = linear_classifier(WEIGHTS, m - float(WEIGHTS @ x))
    (box,) = optimise_boxes(network, x).boxes
    toward = np.where(WEIGHTS > 0, x, 1 - x)  # the room on the side where the other class lies
    t = water_filling(WEIGHTS, m, toward, 1 - toward)
    best = float(np.log(t + 1 - toward).sum())
    assert best - 0.01 <= box.log_volume <= best + 1e-9
    assert np.where(WEIGHTS > 0, box.e2, box.e1) == pytest.approx(1 - toward, rel=0.02)


def test_the_uniform_box_of_a_half_space() -> None:
    network = linear_classifier(WEIGHTS, 0.75)
    (box,) = optimise_boxes(network, np.zeros(4), shape=BoxShape.UNIFORM, domain=(-5.0, 5.0)).boxes
    assert box.e1 == pytest.approx(0.75 / np.abs(WEIGHTS).sum()) and box.e2 == pytest.approx(box.e1)


def test_a_classifier_that_ignores_its_input_keeps_the_whole_domain() -> None:
    (box,) = optimise_boxes(linear_classifier(np.zeros(3), 1.0), np.full(3, 0.3), settings=QUICK).boxes
    assert box.geometric_mean == pytest.approx(1.0)


def test_boxes_keep_their_promises_and_grow_with_freedom() -> None:
    network = load_zoo("digits_small_adversarial")
    x = digits_test().images[:3].reshape(3, -1).astype(float)
    sizes: dict[tuple[BoundKind, BoxShape], float] = {}
    for kind in (BoundKind.INTERVAL, BoundKind.CROWN):
        for shape in BoxShape:
            found = optimise_boxes(network, x, shape=shape, kind=kind, settings=QUICK)
            ends = (torch.tensor(np.stack([getattr(box, end) for box in found.boxes])) for end in ("lower", "upper"))
            margins = MarginBounds(network, kind).margins(*ends, torch.tensor(found.classes)).amin(1).numpy()
            assert np.all(found.margin > 0) and margins == pytest.approx(found.margin, abs=1e-9)
            assert all(np.all(box.lower >= 0) and np.all(box.upper <= 1) for box in found.boxes)
            sizes[kind, shape] = mean_side(found.boxes)
    for kind in (BoundKind.INTERVAL, BoundKind.CROWN):
        assert sizes[kind, BoxShape.UNIFORM] < sizes[kind, BoxShape.NON_UNIFORM] < sizes[kind, BoxShape.ASYMMETRIC]


def test_symmetric_shapes_are_symmetric_inside_the_domain() -> None:
    network = load_zoo("digits_small_standard")
    x = digits_test().images[:1].reshape(1, -1).astype(float)
    (box,) = optimise_boxes(network, x, shape=BoxShape.NON_UNIFORM, settings=QUICK).boxes
    inside = (box.lower > 0) & (box.upper < 1)
    assert inside.any() and box.e1[inside] == pytest.approx(box.e2[inside])
    reach = np.maximum(box.e1, box.e2)
    assert box.e1 == pytest.approx(np.minimum(reach, x[0])) and box.e2 == pytest.approx(np.minimum(reach, 1 - x[0]))


def test_a_time_limit_gives_the_best_so_far() -> None:
    network = load_zoo("digits_small_standard")
    x = digits_test().images[:2].reshape(2, -1).astype(float)
    found = optimise_boxes(network, x, settings=BoxSettings(steps=1, time_limit=1e-6))
    assert found.stopped == "time limit" and found.rounds == 1 and np.all(found.margin > 0)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("x", "classes", "domain", "said"),
    [
        (np.zeros((1, 3)), None, (-1.0, 1.0), "4 finite"),
        (np.full((1, 4), 2.0), None, (-1.0, 1.0), "outside the domain"),
        (np.zeros((1, 4)), [1], (-1.0, 1.0), "no box"),
        (np.zeros((1, 4)), [2], (-1.0, 1.0), "class below 2"),
        (np.zeros((1, 4)), None, (0.0, 0.0), "below its largest"),
    ],
)
def test_bad_questions_are_refused(x: Array, classes: list[int] | None, domain: tuple[float, float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        optimise_boxes(linear_classifier(WEIGHTS, 1.0), x, classes, domain=domain)


def test_a_tie_at_x_has_no_box() -> None:
    with pytest.raises(InputError, match="no box"):
        optimise_boxes(linear_classifier(WEIGHTS, 0.0), np.zeros((1, 4)), [0], domain=(-1.0, 1.0))


def test_a_margin_that_rounding_swallows_has_no_box() -> None:
    # Two ways to add the same numbers: f_0 > f_1 in one, f_0 = f_1 in the other.
    rng = np.random.default_rng(10)
    x, w = rng.random(3), rng.random((2, 3))
    builder = NetworkBuilder((3,))
    network = builder.build(builder.affine([0], [DenseMap(w)], np.array([0.0, (w @ x)[0] - (w @ x)[1]])))
    logits = network.forward(x)
    assert logits[0] > logits[1]
    with pytest.raises(InputError, match="no box"):
        optimise_boxes(network, x, [0])


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"tau": 1.0}, {"growth": 0.5}, {"time_limit": 0.0}])
def test_bad_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        BoxSettings(**wrong)
