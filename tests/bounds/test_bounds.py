"""Bounds as values, and the three ways of computing them, against samples and exact answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from bounds import (
    Bounds,
    Formulation,
    NetworkBounds,
    _linear,
    interval_bounds,
    linear_bounds,
    lp_bounds,
    upper_bounds,
)
from bounds._sweep import intersect
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork, SparseMap, exact_logits
from onnx_models.errors import InputError, InvalidBoundsError
from tests.helpers.networks import networks, random_network
from tests.helpers.oracles import largest_margin

seeds = st.integers(0, 2**32 - 1)


def random_box(rng: np.random.Generator, size: int, radius: float) -> Bounds:
    centre = rng.random(size)
    spread = radius * rng.random(size) * (rng.random(size) < 0.9)  # some entries are fixed
    return Bounds(np.clip(centre - spread, 0, 1), np.clip(centre + spread, 0, 1))


def samples(rng: np.random.Generator, box: Bounds, count: int) -> Array:
    inside = box.lower + rng.random((count, box.size)) * (box.upper - box.lower)
    corners = np.where(rng.random((count, box.size)) < 0.5, box.lower, box.upper)
    return np.clip(np.vstack([inside, corners]), box.lower, box.upper)


class TestBounds:
    def test_crossing_names_entry_and_gap(self) -> None:
        with pytest.raises(InvalidBoundsError, match=r"entry 1 cross.*lower 2\.0, upper 1\.5, gap 0\.5"):
            Bounds(np.array([0.0, 2.0]), np.array([1.0, 1.5]))

    def test_nan_is_refused(self) -> None:
        with pytest.raises(InvalidBoundsError, match="not numbers"):
            Bounds(np.array([np.nan]), np.array([1.0]))

    def test_shapes_must_agree(self) -> None:
        with pytest.raises(InvalidBoundsError, match="shape"):
            Bounds(np.zeros(2), np.zeros(3))

    @pytest.mark.parametrize("kind", [np.float32, np.float16, np.int64, np.bool_])
    def test_ends_are_float64_whatever_made_them(self, kind: type[np.generic]) -> None:
        bounds = Bounds(np.zeros(2, kind), np.ones(2, kind))
        assert bounds.lower.dtype == bounds.upper.dtype == np.float64
        assert bounds.lower.tolist() == [0.0, 0.0] and bounds.upper.tolist() == [1.0, 1.0]

    def test_float64_ends_are_not_copied(self) -> None:
        low, high = np.zeros(2), np.ones(2)
        bounds = Bounds(low, high)
        assert bounds.lower is low and bounds.upper is high

    def test_crossing_of_a_layer_names_it(self) -> None:
        builder = NetworkBuilder((1,))
        network = builder.build(builder.relu(builder.affine([0], [SparseMap.identity(1)], 1.0, name="conv_3")))
        with pytest.raises(InvalidBoundsError, match=r"Layer 'conv_3'.*entry 0.*gap 1"):
            intersect(network, 1, Bounds.of([0.0], [1.0]), Bounds.of([2.0], [3.0]))

    def test_region_must_fit(self) -> None:
        network = random_network(np.random.default_rng(0))
        with pytest.raises(InputError, match="entries"):
            interval_bounds(network, Bounds(np.zeros(network.input_size + 1), np.ones(network.input_size + 1)))
        with pytest.raises(InputError, match="unbounded"):
            interval_bounds(network, Bounds(np.zeros(network.input_size), np.full(network.input_size, np.inf)))


@settings(max_examples=60, deadline=None)
@given(networks(max_relus=12), seeds, st.sampled_from([0.05, 0.3, 1.0]))
def test_samples_lie_inside_and_each_kind_contains_the_next(network: ReluNetwork, seed: int, radius: float) -> None:
    rng = np.random.default_rng(seed)
    box = random_box(rng, network.input_size, radius)
    interval = interval_bounds(network, box)
    linear = linear_bounds(network, box)
    lp = lp_bounds(network, box, start=linear)
    values = network.activations(samples(rng, box, 100))
    for i, value in enumerate(values):
        rounding = 1e-12 * (1 + np.abs(value).max())
        for kind in (interval, linear, lp):
            assert np.all(value >= kind.nodes[i].lower - rounding)
            assert np.all(value <= kind.nodes[i].upper + rounding)
        for outer, inner in ((interval, linear), (linear, lp)):
            assert np.all(outer.nodes[i].lower <= inner.nodes[i].lower)
            assert np.all(outer.nodes[i].upper >= inner.nodes[i].upper)


@settings(max_examples=40, deadline=None)
@given(networks(max_relus=12), seeds)
def test_sparse_rows_give_what_full_rows_give(network: ReluNetwork, seed: int) -> None:
    rng = np.random.default_rng(seed)
    box = random_box(rng, network.input_size, 0.4)
    values = network.activations(samples(rng, box, 20))
    found = []
    for share in (0.0, 2.0):  # never sparse, always
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_linear, "SPARSE_SHARE", share)
            found.append(linear_bounds(network, box))
    for full, compact, value in zip(found[0].nodes, found[1].nodes, values, strict=True):
        size = 1e-12 * (1 + full.magnitude)
        assert np.all(np.abs(full.lower - compact.lower) <= size)
        assert np.all(np.abs(full.upper - compact.upper) <= size)
        assert np.all((value >= compact.lower - size) & (value <= compact.upper + size))


@settings(max_examples=30, deadline=None)
@given(networks(max_relus=8), seeds)
def test_bounds_of_a_point_enclose_the_exact_value(network: ReluNetwork, seed: int) -> None:
    """Rounding is outward: the exact rational logits lie between the ends, which differ by rounding only."""
    point = np.random.default_rng(seed).random(network.input_size)
    exact = exact_logits(network, point)
    for kind in (interval_bounds, linear_bounds):
        output = kind(network, Bounds(point, point)).nodes[-1]
        assert all(low <= value <= high for low, value, high in zip(output.lower, exact, output.upper, strict=True))
        assert np.all(output.upper - output.lower <= 1e-11)


@settings(max_examples=25, deadline=None)
@given(networks(max_relus=6), seeds, st.sampled_from([0.1, 0.5]))
def test_output_bounds_contain_the_exact_extremes(network: ReluNetwork, seed: int, radius: float) -> None:
    box = random_box(np.random.default_rng(seed), network.input_size, radius)
    bounds = lp_bounds(network, box)
    last = len(network.nodes) - 1
    row = np.zeros((1, network.output_size))
    row[0, 1], row[0, 0] = 1.0, -1.0
    bound = upper_bounds(network, bounds, last, sparse.csr_array(row))[0]
    assert largest_margin(network, (1,), 0, lower=box.lower, upper=box.upper) <= bound + 1e-7


@settings(max_examples=25, deadline=None)
@given(networks(max_relus=12), seeds)
def test_backward_pass_with_dual_multipliers_reaches_the_lp_optimum(network: ReluNetwork, seed: int) -> None:
    """The re-proof loses nothing: scipy's optimum of the triangle LP and our re-evaluated bound agree."""
    from scipy.optimize import linprog

    from bounds import LpSession

    box = random_box(np.random.default_rng(seed), network.input_size, 0.4)
    bounds = linear_bounds(network, box)
    last = len(network.nodes) - 1
    form = Formulation(network, bounds, integral=False)
    model, value = form.builder.build(), form.value(last)
    for sign in (1.0, -1.0):
        row = np.zeros((1, network.output_size))
        row[0, 0] = sign
        rows = sparse.csr_array(row)
        duals = LpSession(model).maximise((rows @ value.matrix).toarray()[0])
        assert duals is not None
        multipliers = {i: np.zeros((1, bounds.nodes[i].size)) for i in form.relus}
        for i, columns in form.relus.items():
            multipliers[i][0, columns.units] = np.abs(duals[columns.lower_rows])
        reproved = upper_bounds(network, bounds, last, rows, multipliers=multipliers)[0]
        finite_upper, finite_lower = np.isfinite(model.row_upper), np.isfinite(model.row_lower)
        matrix = model.matrix.toarray()
        answer = linprog(
            -(rows @ value.matrix).toarray()[0],
            A_ub=np.vstack([matrix[finite_upper], -matrix[finite_lower]]),
            b_ub=np.concatenate([model.row_upper[finite_upper], -model.row_lower[finite_lower]]),
            bounds=list(zip(model.column_lower, model.column_upper, strict=True)),
            method="highs",
        )
        optimum = -answer.fun + float((rows @ value.constant)[0])
        assert reproved == pytest.approx(optimum, abs=1e-6)
        assert reproved >= optimum - 1e-7


