"""Bounds of float32 rounding errors, held against evaluations in many orders and exact rational arithmetic."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bounds import Bounds, float32_errors
from onnx_models import ReluNetwork, exact_logits
from onnx_models._source import open_session, run_chunks
from onnx_models.errors import InputError, UnsupportedModelError
from onnx_models.importer import load_onnx_bytes
from onnx_models.zoo import load_zoo
from tests.helpers.float32 import ORDERS, Evaluator, any_evaluator, evaluators
from tests.helpers.onnx_graphs import GraphBuilder, random_model, weights

Array = NDArray[Any]


def loaded(graph: GraphBuilder, output: str) -> ReluNetwork:
    return load_onnx_bytes(graph.model(output).SerializeToString(), "model.onnx")


def data_of(network: ReluNetwork) -> bytes:
    assert network.source is not None
    return network.source.data


def point_in(rng: np.random.Generator, region: Bounds) -> Array:
    """A float32 vector of the region, some of its entries at the ends."""
    share = rng.choice([0.0, 1.0, rng.random()], region.size)
    point = (region.lower + share * (region.upper - region.lower)).astype(np.float32)
    point = np.where(point < region.lower, np.nextafter(point, np.float32(np.inf)), point)
    point = np.where(point > region.upper, np.nextafter(point, np.float32(-np.inf)), point)
    assert region.contains(point.astype(np.float64))
    return point


def off(network: ReluNetwork, x: Array, outputs: Array) -> list[Fraction]:
    """The exact error of every output."""
    exact = exact_logits(network, x.astype(np.float64))
    return [Fraction(float(y)) - f for y, f in zip(outputs, exact, strict=True)]


def assert_bounded(network: ReluNetwork, region: Bounds, x: Array, outputs: Array) -> None:
    """Every output, and every difference of two, is within its bound."""
    errors = off(network, x, outputs)
    for error, bound in zip(errors, float32_errors(network, region), strict=True):
        assert abs(error) <= Fraction(float(bound))
    pairs = [(i, j) for i in range(len(errors)) for j in range(i)]
    rows = np.zeros((len(pairs), len(errors)))
    for row, (i, j) in zip(rows, pairs, strict=True):
        row[i], row[j] = 1.0, -1.0
    for (i, j), bound in zip(pairs, float32_errors(network, region, rows), strict=True):
        assert abs(errors[i] - errors[j]) <= Fraction(float(bound))


def drawn(rng: np.random.Generator, *shape: int) -> Array:
    """Weights of very unlike size, of which pairs nearly cancel."""
    values = weights(rng, *shape) * np.float32(2.0) ** rng.integers(-12, 13, shape).astype(np.float32)
    flat = values.reshape(-1)
    flat[1::2] = -flat[: 2 * (len(flat) // 2) : 2] * np.float32(1 + 2.0**-20)
    return values


def small_model(rng: np.random.Generator) -> ReluNetwork:
    """Conv, normalisation, activation, pool, sums and dense layers, of the operators that the evaluator knows."""
    graph, draw = GraphBuilder((2, 4, 4)), drawn if rng.random() < 0.5 else weights
    value = graph.node("Conv", "x", draw(rng, 2, 2, 2, 2), draw(rng, 2), pads=[0, 1, 1, 0], kernel_shape=[2, 2])
    if rng.random() < 0.7:
        parameters = [rng.uniform(0.1, 3, 2), rng.normal(size=2), rng.normal(size=2), rng.uniform(0.01, 2, 2)]
        value = graph.node("BatchNormalization", value, *parameters)
    if rng.random() < 0.5:
        value = graph.node(str(rng.choice(["MaxPool", "AveragePool"])), value, kernel_shape=[2, 2], strides=[2, 2])
    before, value = value, graph.node(str(rng.choice(["Relu", "LeakyRelu"])), value)
    if rng.random() < 0.5:
        scaled = graph.node(str(rng.choice(["Mul", "Div"])), before, np.float32(rng.uniform(0.5, 3)))
        value = graph.node(str(rng.choice(["Add", "Sub"])), value, scaled)
    value = graph.node("Flatten", value)
    size = loaded(graph, value).output_size
    value = graph.node("Relu", graph.node("Gemm", value, draw(rng, 4, size), draw(rng, 4), transB=1))
    return loaded(graph, graph.node("Gemm", value, draw(rng, 3, 4), draw(rng, 3), transB=1, alpha=0.7, beta=1.3))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_evaluation_of_a_small_model_is_off_by_more(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = small_model(rng)
    x0, radius = rng.uniform(-1, 1, network.input_size), float(rng.choice([0.0, 1e-3, 0.1, 2.0]))
    x0 = x0.astype(np.float32).astype(np.float64)
    region = Bounds(x0 - radius, x0 + radius)
    for _ in range(2):
        x = point_in(rng, region)
        assert_bounded(network, region, x, any_evaluator(rng)(data_of(network), x))


def test_every_kind_of_evaluation_of_one_model() -> None:
    rng = np.random.default_rng(3)
    network = small_model(rng)
    region = Bounds(np.full(network.input_size, -0.5), np.full(network.input_size, 0.5))
    x, seen = point_in(rng, region), set()
    for evaluate in evaluators(rng):
        outputs = evaluate(data_of(network), x)
        seen.add(tuple(outputs))
        assert_bounded(network, region, x, outputs)
    assert len(seen) > 10  # the orders do differ


@pytest.mark.parametrize("seed", [s for s in range(30) if s != 15])  # the output of 15 does not depend on its input
def test_onnxruntime_stays_within_the_bound_whether_it_fuses_or_not(seed: int) -> None:
    network = load_onnx_bytes(random_model(seed).SerializeToString(), "model.onnx")
    rng = np.random.default_rng(seed)
    region = Bounds(np.full(network.input_size, -1.0), np.full(network.input_size, 1.0))
    batch = np.array([point_in(rng, region) for _ in range(4)])
    for optimise in (True, False):
        session = open_session(data_of(network), "model", optimise=optimise)
        for x in batch:
            (outputs,) = next(run_chunks(session, x[None], "model"))
            assert_bounded(network, region, x, outputs.reshape(-1))


@pytest.mark.parametrize("name", ["digits_small_standard", "digits_conv_adversarial", "digits_pool_standard"])
def test_zoo_model_in_some_orders(name: str) -> None:
    network, rng = load_zoo(name), np.random.default_rng(0)
    region = Bounds(np.zeros(network.input_size), np.ones(network.input_size))
    x = point_in(rng, region)
    for order in ("shuffled", "signs apart"):
        assert_bounded(network, region, x, Evaluator(rng, order, folded=True)(data_of(network), x))


def test_bound_of_a_sum_is_within_a_small_factor_of_the_worst_order() -> None:
    """1 and then many halves of its last digit: each is lost when it is added to 1, and none when they come first."""
    count = 200
    x = np.full(count, 2.0**-24, np.float32)
    x[0] = 1.0
    graph = GraphBuilder((count,))
    network = loaded(graph, graph.node("Gemm", "x", np.ones((2, count)), transB=1))
    region = Bounds(x.astype(np.float64), x.astype(np.float64))
    rng = np.random.default_rng(0)
    errors = {o: abs(off(network, x, Evaluator(rng, o)(data_of(network), x))[0]) for o in ORDERS}
    assert errors["as written"] == Fraction(count - 1, 2**24)
    assert errors["ascending"] < errors["as written"] / 50
    assert float(errors["as written"]) <= float32_errors(network, region)[0] <= 1.1 * float(errors["as written"])


def test_inactive_units_pass_no_error_on() -> None:
    graph = GraphBuilder((1,))
    large = np.full((1, 1), 2.0**20, np.float32)
    hidden = graph.node("Relu", graph.node("Gemm", "x", large, np.array([-(2.0**21)], np.float32)))
    network = loaded(graph, graph.node("Gemm", hidden, np.ones((2, 1)), np.array([0.0, 1.0]), transB=1))
    near, far = (float32_errors(network, Bounds(np.zeros(1), np.full(1, top))) for top in (1.0, 3.0))
    assert near[0] < 1e-30 and near[1] < 1e-6
    assert far[0] > 0.1


def test_errors_cancel_where_a_difference_of_equal_paths_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    graph = GraphBuilder((6,))
    hidden = graph.node("Relu", graph.node("Gemm", "x", weights(rng, 8, 6), np.full(8, 4.0), transB=1))
    row = weights(rng, 1, 8) * np.float32(2.0**10)
    network = loaded(graph, graph.node("Gemm", hidden, np.concatenate([row, row]), transB=1))
    region = Bounds(np.zeros(6), np.full(6, 0.01))
    single, pair = float32_errors(network, region)[0], float32_errors(network, region, np.array([[1.0, -1.0]]))[0]
    assert pair < 1.7 * single  # their hidden units' errors are the same; the last layer's own are not


@pytest.mark.parametrize("power", [-140, -128, -100])
def test_numbers_that_are_flushed_to_zero(power: int) -> None:
    rng = np.random.default_rng(1)
    graph = GraphBuilder((3,))
    tiny = np.float32(2.0**power) * rng.integers(1, 8, (2, 3)).astype(np.float32)
    hidden = graph.node("Relu", graph.node("Gemm", "x", tiny, transB=1))
    network = loaded(graph, graph.node("Mul", hidden, np.float32(2.0**60)))
    region = Bounds(np.zeros(3), np.ones(3))
    for flush in (False, True):
        assert_bounded(
            network, region, np.ones(3, np.float32), Evaluator(rng, flush=flush)(data_of(network), np.ones(3))
        )


def test_bounds_grow_with_the_region() -> None:
    network = load_zoo("digits_residual_standard")
    centre = np.full(network.input_size, 0.5)
    errors = [float32_errors(network, Bounds(centre - r, centre + r)) for r in (0.0, 0.01, 0.1, 0.5)]
    assert all(np.all(a <= b) for a, b in itertools.pairwise(errors))


def test_overflow_is_refused_by_name() -> None:
    graph = GraphBuilder((1,))
    value = "x"
    for _ in range(3):
        value = graph.node("Mul", value, np.float32(1e15))
    network = load_onnx_bytes(graph.model(value).SerializeToString(), "model.onnx", cross_check=False)
    with pytest.raises(UnsupportedModelError, match="Mul node 'Mul_2' could overflow in float32"):
        float32_errors(network, Bounds(np.zeros(1), np.ones(1)))


def test_overflow_between_operators_is_refused_although_the_result_is_small() -> None:
    graph = GraphBuilder((1,))
    value = graph.node("Mul", graph.node("Mul", "x", np.float32(3e38)), np.float32(1e-38))
    network = load_onnx_bytes(graph.model(value).SerializeToString(), "model.onnx", cross_check=False)
    with pytest.raises(UnsupportedModelError, match="Mul node 'Mul_0' could overflow"):
        float32_errors(network, Bounds(np.zeros(1), np.ones(1)))


def test_region_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match="region has 3 entries"):
        float32_errors(load_zoo("digits_small_standard"), Bounds(np.zeros(3), np.ones(3)))


def test_sums_of_too_many_terms_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bounds._float32.LONGEST", 50)
    with pytest.raises(UnsupportedModelError, match=r"sums \d+ terms"):
        float32_errors(load_zoo("digits_small_standard"), Bounds(np.zeros(64), np.ones(64)))


def test_folding_of_a_normalisation_is_covered_where_its_input_cancels() -> None:
    """The convolution's terms are large and cancel: folded, each is rounded by itself."""
    rng = np.random.default_rng(5)
    graph = GraphBuilder((2, 1, 1))
    big = np.array([[[[4096.0]], [[-4096.0]]]], np.float32)
    value = graph.node("Conv", "x", big, np.array([0.5], np.float32), kernel_shape=[1, 1])
    value = graph.node("BatchNormalization", value, np.array([0.3]), np.array([0.1]), np.array([0.2]), np.array([0.7]))
    network = loaded(graph, graph.node("Flatten", value))
    region = Bounds(np.full(2, 0.7), np.full(2, 0.7 + 2.0**-20))
    for evaluate in (e for e in evaluators(rng) if e.folded):
        x = point_in(rng, region)
        assert_bounded(network, region, x, evaluate(data_of(network), x))


def test_model_without_nodes_has_no_error() -> None:
    graph = GraphBuilder((2,))
    network = loaded(graph, graph.node("Identity", "x"))
    assert isinstance(onnx.load_model_from_string(data_of(network)), onnx.ModelProto)
    assert np.all(float32_errors(network, Bounds(np.zeros(2), np.ones(2))) < 1e-14)
