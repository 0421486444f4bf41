"""Answers about float32 evaluations: brackets, verdicts, and that no evaluation contradicts them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from bounds import Bounds
from mipverify_py import Blur, LinfBall, Norm, Objective, Options, Query, Targets, Verdict, verify
from mipverify_py.float32 import Float32Result, rounding_slack, verify_float32
from mipverify_py.float32 import _verify as verify_module
from onnx_models import DenseMap, NetworkBuilder, ReluNetwork
from onnx_models.errors import InputError, InvalidBoundsError
from onnx_models.importer import load_onnx_bytes
from onnx_models.zoo import digits_test, load_zoo
from tests.helpers.float32 import ORDERS, Evaluator, any_evaluator
from tests.helpers.onnx_graphs import GraphBuilder, weights
from tests.helpers.queries import OWN

ROUGH = 2.0**20
"""Floats of this size are multiples of 1/8."""


def image(index: int) -> np.ndarray[Any, Any]:
    return np.asarray(digits_test().images[index], np.float64)


def small(seed: int = 0, classes: int = 3) -> ReluNetwork:
    """4 inputs, 6 hidden units."""
    rng = np.random.default_rng(seed)
    graph = GraphBuilder((4,))
    hidden = graph.node("Relu", graph.node("Gemm", "x", weights(rng, 6, 4), weights(rng, 6), transB=1))
    model = graph.model(graph.node("Gemm", hidden, weights(rng, classes, 6), weights(rng, classes), transB=1))
    return load_onnx_bytes(model.SerializeToString(), "small.onnx")


def rough_network() -> ReluNetwork:
    """f_1 - f_0 = x_0 + 2**20 (x_1 - x_2) - 0.49; to add x_0 to 2**20 first leaves multiples of 1/8."""
    graph = GraphBuilder((3,))
    weight = np.array([[0.0, 0.0, 0.0], [1.0, ROUGH, -ROUGH]])
    model = graph.model(graph.node("Gemm", "x", weight, np.array([0.49, 0.0]), transB=1))
    return load_onnx_bytes(model.SerializeToString(), "rough.onnx")


def rough_query(**rest: Any) -> Query:
    """Only x_0 can change, x_1 and x_2 are 1: at real numbers the class changes from x_0 = 0.49 on."""
    domain = Bounds(np.array([0.0, 1.0, 1.0]), np.ones(3))
    return Query(rough_network(), np.array([0.3125, 1.0, 1.0]), domain=domain, **rest)


def runtime_class(network: ReluNetwork, x: np.ndarray[Any, Any]) -> int:
    """The class in a session of our own."""
    assert network.source is not None
    session = onnxruntime.InferenceSession(network.source.data, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return int(np.argmax(session.run(None, {name: x.reshape(1, *network.input_shape).astype(np.float32)})[0]))


def assert_sound(query: Query, answer: Float32Result, samples: int = 20) -> None:
    """The ends fit together, the witness is one, and evaluations below the lower end find nothing."""
    rng, network = np.random.default_rng(0), query.network
    assert network.source is not None
    witness = answer.witness
    if witness is not None:
        assert np.array_equal(witness.point, witness.point.astype(np.float32))
        assert runtime_class(network, witness.point) == witness.predicted != query.reference
        assert answer.upper is None or answer.upper == witness.distance == query.distance_of(witness.point)
    if answer.lower is None:
        return
    assert answer.real.upper is None or answer.lower <= answer.real.upper
    assert answer.upper is None or answer.lower <= answer.upper
    for _ in range(samples):
        signs = rng.choice([-1.0, 1.0, 0.5], query.x0.size)
        point = np.clip(query.x0 + signs * answer.lower, query.input_domain.lower, query.input_domain.upper)
        point = point.astype(np.float32).astype(np.float64)
        if query.distance_of(point) < answer.lower:
            logits = any_evaluator(rng)(network.source.data, point)
            assert query.margin_at(logits[None])[0] < query.margin


@pytest.mark.parametrize("name", ["digits_small_standard", "digits_small_adversarial", "digits_dense_standard"])
def test_brackets_of_a_zoo_model(name: str) -> None:
    network = load_zoo(name)
    query = Query(network, image(0))
    answer = verify_float32(query)
    assert answer.verdict is Verdict.ADVERSARIAL and answer.evidence in OWN
    assert answer.lower is not None and answer.upper is not None and answer.gap is not None
    assert answer.real.lower is not None and answer.real.upper is not None
    assert 0.0 < answer.slack < 0.01
    assert answer.lower < answer.real.lower  # it allows for rounding errors
    assert answer.gap < 1e-3 * answer.upper
    assert abs(answer.upper - answer.real.upper) < 1e-5 * answer.upper
    assert_sound(query, answer, samples=3)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("norm", list(Norm))
def test_small_networks_in_every_norm(seed: int, norm: Norm) -> None:
    x0 = np.random.default_rng(seed).random(4)
    query = Query(small(seed), x0, norm=norm)
    answer = verify_float32(query, Options(gap_relative=1e-3))
    assert answer.verdict in (Verdict.ADVERSARIAL, Verdict.ROBUST)
    assert_sound(query, answer)


def test_lower_end_is_what_the_smaller_margin_proves() -> None:
    query = Query(small(), np.full(4, 0.5))
    answer = verify_float32(query)
    assert answer.enlarged is not None and answer.real.upper is not None
    region = Bounds(query.x0 - answer.real.upper * (1 - 1e-9), query.x0 + answer.real.upper * (1 - 1e-9))
    assert answer.slack >= rounding_slack(query, region)
    again = verify(replace(query, margin=-answer.slack))
    assert again.lower is not None and again.upper is not None and answer.lower is not None
    assert answer.lower <= again.upper


def test_one_float32_evaluation_flips_where_real_numbers_are_robust() -> None:
    """The reason for all this: real-valued robustness says nothing about the order that a machine adds in."""
    query = rough_query(perturbation=LinfBall(0.16), objective=Objective.FEASIBILITY)
    assert verify(query).verdict is Verdict.ROBUST
    x, network = np.array([0.4375 + 0.01, 1.0, 1.0]), query.network
    assert network.source is not None
    classes = {
        int(np.argmax(Evaluator(np.random.default_rng(0), order)(network.source.data, x.astype(np.float32))))
        for order in ORDERS
    }
    assert classes == {0, 1}
    assert verify_float32(query).verdict is not Verdict.ROBUST


def test_under_the_lower_end_of_the_rough_network_no_order_flips() -> None:
    query = rough_query()
    answer = verify_float32(query)
    assert answer.lower is not None and answer.real.lower is not None
    assert answer.slack >= 1 / 16
    assert answer.lower <= 0.1775 - 1 / 16 and answer.real.lower > 0.177
    rng = np.random.default_rng(0)
    assert query.network.source is not None
    for x in np.linspace(0.3125, 0.3125 + answer.lower, 40, dtype=np.float32)[:-1]:
        for order in ORDERS:
            for fused in (False, True):
                logits = Evaluator(rng, order, fused)(query.network.source.data, np.array([x, 1.0, 1.0]))
                assert logits[1] < logits[0]


def test_three_verdicts_at_a_radius() -> None:
    network, x0 = load_zoo("digits_small_standard"), image(1)
    whole = verify_float32(Query(network, x0))
    assert whole.lower is not None and whole.upper is not None and whole.real.lower is not None
    between = 0.5 * (whole.lower + whole.real.lower)
    verdicts = {}
    for radius in (0.999 * whole.lower, between, 1.001 * whole.upper):
        query = Query(network, x0, perturbation=LinfBall(radius), objective=Objective.FEASIBILITY)
        answer = verify_float32(query)
        verdicts[radius] = answer.verdict
        assert answer.lower is answer.upper is answer.gap is None
        assert_sound(query, answer)
    assert list(verdicts.values()) == [Verdict.ROBUST, Verdict.UNKNOWN, Verdict.ADVERSARIAL]


def test_witness_at_a_radius_lies_inside_it() -> None:
    network, x0 = load_zoo("digits_small_standard"), image(1)
    answer = verify_float32(Query(network, x0, perturbation=LinfBall(0.2), objective=Objective.FEASIBILITY))
    assert answer.witness is not None and answer.witness.distance <= 0.2
    assert answer.enlarged is None and answer.evidence is None


def test_no_example_at_all() -> None:
    graph = GraphBuilder((2,))
    output = graph.node("Gemm", "x", np.array([[0.1, 0.1], [-0.1, -0.1]]), np.array([1.0, -1.0]), transB=1)
    network = load_onnx_bytes(graph.model(output).SerializeToString(), "constant.onnx")
    answer = verify_float32(Query(network, np.array([0.5, 0.5])))
    assert answer.verdict is answer.real.verdict is Verdict.ROBUST
    assert answer.evidence in OWN and answer.witness is None


def test_misclassified_input_that_float32_holds_has_distance_zero() -> None:
    network, x0 = load_zoo("digits_small_standard"), image(0)
    wrong = (Query(network, x0).predicted + 1) % 10
    answer = verify_float32(Query(network, x0, label=wrong))
    assert (answer.lower, answer.upper, answer.verdict) == (0.0, 0.0, Verdict.ADVERSARIAL)


def test_input_that_float32_does_not_hold() -> None:
    query = Query(small(), np.full(4, 1 / 3))
    answer = verify_float32(query)
    assert_sound(query, answer)
    wrong = verify_float32(replace(query, label=(query.predicted + 1) % 3))
    assert wrong.lower == 0.0 and wrong.upper is not None and 0.0 < wrong.upper < 1e-7


def test_targets_that_have_to_win() -> None:
    query = Query(small(3, classes=4), np.full(4, 0.5))
    target = query.target_classes[0]
    query = replace(query, targets=Targets.only(target, winning=True))
    answer = verify_float32(query)
    assert answer.witness is None or answer.witness.predicted == target
    assert_sound(query, answer)


def test_positive_margin() -> None:
    query = Query(small(), np.full(4, 0.5), margin=0.05)
    answer = verify_float32(query)
    assert answer.witness is not None
    assert query.margin_at(answer.witness.logits[None])[0] >= 0.05
    assert_sound(query, answer)


def test_time_limit_leaves_a_bracket_that_holds() -> None:
    query = Query(load_zoo("digits_conv_standard"), image(0))
    answer = verify_float32(query, Options(time_limit=0.02))
    assert_sound(query, answer, samples=2)


def test_solver_claim_stays_one() -> None:
    query = Query(small(), np.full(4, 0.5))
    answer = verify_float32(query, Options(engine="mip", gap_relative=1e-3))
    assert answer.enlarged is not None and answer.evidence is answer.enlarged.evidence
    assert_sound(query, answer)


def test_contradiction_is_an_error_not_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    query = rough_query()

    def too_small(*_: Any) -> float:
        return -0.5

    monkeypatch.setattr(verify_module, "rounding_slack", too_small)
    monkeypatch.setattr(verify_module, "min", max, raising=False)
    with pytest.raises(InvalidBoundsError, match="in float32, onnxruntime gets a point"):
        verify_float32(query)


def test_what_is_refused() -> None:
    network = load_zoo("digits_small_standard")
    with pytest.raises(InputError, match="objective worst"):
        verify_float32(Query(network, image(0), perturbation=LinfBall(0.1), objective=Objective.WORST))
    with pytest.raises(InputError, match="no float32 answer for Blur"):
        verify_float32(Query(network, image(0), perturbation=Blur((3, 3))))
    builder = NetworkBuilder((2,))
    plain = builder.build(builder.affine((0,), (DenseMap(np.eye(2)),)))
    with pytest.raises(InputError, match="came from no ONNX model"):
        verify_float32(Query(plain, np.array([0.2, 0.7])))
