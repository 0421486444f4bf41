"""The search over activation cells, against every activation pattern tried one by one."""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from bounds import Bounds
from mipverify_py import Box, LinfBall, Objective, Options, Query, Targets, _cell_model
from mipverify_py._attack import GradientAttack, ball
from mipverify_py._cell_model import CellModel
from mipverify_py._cells import CellSearch
from mipverify_py._gradients import Gradients
from mipverify_py._polish import polish
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork
from onnx_models.errors import BackendMissingError
from tests.helpers.networks import FAMILIES, networks, random_inputs, random_network
from tests.helpers.oracles import largest_margin, nearest_adversarial, pieces

seeds = st.integers(0, 2**32 - 1)


class Case(NamedTuple):
    """A question with the nearest distance by brute force, and a point that reaches the margin, seldom the nearest."""

    query: Query
    truth: float
    start: Array


def far_point(query: Query, rng: np.random.Generator) -> Array | None:
    """A point of the query's box that reaches the margin, out of 500 random ones."""
    points = rng.uniform(query.box.lower, query.box.upper, size=(500, query.box.size))
    reached = query.margin_at(query.network.forward_batch(points)) >= query.margin
    return points[int(np.argmax(reached))] if reached.any() else None


def truth_of(query: Query) -> float | None:
    return nearest_adversarial(
        query.network,
        query.x0,
        query.target_classes,
        query.reference,
        lower=query.box.lower,
        upper=query.box.upper,
        margin=query.margin,
    )


def random_case(rng: np.random.Generator) -> Case | None:
    network = random_network(rng, max_relus=6)
    query = Query(network, random_inputs(rng, network, 1).reshape(-1))
    truth, start = truth_of(query), far_point(query, rng)
    return None if truth is None or start is None or truth < 1e-6 else Case(query, truth, start)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """25 questions of all families, always the same."""
    rng = np.random.default_rng(0)
    found: list[Case] = []
    while len(found) < 25:
        case = random_case(rng)
        found += [] if case is None else [case]
    return found


def margin_at(query: Query, point: Array) -> float:
    return float(query.margin_at(query.network.forward_batch(point[None]))[0])


def distance(query: Query, point: Array) -> float:
    return float(np.abs(point - query.x0).max())


# ---------------------------------------------------------------------------------------------------------- the cell LP


@settings(max_examples=30, deadline=None)
@given(networks(max_relus=6), seeds)
def test_an_lp_gives_the_largest_margin_of_the_cell(network: ReluNetwork, seed: int) -> None:
    rng = np.random.default_rng(seed)
    query = Query(network, rng.random(network.input_size))
    box, point = ball(query, 0.25), np.clip(query.x0 + rng.uniform(-0.25, 0.25, network.input_size), 0, 1)
    model = CellModel.over(query, box)
    assert model is not None
    model.enter(model.patterns(Gradients.of(network).values(point[:, None]))[:, 0])
    for position, target in enumerate(query.target_classes):
        model.aim(position)
        found = model.solve(None)
        assert found is not None and box.contains(found.point)
        row, constant, cell = cell_of(network, point, target, query.reference)
        exact = linprog(
            -row, A_ub=cell[0], b_ub=cell[1], bounds=list(zip(box.lower, box.upper, strict=True)), method="highs"
        )
        assert exact.status == 0
        assert abs(found.margin - (constant - exact.fun)) < 1e-6
        logits = network.forward(found.point)
        assert abs(logits[target] - logits[query.reference] - found.margin) < 1e-6


def cell_of(
    network: ReluNetwork, point: Array, target: int, reference: int
) -> tuple[Array, float, tuple[Array, Array]]:
    """f_j - f_c = row @ x + constant on the cell {G x <= h} that `point` is in (any, if several meet there)."""
    for g, h, f, k in pieces(network):
        if np.all(g @ point <= h + 1e-12):
            return f[target] - f[reference], float(k[target] - k[reference]), (g, h)
    raise AssertionError("no cell contains the point")