@settings(max_examples=25, deadline=None)
@given(networks(max_relus=8), seeds, seeds)
def test_any_multipliers_give_valid_bounds(network: ReluNetwork, seed: int, noise: int) -> None:
    """A hostile LP solver can cost tightness, never soundness."""
    rng = np.random.default_rng(seed)
    box = random_box(rng, network.input_size, 0.5)
    bounds = linear_bounds(network, box)
    hostile = np.random.default_rng(noise)
    rows = sparse.csr_array(np.vstack([np.eye(network.output_size), -np.eye(network.output_size)]))
    multipliers = {
        i: np.abs(hostile.normal(size=(rows.shape[0], network.nodes[i].size))) * 10.0 ** hostile.integers(-3, 4)
        for i in network.relu_indices
    }
    top = upper_bounds(network, bounds, len(network.nodes) - 1, rows, multipliers=multipliers)
    values = rows @ network.forward_batch(samples(rng, box, 200)).T
    assert np.all(values.max(axis=1) <= top + 1e-12 * (1 + np.abs(top)))


@settings(max_examples=40, deadline=None)
@given(networks(max_relus=10), seeds)
def test_formulation_at_a_fixed_input_is_the_forward_pass(network: ReluNetwork, seed: int) -> None:
    """With the right phases every row of the encoding holds and the output expression gives the logits."""
    rng = np.random.default_rng(seed)
    box = random_box(rng, network.input_size, 0.5)
    bounds = linear_bounds(network, box)
    form = Formulation(network, bounds, integral=True)
    model = form.builder.build()
    point = samples(rng, box, 1)[0]
    column_values = solution_at(network, form, point, model.columns)
    rows = model.matrix @ column_values
    assert np.all(rows >= model.row_lower - 1e-9) and np.all(rows <= model.row_upper + 1e-9)
    assert np.all(column_values >= model.column_lower - 1e-9) and np.all(column_values <= model.column_upper + 1e-9)
    output = form.value(len(network.nodes) - 1)
    assert output.matrix @ column_values + output.constant == pytest.approx(network.forward(point), abs=1e-9)


