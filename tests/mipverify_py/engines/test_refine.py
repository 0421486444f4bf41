"""Refined bounds: true, never looser than CROWN, the same again in a replay, and of use to the engine."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import Bounds, NetworkBounds, linear_bounds
from mipverify_py import Options, Query, verify
from mipverify_py.engines import _native
from mipverify_py.engines._limits import Effort, branched_limits
from mipverify_py.engines._refine import refine
from mipverify_py.engines._torch_graph import TorchGraph
from mipverify_py.proof import RefinedUnits, limit_network, replay
from mipverify_py.proof._refinement import refined_bounds
from onnx_models import DenseMap, NetworkBuilder, ReluNetwork
from tests.helpers.networks import FAMILIES, random_inputs
from tests.helpers.oracles import largest_margin
from tests.helpers.proofs import random_box, samples
from tests.helpers.queries import assert_matches, exact_distance, random_query

PLENTY = Effort(0, 64, 1e9)


def deep_network(seed: int, widths: tuple[int, ...] = (3, 4, 4, 4, 3)) -> ReluNetwork:
    """Fully connected, with random weights; all hidden units together are few enough for brute force."""
    rng = np.random.default_rng(seed)
    builder, node = NetworkBuilder((widths[0],)), 0
    for k, (before, after) in enumerate(pairwise(widths)):
        weight = DenseMap(rng.normal(size=(after, before)) / np.sqrt(before / 2))
        node = builder.affine((node,), (weight,), 0.2 * rng.normal(size=after))
        node = builder.relu(node) if k < len(widths) - 2 else node
    return builder.build(node)


def assert_true(network: ReluNetwork, bounds: NetworkBounds, seed: int) -> None:
    """No node's value at inputs of the box is outside its bounds."""
    points = samples(np.random.default_rng(seed), bounds.nodes[0], 100)
    for node, values in zip(bounds.nodes, network.activations(points), strict=True):
        assert np.all(node.lower - 1e-9 <= values) and np.all(values <= node.upper + 1e-9)


def assert_exact_ranges(network: ReluNetwork, bounds: NetworkBounds, relu: int) -> None:
    """The pre-activations of a ReLU node are bounded no tighter than brute force finds them to be."""
    pre, box = bounds.pre_activation(network, relu), bounds.nodes[0]
    units = np.arange(pre.size)
    question = limit_network(network, RefinedUnits(relu, units, (), np.zeros((2, pre.size))))
    for unit in units.tolist():
        top = largest_margin(question, (1 + unit,), 0, lower=box.lower, upper=box.upper)
        bottom = -largest_margin(question, (1 + pre.size + unit,), 0, lower=box.lower, upper=box.upper)
        assert pre.lower[unit] <= bottom + 1e-7 and top - 1e-7 <= pre.upper[unit]