@settings(max_examples=30, deadline=None)
@given(networks(max_relus=6), seeds)
def test_a_climb_ends_where_no_neighbour_is_higher(network: ReluNetwork, seed: int) -> None:
    rng = np.random.default_rng(seed)
    query = Query(network, rng.random(network.input_size))
    model = CellModel.over(query, query.box)
    assert model is not None
    pattern = model.patterns(Gradients.of(network).values(query.x0[:, None]))[:, 0]
    model.enter(pattern)
    model.aim(0)
    first, found = model.solve(None), model.climb(None)
    assert first is not None and found is not None and found.margin >= first.margin - 1e-9
    only = (query.target_classes[0],)
    best = largest_margin(network, only, query.reference, lower=query.box.lower, upper=query.box.upper)
    assert found.margin <= best + 1e-6
    values = Gradients.of(network).values(found.point[:, None])
    ended = model.pre_activations(values)[:, 0]
    at_zero = np.flatnonzero(np.abs(ended) < 1e-8)
    assume(len(at_zero) <= network.input_size)  # a vertex that more units meet is degenerate
    for unit in at_zero:
        flipped = ended > 0
        flipped[at_zero] = True
        flipped[unit] = False
        model.enter(flipped)
        beyond = model.solve(None)
        assert beyond is None or len(at_zero) > 1 or beyond.margin <= found.margin + 1e-6


def test_the_gain_of_a_unit_is_the_slope_beyond_it() -> None:
    """f_1 - f_0 = relu(x - 0.5) + x / 4 - 1: for x <= 0.5 the kink is the optimum, beyond it the slope is 1.25."""
    builder = NetworkBuilder((1,))
    hidden = builder.relu(builder.affine([0], [DenseMap(np.ones((1, 1)))], np.array([-0.5])))
    rise = DenseMap(np.array([[0.0], [1.0]])), DenseMap(np.array([[0.0], [0.25]]))
    network = builder.build(builder.affine((hidden, 0), rise, np.array([0.0, -1.0])))
    query = Query(network, np.array([0.25]))
    model = CellModel.over(query, query.box)
    assert model is not None
    model.aim(0)
    model.enter(np.array([False]))
    found = model.solve(None)
    assert found is not None and found.point.tolist() == [0.5] and found.gains.tolist() == [1.25]
    top = model.climb(None)
    assert top is not None and top.point.tolist() == [1.0] and abs(top.margin + 0.25) < 1e-12


# -------------------------------------------------------------------------------------------------------------- descend


@settings(max_examples=40, deadline=None)
@given(networks(max_relus=6), seeds)
def test_descending_gives_a_nearer_adversarial_point(network: ReluNetwork, seed: int) -> None:
    rng = np.random.default_rng(seed)
    query = Query(network, rng.random(network.input_size))
    start = far_point(query, rng)
    if start is None:
        return
    found = CellSearch(query, Options()).descend(start)
    if found is None:
        return
    assert query.box.contains(found) and margin_at(query, found) >= query.margin
    assert distance(query, found) < distance(query, start)
    truth = truth_of(query)
    assert truth is not None and distance(query, found) >= truth - 1e-7


@pytest.mark.slow
def test_descending_usually_ends_at_the_nearest_point(cases: list[Case]) -> None:
    excess = []
    for query, truth, start in cases:
        found = CellSearch(query, Options()).descend(start)
        excess.append(distance(query, start if found is None else found) / truth - 1.0)
    assert np.mean(np.array(excess) < 1e-6) >= 0.9


@pytest.mark.slow
def test_the_aim_costs_next_to_nothing_and_survives_polishing(cases: list[Case]) -> None:
    for query, truth, start in cases:
        found = CellSearch(query, Options()).descend(start)
        if found is not None:
            witness = polish(query, found, GradientAttack(query, Options()))
            assert witness is not None and truth - 1e-9 <= witness.distance <= distance(query, found) * (1 + 1e-12)