def solution_at(network: ReluNetwork, form: Formulation, point: Array, columns: int) -> Array:
    """The values that the encoding's columns must have at an input, read off the forward pass by column name."""
    values = network.activations(point[None])
    result = np.full(columns, np.nan)
    for k, name in enumerate(form.builder.build().names):
        kind, *place = name.split("_")
        if kind == "x":
            result[k] = point[int(place[0])]
        else:
            node, unit = int(place[0]), int(place[1])
            result[k] = values[node][0, unit] if kind == "y" else float(values[node][0, unit] > 0)
    return result


def test_stable_units_leave_no_binaries() -> None:
    builder = NetworkBuilder((2,))
    hidden = builder.affine(
        [0], [DenseMap(np.array([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]]))], np.array([1.0, -1.0, 0.0])
    )
    network = builder.build(builder.affine([builder.relu(hidden)], [DenseMap(np.ones((2, 3)))]))
    bounds: NetworkBounds = interval_bounds(network, Bounds(np.zeros(2), np.ones(2)))
    assert bounds.unstable_counts(network) == (1,)
    model = Formulation(network, bounds, integral=True).builder.build()
    assert model.binaries == 1
    assert model.names == ("x_0", "x_1", "y_2_2", "a_2_2")


def test_deadline_keeps_the_bounds_at_hand() -> None:
    network = random_network(np.random.default_rng(3), max_relus=12)
    box = Bounds(np.zeros(network.input_size), np.ones(network.input_size))
    linear = linear_bounds(network, box)
    late = lp_bounds(network, box, start=linear, deadline=0.0)
    assert all(np.array_equal(a.lower, b.lower) for a, b in zip(late.nodes, linear.nodes, strict=True))
