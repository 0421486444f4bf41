"""Exact boxes: robust, and blocked on every face, as the engine, a grid and closed forms say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mipverify_py
from counter_attack.amoeba import (
    AsymmetricBox,
    BoundKind,
    BoxSettings,
    BoxShape,
    Certification,
    Face,
    FaceState,
    FindSettings,
    GrowSettings,
    MaximalBox,
    certify_box,
    find_boxes,
    grow_box,
)
from mipverify_py import distance
from onnx_models import ReluNetwork
from onnx_models.errors import InputError
from tests.helpers.amoeba import grid, least_margins, linear_classifier, plane_network, robust_point
from tests.helpers.oracles import largest_margin

STEP = 1 / 64
SETTINGS = GrowSettings(step=STEP)
SEEDS = (1, 2, 3, 11)  # of networks with more than one class on the unit square


def seedling(network: ReluNetwork, seed: int) -> Certification:
    """A small certified box."""
    found = certify_box(network, AsymmetricBox.clipped(robust_point(network, seed), 0.005, 0.005))
    assert found.certified
    return found


def grown_by_hand(box: AsymmetricBox, face: Face, amount: float) -> AsymmetricBox:
    """The box with one face of one feature moved outwards, or both, or all of them."""
    e1, e2 = box.e1.copy(), box.e2.copy()
    i = slice(None) if face.feature is None else face.feature
    if face.side == 0:  # one radius, which the domain may have cut off
        e1[i] = e2[i] = np.maximum(e1[i], e2[i]).max()
    if face.side <= 0:
        e1[i] += amount
    if face.side >= 0:
        e2[i] += amount
    return AsymmetricBox.clipped(box.x, e1, e2)


def assert_maximal(network: ReluNetwork, found: MaximalBox) -> None:
    kept = found.start.query.reference
    assert found.is_maximal and found.stopped is None
    assert certify_box(network, found.box).certified
    assert least_margins(network, grid(found.box.lower, found.box.upper), kept).min() > 0
    assert np.all(found.box.lower <= found.start.box.lower) and np.all(found.box.upper >= found.start.box.upper)
    for end in found.ends:
        larger = grown_by_hand(found.box, end.face, STEP)
        if end.state is FaceState.DOMAIN:
            assert np.array_equal(larger.sides, found.box.sides)
            continue
        assert end.state is FaceState.BLOCKED and end.witness is not None and end.gap is not None
        assert larger.contains(end.witness) and not found.box.contains(end.witness)
        assert 0 < end.gap <= STEP
        assert least_margins(network, end.witness[None], kept)[0] <= 1e-9
        assert not certify_box(network, larger).certified


@pytest.mark.parametrize("seed", SEEDS)
def test_asymmetric_boxes_cannot_be_made_larger(seed: int) -> None:
    network = plane_network(seed)
    found = grow_box(network, seedling(network, seed), settings=SETTINGS)
    assert len(found.ends) == 4 and found.queries > 0
    assert_maximal(network, found)


def test_non_uniform_boxes_move_both_faces_of_a_feature() -> None:
    network = plane_network(1)
    found = grow_box(network, seedling(network, 1), shape=BoxShape.NON_UNIFORM, settings=SETTINGS)
    assert [end.face for end in found.ends] == [Face(0, 0), Face(1, 0)]
    reach = np.maximum(found.box.e1, found.box.e2)
    expected = AsymmetricBox.clipped(found.box.x, reach, reach)
    assert found.box.lower == pytest.approx(expected.lower) and found.box.upper == pytest.approx(expected.upper)
    assert_maximal(network, found)


@pytest.mark.parametrize("shape", BoxShape)
@pytest.mark.parametrize("seed", [2, 4, 9])
def test_every_piece_of_the_network_says_that_boxes_are_robust_and_blocked(seed: int, shape: BoxShape) -> None:
    network = plane_network(seed, hidden=3)
    found = grow_box(network, seedling(network, seed), shape=shape, settings=SETTINGS)
    kept, blocked = found.start.query.reference, 0

    def worst(box: AsymmetricBox) -> float:
        others = tuple(j for j in range(3) if j != kept)
        return largest_margin(network, others, kept, lower=box.lower, upper=box.upper)

    assert worst(found.box) < 0
    for end in found.ends:
        if end.state is FaceState.BLOCKED:
            assert worst(grown_by_hand(found.box, end.face, STEP)) > -1e-9
            blocked += 1
        else:
            assert np.array_equal(grown_by_hand(found.box, end.face, STEP).sides, found.box.sides)
    assert blocked and found.is_maximal


@pytest.mark.parametrize("seed", SEEDS)
def test_uniform_boxes_end_at_the_exact_distance(seed: int) -> None:
    network = plane_network(seed)
    found = grow_box(network, seedling(network, seed), shape=BoxShape.UNIFORM, settings=SETTINGS)
    radius = float(np.maximum(found.box.e1, found.box.e2).max())
    exact = distance(network, found.box.x)
    assert found.is_maximal and exact.lower is not None and exact.upper is not None
    assert exact.lower - STEP <= radius <= exact.upper


def test_a_half_space_blocks_one_face_per_feature() -> None:
    network, x = linear_classifier(np.array([1.0, -2.0]), 0.5), np.array([0.5, 0.25])  # f_0 - f_1 = 0.5 at x
    start = certify_box(network, AsymmetricBox.clipped(x, 0.05, 0.05))
    found = grow_box(network, start, settings=SETTINGS)
    assert {(end.face.feature, end.face.side): end.state for end in found.ends} == {
        (0, -1): FaceState.BLOCKED,
        (0, 1): FaceState.DOMAIN,
        (1, -1): FaceState.DOMAIN,
        (1, 1): FaceState.BLOCKED,
    }
    slack = 0.5 - found.box.e1[0] - 2 * found.box.e2[1]  # the margin of the worst corner
    assert 0 < slack <= STEP


def test_exact_boxes_contain_those_of_linear_bounds() -> None:
    network = plane_network(3)
    point = robust_point(network, 3)
    settings = FindSettings(kind=BoundKind.EXACT, optimise=BoxSettings(rounds=5, steps=10), grow=SETTINGS)
    (found,) = find_boxes(network, point[None], settings=settings)
    assert found.maximal is not None and found.box.log_volume >= found.certification.box.log_volume
    assert_maximal(network, found.maximal)


def test_a_limit_leaves_faces_open_and_says_so() -> None:
    network = plane_network(2)
    start = seedling(network, 2)
    found = grow_box(network, start, settings=GrowSettings(step=STEP, time_limit=1e-9))
    assert found.stopped == "time limit" and not found.is_maximal and found.box is start.box
    assert {end.state for end in found.ends} == {FaceState.OPEN}
    assert {end.detail for end in found.ends} == {"time limit"}


@pytest.mark.parametrize("after", [1, 3])
def test_ctrl_c_gives_the_box_so_far(after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network = plane_network(2)
    start = seedling(network, 2)
    verify: Callable[..., Any] = mipverify_py.verify
    calls = 0

    def interrupted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > after:
            raise KeyboardInterrupt
        return verify(*arguments)

    monkeypatch.setattr(mipverify_py, "verify", interrupted)
    found = grow_box(network, start, settings=SETTINGS)
    monkeypatch.undo()
    assert found.stopped == "interrupted" and not found.is_maximal
    assert certify_box(network, found.box).certified


def test_only_certified_boxes_are_grown() -> None:
    network = plane_network(2)
    start = certify_box(network, AsymmetricBox.clipped(robust_point(network, 2), 1.0, 1.0))
    with pytest.raises(InputError, match="not"):
        grow_box(network, start)


def test_a_step_that_rounding_swallows_is_refused() -> None:
    # A face that cannot move because of rounding is not at the domain's end.
    network, x = linear_classifier(np.array([1.0, -1.0]), 0.0), np.array([0.75, 0.25])
    start = certify_box(network, AsymmetricBox.clipped(x, 0.01, 0.01))
    for step, domain in ((1e-20, (0.0, 1.0)), (1e-7, (-1000.0, 100.0))):
        with pytest.raises(InputError, match="at least 1e-0"):
            grow_box(network, start, domain=domain, settings=GrowSettings(step=step))
        exact = FindSettings(kind=BoundKind.EXACT, grow=GrowSettings(step=step))
        with pytest.raises(InputError, match="at least 1e-0"):
            next(find_boxes(network, x, domain=domain, settings=exact))


@pytest.mark.parametrize("wrong", [{"step": 0.0}, {"time_limit": -1.0}, {"query_limit": float("inf")}])
def test_bad_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        GrowSettings(**wrong)
