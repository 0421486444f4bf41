"""Cuts are valid, they are the lowest facets, their constants are right, and the node's LP proves its optimum."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import Bounds, NetworkBounds, linear_bounds
from mipverify_py.engines._cut_bound import State
from mipverify_py.engines._cuts import Separation
from mipverify_py.engines._node_lp import IDLE_SOLVES, NodeLp
from mipverify_py.engines._problem import Problem, compile_problem
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork
from tests.helpers.networks import FAMILIES, networks

seeds = st.integers(0, 2**32 - 1)


def box_around(rng: np.random.Generator, size: int, radius: float = 0.5) -> Bounds:
    """A box in [0, 1]; some of its sides have no length."""
    middle = rng.random(size)
    half = radius * rng.random(size) * (rng.random(size) < 0.9)
    return Bounds(np.clip(middle - half, 0, 1), np.clip(middle + half, 0, 1))


def compiled(network: ReluNetwork, box: Bounds) -> tuple[Problem, NetworkBounds]:
    bounds = linear_bounds(network, box)
    return compile_problem(network, 0, (1, 2), box, bounds), bounds


def root_state(problem: Problem) -> State:
    units = problem.unit_bounds(problem.bounds)
    return State(units.lower, units.upper, np.zeros(problem.unit_count, np.int8))


def columns_at(problem: Problem, point: Array) -> Array:
    """The values of all columns at an input."""
    v = np.concatenate([point, np.zeros(problem.unit_count)])
    for layer in problem.layers:
        z = layer.weight @ v[: layer.weight.shape[1]] + layer.bias
        v[problem.inputs + layer.first : problem.inputs + layer.first + layer.size] = np.maximum(z, 0)
    return v


def samples(rng: np.random.Generator, box: Bounds, count: int) -> Array:
    """Points of the box, half of them corners."""
    share = rng.random((count, box.size))
    share[: count // 2] = share[: count // 2].round()
    return box.lower + share * (box.upper - box.lower)


def raised(rng: np.random.Generator, problem: Problem, point: Array) -> Array:
    """The columns at an input with all outputs moved up, as an LP that maximises them would do."""
    v = columns_at(problem, point)
    v[problem.inputs :] += rng.random(problem.unit_count) * 3
    return v


@given(networks(max_relus=8), seeds)
@settings(max_examples=60, deadline=None)
def test_cuts_hold_at_every_point_of_the_box(network: ReluNetwork, seed: int) -> None:
    rng = np.random.default_rng(seed)
    box = box_around(rng, network.input_size)
    problem, bounds = compiled(network, box)
    separation = Separation(problem, bounds)
    points = samples(rng, box, 60)
    for start in points[::10]:
        for cut in separation.violated(raised(rng, problem, start), np.arange(problem.unit_count), 1e-6):
            for point in points:
                v = columns_at(problem, point)
                assert v[problem.inputs + cut.plane.unit] <= cut.at(v) + 1e-9


def dense_layer(rng: np.random.Generator, inputs: int) -> ReluNetwork:
    builder = NetworkBuilder((inputs,))
    hidden = builder.relu(builder.affine((0,), (DenseMap(rng.normal(size=(4, inputs))),), rng.normal(size=4) * 0.3))
    return builder.build(builder.affine((hidden,), (DenseMap(rng.normal(size=(3, 4))),), np.zeros(3)))


def lowest_facet(weight: Array, bias: float, box: Bounds, point: Array) -> float:
    """The smallest right-hand side at `point` of all facets of one unit, by trying every set I and every h."""
    bottom, top = np.where(weight >= 0, box.lower, box.upper), np.where(weight >= 0, box.upper, box.lower)
    moving = [i for i in range(len(weight)) if weight[i] != 0 and top[i] != bottom[i]]
    best = np.inf
    for size in range(len(moving) + 1):
        for chosen in combinations(moving, size):
            inside = np.isin(np.arange(len(weight)), chosen)
            level = float(weight @ np.where(inside, bottom, top) + bias)
            for h in set(moving) - set(chosen):
                if level >= 0 > level + weight[h] * (bottom[h] - top[h]):
                    value = float(weight[inside] @ (point - bottom)[inside])
                    best = min(best, value + level * (point[h] - bottom[h]) / (top[h] - bottom[h]))
    return best


@pytest.mark.parametrize("seed", range(25))
def test_the_cut_found_is_the_lowest_facet_at_the_point(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = dense_layer(rng, inputs=5)
    box = box_around(rng, 5)
    problem, bounds = compiled(network, box)
    separation, found = Separation(problem, bounds), 0
    for point in samples(rng, box, 10):
        v = raised(rng, problem, point)
        cuts = {cut.plane.unit: cut for cut in separation.violated(v, np.arange(problem.unit_count), 1e-6)}
        for layer in problem.layers:
            dense = layer.weight.toarray()[:, :5]
            for unit in range(layer.size):
                lowest = lowest_facet(dense[unit], layer.bias[unit], box, point)
                if unit in cuts:
                    found += 1
                    assert cuts[unit].at(v) == pytest.approx(lowest, abs=1e-9)
                else:
                    assert v[5 + unit] <= lowest + 2e-6
    assert found or not problem.unit_count


@given(networks(max_relus=8), seeds)
@settings(max_examples=40, deadline=None)
def test_offsets_over_a_smaller_box_are_what_a_fresh_plane_gets(network: ReluNetwork, seed: int) -> None:
    rng = np.random.default_rng(seed)
    box = box_around(rng, network.input_size)
    problem, bounds = compiled(network, box)
    separation = Separation(problem, bounds)
    cuts = separation.violated(raised(rng, problem, samples(rng, box, 1)[0]), np.arange(problem.unit_count), 1e-6)
    middle = 0.5 * (box.lower + box.upper)
    smaller = Bounds(0.5 * (box.lower + middle), 0.5 * (box.upper + middle))
    separation.move(linear_bounds(network, smaller))
    offsets = separation.offsets([cut.plane for cut in cuts])
    for cut, offset in zip(cuts, offsets, strict=True):
        assert offset <= cut.offset + 1e-12
        for point in samples(rng, smaller, 40):
            v = columns_at(problem, point)
            assert v[problem.inputs + cut.plane.unit] <= cut.at(v) - cut.offset + offset + 1e-9


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(8))
def test_the_duals_of_a_node_prove_its_optimum_and_empty_nodes_are_proved_empty(family: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = FAMILIES[family](rng, max_relus=8)
    problem, bounds = compiled(network, box_around(rng, network.input_size))
    root, separation = root_state(problem), Separation(problem, bounds)
    lp = NodeLp(problem, 1, bounds, root)
    for _ in range(12):
        sign = rng.integers(-1, 2, problem.unit_count).astype(np.int8)
        lower = np.where(sign > 0, np.maximum(root.lower, 0), root.lower)
        upper = np.where(sign < 0, np.minimum(root.upper, 0), root.upper)
        state = State(lower, upper, sign)
        outcome = lp.solve(state, -1e3)
        if outcome.columns is None:
            assert outcome.proved.bound < -1e3
            continue
        assert outcome.optimum is not None
        assert outcome.proved.bound == pytest.approx(outcome.optimum, abs=1e-8)
        units = np.flatnonzero(state.free & (outcome.proved.weight_of > 0))
        lp.add(separation.violated(outcome.columns, units, 1e-6))
        again = lp.solve(state, -1e3)
        assert again.proved.bound <= outcome.proved.bound + 1e-8


@pytest.mark.parametrize("seed", range(10))
def test_a_solve_that_is_cut_short_proves_the_cutoff(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = FAMILIES["dense"](rng, max_relus=8)
    problem, bounds = compiled(network, box_around(rng, network.input_size))
    state = root_state(problem)
    full = NodeLp(problem, 1, bounds, state).solve(state, -1e6)
    early = NodeLp(problem, 1, bounds, state).solve(state, full.proved.bound + 1e-3)
    assert full.proved.bound <= early.proved.bound + 1e-9
    assert early.proved.bound < full.proved.bound + 1e-3


def test_cuts_that_bind_nothing_leave_the_lp_and_its_optimum_stays() -> None:
    rng = np.random.default_rng(3)
    network = dense_layer(rng, inputs=5)
    problem, bounds = compiled(network, Bounds(np.zeros(5), np.ones(5)))
    state, separation = root_state(problem), Separation(problem, bounds)
    lp = NodeLp(problem, 1, bounds, state)
    for point in samples(rng, bounds.nodes[0], 60):  # far from the optimum, so most will be idle there
        lp.add(separation.violated(raised(rng, problem, point), np.arange(problem.unit_count), 1e-6))
    before, many = lp.solve(state, -1e6), len(lp.cuts)
    for _ in range(IDLE_SOLVES):
        lp.solve(state, -1e6)
    lp.purge()
    after = lp.solve(state, -1e6)
    assert len(lp.cuts) < many / 2
    assert after.proved.bound == pytest.approx(before.proved.bound, abs=1e-9)


def test_a_smaller_box_gives_the_bound_of_a_new_lp() -> None:
    rng = np.random.default_rng(5)
    network = dense_layer(rng, inputs=5)
    problem, bounds = compiled(network, Bounds(np.zeros(5), np.ones(5)))
    state, separation = root_state(problem), Separation(problem, bounds)
    lp = NodeLp(problem, 1, bounds, state)
    first = lp.solve(state, -1e6)
    assert first.columns is not None
    lp.add(separation.violated(first.columns, np.arange(problem.unit_count), 1e-6))
    smaller = linear_bounds(network, Bounds(np.full(5, 0.2), np.full(5, 0.7)))
    separation.move(smaller)
    lp.move(smaller, separation.offsets([cut.plane for cut in lp.cuts]))
    units = problem.unit_bounds(smaller)
    tight = State(units.lower, units.upper, state.sign)
    moved = lp.solve(tight, -1e6)
    fresh = NodeLp(problem, 1, smaller, tight)
    fresh.add(list(lp.cuts))
    assert moved.proved.bound < first.proved.bound
    assert moved.proved.bound == pytest.approx(fresh.solve(tight, -1e6).proved.bound, abs=1e-8)
