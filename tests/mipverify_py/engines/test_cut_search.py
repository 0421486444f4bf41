"""Branch and cut proves what is true, finds what is not, and what it proves survives the replay."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from bounds import Bounds, linear_bounds
from bounds._linear import upper_bounds
from mipverify_py.engines import _cut_search
from mipverify_py.engines._cut_bound import BackwardPass, Duals, State, crown_duals
from mipverify_py.engines._cut_search import CutSearch
from mipverify_py.engines._node_lp import LpOutcome, NodeLp
from mipverify_py.engines._problem import compile_problem
from mipverify_py.engines._target import Status, Step
from mipverify_py.proof import TreeReplay
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork
from tests.helpers.networks import FAMILIES, networks
from tests.helpers.oracles import largest_margin

LIMIT = 2000
"""Nodes after which a search of a tiny network counts as endless."""


def unit_box(network: ReluNetwork) -> Bounds:
    return Bounds(np.zeros(network.input_size), np.ones(network.input_size))


def opened(network: ReluNetwork, box: Bounds, threshold: float) -> CutSearch:
    problem = compile_problem(network, 0, (1,), box, linear_bounds(network, box))
    return CutSearch(problem, 1, threshold)


def best_in(network: ReluNetwork, box: Bounds) -> float:
    return largest_margin(network, (1,), 0, lower=box.lower, upper=box.upper)


def margin(network: ReluNetwork, point: Array) -> float:
    logits = network.forward(point.reshape(network.input_shape)).reshape(-1)
    return float(logits[1] - logits[0])


def finished(search: CutSearch, network: ReluNetwork, threshold: float) -> tuple[Step, Array | None]:
    """Advances until nothing is open or a point reaches the threshold; the last step and that point."""
    for _ in range(LIMIT):
        step = search.advance(1, None)
        for point in step.points:
            if margin(network, point) >= threshold:
                return step, point
        if step.status is not Status.OPEN:
            return step, None
    raise AssertionError("the search does not end")


def failures(network: ReluNetwork, search: CutSearch) -> list[int]:
    return TreeReplay(network, 0, search.tree).failures()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(8))
def test_a_threshold_above_the_maximum_is_proved(family: str, seed: int) -> None:
    network = FAMILIES[family](np.random.default_rng(seed), max_relus=8)
    threshold = best_in(network, unit_box(network)) + 1e-5
    search = opened(network, unit_box(network), threshold)
    step, point = finished(search, network, threshold)
    assert point is None
    assert step.status is Status.PROVED
    assert search.bound == -np.inf
    assert failures(network, search) == []


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(8))
def test_a_threshold_below_the_maximum_is_reached_or_stays_open(family: str, seed: int) -> None:
    network = FAMILIES[family](np.random.default_rng(seed), max_relus=8)
    best = best_in(network, unit_box(network))
    threshold = best - 1e-5
    search = opened(network, unit_box(network), threshold)
    step, point = finished(search, network, threshold)
    assert step.status is not Status.PROVED
    assert search.bound >= best - 1e-9
    assert point is not None
    assert np.all((point >= 0) & (point <= 1))


@given(networks(max_relus=8), st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_shrinking_boxes_keep_what_was_proved(network: ReluNetwork, seed: int) -> None:
    """The box shrinks and the threshold rises in the middle of a search; in the end all of the tree holds."""
    rng = np.random.default_rng(seed)
    box = unit_box(network)
    middle = rng.random(network.input_size)
    boxes = [Bounds(middle + s * (box.lower - middle), middle + s * (box.upper - middle)) for s in (0.9, 0.6)]
    threshold = best_in(network, boxes[-1]) + 1e-5
    search = opened(network, box, threshold - 0.02)
    for smaller, margin_here in zip(boxes, (threshold - 0.01, threshold), strict=True):
        search.advance(int(rng.integers(0, 4)), None)
        before = set(failures(network, search))
        search.restrict(linear_bounds(network, smaller), margin_here)
        assert set(failures(network, search)) <= before
    step, point = finished(search, network, threshold)
    assert point is None
    assert step.status is Status.PROVED
    assert len(search.tree.stages) == 3
    assert failures(network, search) == []


@pytest.mark.parametrize("seed", range(6))
def test_leaves_that_are_reopened_are_proved_again(seed: int) -> None:
    network = FAMILIES["dense"](np.random.default_rng(seed), max_relus=8)
    threshold = best_in(network, unit_box(network)) + 1e-4
    search = opened(network, unit_box(network), threshold)
    finished(search, network, threshold)
    leaves = [k for k, node in enumerate(search.tree.nodes) if not node.children]
    search.reopen(leaves)
    assert search.bound == np.inf
    assert search.advance(0, None).status is Status.OPEN
    step, _ = finished(search, network, threshold)
    assert step.status is Status.PROVED
    assert failures(network, search) == []


def test_a_point_at_the_threshold_stops_the_search_once() -> None:
    """Whoever drives it may not agree that the point is a witness; then the node is split like any other."""
    network = FAMILIES["dense"](np.random.default_rng(1), max_relus=8)
    threshold = best_in(network, unit_box(network)) - 1e-3
    search = opened(network, unit_box(network), threshold)
    while search.advance(1, None).points.shape[0] == 0 or not search._open[max(search._open)].met:
        pass
    nodes = len(search.tree.nodes)
    search.advance(1, None)
    assert len(search.tree.nodes) > nodes or search.advance(0, None).status is Status.STUCK


def test_a_single_cell_at_the_threshold_is_stuck() -> None:
    """f_1 - f_0 = relu(x) - x is 0 on all of [0, 1], so no float can show it to be below 0."""
    builder = NetworkBuilder((1,))
    hidden = builder.relu(builder.affine((0,), (DenseMap(np.array([[1.0], [0.5]])),), np.array([0.0, -0.25])))
    identity = builder.affine(
        (0, hidden), (DenseMap(np.array([[1.0], [0.0]])), DenseMap(np.array([[0.0, 0.0], [1.0, 0.0]])))
    )
    network = builder.build(identity)
    search = opened(network, unit_box(network), 0.0)
    for _ in range(10):
        status = search.advance(1, None).status
    assert status is Status.STUCK
    assert search.bound >= 0


def test_a_network_without_unstable_units_needs_no_split() -> None:
    builder = NetworkBuilder((2,))
    hidden = builder.relu(builder.affine((0,), (DenseMap(np.eye(2)),), np.ones(2)))
    network = builder.build(builder.affine((hidden,), (DenseMap(np.array([[1.0, 0.0], [0.0, 1.0]])),), np.zeros(2)))
    step, point = finished(opened(network, unit_box(network), 1.0 + 1e-6), network, 1.0 + 1e-6)
    assert (step.status, point) == (Status.PROVED, None)
    step, point = finished(opened(network, unit_box(network), 0.9), network, 0.9)
    assert point is not None
    assert margin(network, point) >= 0.9


def test_equal_calls_give_equal_trees() -> None:
    network = FAMILIES["residual"](np.random.default_rng(4), max_relus=8)
    threshold = best_in(network, unit_box(network)) + 1e-5
    trees = []
    for quantum in (1, 1):
        search = opened(network, unit_box(network), threshold)
        while search.advance(quantum, None).status is Status.OPEN:
            pass
        trees.append(search.tree)
    one, other = trees
    assert [(n.parent, n.unit, n.sign) for n in one.nodes] == [(n.parent, n.unit, n.sign) for n in other.nodes]
    assert all(np.array_equal(p.coefficients, q.coefficients) for p, q in zip(one.planes, other.planes, strict=True))


def test_a_deadline_leaves_the_node_open() -> None:
    network = FAMILIES["dense"](np.random.default_rng(0), max_relus=8)
    search = opened(network, unit_box(network), best_in(network, unit_box(network)) + 1e-5)
    step = search.advance(10, time.monotonic() - 1.0)
    assert (step.status, step.nodes, len(search.tree.nodes)) == (Status.OPEN, 0, 1)


def optima_of(monkeypatch: pytest.MonkeyPatch) -> list[LpOutcome]:
    """The outcomes of all linear programs that are solved to their optimum from now on."""
    inner, found = NodeLp.solve, []

    def solve(lp: NodeLp, state: State, cutoff: float, deadline: float | None = None) -> LpOutcome:
        outcome = inner(lp, state, cutoff, deadline)
        if outcome.optimum is not None:
            found.append(outcome)
        return outcome

    monkeypatch.setattr(NodeLp, "solve", solve)
    return found


@pytest.mark.parametrize(
    "family", [pytest.param(f, marks=() if f in ("conv", "masked") else pytest.mark.slow) for f in FAMILIES]
)
def test_the_bound_of_a_node_is_its_linear_programs_optimum(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = optima_of(monkeypatch)
    for seed in range(12):
        network = FAMILIES[family](np.random.default_rng(seed), max_relus=8)
        threshold = best_in(network, unit_box(network)) + 1e-5
        finished(opened(network, unit_box(network), threshold), network, threshold)
    assert len(found) > 3
    for outcome in found:
        assert outcome.proved.bound == pytest.approx(outcome.optimum, abs=1e-9 * (1.0 + outcome.proved.scale))


def states_around(
    rng: np.random.Generator, backward: BackwardPass, units: Bounds, point: Array, count: int
) -> list[State]:
    """States that the point lies in: bounds of z cut at random, also beyond zero, and some units split."""
    _, z = backward.value(point)
    states = []
    for _ in range(count):
        cut = rng.random((2, len(z))) < 0.5
        room = 0.3 * rng.random((2, len(z)))
        lower = np.where(cut[0], np.maximum(units.lower, z - room[0]), units.lower)
        upper = np.where(cut[1], np.minimum(units.upper, z + room[1]), units.upper)
        sign = np.where(rng.random(len(z)) < 0.3, np.where(z > 0, 1, -1), 0).astype(np.int8)
        lower, upper = (
            np.where(sign > 0, np.maximum(lower, 0.0), lower),
            np.where(sign < 0, np.minimum(upper, 0.0), upper),
        )
        states.append(State(lower, upper, sign))
    return states


@settings(max_examples=60, deadline=None)
@given(networks(max_relus=8), st.integers(0, 2**32 - 1))
def test_bounds_of_z_count_for_any_unit(network: ReluNetwork, seed: int) -> None:
    """In states that no split explains the bound is still the optimum, and with any duals at least what a point has."""
    rng = np.random.default_rng(seed)
    bounds = linear_bounds(network, unit_box(network))
    problem = compile_problem(network, 0, (1,), unit_box(network), bounds)
    units, count = problem.unit_bounds(bounds), problem.unit_count
    point, backward = rng.random(network.input_size), BackwardPass(problem, 1)
    states, box = states_around(rng, backward, units, point, 4), (np.full(len(point), 0.5), np.full(len(point), 0.5))
    lp = NodeLp(problem, 1, bounds, states[0])
    for state in states:
        outcome = lp.solve(state, -np.inf)
        assert outcome.optimum is not None
        assert outcome.proved.bound == pytest.approx(outcome.optimum, abs=1e-8 * (1.0 + outcome.proved.scale))
        duals = Duals(rng.normal(size=count), rng.random(count), np.zeros(0))
        for proved in (outcome.proved, backward.run(state, duals, (), box)):
            assert proved.bound >= margin(network, point) - 1e-9 * (1.0 + proved.scale)
            assert proved.G @ point + proved.constant >= margin(network, point) - 1e-9 * (1.0 + proved.scale)


@settings(max_examples=30, deadline=None)
@given(networks(max_relus=8))
def test_without_a_linear_program_the_root_has_the_bound_of_crown(network: ReluNetwork) -> None:
    bounds = linear_bounds(network, unit_box(network))
    problem = compile_problem(network, 0, (1,), unit_box(network), bounds)
    units, half = problem.unit_bounds(bounds), np.full(network.input_size, 0.5)
    root = State(units.lower, units.upper, np.zeros(problem.unit_count, np.int8))
    proved = BackwardPass(problem, 1).run(root, crown_duals(problem), (), (half, half))
    row = np.zeros((1, network.output_size))
    row[0, :2] = -1.0, 1.0
    expected = upper_bounds(network, bounds, len(network.nodes) - 1, sparse.csr_array(row))[0]
    assert proved.bound == pytest.approx(expected, abs=1e-9)


def test_bounds_of_z_that_exclude_each_other_are_proved_empty() -> None:
    """x - 0.5 and 0.4 - x cannot both be at least 0.1; neither unit was split."""
    builder = NetworkBuilder((1,))
    hidden = builder.relu(builder.affine((0,), (DenseMap(np.array([[1.0], [-1.0]])),), np.array([-0.5, 0.4])))
    network = builder.build(builder.affine((hidden,), (DenseMap(np.array([[0.0, 0.0], [1.0, 1.0]])),), np.zeros(2)))
    bounds = linear_bounds(network, unit_box(network))
    problem = compile_problem(network, 0, (1,), unit_box(network), bounds)
    units, free = problem.unit_bounds(bounds), np.zeros(2, np.int8)
    lp = NodeLp(problem, 1, bounds, State(units.lower, units.upper, free))
    assert lp.solve(State(units.lower, units.upper, free), -np.inf).optimum is not None
    outcome = lp.solve(State(np.full(2, 0.1), units.upper, free), -100.0)
    assert outcome.optimum is None and outcome.columns is None
    assert outcome.proved.bound < -100.0


@pytest.mark.parametrize("where", ["solve", "tighten", "split"])
def test_an_interrupt_leaves_a_search_that_goes_on(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at calls 3, 6, 10, 15, ... of some inner step: the proof that comes out in the end is whole."""
    network = FAMILIES["dense"](np.random.default_rng(15), max_relus=8)
    threshold = best_in(network, unit_box(network)) + 1e-5
    search = opened(network, unit_box(network), threshold)
    owner, name = {
        "solve": (NodeLp, "solve"),
        "tighten": (_cut_search.Tightener, "run"),
        "split": (_cut_search, "_with"),
    }[where]
    # The gaps grow: where a node needs as many calls as lie between two interrupts, no search would get past it.
    moments = {k * (k + 1) // 2 for k in range(2, LIMIT)}
    inner, calls = getattr(owner, name), []

    def interrupted(*arguments: object, **named: object) -> object:
        calls.append(1)
        answer = inner(*arguments, **named)
        if len(calls) in moments:
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr(owner, name, interrupted)
    interrupts = 0
    for _ in range(LIMIT):
        try:
            status = search.advance(1, None).status
        except KeyboardInterrupt:
            interrupts += 1
            continue
        if status is not Status.OPEN:
            break
    assert interrupts > 0
    assert status is Status.PROVED
    assert failures(network, search) == []
