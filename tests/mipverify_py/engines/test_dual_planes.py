"""Hull planes: above the unit on the whole box, the lowest facet at a point, the same in both ways of storing them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import Bounds
from mipverify_py.engines._dual_planes import LayerPlanes, layers_with_planes
from mipverify_py.engines._problem import Layer, Problem
from mipverify_py.proof import Tree
from mipverify_py.proof._structure import check_planes
from onnx_models import Array
from tests.helpers.duals import ODD, odd_problem, random_problem, wide_problem
from tests.helpers.networks import FAMILIES
from tests.helpers.proofs import samples

CPU = torch.device("cpu")
seeds = st.integers(0, 2**32 - 1)
scales = st.sampled_from([1.0, 1e-6, 1e6])


def planes_of(problem: Problem, layer: Layer, capacity: int = 4) -> LayerPlanes:
    """Pools for all units of a layer, over the problem's box."""
    planes = LayerPlanes(layer, np.arange(layer.size), problem.inputs, capacity, CPU)
    planes.move(problem.box)
    return planes


def separated(planes: LayerPlanes, points: Array, use: Array | None = None) -> None:
    """Adds the lowest facets at each of the points."""
    for point in points:
        facets = planes.separate(torch.from_numpy(point))
        if planes.count < planes.capacity:
            planes.add(facets)
        else:
            used = torch.zeros(planes.offset.shape, dtype=torch.float64) if use is None else torch.from_numpy(use)
            planes.replace(torch.arange(len(planes.units)), facets, used)


def facet_values(w: Array, b: float, box: Bounds, x: Array) -> list[float]:
    """Values at x of every facet of the hull of (x, max(0, w.x + b)): all I and h with l(I) >= 0 > l(I + h)."""
    least, most = np.where(w >= 0, box.lower, box.upper), np.where(w >= 0, box.upper, box.lower)
    free = np.flatnonzero((w != 0) & (box.lower < box.upper))
    found = []
    for size in range(len(free) + 1):
        for chosen in combinations(free, size):
            members = np.isin(np.arange(len(w)), chosen)
            left = float(np.where(members, w * least, w * most).sum() + b)
            for h in set(free) - set(chosen):
                after = left + w[h] * (least[h] - most[h])
                if left >= 0 > after:
                    slope = left / (most[h] - least[h])
                    found.append(float((members * w * (x - least)).sum() + slope * (x[h] - least[h])))
    return found


