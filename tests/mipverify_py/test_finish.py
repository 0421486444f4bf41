"""Exact finishing of points, against every activation pattern tried one by one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mipverify_py import L2Ball, Norm, Objective, Options, Query, Targets
from mipverify_py._finish import finish
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError
from tests.helpers.networks import networks, random_inputs, random_network
from tests.helpers.norms import dense_network, exact_norm_distance
from tests.helpers.queries import exact_distance


def far_points(query: Query, rng: np.random.Generator, count: int = 1) -> Array:
    """Points of the query's box that reach the margin, shape (at most count, n), out of 300 random ones."""
    points = rng.uniform(query.box.lower, query.box.upper, size=(300, query.box.size))
    return points[query.margin_at(query.network.forward_batch(points)) >= query.margin][:count]


def cases(count: int) -> Iterator[tuple[Query, float, Array]]:
    """Questions with exact distances above 0, and a far point."""
    rng = np.random.default_rng(0)
    while count:
        network = random_network(rng, max_relus=6)
        query = Query(network, random_inputs(rng, network, 1).reshape(-1))
        points, truth = far_points(query, rng), exact_distance(query)
        if len(points) and truth is not None and truth > 1e-6:
            count -= 1
            yield query, truth, points


@pytest.mark.slow
def test_it_usually_ends_at_the_nearest_point() -> None:
    excess = []
    for query, truth, points in cases(10):
        plain, kicked = (finish(query, points, kicks=kicks) for kicks in (False, True))
        assert plain is not None and kicked is not None
        assert truth - 1e-7 <= kicked.distance <= plain.distance <= query.distance_of(points[0])
        excess.append(kicked.distance / truth - 1)
    assert np.mean(np.array(excess) < 1e-6) >= 0.9


@settings(max_examples=20, deadline=None)
@given(networks(max_relus=6), st.integers(0, 2**32 - 1))
def test_the_nearest_of_several_points_counts(network: ReluNetwork, seed: int) -> None:
    rng = np.random.default_rng(seed)
    query = Query(network, rng.random(network.input_size))
    points = far_points(query, rng, 5)
    found = finish(query, points)
    if len(points):
        truth = exact_distance(query)
        assert found is not None and truth is not None
        assert truth - 1e-7 <= found.distance <= min(query.distance_of(point) for point in points) + 1e-9


def test_without_points_an_attack_finds_one() -> None:
    for query, truth, _ in cases(3):
        found = finish(query, np.zeros((0, query.x0.size)))
        assert found is not None and truth - 1e-7 <= found.distance <= 1.5 * truth


def test_a_point_that_is_not_adversarial_gives_none() -> None:
    for query, _, _ in cases(3):
        assert finish(query, query.x0[None]) is None


@pytest.mark.parametrize("norm", [Norm.L1, Norm.L2])
def test_cells_in_other_norms(norm: Norm) -> None:
    excess = []
    for seed in range(4):
        network, rng = dense_network(seed), np.random.default_rng(seed)
        query = Query(network, rng.random(3), norm=norm)
        points, truth = far_points(query, rng), exact_norm_distance(query)
        if not len(points) or not truth:
            continue
        found = finish(query, points)
        assert found is not None and truth - 1e-7 <= found.distance <= query.distance_of(points[0])
        excess.append(found.distance / truth - 1)
    assert excess and np.median(excess) < 1e-4


def test_a_passed_time_limit_leaves_the_moved_point() -> None:
    query, truth, points = next(cases(1))
    found = finish(query, points, Options(time_limit=1e-9))
    assert found is not None and truth - 1e-7 <= found.distance <= query.distance_of(points[0])


@pytest.mark.parametrize(
    "changes",
    [
        {"objective": Objective.FEASIBILITY},
        {"perturbation": L2Ball(0.5)},
        {"targets": Targets(winning=True, classes=(0,), inverted=True)},
    ],
    ids=["objective", "ball", "winning"],
)
def test_other_queries_are_refused(changes: dict[str, object]) -> None:
    network, x0 = dense_network(1), np.full(3, 0.5)
    assert network.forward(x0).argmax() != 0  # so that class 0, which is no target, is a second rival
    with pytest.raises(InputError, match="Exact finishing needs a query"):
        finish(Query(network, x0, **changes), np.zeros((0, 3)))  # type: ignore[arg-type]


def test_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"expected \(k, 3\)"):
        finish(Query(dense_network(1), np.full(3, 0.5)), np.zeros(3))
