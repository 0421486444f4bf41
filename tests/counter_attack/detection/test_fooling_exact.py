"""The largest exact distance near an input: closed forms, dense grids in the plane, every activation pattern."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import distance_transform_cdt

from bounds import Bounds
from counter_attack.detection import FoolingLimits, FoolingStop, largest_distance
from mipverify_py import Options, Result, StopReason, distance
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork
from onnx_models.errors import InputError
from tests.helpers.oracles import nearest_adversarial
from tests.helpers.queries import line_classifier

SIDE = 161
"""Points of the grids per side."""


def plane_network(seed: int, units: int = 6, classes: int = 3) -> ReluNetwork:
    """Two inputs, one hidden layer, with boundaries that cross the middle of [0, 1]^2."""
    rng = np.random.default_rng(seed)
    builder = NetworkBuilder((2,))
    first = rng.normal(size=(units, 2))
    hidden = builder.relu(builder.affine([0], [DenseMap(first)], -first @ rng.random(2) + 0.2 * rng.normal(size=units)))
    second = rng.normal(size=(classes, units))
    node = builder.build(builder.affine([hidden], [DenseMap(second)], np.zeros(classes)))
    middle = node.forward(np.array([0.5, 0.5]))
    builder = NetworkBuilder((2,))
    hidden = builder.relu(builder.affine([0], [DenseMap(first)], node.nodes[1].bias))
    return builder.build(builder.affine([hidden], [DenseMap(second)], -middle + 0.05 * rng.normal(size=classes)))


def grid() -> Array:
    side = np.linspace(0, 1, SIDE)
    return np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)


def grid_distances(network: ReluNetwork) -> tuple[Array, Array]:
    """Class of every grid point, and its distance in L-infinity to the nearest one of another class."""
    classes = network.forward_batch(grid()).argmax(axis=1).reshape(SIDE, SIDE)
    found = np.full((SIDE, SIDE), np.inf)
    for label in np.unique(classes):
        own = classes == label
        if not own.all():
            found[own] = distance_transform_cdt(own, metric="chessboard")[own] / (SIDE - 1)
    return classes.ravel(), found.ravel()


@pytest.mark.parametrize(
    ("x", "radius", "truth"),
    [(0.4, 0.3, 0.2), (0.4, 0.05, 0.0), (0.45, 0.1, 0.05), (0.9, 0.5, 0.1), (0.2, 0.9, 0.5)],
)
def test_on_a_line(x: float, radius: float, truth: float) -> None:
    """Class 0 below 0.5, class 1 above: the largest distance is that of the far end of the ball, in the domain."""
    found = largest_distance(line_classifier(), [x], radius, gap=1e-4)
    assert found.stop_reason is FoolingStop.CLOSED
    assert found.lower <= truth + 1e-6 and truth - 1e-6 <= found.upper <= found.lower + 1e-4
    if truth > 1e-3:
        assert abs(found.point[0] - x) <= radius and abs(found.point[0] - 0.5) >= found.lower - 1e-9
    else:
        assert found.upper <= 1e-4


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_brackets_the_maximum_over_a_dense_grid(seed: int) -> None:
    network, x, radius, gap = plane_network(seed), np.array([0.5, 0.5]), 0.2, 5e-3
    own = int(np.argmax(network.forward(x)))
    found = largest_distance(network, x, radius, gap=gap)
    assert found.stop_reason is FoolingStop.CLOSED and found.upper - found.lower <= gap
    classes, distances = grid_distances(network)
    inside = (np.abs(grid() - x).max(axis=1) <= radius + 1e-12) & (classes != own)
    assert inside.any(), "the case is about nothing"
    # The grid's other points are adversarial, so its distances are upper ends; a maximum moves by half a step at most.
    assert found.lower <= distances[inside].max() + 0.5 / (SIDE - 1) + 1e-9
    # Exact distances of the best grid points, by trying every activation pattern, are not above the upper end.
    order = np.flatnonzero(inside)[np.argsort(-distances[inside])][:3]
    for index in order:
        others = tuple(k for k in range(network.output_size) if k != classes[index])
        truth = nearest_adversarial(
            network, grid()[index], others, int(classes[index]), lower=np.zeros(2), upper=np.ones(2)
        )
        assert truth is not None and truth <= found.upper + 1e-6
    # The point is what it is said to be.
    assert np.abs(found.point - x).max() <= radius + 1e-12 and found.label != own
    assert int(np.argmax(network.forward(found.point))) == found.label
    others = tuple(k for k in range(network.output_size) if k != found.label)
    truth = nearest_adversarial(network, found.point, others, found.label, lower=np.zeros(2), upper=np.ones(2))
    assert truth is not None and found.lower <= truth + 1e-6


def test_only_target_classes_count() -> None:
    network, x = plane_network(1), np.array([0.5, 0.5])
    every = largest_distance(network, x, 0.2, targets=[0, 1, 2], gap=1e-2)
    each = [largest_distance(network, x, 0.2, targets=[k], gap=1e-2) for k in range(3)]
    assert every.upper >= max(one.lower for one in each) and max(one.upper for one in each) >= every.lower
    assert all(one.label in (k, None) for k, one in enumerate(each))


def test_stops_as_soon_as_eps_is_decided() -> None:
    network = line_classifier()
    yes, no = (largest_distance(network, [0.4], 0.3, gap=1e-5, eps=eps) for eps in (0.1, 0.3))
    assert yes.can_be_fooled(0.1) is True and no.can_be_fooled(0.3) is False
    assert yes.stop_reason is no.stop_reason is FoolingStop.DECIDED
    whole = largest_distance(network, [0.4], 0.3, gap=1e-5)
    assert yes.boxes < whole.boxes and no.boxes < whole.boxes
    assert whole.can_be_fooled(0.1999) is True and whole.can_be_fooled(0.2001) is False
    assert largest_distance(network, [0.4], 0.3, gap=0.1).can_be_fooled(0.19) is None


def test_a_class_everywhere_in_the_domain_has_no_distance() -> None:
    found = largest_distance(
        line_classifier(), [0.6], 0.1, targets=[1], limits=FoolingLimits(domain=Bounds(np.array([0.55]), np.ones(1)))
    )
    assert np.isinf(found.lower) and np.isinf(found.upper) and found.label == 1


def test_no_class_to_fool_with() -> None:
    found = largest_distance(line_classifier(), [0.2], 0.1, gap=1e-3)
    assert found.lower == 0.0 and found.upper <= 1e-3 and found.point is None and found.label is None


def test_ctrl_c_in_a_search_ends_all_and_leaves_a_bracket(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def interrupted(*args: Any, **options: Any) -> Result:
        asked.append(args)
        found = distance(*args, **options)
        return replace(found, stop_reason=StopReason.INTERRUPTED) if len(asked) == 3 else found

    monkeypatch.setattr("counter_attack.detection._fooling_exact.distance", interrupted)
    found = largest_distance(line_classifier(), [0.4], 0.3, gap=1e-5)
    assert found.stop_reason is FoolingStop.INTERRUPTED and len(asked) == found.searches == 3
    assert found.lower <= 0.2 <= found.upper + 1e-9


def test_limits_leave_a_bracket_that_holds() -> None:
    network = line_classifier()
    few = largest_distance(network, [0.4], 0.3, gap=1e-6, limits=FoolingLimits(boxes=5))
    assert few.stop_reason is FoolingStop.BOXES and few.boxes == 5 and few.lower <= 0.2 <= few.upper
    soon = largest_distance(network, [0.4], 0.3, gap=1e-6, limits=FoolingLimits(seconds=1e-9))
    assert soon.stop_reason is FoolingStop.TIME and soon.lower <= 0.2 <= soon.upper


@pytest.mark.slow
def test_searches_cut_short_leave_a_bracket_that_holds() -> None:
    """Inner searches without time find nothing or little; what they prove still counts, and nothing else."""
    network = plane_network(2)
    whole = largest_distance(network, [0.5, 0.5], 0.2, gap=1e-2)
    limits = FoolingLimits(boxes=60, options=Options(time_limit=1e-9))
    cut = largest_distance(network, [0.5, 0.5], 0.2, gap=1e-2, limits=limits)
    assert cut.lower <= whole.upper and whole.lower <= cut.upper


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"radius": 0.0}, "radius"),
        ({"radius": float("nan")}, "radius"),
        ({"gap": 0.0}, "at least 1e-06"),
        ({"targets": [2]}, "0 to 1"),
        ({"targets": []}, "0 to 1"),
        ({"x": [1.5]}, "outside the domain"),
        ({"limits": FoolingLimits(domain=Bounds(np.zeros(2), np.ones(2)))}, "2 entries"),
    ],
)
def test_bad_arguments(change: dict, part: str) -> None:
    arguments = {"x": [0.4], "radius": 0.1} | change
    with pytest.raises(InputError, match=part):
        largest_distance(line_classifier(), **arguments)


def test_bad_limits() -> None:
    for bad in ({"boxes": 0}, {"seconds": 0.0}):
        with pytest.raises(InputError):
            FoolingLimits(**bad)
