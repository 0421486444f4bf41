"""Batched dual bounds: never below the truth, better with more steps, and close to the relaxation's optimum."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from bounds import Bounds, Formulation
from mipverify_py.engines._dual_bound import Batch, Bounded, DualBounder
from mipverify_py.engines._dual_planes import LayerPlanes, layers_with_planes
from mipverify_py.engines._problem import Problem
from onnx_models import Array
from tests.helpers.duals import (
    ODD,
    columns,
    margins,
    odd_problem,
    random_batch,
    random_problem,
    true_maximum,
    wide_problem,
)
from tests.helpers.networks import FAMILIES
from tests.helpers.proofs import samples

NEVER = -np.inf
"""A threshold that closes nothing."""

seeds = st.integers(0, 2**32 - 1)


def plane_pools(problem: Problem, row: int, points: Array) -> dict[int, LayerPlanes]:
    """Pools with the lowest facets at the given points."""
    pools = layers_with_planes(problem, problem.margin[row], 8, torch.device("cpu"))
    for planes in pools.values():
        planes.move(problem.box)
        for point in points:
            planes.add(planes.separate(torch.from_numpy(point)))
    return pools


def inside(problem: Problem, batch: Batch, node: int, inputs: Array) -> Array:
    """Which of the inputs, shape (B, n), have the signs of a node."""
    v, keep = columns(problem, inputs), np.ones(len(inputs), bool)
    for layer in problem.layers:
        z = (layer.weight @ v[:, : problem.inputs + layer.first].T).T + layer.bias
        signs = batch.signs[node, layer.first : layer.first + layer.size].numpy()
        keep &= np.all(signs * z >= 0, axis=1)
    return keep


def check(problem: Problem, row: int, batch: Batch, bounded: Bounded, inputs: Array) -> None:
    """L is above f_j - f_c on the nodes' regions, and the value is the maximum of L over the box."""
    truth = margins(problem, problem.targets[row], inputs)
    form, constant = bounded.form.numpy(), bounded.constant.numpy()
    box, room = problem.box, 1e-9 * (1.0 + np.abs(constant))
    top = np.maximum(form, 0) @ box.upper + np.minimum(form, 0) @ box.lower + constant
    np.testing.assert_allclose(bounded.value.numpy(), top, rtol=1e-9, atol=1e-9)
    for node in range(len(form)):
        keep = inside(problem, batch, node, inputs)
        assert np.all(inputs[keep] @ form[node] + constant[node] >= truth[keep] - room[node])


def relaxation_optimum(problem: Problem, target: int) -> float:
    """max of f_j - f_c over the triangle relaxation, by scipy."""
    form = Formulation(problem.network, problem.bounds, integral=False)
    logits = form.value(len(problem.network.nodes) - 1)
    row = (logits.matrix[[target]] - logits.matrix[[problem.reference]]).toarray()[0]
    model = form.builder.build()
    matrix = model.matrix.toarray()
    upper, lower = np.isfinite(model.row_upper), np.isfinite(model.row_lower)
    answer = linprog(
        -row,
        A_ub=np.vstack([matrix[upper], -matrix[lower]]),
        b_ub=np.concatenate([model.row_upper[upper], -model.row_lower[lower]]),
        bounds=list(zip(model.column_lower, model.column_upper, strict=True)),
        method="highs",
    )
    assert answer.status == 0
    return float(-answer.fun + logits.constant[target] - logits.constant[problem.reference])


