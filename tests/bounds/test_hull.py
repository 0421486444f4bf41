"""Batched linear bounds with planes: against brute force over cells, and in rational arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import linprog

from bounds import Bounds, HullPlanes, LinearForms, NetworkBounds, UnitLines, linear_bounds, linear_forms, rows_at_once
from bounds._direct import _exact, direct_inputs
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork
from tests.helpers.networks import networks
from tests.helpers.oracles import pieces
from tests.helpers.proofs import exact_values, random_box, samples, spoiled

seeds = st.integers(0, 2**32 - 1)


def dot(first: Array, second: list[Fraction]) -> Fraction:
    return sum((Fraction(float(a)) * b for a, b in zip(first, second, strict=True)), Fraction(0))


class TestPlanes:
    @settings(max_examples=150, deadline=None)
    @given(seeds, st.sampled_from([0, 3, 100]))
    def test_constant_is_the_largest_gap_at_the_corners(self, seed: int, scale: int) -> None:
        """max(z, 0) - C v is convex, so its maximum over a box is at a corner; all 2**n are tried in fractions."""
        rng = np.random.default_rng(seed)
        n, count = int(rng.integers(1, 6)), 4
        weight = rng.normal(size=(2, n)) * 10.0 ** rng.integers(-scale, scale + 1, (2, n))
        direct = _exact((0,), sparse.csr_array(weight * (rng.random((2, n)) < 0.8)), rng.normal(size=2))
        units = rng.integers(2, size=count)
        kept = weight[units] * rng.choice([0.0, 1.0, 0.3], (count, n)) + rng.normal(size=(count, n)) * rng.integers(2)
        box = random_box(rng, n, 1.0)
        planes = HullPlanes.over(direct, box, units, sparse.csr_array(kept))
        for unit, c, constant, size in zip(units, kept, planes.constants, planes.sizes, strict=True):
            gaps, values = [], []
            row, bias = direct.weight[[unit]].toarray()[0], Fraction(float(direct.bias[unit]))
            for corner in product(*zip(box.lower, box.upper, strict=True)):
                v = [Fraction(float(a)) for a in corner]
                gaps.append(max(dot(row, v) + bias, Fraction(0)) - dot(c, v))
                values.append(dot(np.abs(c), [abs(a) for a in v]))
            assert Fraction(float(constant)) >= max(gaps) and Fraction(float(size)) >= max(values)
            magnitude = 1.0 + np.abs(c).sum() + np.abs(row).sum() + abs(float(bias))
            assert float(constant) <= float(max(gaps)) + 1e-13 * magnitude

    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    def test_coefficients_that_are_no_numbers_count_as_zero(self) -> None:
        direct = _exact((0,), sparse.csr_array(np.array([[1.0, 1.0]])), np.array([-1.0]))
        given = sparse.csr_array(np.array([[np.nan, 1.0], [np.inf, 0.5], [1e308, -1e308]]))
        planes = HullPlanes.over(direct, Bounds.of([0, 0], [1, 1]), np.zeros(3, np.intp), given)
        assert planes.coefficients.toarray()[:2].tolist() == [[0.0, 1.0], [0.0, 0.5]]
        assert planes.constants[:2] == pytest.approx([0.0, 0.5])
        huge = HullPlanes.over(direct, Bounds.of([-9, -9], [9, 9]), np.zeros(3, np.intp), given)
        assert huge.constants[2] == np.inf


def random_planes(
    rng: np.random.Generator, network: ReluNetwork, bounds: NetworkBounds, relu: int, units: Array
) -> HullPlanes:
    direct = direct_inputs(network, relu)
    owners = rng.choice(units, 3 * len(units))
    slopes = direct.weight[owners].toarray() * rng.choice([0.0, 1.0, 0.4], (len(owners), direct.weight.shape[1]))
    return HullPlanes.over(direct, direct.box(bounds), owners, sparse.csr_array(slopes))


def random_lines(
    rng: np.random.Generator, network: ReluNetwork, bounds: NetworkBounds, inside: Array, *, hostile: bool
) -> dict[int, UnitLines]:
    """One row for each of the inputs `inside`, which lie in their rows' regions: some units split, some bounds cut."""
    values, lines, count = network.activations(inside), {}, len(inside)
    for relu in network.relu_indices:
        pre = bounds.pre_activation(network, relu)
        units = np.flatnonzero(pre.straddles_zero | (rng.random(pre.size) < 0.2))
        if not len(units):
            continue
        z, low, high = values[network.nodes[relu].input][:, units], pre.lower[units], pre.upper[units]
        cut = rng.random(z.shape) < 0.3
        lower = np.where(cut, np.maximum(z - rng.random(z.shape) * 0.2 - 1e-9, low), low)
        upper = np.where(cut, np.minimum(z + rng.random(z.shape) * 0.2 + 1e-9, high), high)
        split = (rng.random(z.shape) < 0.3) & (np.abs(z) > 1e-9)
        lower = np.where(split & (z > 0), np.maximum(lower, 0.0), lower)
        upper = np.where(split & (z < 0), np.minimum(upper, 0.0), upper)
        planes = random_planes(rng, network, bounds, relu, units)
        weights = rng.random((count, len(planes.units))) * rng.choice([0.0, 0.2, 0.6], (count, len(planes.units)))
        alpha, rho = rng.random(z.shape), rng.normal(size=z.shape) * rng.choice([0.0, 0.3, 3.0], z.shape)
        if hostile:
            alpha, rho, weights = (spoiled(rng, a) for a in (alpha, rho, weights))
        lines[relu] = UnitLines(units, lower, upper, alpha, rho, sparse.csr_array(weights), planes)
    return lines


