"""Blurred images: padding and channels against torch, membership exactly, distances against brute force."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from bounds import Bounds, interval_bounds
from mipverify_py import (
    Blur,
    Layout,
    Norm,
    NotAdversarialError,
    Objective,
    Options,
    Query,
    Verdict,
    Witness,
    verify,
)
from mipverify_py._parameter_query import searched
from mipverify_py._parametric import Parameters
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork
from onnx_models.errors import InputError
from tests.helpers.networks import Generator, random_conv, random_maxpool
from tests.helpers.parametric import Images, largest_image_margin, nearest_image
from tests.helpers.queries import OWN, ROUNDING, assert_matches

SIZES = [(1, 1), (3, 3), (2, 2), (4, 3), (1, 5), (5, 2)]
seeds = st.integers(0, 2**32 - 1)


def _dense(shape: tuple[int, ...], seed: int, *, units: int = 4) -> tuple[ReluNetwork, Array]:
    """A dense network of one hidden layer whose input has this shape, and an input."""
    rng = np.random.default_rng(seed)
    builder, size = NetworkBuilder(shape), int(np.prod(shape))
    hidden = builder.affine([0], [DenseMap(rng.normal(size=(units, size)))], rng.normal(size=units) * 0.3)
    weight = DenseMap(rng.normal(size=(3, units)))
    network = builder.build(builder.affine([builder.relu(hidden)], [weight], rng.normal(size=3) * 0.1))
    return network, np.where(rng.random(size) < 0.3, np.round(rng.random(size)), rng.random(size))


def _kernels(query: Query) -> Parameters:
    assert isinstance(query.perturbation, Blur)
    return query.perturbation.parameters(query.x0, query.input_domain)


def _convolved(x: Array, kernel: Array) -> Array:
    """torch's convolution of (C, H, W) with TensorFlow's SAME padding and a kernel of shape (h, w, C, C)."""
    weight = torch.from_numpy(kernel).permute(3, 2, 0, 1)
    result: Array = torch.nn.functional.conv2d(torch.from_numpy(x)[None], weight, padding="same")[0].numpy()
    return result


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("last", [False, True])
def test_an_image_is_the_same_padded_convolution(size: tuple[int, int], channels: int, last: bool) -> None:
    rng = np.random.default_rng(channels)
    x = rng.random((channels, 4, 6))
    shape = (4, 6, channels) if last else (channels, 4, 6)
    flat = (x.transpose(1, 2, 0) if last else x).reshape(-1)
    blur = Blur(size, Layout(channels="last" if last else "first")).for_shape(shape)
    assert blur.kernel_shape == (*size, channels, channels)
    kernel = rng.random(blur.kernel_shape)
    domain = Bounds(np.zeros(flat.size), np.ones(flat.size))
    image = blur.parameters(flat, domain).image.rounded(kernel.reshape(-1)).reshape(shape)
    assert np.allclose(image.transpose(2, 0, 1) if last else image, _convolved(x, kernel), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shape", [(1, 3, 4), (3, 3, 4), (4, 3)])
def test_the_identity_kernel_gives_the_original_exactly(size: tuple[int, int], shape: tuple[int, ...]) -> None:
    network, x0 = _dense(shape, 0)
    known = _kernels(Query(network, x0, Blur(size)))
    assert known.contains(known.identity, known.identity)
    assert [Fraction(v) for v in x0.tolist()] == list(known.image.exact(known.identity))


def test_membership_is_decided_to_the_last_bit() -> None:
    network, x0 = _dense((3, 3), 1)
    known = _kernels(Query(network, x0, Blur((1, 3))))
    third = np.array([0.25, 0.5, 0.25])
    assert known.contains(third, third)
    assert not known.contains(np.array([0.25, 0.5 + 2.0**-53, 0.25]), third)
    assert not known.contains(np.full(3, 1 / 3), third)  # three times the float nearest to 1/3 is not 1
    assert not known.contains(np.array([1.5, -0.5, 0.0]), third)


@given(seeds, st.sampled_from(SIZES), st.sampled_from([(1, 4, 4), (3, 3, 3), (2, 3, 4)]), st.floats(0, 3))
@settings(max_examples=40, deadline=None)
def test_a_projection_is_a_member_and_members_stay(
    seed: int, size: tuple[int, int], shape: tuple[int, int, int], spread: float
) -> None:
    network, x0 = _dense(shape, seed)
    known = _kernels(Query(network, x0, Blur(size, Layout(channels="first"))))
    wild = known.identity + spread * np.random.default_rng(seed).normal(size=known.identity.size)
    member = known.project(wild, known.identity, known.ranges)
    assert known.contains(member, known.identity)
    assert np.allclose(known.project(member, known.identity, known.ranges), member, rtol=0, atol=1e-14)


def test_a_solvers_kernel_on_the_domains_edge_is_repaired_nearby() -> None:
    """White pixels in three channels leave no room: every output channel's weights must sum to exactly 1."""
    network, _ = _dense((3, 3, 3), 2)
    known = _kernels(Query(network, np.ones(27), Blur((2, 2), Layout(channels="first"))))
    kernel = np.random.default_rng(0).random((2, 2, 3, 3))
    kernel /= kernel.sum(axis=(0, 1, 2))
    noisy = kernel.reshape(-1) + 1e-9 * np.random.default_rng(1).normal(size=kernel.size)
    member = known.project(noisy, known.identity, known.ranges)
    assert known.contains(member, known.identity)
    assert np.abs(member - noisy).max() < 1e-8