class TestTruth:
    @pytest.mark.parametrize("family", FAMILIES)
    @settings(max_examples=12)
    @given(seed=seeds, steps=st.sampled_from([1, 2, 12]))
    def test_forms_are_above_the_margin_on_their_nodes(self, family: str, seed: int, steps: int) -> None:
        rng = np.random.default_rng(seed)
        problem = random_problem(family, seed, max_relus=10)
        row, inputs = int(rng.integers(2)), samples(rng, problem.box, 200)
        pools = plane_pools(problem, row, inputs[: int(rng.integers(4))])
        batch = random_batch(rng, problem, row, 5, pools)
        check(problem, row, batch, DualBounder(problem).optimise(batch, pools, steps, NEVER), inputs)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_bounds_of_the_whole_box_are_never_below_the_maximum(self, family: str) -> None:
        for seed in range(3):
            rng = np.random.default_rng(seed)
            problem = random_problem(family, seed)
            for row, target in enumerate(problem.targets):
                pools = plane_pools(problem, row, samples(rng, problem.box, 1))
                batch, top = random_batch(rng, problem, row, 3, pools, split=0.0), true_maximum(problem, target)
                for steps in (1, 10, 40):
                    bounded = DualBounder(problem).optimise(batch, pools, steps, NEVER)
                    assert np.all(bounded.value.numpy() >= top - 1e-9)

    @pytest.mark.parametrize("name", ODD)
    def test_odd_networks(self, name: str) -> None:
        problem, rng = odd_problem(name), np.random.default_rng(0)
        inputs = samples(rng, problem.box, 200)
        for row, target in enumerate(problem.targets):
            pools = plane_pools(problem, row, inputs[:2])
            batch = random_batch(rng, problem, row, 4, pools)
            check(problem, row, batch, DualBounder(problem).optimise(batch, pools, 10, NEVER), inputs)
            whole = random_batch(rng, problem, row, 1, pools, split=0.0)
            value = float(DualBounder(problem).optimise(whole, pools, 60, NEVER).value[0])
            assert value >= true_maximum(problem, target) - 1e-9

    def test_overflow_leaves_no_bound(self) -> None:
        problem, rng = wide_problem(0), np.random.default_rng(0)
        batch = random_batch(rng, problem, 0, 2, {})
        batch.margin[0] *= 1e308
        bounded = DualBounder(problem).optimise(batch, {}, 3, 0.0)
        assert bounded.value[0] == np.inf and bounded.constant[0] == np.inf and torch.isfinite(bounded.value[1])
        assert not bounded.value[0] < 0.0 - DualBounder(problem).slack(bounded)[0]