def random_forms(
    rng: np.random.Generator, network: ReluNetwork, *, count: int, hostile: bool
) -> tuple[Array, NetworkBounds, dict[int, UnitLines], Array, LinearForms]:
    box = random_box(rng, network.input_size, 0.6)
    bounds = linear_bounds(network, box)
    inside = samples(rng, box, count)[:count]
    lines = random_lines(rng, network, bounds, inside, hostile=hostile)
    rows = rng.integers(-1, 2, (count, network.output_size)).astype(np.float64)
    with np.errstate(all="ignore"):
        return inside, bounds, lines, rows, linear_forms(network, bounds, rows, lines)


def fits(network: ReluNetwork, lines: Mapping[int, UnitLines], row: int, values: list[list[Fraction]]) -> bool:
    """Whether an input with these values is one that the row must hold for."""
    for relu, part in lines.items():
        z = [values[network.nodes[relu].input][k] for k in part.units]
        ends = zip(part.lower[row], z, part.upper[row], strict=True)
        if not all(Fraction(float(low)) <= value <= Fraction(float(high)) for low, value, high in ends):
            return False
    return True


@settings(max_examples=60, deadline=None)
@given(networks(max_relus=6), seeds, st.booleans())
def test_forms_hold_in_rational_arithmetic(network: ReluNetwork, seed: int, hostile: bool) -> None:
    rng = np.random.default_rng(seed)
    inside, bounds, lines, rows, forms = random_forms(rng, network, count=4, hostile=hostile)
    assert hostile or np.all(np.isfinite(forms.bound))
    used = 0
    for point in [*inside, *samples(rng, bounds.nodes[0], 2)]:
        values = exact_values(network, point)
        for k in range(len(rows)):
            if fits(network, lines, k, values):
                used += 1
                if np.isfinite(forms.bound[k]):
                    top = dot(forms.slopes[k], values[0]) + Fraction(float(forms.constant[k]))
                    assert dot(rows[k], values[-1]) <= top <= Fraction(float(forms.bound[k]))
    assert used >= len(rows)  # each row's region holds its point of `inside`