class TestSeparation:
    @pytest.mark.parametrize("reads", [None, 2])
    @settings(max_examples=60)
    @given(seed=seeds, scale=scales)
    def test_facets_are_above_the_unit_and_the_lowest_at_the_point(
        self, reads: int | None, seed: int, scale: float
    ) -> None:
        rng = np.random.default_rng(seed)
        problem = wide_problem(seed, inputs=6, units=4, reads=reads)
        ends = np.sort(rng.uniform(-1, 1, (2, 6)) * scale, axis=0)
        box = Bounds(ends[0], np.where(rng.random(6) < 0.2, ends[0], ends[1]))
        (layer,) = problem.layers
        planes = planes_of(problem, layer)
        planes.move(box)
        points = samples(rng, box, 1)
        separated(planes, points)
        weight = layer.weight.toarray()
        corners = np.array(np.meshgrid(*zip(box.lower, box.upper, strict=True))).reshape(6, -1).T
        tries = np.vstack([corners, samples(rng, box, 50)])
        truth = np.maximum(tries @ weight.T + layer.bias, 0.0)
        over = planes.values(torch.from_numpy(tries)).numpy()
        room = 1e-9 * (np.abs(weight) @ np.maximum(np.abs(box.lower), np.abs(box.upper)) + np.abs(layer.bias))
        assert np.all(over >= truth[:, :, None] - room[:, None])
        here = planes.values(torch.from_numpy(points)).numpy()
        for k in range(layer.size):
            z = tries @ weight[k] + layer.bias[k]
            for p, x in enumerate(points):
                known = facet_values(weight[k], layer.bias[k], box, x)
                if known and z.min() < -room[k] and z.max() > room[k]:
                    assert here[p, k, p] <= min(known) + room[k]

    @pytest.mark.parametrize("family", FAMILIES)
    def test_planes_of_every_family_are_above_the_unit(self, family: str) -> None:
        for seed in range(10):
            problem = random_problem(family, seed)
            rng = np.random.default_rng(seed)
            tries = samples(rng, problem.box, 200)
            values = problem.network.activations(tries)
            for k, planes in layers_with_planes(problem, problem.margin[0], 3, CPU).items():
                planes.move(problem.box)
                separated(planes, samples(rng, problem.box, 1))
                layer = problem.layers[k]
                truth = values[layer.relu][:, layer.units[planes.units]]
                assert np.all(planes.values(torch.from_numpy(tries)).numpy() >= truth[:, :, None] - 1e-9)

    @pytest.mark.parametrize("name", ODD)
    def test_odd_networks_have_finite_planes_above_the_unit(self, name: str) -> None:
        problem = odd_problem(name)
        tries = samples(np.random.default_rng(0), problem.box, 200)
        values = problem.network.activations(tries)
        for k, planes in layers_with_planes(problem, np.ones(problem.margin.shape[1]), 3, CPU).items():
            planes.move(problem.box)
            separated(planes, tries[:2])
            layer = problem.layers[k]
            over = planes.values(torch.from_numpy(tries)).numpy()
            assert np.all(np.isfinite(over)) and np.all(over >= values[layer.relu][:, layer.units, None] - 1e-12)

    def test_a_unit_that_a_smaller_box_makes_stable_keeps_a_valid_plane(self) -> None:
        problem = wide_problem(0)
        (layer,) = problem.layers
        planes = planes_of(problem, layer)
        for box in (Bounds(np.full(12, 0.3), np.full(12, 0.301)), Bounds(np.full(12, 0.2), np.full(12, 0.2))):
            planes.move(box)
            separated(planes, box.lower[None])
            z = layer.weight @ box.lower + layer.bias
            over = planes.values(torch.from_numpy(box.lower[None])).numpy()[0]
            assert np.all(over >= np.maximum(z, 0)[:, None] - 1e-12)