class TestSteps:
    @pytest.mark.parametrize("family", FAMILIES)
    @settings(max_examples=15)
    @given(seed=seeds)
    def test_more_steps_are_never_worse(self, family: str, seed: int) -> None:
        rng = np.random.default_rng(seed)
        problem = random_problem(family, seed)
        pools = plane_pools(problem, 0, samples(rng, problem.box, 1))
        batch, bounder = random_batch(rng, problem, 0, 4, pools), DualBounder(problem)
        values = [bounder.optimise(batch, pools, steps, NEVER).value for steps in (1, 2, 5, 20)]
        for fewer, more in pairwise(values):
            assert bool((more <= fewer).all())
        again = bounder.optimise(bounder.optimise(batch, pools, 20, NEVER).batch, pools, 1, NEVER)
        torch.testing.assert_close(again.value, values[-1], rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_many_steps_reach_the_optimum_of_the_triangle_relaxation(self, family: str) -> None:
        for seed in range(3):
            problem = random_problem(family, seed)
            batch, bounder = (
                random_batch(np.random.default_rng(seed), problem, 0, 1, {}, split=0.0),
                DualBounder(problem),
            )
            for _ in range(8):
                bounded = bounder.optimise(batch, {}, 100, NEVER)
                batch = bounded.batch
            optimum = relaxation_optimum(problem, problem.targets[0])
            assert optimum - 1e-9 <= float(bounded.value[0]) <= optimum + 1e-3

    @pytest.mark.parametrize("reads", [None, 4])
    def test_planes_close_much_of_the_gap_that_the_triangle_leaves(self, reads: int | None) -> None:
        problem = wide_problem(1, reads=reads)
        bounder, rng = DualBounder(problem), np.random.default_rng(0)
        batch = random_batch(rng, problem, 0, 1, {}, split=0.0)
        triangle = bounder.optimise(batch, {}, 300, NEVER)
        point = triangle.point.numpy()
        pools = plane_pools(problem, 0, point)
        with_planes = bounder.optimise(random_batch(rng, problem, 0, 1, pools, split=0.0), pools, 300, NEVER)
        top, before, after = (
            true_maximum(problem, problem.targets[0]),
            float(triangle.value[0]),
            float(with_planes.value[0]),
        )
        assert top - 1e-9 <= after < before - 0.2 * (before - top)


class TestRows:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_a_node_alone_has_the_bound_that_it_has_in_a_batch(self, family: str) -> None:
        for seed in range(2):
            rng = np.random.default_rng(seed)
            problem = random_problem(family, seed)
            pools = plane_pools(problem, 0, samples(rng, problem.box, 1))
            first, second = (random_batch(rng, problem, 0, 3, pools) for _ in range(2))
            second.margin.mul_(30.0)
            both = Batch(
                **{
                    name: torch.cat([getattr(first, name), getattr(second, name)])
                    for name in ("margin", "margin_constant", "signs", "lower", "upper", "alpha", "beta")
                },
                mu={k: torch.cat([m, second.mu[k]]) for k, m in first.mu.items()},
            )
            bounder = DualBounder(problem)
            together = bounder.optimise(both, pools, 15, NEVER)
            for row in range(6):
                alone = bounder.optimise(both.rows(torch.tensor([row])), pools, 15, NEVER)
                torch.testing.assert_close(alone.value[0], together.value[row], rtol=1e-6, atol=1e-6)

    def test_closed_nodes_are_left_alone_and_keep_a_point_in_the_box(self) -> None:
        problem, rng = wide_problem(5), np.random.default_rng(0)
        batch, bounder = random_batch(rng, problem, 0, 12, {}), DualBounder(problem)
        bounder.move(Bounds(np.full(12, 0.5), np.ones(12)))
        threshold = float(bounder.optimise(batch, {}, 5, NEVER).value.quantile(0.6))
        bounded = bounder.optimise(batch, {}, 40, threshold)
        closed = bounded.value < threshold - bounder.slack(bounded)
        assert 3 < int(closed.sum()) < 12
        full = bounder.optimise(batch, {}, 40, NEVER).value
        assert bool((bounded.value >= full - 1e-9).all()) and bool((bounded.value > full + 1e-6)[closed].any())
        assert 0.5 - 1e-12 <= float(bounded.point.min()) <= float(bounded.point.max()) <= 1.0 + 1e-12

    def test_caution_keeps_nodes_that_are_barely_below_the_threshold(self) -> None:
        problem, rng = wide_problem(6), np.random.default_rng(0)
        batch, bounder = random_batch(rng, problem, 0, 1, {}), DualBounder(problem)
        first = bounder.optimise(batch, {}, 1, NEVER)
        threshold = float(first.value[0] + 2.0 * bounder.slack(first)[0])
        assert float(bounder.optimise(batch, {}, 30, threshold).value[0]) == float(first.value[0])
        assert float(bounder.optimise(batch, {}, 30, threshold, 100.0).value[0]) < float(first.value[0])

    def test_parts_can_be_written_back(self) -> None:
        problem, rng = wide_problem(7), np.random.default_rng(0)
        pools = plane_pools(problem, 0, samples(rng, problem.box, 1))
        batch, bounder = random_batch(rng, problem, 0, 5, pools), DualBounder(problem)
        bounded, which = bounder.optimise(batch, pools, 2, NEVER), torch.tensor([1, 3])
        before, part = bounded.value.clone(), bounder.optimise(bounded.batch.rows(which), pools, 20, NEVER)
        bounded.assign(which, part)
        assert bool((bounded.value[which] == part.value).all()) and bool((bounded.value[which] < before[which]).all())
        assert bounded.value[[0, 2, 4]].tolist() == before[[0, 2, 4]].tolist()
        again = bounder.optimise(bounded.batch, pools, 1, NEVER)
        torch.testing.assert_close(again.value, bounded.value, rtol=1e-12, atol=1e-12)


def test_a_smaller_box_counts_after_a_move() -> None:
    problem = wide_problem(8)
    bounder, batch = DualBounder(problem), random_batch(np.random.default_rng(0), problem, 0, 2, {})
    before = bounder.optimise(batch, {}, 1, NEVER)
    bounder.move(Bounds(problem.box.lower * 0.5, problem.box.upper * 0.5))
    after = bounder.optimise(batch, {}, 1, NEVER)
    expected = after.constant + 0.5 * after.form.abs().sum(1)
    torch.testing.assert_close(after.value, expected)
    torch.testing.assert_close(after.form, before.form)