@settings(max_examples=40, deadline=None)
@given(networks(max_relus=6), seeds, st.booleans())
def test_bound_is_not_below_the_maximum_over_the_region(network: ReluNetwork, seed: int, hostile: bool) -> None:
    """The maximum comes from one linear program per cell, with the row's own pre-activation bounds as constraints."""
    rng = np.random.default_rng(seed)
    _, bounds, lines, rows, forms = random_forms(rng, network, count=2, hostile=hostile)
    box, solved = bounds.nodes[0], 0
    for k, row in enumerate(rows):
        for pattern, (g, h, f, constant) in zip(
            product((False, True), repeat=network.relu_count), pieces(network), strict=True
        ):
            sign = np.where(pattern, -1.0, 1.0)  # g x - h is sign z
            low, high = node_limits(network, bounds, lines, k)
            # sign z <= 0, and low <= z <= high
            a = np.vstack([g, sign[:, None] * g, -sign[:, None] * g])
            b = np.concatenate([h, high + sign * h, -low - sign * h])
            answer = linprog(-(row @ f), A_ub=a, b_ub=b, bounds=list(zip(box.lower, box.upper, strict=True)))
            if answer.status == 0:
                solved += 1
                assert forms.bound[k] >= -answer.fun + row @ constant - 1e-7
    assert solved >= len(rows)  # each row's region has an input


def node_limits(
    network: ReluNetwork, bounds: NetworkBounds, lines: Mapping[int, UnitLines], row: int
) -> tuple[Array, Array]:
    """The row's bounds of all pre-activations, a little wider, one ReLU node after the other."""
    lower, upper = [], []
    for relu in network.relu_indices:
        pre = bounds.pre_activation(network, relu)
        low, high = pre.lower.copy(), pre.upper.copy()
        if relu in lines:
            low[lines[relu].units], high[lines[relu].units] = lines[relu].lower[row], lines[relu].upper[row]
        lower.append(low - 1e-9)
        upper.append(high + 1e-9)
    return np.concatenate([np.zeros(0), *lower]), np.concatenate([np.zeros(0), *upper])


def one_unit() -> tuple[ReluNetwork, NetworkBounds]:
    """f = relu(x1 + x2 - 1) over the unit square, whose hull needs the plane y <= x2 beside the triangle."""
    builder = NetworkBuilder((2,))
    hidden = builder.relu(builder.affine([0], [DenseMap(np.array([[1.0, 1.0]]))], np.array([-1.0])))
    network = builder.build(builder.affine([hidden], [DenseMap(np.ones((1, 1)))]), fuse=False)
    return network, linear_bounds(network, Bounds.of([0, 0], [1, 1]))


def forms_of_one_unit(weights: Array, slopes: Array, **changes: Array) -> LinearForms:
    network, bounds = one_unit()
    count = len(weights)
    planes = HullPlanes.over(
        direct_inputs(network, 2), bounds.nodes[0], np.zeros(len(slopes), np.intp), sparse.csr_array(slopes)
    )
    given: dict[str, Array] = {
        "lower": np.full((count, 1), -1.0),
        "upper": np.ones((count, 1)),
        "alpha": np.zeros((count, 1)),
        "rho": np.zeros((count, 1)),
    }
    lines = UnitLines(np.array([0]), **(given | changes), weights=sparse.csr_array(weights), planes=planes)
    return linear_forms(network, bounds, np.ones((count, 1)), {2: lines})


def test_planes_and_triangle_are_mixed_as_asked() -> None:
    """The triangle is y <= (x1 + x2) / 2, the planes are y <= x1 and y <= x2."""
    weights = np.array([[0.0, 0.0], [1.0, 0.0], [0.25, 0.25], [0.5, 0.0]])
    forms = forms_of_one_unit(weights, np.eye(2))
    expected = np.array([[0.5, 0.5], [1.0, 0.0], [0.5, 0.5], [0.75, 0.25]])
    assert forms.slopes == pytest.approx(expected, abs=1e-12)
    assert forms.constant == pytest.approx(np.zeros(4), abs=1e-12)
    assert forms.bound == pytest.approx(np.ones(4), abs=1e-12)


@pytest.mark.parametrize("weights", [[3.0, 0.0], [np.nan, 1.0], [-4.0, 0.0], [1e300, np.inf], [0.1] * 2])
def test_weights_may_be_anything(weights: list[float]) -> None:
    """At (1, 1) the unit is 1: no bound may be below that."""
    with np.errstate(all="ignore"):
        forms = forms_of_one_unit(np.array([weights]), np.eye(2))
    assert forms.bound[0] >= 1.0


