"""Compiled problems: their columns, layers and margins are those of the network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import Bounds, linear_bounds
from mipverify_py.engines._problem import Problem, compile_problem, receptive_fields
from onnx_models import Array
from tests.helpers.duals import ODD, columns, margins, odd_problem, random_problem, two_layers, wide_problem
from tests.helpers.networks import FAMILIES
from tests.helpers.proofs import random_box, samples

seeds = st.integers(0, 2**32 - 1)


def check(problem: Problem, inputs: Array) -> None:
    """Compares everything that a problem says with the network's own values at the inputs."""
    network, values, v = problem.network, problem.network.activations(inputs), columns(problem, inputs)
    assert v.shape[1] == problem.margin.shape[1] == problem.inputs + problem.unit_count
    for row, target in enumerate(problem.targets):
        found = v @ problem.margin[row] + problem.margin_constant[row]
        np.testing.assert_allclose(found, margins(problem, target, inputs), rtol=1e-9, atol=1e-9)
    first = 0
    for layer in problem.layers:
        assert layer.first == first and layer.size == len(layer.units) > 0
        before = v[:, : problem.inputs + first]
        pre = values[network.nodes[layer.relu].input][:, layer.units]
        np.testing.assert_allclose((layer.weight @ before.T).T + layer.bias, pre, rtol=1e-9, atol=1e-9)
        sources = np.hstack([values[s] for s in layer.direct.sources])
        given_sources = before if layer.source is None else (layer.source @ before.T).T + layer.source_constant
        np.testing.assert_allclose(given_sources[:, : sources.shape[1]], sources, rtol=1e-9, atol=1e-9)
        assert (layer.source is None) == (layer.direct.sources == (0,))
        if layer.affine_in_input:
            assert not layer.weight[:, problem.inputs :].nnz
        first += layer.size
    assert first == problem.unit_count


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=30)
@given(seed=seeds)
def test_columns_and_layers_evaluate_to_the_networks_values(family: str, seed: int) -> None:
    problem = random_problem(family, seed)
    check(problem, samples(np.random.default_rng(seed), problem.box, 20))


@pytest.mark.parametrize("name", ODD)
def test_odd_networks(name: str) -> None:
    problem = odd_problem(name)
    check(problem, samples(np.random.default_rng(0), problem.box, 20))


@pytest.mark.parametrize("family", FAMILIES)
def test_units_are_the_unstable_ones_in_the_order_of_the_network(family: str) -> None:
    for seed in range(10):
        problem = random_problem(family, seed)
        network = problem.network
        expected = [
            (relu, unit)
            for relu in network.relu_indices
            for unit in np.flatnonzero(problem.bounds.pre_activation(network, relu).straddles_zero)
        ]
        assert [(u.relu, k) for u in problem.tree_units for k in u.units] == expected
        unit = problem.unit_bounds(problem.bounds)
        assert unit.size == len(expected)
        for k, (relu, place) in enumerate(expected):
            pre = problem.bounds.pre_activation(network, relu)
            assert (unit.lower[k], unit.upper[k]) == (pre.lower[place], pre.upper[place])


def test_targets_keep_their_order_and_bounds_at_hand_are_taken() -> None:
    problem = random_problem("dense", 1)
    bounds = linear_bounds(problem.network, problem.box)
    swapped = compile_problem(problem.network, 0, (2, 1), problem.box, bounds)
    assert swapped.bounds is bounds
    np.testing.assert_array_equal(swapped.margin, problem.margin[::-1])
    np.testing.assert_array_equal(swapped.margin_constant, problem.margin_constant[::-1])
    single = compile_problem(problem.network, 1, (0,), problem.box)
    np.testing.assert_array_equal(single.margin[0], -problem.margin[0])


def test_bounds_of_a_smaller_box_have_the_same_units() -> None:
    problem = random_problem("residual", 4)
    inner = random_box(np.random.default_rng(0), problem.inputs, 0.1)
    box = Bounds(np.clip(inner.lower, problem.box.lower, problem.box.upper), problem.box.upper)
    unit = problem.unit_bounds(linear_bounds(problem.network, box))
    assert unit.size == problem.unit_count


def test_receptive_fields_are_padded_with_nothing() -> None:
    problem = wide_problem(0, inputs=12, units=5, reads=3)
    (layer,) = problem.layers
    weight, entries, mask = receptive_fields(layer.weight)
    assert weight.shape == entries.shape == mask.shape == (layer.size, 3)
    dense = np.zeros((layer.size, 12))
    np.add.at(dense, (np.arange(layer.size)[:, None], entries), weight * mask)
    np.testing.assert_array_equal(dense, layer.weight.toarray())
    empty = two_layers(np.zeros((1, 2)), np.zeros(1), np.zeros((2, 1)))
    assert compile_problem(empty, 0, (1,), Bounds.of([-1.0] * 2, [1.0] * 2)).unit_count == 0
    ragged, _, filled = receptive_fields(odd_problem("relu of the input").layers[0].weight)
    assert ragged.shape == (3, 1) and np.all(filled == 1)