class TestStorage:
    @pytest.mark.parametrize("reads", [None, 6, 7, 5, 2])
    def test_values_and_combinations_agree_with_dense_matrices(self, reads: int | None) -> None:
        rng = np.random.default_rng(0)
        problem = wide_problem(0, units=5, reads=reads)
        planes = planes_of(problem, problem.layers[0])
        separated(planes, samples(rng, problem.box, 1))
        dense, x = planes.spread().numpy(), samples(rng, problem.box, 3)
        assert dense.shape == (problem.unit_count, planes.count, 12) and planes.count == 2
        expected = np.einsum("kpn,bn->bkp", dense, x) + planes.offset.numpy()
        np.testing.assert_allclose(planes.values(torch.from_numpy(x)).numpy(), expected, rtol=1e-12, atol=1e-12)
        weights = rng.random((4, problem.unit_count, planes.count))
        combined = planes.combine(torch.from_numpy(weights)).numpy()
        np.testing.assert_allclose(combined, np.einsum("bkp,kpn->bn", weights, dense), rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("reads", [None, 3])
    def test_without_planes_everything_is_empty(self, reads: int | None) -> None:
        problem = wide_problem(0, reads=reads)
        planes = planes_of(problem, problem.layers[0])
        units = problem.unit_count
        assert planes.count == 0 and planes.spread().shape == (units, 0, 12)
        assert planes.values(torch.zeros(3, 12, dtype=torch.float64)).shape == (3, units, 0)
        assert not planes.combine(torch.zeros(3, units, 0, dtype=torch.float64)).any()

    @pytest.mark.parametrize("reads", [None, 3])
    def test_a_move_changes_offsets_alone(self, reads: int | None) -> None:
        """D = max over the box of max(0, z) - C.x, at one of its corners."""
        rng = np.random.default_rng(1)
        problem = wide_problem(1, inputs=8, reads=reads)
        (layer,) = problem.layers
        planes = planes_of(problem, layer)
        separated(planes, samples(rng, problem.box, 1))
        before = planes.coefficients
        box = Bounds(problem.box.lower * 0.5, problem.box.upper * 0.7)
        planes.move(box)
        assert planes.coefficients is before
        corners = np.array(np.meshgrid(*zip(box.lower, box.upper, strict=True))).reshape(8, -1).T
        truth = np.maximum(corners @ layer.weight.toarray().T + layer.bias, 0.0)
        gap = truth[:, :, None] - np.einsum("kpn,bn->bkp", planes.spread().numpy(), corners)
        np.testing.assert_allclose(planes.offset.numpy(), gap.max(axis=0), rtol=1e-9, atol=1e-9)


class TestPool:
    def test_the_least_used_plane_of_each_unit_gives_way(self) -> None:
        rng = np.random.default_rng(2)
        problem = wide_problem(2)
        planes = planes_of(problem, problem.layers[0], capacity=3)
        points = samples(rng, problem.box, 2)
        separated(planes, points[:3])
        old, births, units = planes.coefficients.clone(), planes.births, problem.unit_count
        use = rng.random((units, 3))
        separated(planes, points[3:], use)
        slot = use.argmin(axis=1)
        changed = births != planes.births
        np.testing.assert_array_equal(changed, np.arange(3)[None] == slot[:, None])
        same = (planes.coefficients == old).all(dim=2).numpy()
        assert np.all(same[~changed]) and planes.count == 3
        assert planes.births.max() == 4 and births.max() == 3, "the old array is not written to"
        fresh = planes_of(problem, problem.layers[0])
        separated(fresh, points[3:])
        chosen = planes.coefficients[torch.arange(units), torch.from_numpy(slot)]
        torch.testing.assert_close(chosen, fresh.coefficients[:, 0])
        torch.testing.assert_close(planes.offset, planes._offsets(planes.coefficients))

    @pytest.mark.parametrize("reads", [None, 3])
    def test_planes_are_recorded_once_and_fit_the_proof(self, reads: int | None) -> None:
        problem = wide_problem(3, reads=reads)
        planes = planes_of(problem, problem.layers[0], capacity=2)
        points = samples(np.random.default_rng(3), problem.box, 2)
        separated(planes, points[:2])
        tree = Tree(1, problem.tree_units)
        planes.record(tree, (np.array([0, 1]), np.array([1, 0])))
        planes.record(tree, (np.array([0, 1, 1]), np.array([1, 0, 1])))
        assert len(tree.planes) == 3 and [p.unit for p in tree.planes] == [0, 1, 1]
        separated(planes, points[2:3], np.tile([0.0, 1.0], (problem.unit_count, 1)))
        assert planes.numbers[0].tolist() == [-1, 0] and planes.numbers[1].tolist() == [-1, 2]
        planes.record(tree, (np.array([0]), np.array([0])))
        check_planes(problem.network, np.full(problem.unit_count, problem.layers[0].relu), tree.planes)
        dense = planes.spread().numpy()
        for number, (unit, place) in ((3, (0, 0)), (0, (0, 1))):
            row = np.zeros(12)
            row[tree.planes[number].entries] = tree.planes[number].coefficients
            np.testing.assert_array_equal(row, dense[unit, place])

    def test_only_units_that_can_pull_upward_have_planes(self) -> None:
        problem = wide_problem(4)
        (planes,) = layers_with_planes(problem, problem.margin[0], 2, CPU).values()
        np.testing.assert_array_equal(planes.units, np.flatnonzero(problem.margin[0][12:] > 0))
        assert layers_with_planes(problem, -np.abs(problem.margin[0]), 2, CPU) == {}
        behind = odd_problem("stable first layer")
        assert layers_with_planes(behind, np.ones(behind.margin.shape[1]), 2, CPU) == {}