@given(seeds, st.sampled_from([(1, 4, 3), (3, 3, 3)]))
@settings(max_examples=20, deadline=None)
def test_the_bounding_box_holds_every_image_and_is_tight(seed: int, shape: tuple[int, int, int]) -> None:
    network, x0 = _dense(shape, seed)
    query = Query(network, x0, Blur((2, 3), Layout(channels="first")))
    known, rng = _kernels(query), np.random.default_rng(seed)
    for _ in range(10):
        member = known.project(rng.random(known.identity.size) * 2 - 0.5, known.identity, known.ranges)
        image = known.image.exact(member)
        assert all(low <= v <= high for v, low, high in zip(image, query.box.lower, query.box.upper, strict=True))
    matrix, total = known.image.matrix.toarray(), shape[0]
    best = np.zeros(len(matrix))
    for row, entries in enumerate(matrix):
        best[row] = np.sort(entries)[::-1][:total].sum()
    assert np.allclose(query.box.upper, np.minimum(best, 1.0), rtol=0, atol=1e-12)


@given(seeds, st.sampled_from([(1, 4, 3), (3, 3, 3)]))
@settings(max_examples=15, deadline=None)
def test_first_layer_bounds_know_the_sum_of_the_kernel(seed: int, shape: tuple[int, int, int]) -> None:
    """Exactly the optima of linear programs over all kernels, and never inside them."""
    network, x0 = _dense(shape, seed)
    query = Query(network, x0, Blur((2, 2), Layout(channels="first")))
    known, over = _kernels(query), searched(query)
    narrowed = known.narrowed(over.network, interval_bounds(over.network, over.box)).nodes[2]
    weight, bias = network.nodes[1].maps[0].to_sparse().toarray(), network.nodes[1].bias  # type: ignore[union-attr]
    images = _images(query)
    for row, constant, low, high in zip(weight @ images.matrix, bias, narrowed.lower, narrowed.upper, strict=True):
        ones, limits = np.ones((1, len(row))), [(0.0, 1.0)] * len(row)
        ends = [linprog(sign * row, A_eq=ones, b_eq=[images.total], bounds=limits).fun for sign in (1, -1)]
        assert low <= ends[0] + constant + 1e-12 and high >= -ends[1] + constant - 1e-12
        assert low == pytest.approx(ends[0] + constant, abs=1e-9)
        assert high == pytest.approx(-ends[1] + constant, abs=1e-9)