def test_the_only_cell_is_solved_exactly() -> None:
    """All units are active in the whole domain, so the network is affine and the nearest point has a formula."""
    rng = np.random.default_rng(5)
    for _ in range(10):
        inputs = int(rng.integers(2, 8))
        weight = rng.normal(size=(6, inputs))
        builder = NetworkBuilder((inputs,))
        hidden = builder.relu(builder.affine([0], [DenseMap(weight)], np.abs(weight).sum(axis=1) + 1.0))
        out = rng.normal(size=(2, 6))
        logits = DenseMap(out)
        x0 = rng.uniform(0.4, 0.6, size=inputs)
        row = (out[1] - out[0]) @ weight
        # The margin is set so that the boundary lies 0.2 away, inside the domain.
        offset = (out[0] - out[1]) @ (np.abs(weight).sum(axis=1) + 1.0) - row @ x0 - 0.2 * np.abs(row).sum()
        query = Query(
            builder.build(builder.affine([hidden], [logits], np.array([0.0, offset]))),
            x0,
        )
        corner = (row > 0).astype(np.float64)
        found = CellSearch(query, Options()).descend(corner)
        assert found is not None and abs(distance(query, found) - 0.2) < 1e-8 and margin_at(query, found) >= 0.0


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"margin": 0.1},
        {"margin": -0.05},
        {"targets": Targets.only(2)},
        {"label": 1},
        {"perturbation": LinfBall(0.4)},
        {"perturbation": Box.of(np.full(4, 0.1), np.full(4, 0.55))},
        {"perturbation": Box.of(np.full(4, 0.6), np.full(4, 0.9))},
        {"domain": Bounds(np.full(4, -1.0), np.full(4, 2.0))},
    ],
    ids=["margin", "negative margin", "target", "label", "ball", "box", "box without x0", "domain"],
)
def test_every_part_of_the_query_counts(changes: dict[str, object]) -> None:
    exact, asked = 0, 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        builder = NetworkBuilder((4,))
        hidden = builder.relu(builder.affine([0], [DenseMap(rng.normal(size=(6, 4)))], rng.normal(size=6) * 0.3))
        network = builder.build(builder.affine([hidden], [DenseMap(rng.normal(size=(3, 6)))]))
        x0 = rng.uniform(0.2, 0.5, size=4)
        reference = int(np.argmax(network.forward(x0)))
        if changes.get("targets") and reference == 2:
            continue
        query = Query(network, x0, **changes)  # type: ignore[arg-type]
        start, truth = far_point(query, rng), truth_of(query)
        if start is None or truth is None:
            continue
        found = CellSearch(query, Options()).descend(start)
        point = start if found is None else found
        assert query.box.contains(point) and margin_at(query, point) >= query.margin
        assert distance(query, point) >= truth - 1e-9
        asked += 1
        exact += distance(query, point) <= truth * (1 + 1e-6) + 1e-9
    assert asked >= 3 and exact >= 0.8 * asked


def test_settling_is_the_part_of_descending_that_needs_no_kicks(cases: list[Case]) -> None:
    gained = 0
    for query, truth, start in cases:
        settled = CellSearch(query, Options()).settle(start)
        if settled is None:
            continue
        gained += 1
        assert query.box.contains(settled) and margin_at(query, settled) >= query.margin
        assert truth - 1e-9 <= distance(query, settled) < distance(query, start)
        found = CellSearch(query, Options()).descend(start)
        assert found is not None and distance(query, found) <= distance(query, settled)
    assert gained >= 0.8 * len(cases)


def test_the_seed_decides(cases: list[Case]) -> None:
    query, _, start = cases[0]
    first, second = (CellSearch(query, Options(seed=4)).descend(start) for _ in range(2))
    assert first is not None and second is not None and np.array_equal(first, second)


# ------------------------------------------------------------------------------------------------------ dive and ascend


def test_dives_find_points_within_the_radius(cases: list[Case]) -> None:
    found = 0
    for query, truth, _ in cases:
        search = CellSearch(query, Options())
        box = ball(query, 1.02 * truth)
        points = np.random.default_rng(1).uniform(box.lower, box.upper, size=(16, box.size))
        assert search.dive(points, 0.999 * truth) is None
        point = search.dive(points, 1.02 * truth)
        if point is not None:
            found += 1
            assert ball(query, 1.02 * truth).contains(point) and margin_at(query, point) >= query.margin
    assert found >= 0.8 * len(cases)


def test_a_dive_for_a_target(cases: list[Case]) -> None:
    for query, truth, start in cases:
        for target in query.target_classes:
            point = CellSearch(query, Options()).dive(start[None], 1.5 * truth, target)
            assert point is None or margin_at(query, point) >= query.margin