def test_split_units_are_exact_and_earn_their_half_space() -> None:
    """With z <= 0 the unit is 0 and rho = -2 adds -2 z; with z >= 0 it is z, and rho = 3 adds 3 z."""
    limits = {"lower": np.array([[-1.0], [0.0]]), "upper": np.array([[0.0], [1.0]])}
    forms = forms_of_one_unit(np.zeros((2, 1)), np.ones((1, 2)), rho=np.array([[-2.0], [3.0]]), **limits)
    assert forms.slopes == pytest.approx(np.array([[-2.0, -2.0], [4.0, 4.0]]))
    assert forms.constant == pytest.approx(np.array([2.0, -4.0]))
    assert forms.bound == pytest.approx(np.array([2.0, 4.0]))


def test_bounds_of_every_unit_earn_what_they_exclude() -> None:
    """z = x1 + x2 - 1. With z <= 1/2, whose triangle is (z + 1) / 3, rho = -1/3 adds (1/2 - z) / 3: in all 1/2, which
    no multiplier without a bound gets below 2/3. With z >= 1/2, rho = 1 adds z - 1/2; with z <= -1/2, rho = -1 adds
    -1/2 - z; and a free unit's lower bound -1/4 with rho = 2 adds 2 z + 1/2 to its triangle's 4/5 z + 1/5.
    """
    lower, upper = np.array([[-1.0], [0.5], [-1.0], [-0.25]]), np.array([[0.5], [1.0], [-0.5], [1.0]])
    rho = np.array([[-1.0 / 3.0], [1.0], [-1.0], [2.0]])
    forms = forms_of_one_unit(np.zeros((4, 1)), np.ones((1, 2)), lower=lower, upper=upper, rho=rho)
    assert forms.slopes == pytest.approx(np.outer([0.0, 2.0, -1.0, 2.8], [1.0, 1.0]), abs=1e-12)
    assert forms.constant == pytest.approx(np.array([0.5, -2.5, 0.5, -2.1]), abs=1e-12)
    assert forms.bound == pytest.approx(np.array([0.5, 1.5, 0.5, 3.5]), abs=1e-12)


@pytest.mark.parametrize("rho", [np.nan, np.inf, -np.inf])
def test_multipliers_of_bounds_that_are_no_numbers_count_as_zero(rho: float) -> None:
    given, plain = (forms_of_one_unit(np.zeros((1, 1)), np.ones((1, 2)), rho=np.full((1, 1), r)) for r in (rho, 0.0))
    assert np.array_equal(given.slopes, plain.slopes) and given.bound == plain.bound


def test_infinite_bounds_have_no_multiplier() -> None:
    """The unit is stable, so that no triangle needs its upper bound."""
    ends = {"lower": np.full((2, 1), 0.25), "upper": np.full((2, 1), np.inf)}
    with np.errstate(all="ignore"):
        forms = forms_of_one_unit(np.zeros((2, 1)), np.ones((1, 2)), rho=np.array([[-5.0], [1.0]]), **ends)
    assert forms.slopes == pytest.approx(np.array([[1.0, 1.0], [2.0, 2.0]]))
    assert forms.constant == pytest.approx(np.array([-1.0, -2.25]))


def test_what_bounds_earn_is_rounded_up() -> None:
    """Thirty units z = x for x in [0, 1]; bounds lie a million times as far out, and what they add nearly cancels."""
    rng, count = np.random.default_rng(0), 30
    builder = NetworkBuilder((1,))
    hidden = builder.relu(builder.affine([0], [DenseMap(np.ones((count, 1)))]))
    network = builder.build(builder.affine([hidden], [DenseMap(np.zeros((1, count)))]), fuse=False)
    bounds, rho = linear_bounds(network, Bounds.of([0.0], [1.0])), rng.normal(size=(40, count))
    ends = 1e6 * rng.normal(size=rho.shape)
    ends[:, -1] = -(rho[:, :-1] * ends[:, :-1]).sum(axis=1) / rho[:, -1]
    none = HullPlanes.over(direct_inputs(network, 2), bounds.nodes[0], np.zeros(0, np.intp), sparse.csr_array((0, 1)))
    lines = UnitLines(np.arange(count), ends, ends, np.zeros(rho.shape), rho, sparse.csr_array((40, 0)), none)
    forms = linear_forms(network, bounds, np.zeros((40, 1)), {2: lines})
    for k in range(40):
        exact = -dot(rho[k], [Fraction(float(end)) for end in ends[k]])
        assert exact <= Fraction(float(forms.constant[k])) <= exact + 1e-13 * float(np.abs(rho[k]) @ np.abs(ends[k]))