def _images(query: Query) -> Images:
    known = _kernels(query)
    size = known.identity.size
    total = query.perturbation.kernel_shape[2]  # type: ignore[attr-defined]
    return Images(known.image.matrix.toarray(), np.zeros(query.x0.size), np.zeros(size), np.ones(size), total)


@given(seeds, st.sampled_from([(2, 2), (3, 1), (3, 3)]), st.sampled_from([0.0, 0.2]))
@settings(max_examples=7, deadline=None)
def test_distances_and_worst_margins_match_brute_force(seed: int, size: tuple[int, int], margin: float) -> None:
    network, x0 = _dense((1, 3, 4), seed)
    closest = Query(network, x0, Blur(size), margin=margin)
    truth = nearest_image(closest, _images(closest))
    result = verify(closest)
    assert_matches(result, truth)
    feasible = verify(Query(network, x0, Blur(size), Objective.FEASIBILITY, margin=margin))
    assert feasible.verdict is (Verdict.ROBUST if truth is None else Verdict.ADVERSARIAL)
    worst = verify(Query(network, x0, Blur(size), Objective.WORST, margin=margin))
    assert worst.lower is not None and worst.upper is not None
    top = largest_image_margin(closest, _images(closest))
    assert worst.lower <= top + ROUNDING and top <= worst.upper + ROUNDING
    assert worst.upper - worst.lower <= 1e-5 * (1 + abs(top))


@given(seeds, st.sampled_from([random_conv, random_maxpool]))
@settings(max_examples=5, deadline=None)
def test_convolutional_networks_match_brute_force(seed: int, family: Generator) -> None:
    rng = np.random.default_rng(seed)
    network = family(rng, max_relus=5)
    query = Query(network, rng.random(network.input_size), Blur((1, 2), Layout(channels="first")))
    assert_matches(verify(query), nearest_image(query, _images(query)))


@given(seeds)
@settings(max_examples=6, deadline=None)
@pytest.mark.slow
def test_mixing_channels_match_brute_force_on_two_backends(seed: int) -> None:
    network, x0 = _dense((2, 2, 2), seed, units=3)
    query = Query(network, x0, Blur((2, 1), Layout(channels="first")))
    truth = nearest_image(query, _images(query))
    for backend in ("highs", "scip"):
        assert_matches(verify(query, Options(engine="mip", backend=backend)), truth)


@given(seeds, st.sampled_from(list(Norm)))
@settings(max_examples=7, deadline=None)
def test_a_dense_grid_of_kernels_agrees(seed: int, norm: Norm) -> None:
    """Kernels of two weights (t, 1 - t): 4,001 of them."""
    network, x0 = _dense((3, 3), seed)
    query = Query(network, x0, Blur((1, 2)), norm=norm)
    x = x0.reshape(3, 3)
    shifted = np.concatenate([x[:, 1:], np.zeros((3, 1))], axis=1)  # even kernels pad at the end
    t = np.linspace(0, 1, 4001)[:, None]
    grid = t * x.reshape(-1) + (1 - t) * shifted.reshape(-1)
    distances = np.linalg.norm(grid - x0, axis=1, ord={Norm.LINF: np.inf, Norm.L1: 1, Norm.L2: 2}[norm])
    reached = query.margin_at(network.forward_batch(grid)) >= 0
    result = verify(query)
    if not np.any(reached):
        assert result.upper is None or result.witness is not None
    else:
        nearest = distances[reached].min()
        assert result.lower is not None and result.upper is not None
        assert result.lower <= nearest + ROUNDING and result.upper >= nearest - distances.max() / 4000 - ROUNDING


