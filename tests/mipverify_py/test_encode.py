"""The MIP encoding: sizes, meaning at fixed inputs, and progressive tightening."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import Bounds, interval_bounds, linear_bounds
from mipverify_py import LinfBall, Objective, Options, Query, Targets, Tightening, encode
from mipverify_py._tighten import tighten
from mipverify_py.backends import SolveLimits, SolveStatus, solve_isolated
from onnx_models import DenseMap, NetworkBuilder, ReluNetwork
from tests.helpers.networks import networks
from tests.helpers.oracles import largest_margin

seeds = st.integers(0, 2**32 - 1)


def two_layer(classes: int = 4) -> ReluNetwork:
    rng = np.random.default_rng(1)
    builder = NetworkBuilder((3,))
    hidden = builder.relu(builder.affine([0], [DenseMap(rng.normal(size=(5, 3)))], rng.normal(size=5) * 0.1))
    return builder.build(builder.affine([hidden], [DenseMap(rng.normal(size=(classes, 5)))]))


class TestSizes:
    """Columns: inputs, two per unstable unit, one per target if there are several, the distance or the margin."""

    def sizes(self, objective: Objective, targets: Targets) -> tuple[int, int, int]:
        network, x0 = two_layer(), np.full(3, 0.5)
        query = Query(network, x0, LinfBall(0.3), objective, targets=targets)
        encoding = encode(query, interval_bounds(network, query.box))
        unstable = sum(encoding.unstable)
        assert unstable > 0 and encoding.stable == (5 - unstable,)
        model = encoding.model
        return model.columns - 2 * unstable, model.rows - 3 * unstable, model.binaries - unstable

    def test_closest(self) -> None:
        assert self.sizes(Objective.CLOSEST, Targets()) == (3 + 3 + 1, 1 + 3 + 2 * 3, 3)

    def test_feasibility_with_one_target(self) -> None:
        query = Query(two_layer(), np.full(3, 0.5))
        assert self.sizes(Objective.FEASIBILITY, Targets.only(query.target_classes[0])) == (3, 1, 0)

    def test_worst(self) -> None:
        assert self.sizes(Objective.WORST, Targets()) == (3 + 3 + 1, 1 + 3, 3)


@settings(max_examples=20, deadline=None)
@given(networks(max_relus=8), seeds)
def test_at_a_fixed_input_the_optimum_is_the_margin(network: ReluNetwork, seed: int) -> None:
    x0 = np.random.default_rng(seed).random(network.input_size)
    query = Query(network, x0, LinfBall(0.0), Objective.WORST)
    wide = linear_bounds(network, Bounds(np.clip(x0 - 0.2, 0, 1), np.clip(x0 + 0.2, 0, 1)))
    model = encode(query, wide).model
    fixed = encode(Query(network, x0, LinfBall(0.0), Objective.WORST), linear_bounds(network, query.box)).model
    inputs = encode(query, wide).inputs
    lower, upper = model.column_lower.copy(), model.column_upper.copy()
    lower[inputs] = upper[inputs] = x0
    from dataclasses import replace

    margin = query.margin_at(network.forward(x0)[None])[0]
    for candidate in (replace(model, column_lower=lower, column_upper=upper), fixed):
        solution = solve_isolated("highs", candidate, SolveLimits(seconds=30))
        assert solution.status is SolveStatus.OPTIMAL and solution.objective is not None
        assert -solution.objective == pytest.approx(margin, abs=1e-6)


@settings(max_examples=12, deadline=None)
@given(networks(max_relus=6), seeds, st.sampled_from([0.1, 0.5]))
def test_mip_bounds_are_inside_lp_bounds_and_contain_the_samples(
    network: ReluNetwork, seed: int, radius: float
) -> None:
    rng = np.random.default_rng(seed)
    x0 = rng.random(network.input_size)
    box = Bounds(np.clip(x0 - radius, 0, 1), np.clip(x0 + radius, 0, 1))
    lp = tighten(network, box, Options(tightening=Tightening.LP))
    mip = tighten(network, box, Options(tightening=Tightening.MIP))
    assert not lp.claimed and [name for name, _ in mip.solves] == ["interval", "linear", "lp", "mip"]
    values = network.activations(box.lower + rng.random((200, box.size)) * (box.upper - box.lower))
    for outer, inner, value in zip(lp.bounds.nodes, mip.bounds.nodes, values, strict=True):
        assert np.all(outer.lower <= inner.lower) and np.all(outer.upper >= inner.upper)
        assert np.all(value >= inner.lower - 1e-9) and np.all(value <= inner.upper + 1e-9)


@settings(max_examples=12, deadline=None)
@given(networks(max_relus=5), seeds)
def test_worst_over_the_encoding_is_brute_force(network: ReluNetwork, seed: int) -> None:
    x0 = np.random.default_rng(seed).random(network.input_size)
    query = Query(network, x0, LinfBall(0.3), Objective.WORST)
    model = encode(query, interval_bounds(network, query.box)).model
    solution = solve_isolated("highs", model, SolveLimits(seconds=30))
    truth = largest_margin(network, query.target_classes, query.reference, lower=query.box.lower, upper=query.box.upper)
    assert solution.objective is not None and -solution.objective == pytest.approx(truth, abs=1e-5)


def test_restricting_targets_drops_their_binaries() -> None:
    network = two_layer()
    query = Query(network, np.full(3, 0.5))
    bounds = interval_bounds(network, query.box)
    few = encode(query, bounds, targets=query.target_classes[:2])
    assert few.targets == query.target_classes[:2]
    assert encode(query, bounds).model.binaries - few.model.binaries == 1