def cancelling() -> ReluNetwork:
    """f = 1e16 x + x - 1e16 x = x for x >= 0, through three units with z = x."""
    builder = NetworkBuilder((1,))
    hidden = builder.relu(builder.affine([0], [DenseMap(np.ones((3, 1)))]))
    return builder.build(builder.affine([hidden], [DenseMap(np.array([[1e16, 1.0, -1e16]]))]), fuse=False)


def test_cancellation_that_fools_plain_floats_does_not_fool_the_bound() -> None:
    network = cancelling()
    naive = 0.0
    for weight in (1e16, 1.0, -1e16):
        naive += weight * 1.0
    assert naive == 0.0 and exact_values(network, np.ones(1))[-1] == [1]
    bounds = linear_bounds(network, Bounds.of([0.0], [1.0]))
    assert linear_forms(network, bounds, np.ones((1, 1)), {}).bound[0] >= 1.0


@settings(max_examples=60, deadline=None)
@given(seeds, st.sampled_from([8, 60, 150]))
def test_wild_magnitudes(seed: int, scale: int) -> None:
    """Weights, boxes and multipliers over hundreds of orders of magnitude: overflow gives inf, nothing is too low."""
    rng = np.random.default_rng(seed)
    builder, node = NetworkBuilder((2,)), 0
    for size in (3, 2):
        weight = rng.normal(size=(size, builder.size(node))) * 10.0 ** rng.integers(-scale, scale + 1, (size, 1))
        node = builder.relu(builder.affine([node], [DenseMap(weight)], rng.normal(size=size) * 0.1))
    weight = rng.normal(size=(1, 2)) * 10.0 ** rng.integers(-scale, scale + 1, (1, 2))
    network = builder.build(builder.affine([node], [DenseMap(weight)]), fuse=False)
    box = Bounds(-rng.random(2), rng.random(2))
    points = samples(rng, box, 8)
    with np.errstate(all="ignore"):
        bounds = linear_bounds(network, box)
        lines = {}
        for relu in network.relu_indices:
            pre = bounds.pre_activation(network, relu)
            units = np.flatnonzero(pre.straddles_zero)
            if len(units):
                planes = random_planes(rng, network, bounds, relu, units)
                weights = spoiled(rng, rng.random((3, len(planes.units))) * 10.0 ** rng.integers(-scale, 1))
                shape = (3, len(units))
                lower, upper = np.tile(pre.lower[units], (3, 1)), np.tile(pre.upper[units], (3, 1))
                alpha, rho = spoiled(rng, rng.random(shape)), spoiled(rng, rng.normal(size=shape))
                lines[relu] = UnitLines(units, lower, upper, alpha, rho, sparse.csr_array(weights), planes)
        rows = np.array([[1.0], [-1.0], [0.0]])
        forms = linear_forms(network, bounds, rows, lines)
    for point in points:
        values = exact_values(network, point)
        for k in np.flatnonzero(np.isfinite(forms.bound)):
            top = dot(forms.slopes[k], values[0]) + Fraction(float(forms.constant[k]))
            assert dot(rows[k], values[-1]) <= top <= Fraction(float(forms.bound[k]))


def test_rows_at_once_falls_with_the_widest_node() -> None:
    assert rows_at_once(one_unit()[0]) > 100 * rows_at_once(wide()) >= 100


def wide() -> ReluNetwork:
    builder = NetworkBuilder((1,))
    return builder.build(builder.relu(builder.affine([0], [DenseMap(np.ones((3000, 1)))])), fuse=False)