def no_looser(network: ReluNetwork, better: NetworkBounds, worse: NetworkBounds) -> bool:
    """Whether no pre-activation's bounds are looser."""
    pairs = [(better.pre_activation(network, k), worse.pre_activation(network, k)) for k in network.relu_indices]
    return all(bool(np.all(b.lower >= w.lower) and np.all(b.upper <= w.upper)) for b, w in pairs)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_refined_bounds_are_true_and_replay(family: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = FAMILIES[family](rng, max_relus=9, fuse=bool(rng.random() < 0.7))
    box = random_box(rng, network.input_size, 1.0)
    plain = linear_bounds(network, box)
    for refinements, bounds in (refine(network, box), branched_limits(network, box, effort=PLENTY)):
        assert no_looser(network, bounds, plain)
        assert_true(network, bounds, seed)
        again = refined_bounds(network, box, refinements)
        for mine, theirs in zip(bounds.nodes, again.nodes, strict=True):
            assert np.array_equal(mine.lower, theirs.lower) and np.array_equal(mine.upper, theirs.upper)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.slow
def test_ranges_against_brute_force(seed: int) -> None:
    network = deep_network(seed, (2, 4, 3, 3, 2))
    box = Bounds(-np.ones(2), np.ones(2))
    for _, bounds in (refine(network, box), branched_limits(network, box, effort=PLENTY)):
        for relu in network.relu_indices[1:]:
            assert_exact_ranges(network, bounds, relu)


def test_each_method_is_tighter_than_the_one_before() -> None:
    network, box = deep_network(1, (6, 12, 12, 12, 2)), Bounds(-0.5 * np.ones(6), 0.5 * np.ones(6))
    plain = linear_bounds(network, box)
    slopes, sloped = refine(network, box)
    trees, limited = branched_limits(network, box, effort=PLENTY)
    relu = network.relu_indices[-1]
    widths = [float((b.pre_activation(network, relu).upper - b.pre_activation(network, relu).lower).sum())
              for b in (plain, sloped, limited)]  # fmt: skip
    assert widths[1] < 0.9 * widths[0] and widths[2] < 0.9 * widths[1]
    assert not any(found.trees for found in slopes) and any(found.trees for found in trees)


def test_limits_are_near_the_largest_values() -> None:
    """Of what the bounds are above the true ranges, trees leave less than half, where they leave a unit unstable."""
    network, box = deep_network(3, (2, 6, 6, 2)), Bounds(-np.ones(2), np.ones(2))
    relu = network.relu_indices[1]
    before, after = (
        bounds.pre_activation(network, relu)
        for _, bounds in (refine(network, box), branched_limits(network, box, effort=PLENTY))
    )
    question = limit_network(network, RefinedUnits(relu, np.arange(6), (), np.zeros((2, 6))))
    truth = [largest_margin(question, (k,), 0, lower=box.lower, upper=box.upper) for k in range(1, 13)]
    left = np.flatnonzero(after.straddles_zero)
    assert len(left)
    excess = [
        float((b.upper - np.array(truth[:6]))[left].sum() + (-b.lower - np.array(truth[6:]))[left].sum())
        for b in (before, after)
    ]
    assert -1e-7 <= excess[1] < 0.5 * excess[0]


@pytest.mark.parametrize("method", ["slopes", "limits"])
def test_threads_change_nothing(method: str) -> None:
    network, box = deep_network(4, (6, 12, 12, 12, 2)), Bounds(-0.5 * np.ones(6), 0.5 * np.ones(6))
    found = [
        refine(network, box, jobs=jobs)
        if method == "slopes"
        else branched_limits(network, box, effort=PLENTY, jobs=jobs)
        for jobs in (1, 3)
    ]
    for mine, theirs in zip(found[0][1].nodes, found[1][1].nodes, strict=True):
        np.testing.assert_allclose(mine.lower, theirs.lower, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(mine.upper, theirs.upper, rtol=1e-9, atol=1e-9)


def test_a_passed_deadline_leaves_crown() -> None:
    network, box = deep_network(5), Bounds(-np.ones(3), np.ones(3))
    plain = linear_bounds(network, box)
    for refinements, bounds in (
        refine(network, box, deadline=0.0),
        branched_limits(network, box, effort=PLENTY, deadline=0.0),
    ):
        assert refinements == ()
        assert all(np.array_equal(m.lower, p.lower) for m, p in zip(bounds.nodes, plain.nodes, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_graph_has_the_network_s_maps_both_ways(family: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = FAMILIES[family](rng)
    graph, values = TorchGraph(network), network.activations(random_inputs(rng, network, 3))
    for index, pairs in graph.forward.items():
        node = network.nodes[index]
        total = graph.bias[index].numpy() + sum(m(graph.tensor(values[k])).numpy() for k, m in pairs)
        np.testing.assert_allclose(total, values[index], atol=1e-9)
        rows = rng.normal(size=(2, node.size))
        for (_, transposed), linear_map in zip(graph.backward[index], node.maps, strict=True):  # type: ignore[union-attr]
            expected = linear_map.transpose_apply(rows)
            np.testing.assert_allclose(transposed(graph.tensor(rows)).numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("engine", ["cuts", "duals"])
@pytest.mark.parametrize("seed", range(4))
def test_the_engine_answers_alike_with_limits(engine: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits are sought at once and again a little later, while the box shrinks; the proof of it all holds."""
    monkeypatch.setattr(_native, "EFFORTS", (Effort(1, 8, 1e9), Effort(10, 64, 1e9)))
    query = random_query(deep_network(seed, (3, 3, 2, 2, 3)), seed)
    result = verify(query, Options(engine=engine))
    assert_matches(result, exact_distance(query))
    if result.proof is not None:
        assert replay(result.proof).holds


@pytest.mark.slow
def test_limits_serve_a_deep_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question that is open when limits are sought is answered with them, and its proof rests on their trees."""
    network = deep_network(7, (8, 14, 14, 14, 2))
    monkeypatch.setattr(_native, "EFFORTS", (Effort(1, 64, 1e9),))
    x0 = np.full(8, 0.5)
    result = verify(Query(network, x0), Options(engine="duals", gap_absolute=0.05, gap_relative=0.05, time_limit=60))
    assert result.proof is not None and replay(result.proof).holds
    stages = [stage for tree in result.proof.trees for stage in tree.stages]
    assert any(found.trees for stage in stages for found in stage.refinements)