class TestWitness:
    @staticmethod
    def adversarial() -> tuple[Query, Witness]:
        for seed in range(50):
            network, x0 = _dense((3, 3), seed)
            query = Query(network, x0, Blur((3, 3)))
            result = verify(query)
            if result.witness is not None and result.witness.distance > 0:
                return query, result.witness
        raise AssertionError("no seed gives a witness")

    def test_it_carries_a_kernel_whose_exact_image_reaches_the_margin(self) -> None:
        query, witness = self.adversarial()
        assert witness.parameters is not None
        kernel = [Fraction(v) for v in witness.parameters.tolist()]
        assert sum(kernel) == 1 and all(0 <= k <= 1 for k in kernel)
        assert np.array_equal(_kernels(query).image.rounded(witness.parameters), witness.point)
        exact = _kernels(query).image.exact(witness.parameters)
        sizes = [abs(v - Fraction(o)) for v, o in zip(exact, query.x0.tolist(), strict=True)]
        assert max(sizes) <= Fraction(witness.distance) <= max(sizes) * Fraction(1 + 1e-15)

    def test_a_bare_image_is_refused(self) -> None:
        query, witness = self.adversarial()
        with pytest.raises(NotAdversarialError, match="outside the perturbation set"):
            Witness(query, witness.point)

    def test_parameters_of_another_image_are_refused(self) -> None:
        query, witness = self.adversarial()
        assert witness.parameters is not None
        with pytest.raises(NotAdversarialError, match="not the rounded image"):
            Witness(query, query.x0, witness.parameters)
        with pytest.raises(NotAdversarialError, match="outside the perturbation set"):
            Witness(query, witness.point, witness.parameters * 0.5)

    def test_parameters_for_a_set_without_any_are_refused(self) -> None:
        network, x0 = _dense((3, 3), 0)
        with pytest.raises(NotAdversarialError, match="has none"):
            Witness(Query(network, x0), x0, np.zeros(9))


def test_what_the_answer_says() -> None:
    network, x0 = _dense((3, 3), 3)
    result = verify(Query(network, x0, Blur((3, 3))))
    assert result.engine == "mip" and result.proof is None
    assert result.parameters is None or result.parameters.shape == (9,)
    assert result.bounds is None


def test_a_wide_margin_is_excluded_by_a_native_proof_about_the_images_box() -> None:
    network, x0 = _dense((3, 3), 3)
    result = verify(Query(network, x0, Blur((3, 3)), Objective.FEASIBILITY, margin=1000.0))
    assert result.verdict is Verdict.ROBUST and result.evidence in OWN and result.engine == "auto"


@pytest.mark.parametrize("engine", ["cuts", "duals"])
def test_engines_for_boxes_are_refused(engine: str) -> None:
    network, x0 = _dense((3, 3), 3)
    with pytest.raises(InputError, match="cannot search this perturbation set"):
        verify(Query(network, x0, Blur((3, 3))), Options(engine=engine))


WRONG = [
    ((3, 5, 3), {}, "channels may stand first or last"),
    ((7, 5, 4), {}, "channels may stand first or last"),
    ((12,), {}, "does not say how it is an image"),
    ((12,), {"shape": (2, 5)}, "has not as many entries"),
]


@pytest.mark.parametrize(("shape", "layout", "message"), WRONG)
def test_an_unclear_layout_is_an_error(
    shape: tuple[int, ...], layout: dict[str, tuple[int, ...]], message: str
) -> None:
    network, x0 = _dense(shape, 0)
    with pytest.raises(InputError, match=message):
        Query(network, x0, Blur((3, 3), Layout(**layout)))  # type: ignore[arg-type]


def test_a_flat_input_is_an_image_once_its_shape_is_given() -> None:
    network, x0 = _dense((12,), 0)
    query = Query(network, x0, Blur((3, 3), Layout(shape=(3, 4))))
    assert isinstance(query.perturbation, Blur) and query.perturbation.kernel_shape == (3, 3, 1, 1)


@pytest.mark.parametrize("size", [3, (3,), (0, 3), (3, 2.5), "3x3", (100, 100)])
def test_a_wrong_kernel_size_is_an_error(size: object) -> None:
    with pytest.raises(InputError, match="kernel"):
        Blur(size)  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [{"channels": "middle"}, {"shape": (3,)}, {"shape": (0, 3)}, {"shape": 9}])
def test_a_wrong_layout_is_an_error(arguments: dict[str, object]) -> None:
    with pytest.raises(InputError, match="channels|shape"):
        Layout(**arguments)  # type: ignore[arg-type]