def test_a_dive_from_nowhere_finds_nothing(cases: list[Case]) -> None:
    query = cases[0].query
    assert CellSearch(query, Options()).dive(np.zeros((0, query.box.size)), 1.0) is None


@pytest.mark.slow
def test_ascending_usually_ends_at_the_largest_margin(cases: list[Case]) -> None:
    short = []
    for query, _, _ in cases:
        near = Query(query.network, query.x0, LinfBall(0.3), Objective.WORST)
        found = CellSearch(near, Options()).ascend(query.x0)
        best = largest_margin(
            near.network, near.target_classes, near.reference, lower=near.box.lower, upper=near.box.upper
        )
        assert near.box.contains(found)
        assert margin_at(near, query.x0) <= margin_at(near, found) <= best + 1e-6
        short.append(best - margin_at(near, found))
    assert np.mean(np.array(short) < 1e-6) >= 0.9


def test_ascending_stops_at_enough(cases: list[Case]) -> None:
    for query, _, _ in cases:
        search = CellSearch(query, Options())
        top = margin_at(query, search.ascend(query.x0))
        assert margin_at(query, search.ascend(query.x0, enough=query.margin)) >= min(top, query.margin) - 1e-6


# ------------------------------------------------------------------------------------------------------------ the edges


def test_a_passed_deadline_or_no_budget_stops_at_once(cases: list[Case]) -> None:
    query, truth, start = cases[0]
    search = CellSearch(query, Options())
    assert search.descend(start, None, 0.0) is None and search.descend(start, 0.0) is None
    assert search.settle(start, 0.0) is None
    assert search.ascend(query.x0, None, 0.0) is query.x0
    box = ball(query, 0.5 * truth)
    assert search.dive(np.stack([box.lower, box.upper]), 0.5 * truth, None, 0.0) is None


def test_too_large_an_lp_is_not_built(cases: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cell_model, "LARGEST", 0)
    query, truth, start = cases[0]
    search = CellSearch(query, Options())
    assert search.descend(start) is None and search.settle(start) is None and search.ascend(start) is start
    point = search.dive(start[None], 1.0)
    assert point is not None and margin_at(query, point) >= query.margin
    assert search.dive(query.x0[None], 0.5 * truth) is None


def test_a_network_without_units_has_one_cell() -> None:
    builder = NetworkBuilder((2,))
    weight = DenseMap(np.array([[0.0, 0.0], [3.0, 4.0]]))
    query = Query(builder.build(builder.affine([0], [weight], np.array([0.0, -3.5]))), np.zeros(2))
    found = CellSearch(query, Options()).descend(np.ones(2))
    assert found is not None and abs(distance(query, found) - 0.5) < 1e-8


def test_a_constant_network_has_nothing_to_search() -> None:
    builder = NetworkBuilder((2,))
    network = builder.build(builder.constant(np.array([1.0, 0.0])))
    query = Query(network, np.array([0.1, 0.2]), margin=-2.0)
    found = CellSearch(query, Options()).descend(np.array([0.5, 0.2]))
    assert found is not None and distance(query, found) < 1e-3  # every input is adversarial, x0 among them
    assert np.array_equal(CellSearch(query, Options()).ascend(query.x0), query.x0)


@pytest.mark.slow
def test_deep_networks_are_searched_through_all_layers() -> None:
    rng = np.random.default_rng(11)
    exact = 0
    for _ in range(8):
        network = FAMILIES["residual"](rng, max_relus=8)
        query = Query(network, rng.random(network.input_size))
        start, truth = far_point(query, rng), truth_of(query)
        if start is None or truth is None:
            exact += 1
            continue
        found = CellSearch(query, Options()).descend(start)
        exact += distance(query, start if found is None else found) <= truth * (1 + 1e-6) + 1e-9
    assert exact >= 7


def test_highs_is_asked_for_when_it_is_missing(cases: list[Case], monkeypatch: pytest.MonkeyPatch) -> None:
    query, _, start = cases[0]
    monkeypatch.setitem(sys.modules, "highspy", None)
    with pytest.raises(BackendMissingError, match="HiGHS"):
        CellSearch(query, Options()).descend(start)
