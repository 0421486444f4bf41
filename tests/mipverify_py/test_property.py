"""Verdicts about properties against brute force, what rounding decides, and real instances of the competition."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds import Bounds
from mipverify_py import Options, PropertyStatus, Query, Result, StopReason, Verdict, verify_property
from mipverify_py import _property as module
from mipverify_py._property_network import case_network
from onnx_models import DenseMap, NetworkBuilder, ReluNetwork, exact_logits, load_onnx
from onnx_models._exact import exact_logits_at
from onnx_models.errors import InputError
from onnx_models.importer import load_onnx_bytes
from onnx_models.vnnlib import Case, Property, parse_vnnlib, read_vnnlib
from tests.helpers.networks import random_dense
from tests.helpers.onnx_graphs import GraphBuilder
from tests.helpers.properties import largest_slack, random_property
from tests.helpers.queries import OWN

ROUNDING = 1e-6
"""How far the optima of the oracle's linear programs may be off."""


def stated(inputs: int, outputs: int, *formulas: str) -> Property:
    names = [f"X_{k}" for k in range(inputs)] + [f"Y_{k}" for k in range(outputs)]
    lines = [f"(declare-const {name} Real)" for name in names] + [f"(assert {formula})" for formula in formulas]
    return parse_vnnlib("\n".join(lines))


def identity(size: int = 1) -> ReluNetwork:
    """x -> relu(x)."""
    builder = NetworkBuilder((size,))
    hidden = builder.relu(builder.affine([0], [DenseMap(np.eye(size))]))
    return builder.build(builder.affine([hidden], [DenseMap(np.eye(size))]))


def float32_model(weight: list[list[float]], bias: list[float]) -> ReluNetwork:
    """relu(x) times a matrix plus a bias, with a model behind it for onnxruntime."""
    graph = GraphBuilder((len(weight),))
    output = graph.node("Gemm", graph.node("Relu", "x"), np.array(weight, np.float32), np.array(bias, np.float32))
    return load_onnx_bytes(graph.model(output).SerializeToString(), "small.onnx")


def assert_sound(network: ReluNetwork, prop: Property, status: PropertyStatus, slack: float) -> None:
    if slack > ROUNDING:
        assert status is PropertyStatus.SAT
    elif slack < -ROUNDING:
        assert status is PropertyStatus.UNSAT


@pytest.mark.parametrize("engine", ["auto", "mip"])
@given(st.integers(0, 2**32 - 1))
@settings(max_examples=12)
def test_verdicts_agree_with_brute_force(engine: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = random_dense(rng, max_relus=5, outputs=int(rng.integers(1, 4)))
    formula = random_property(rng, network.input_size, network.output_size)
    prop = parse_vnnlib(formula.text)
    result = verify_property(network, prop, Options(engine=engine, time_limit=60.0))
    assert_sound(network, prop, result.status, largest_slack(network, prop))
    found = result.counterexample
    assert (found is not None) == (result.status is PropertyStatus.SAT)
    if found is not None:
        assert formula.meaning(found.exact, exact_logits_at(network, found.exact))
        assert result.evidence in OWN
    if result.status is PropertyStatus.UNKNOWN:
        assert result.stop_reason is StopReason.NUMERICAL
    else:
        assert result.stop_reason is StopReason.SOLVED and result.evidence is not None
    if engine == "auto" and result.status is PropertyStatus.UNSAT:
        assert result.evidence in OWN


@given(st.integers(0, 2**32 - 1))
def test_the_nodes_behind_the_network_compute_each_clauses_minimum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = random_dense(rng, max_relus=5, outputs=3)
    prop = parse_vnnlib(random_property(rng, network.input_size, 3).text)
    for case in prop.cases:
        if not all(case.clauses):
            continue
        derived = case_network(network, case)
        assert derived.nodes[: len(network.nodes)] == network.nodes
        assert derived.output_size == 1 + len(case.clauses)
        x = rng.uniform(case.lower, case.upper)
        y, values = exact_logits(network, x), exact_logits(derived, x)
        assert values[0] == 0
        for value, clause in zip(values[1:], case.clauses, strict=True):
            least = min(sum((a * y[i] for i, a in c.terms), c.offset) for c in clause)
            assert least <= value <= least + Fraction(1, 10**12)


def test_coefficients_that_are_no_floats_are_rounded_against_the_proof() -> None:
    third = "0.333333333333333333333333333333"
    prop = stated(1, 1, "(<= 0 X_0)", "(<= X_0 3)", f"(>= (* {third} Y_0) 1)")
    derived = case_network(identity(), prop.cases[0])
    (_, value) = exact_logits(derived, np.array([3.0]))
    assert value >= Fraction(third) * 3 - 1
    assert verify_property(identity(), prop).status is not PropertyStatus.SAT  # 3 * 0.33... is below 1


@pytest.mark.parametrize(
    ("formulas", "status", "reason"),
    [
        (["(>= Y_0 1)"], PropertyStatus.SAT, StopReason.SOLVED),
        (["(> Y_0 1)"], PropertyStatus.UNKNOWN, StopReason.NUMERICAL),
        (["(>= Y_0 1.0000000000000000000001)"], PropertyStatus.UNKNOWN, StopReason.NUMERICAL),
        (["(>= Y_0 1.000001)"], PropertyStatus.UNSAT, StopReason.SOLVED),
        (["(< X_0 1)", "(>= Y_0 0.99)"], PropertyStatus.SAT, StopReason.SOLVED),
        (["(< X_0 0.5)", "(>= Y_0 0.5)"], PropertyStatus.UNKNOWN, StopReason.NUMERICAL),
        (["(> X_0 0.25)", "(< X_0 0.25)"], PropertyStatus.UNSAT, StopReason.SOLVED),
    ],
)
def test_rounding_and_strictness_never_decide(formulas: list[str], status: PropertyStatus, reason: StopReason) -> None:
    prop = stated(1, 1, "(>= X_0 0)", "(<= X_0 1)", *formulas)
    result = verify_property(identity(), prop)
    assert (result.status, result.stop_reason) == (status, reason)


def test_coefficients_below_the_smallest_float_keep_their_sign() -> None:
    """Y_0 is 0.5, so nothing is above 0; an enclosure of Y_0 reaches beyond 0.5."""
    prop = stated(1, 1, "(= X_0 0.5)", "(> (* 1e-400 (- Y_0 0.5)) 0)")
    assert verify_property(identity(), prop).status is not PropertyStatus.SAT


def test_an_input_pinned_to_a_decimal_has_that_very_value() -> None:
    prop = stated(2, 2, "(= X_0 0.1)", "(>= X_1 0)", "(<= X_1 1)", "(= Y_0 0.1)", "(>= Y_1 0.5)")
    result = verify_property(identity(2), prop)
    assert result.status is PropertyStatus.SAT and result.counterexample is not None
    assert result.counterexample.exact[0] == Fraction(1, 10)
    assert result.counterexample.point[0] == 0.1


def test_a_clause_without_constraints_is_satisfied_by_any_input_of_its_box() -> None:
    result = verify_property(identity(), stated(1, 1, "(>= X_0 0.1)", "(<= X_0 0.2)", "(or (<= Y_0 -1) (<= 0 1))"))
    assert result.status is PropertyStatus.SAT and result.counterexample is not None
    assert Fraction(1, 10) <= result.counterexample.exact[0] <= Fraction(1, 5)


def test_a_property_without_cases_cannot_hold() -> None:
    result = verify_property(identity(), stated(1, 1, "(>= X_0 1)", "(<= X_0 0)"))
    assert result.status is PropertyStatus.UNSAT and result.evidence in OWN
    assert result.cases == ()


def test_one_case_among_many_is_found_and_the_others_are_left_alone() -> None:
    boxes = " ".join(f"(and (>= X_0 {k}) (<= X_0 {k}.5))" for k in range(8))
    seen: list[tuple[int, int]] = []
    prop = stated(1, 1, f"(or {boxes})", "(>= Y_0 7.25)")
    result = verify_property(identity(), prop, on_progress=lambda done, total: seen.append((done, total)))
    assert result.status is PropertyStatus.SAT and result.counterexample is not None
    assert result.counterexample.case == 7 and seen[-1] == (8, 8)
    assert [case.status for case in result.cases if case is not None] == [PropertyStatus.UNSAT] * 7 + [
        PropertyStatus.SAT
    ]


def test_cases_of_the_same_clauses_share_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Case] = []
    monkeypatch.setattr(module, "case_network", lambda network, case: made.append(case) or case_network(network, case))
    boxes = "(or (and (>= X_0 0) (<= X_0 1)) (and (>= X_0 2) (<= X_0 3)))"
    assert verify_property(identity(), stated(1, 1, boxes, "(>= Y_0 4)")).status is PropertyStatus.UNSAT
    assert len(made) == 1
    assert verify_property(identity(), stated(1, 1, boxes, "(>= (* 0.1 Y_0) 4)")).status is PropertyStatus.UNSAT
    assert len(made) == 3  # 0.1 is no float64 number, so the box says how much rounding can matter


def test_a_counterexample_is_made_of_float32_numbers_that_onnxruntime_confirms() -> None:
    network = float32_model([[1.0]], [0.0])
    prop = stated(1, 1, "(>= X_0 0.1)", "(<= X_0 0.7)", "(>= Y_0 0.6)")
    result = verify_property(network, prop)
    found = result.counterexample
    assert found is not None and found.replay is not None and found.is_confirmed
    assert found.point[0] == np.float32(found.point[0])
    assert Fraction(6, 10) <= found.exact[0] <= Fraction(7, 10)
    assert found.replay.outputs.dtype == np.float32


def test_a_counterexample_that_float32_cannot_hold_says_so() -> None:
    network = float32_model([[1.0]], [0.0])
    pinned = verify_property(network, stated(1, 1, "(= X_0 0.1)", "(<= Y_0 0.1)")).counterexample
    assert pinned is not None and pinned.exact == (Fraction(1, 10),)
    assert pinned.replay is not None and not pinned.replay.inside and not pinned.is_confirmed
    huge = float32_model([[1.0], [1.0]], [0.0])
    sum_of_both = "(>= Y_0 16777217)"  # exact: 2**24 + 1, which float32 addition rounds to 2**24
    formulas = ["(= X_0 16777216)", "(= X_1 1)", sum_of_both]
    rounded = verify_property(huge, stated(2, 1, *formulas)).counterexample
    assert rounded is not None and rounded.replay is not None
    assert rounded.replay.inside and not rounded.replay.reached


def test_what_does_not_fit_the_network_is_refused() -> None:
    with pytest.raises(InputError, match="about 2 inputs, the model has 1"):
        verify_property(identity(), stated(2, 1, "(<= 0 X_0)", "(<= X_0 1)", "(<= 0 X_1)", "(<= X_1 1)"))
    with pytest.raises(InputError, match="about 2 outputs, the model has 1"):
        verify_property(identity(), stated(1, 2, "(<= 0 X_0)", "(<= X_0 1)"))


def test_a_softmax_that_is_left_out_is_refused() -> None:
    graph = GraphBuilder((2,))
    model: onnx.ModelProto = graph.model(graph.node("Softmax", graph.node("Gemm", "x", np.eye(2)), axis=1))
    network = load_onnx_bytes(model.SerializeToString(), "softmax.onnx")
    prop = stated(2, 2, *(f"(and (>= X_{k} 0) (<= X_{k} 1))" for k in range(2)), "(>= Y_0 0.9)")
    with pytest.raises(InputError, match="Softmax"):
        verify_property(network, prop)


def test_ctrl_c_leaves_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(network: ReluNetwork, box: Bounds) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "linear_bounds", interrupt)
    result = verify_property(identity(), stated(1, 1, "(>= X_0 0)", "(<= X_0 1)", "(>= Y_0 2)"))
    assert (result.status, result.stop_reason) == (PropertyStatus.UNKNOWN, StopReason.INTERRUPTED)


def test_ctrl_c_in_a_later_case_is_told_although_an_earlier_one_is_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = module.verify, []

    def interrupted(query: Query, options: Options) -> Result:
        calls.append(query)
        result = original(query, options)
        stop = StopReason.NUMERICAL if len(calls) == 1 else StopReason.INTERRUPTED
        return replace(result, verdict=Verdict.UNKNOWN, stop_reason=stop)

    monkeypatch.setattr(module, "verify", interrupted)
    boxes = "(or (and (>= X_0 0) (<= X_0 1)) (and (>= X_0 0.1) (<= X_0 1)))"
    builder = NetworkBuilder((2,))  # |x - y| as two ReLUs, of which linear bounds see too much
    hidden = builder.relu(builder.affine([0], [DenseMap(np.array([[1.0, -1.0], [-1.0, 1.0]]))]))
    network = builder.build(builder.affine([hidden], [DenseMap(np.ones((1, 2)))]))
    result = verify_property(network, stated(2, 1, boxes, "(>= X_1 0)", "(<= X_1 1)", "(>= Y_0 1.1)"))
    assert len(calls) == 2 and result.status is PropertyStatus.UNKNOWN
    assert result.stop_reason is StopReason.INTERRUPTED


def test_the_time_limit_counts_for_all_cases_together() -> None:
    network = random_dense(np.random.default_rng(0), max_relus=8, outputs=2)
    boxes = " ".join(
        "(and " + " ".join(f"(>= X_{i} -{k}) (<= X_{i} {k})" for i in range(network.input_size)) + ")"
        for k in range(1, 40)
    )
    prop = stated(network.input_size, 2, f"(or {boxes})", "(>= Y_0 1e6)", "(>= Y_1 1e6)")
    result = verify_property(network, prop, Options(time_limit=1e-9))
    assert (result.status, result.stop_reason) == (PropertyStatus.UNKNOWN, StopReason.TIME_LIMIT)
    assert all(case is None for case in result.cases)


def _hard_case_first(calls: list[float | None]) -> Callable[[Query, Options], Result]:
    """An engine that runs out of time at its first call."""
    original = module.verify

    def replacement(query: Query, options: Options) -> Result:
        calls.append(options.time_limit)
        result = original(query, options)
        late = {"verdict": Verdict.UNKNOWN, "stop_reason": StopReason.TIME_LIMIT}
        return replace(result, **late) if len(calls) == 1 else result

    return replacement


def test_a_case_that_ran_out_of_its_share_gets_what_the_others_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    builder = NetworkBuilder((2,))  # |x - y| as two ReLUs, of which linear bounds see too much
    hidden = builder.relu(builder.affine([0], [DenseMap(np.array([[1.0, -1.0], [-1.0, 1.0]]))]))
    network = builder.build(builder.affine([hidden], [DenseMap(np.ones((1, 2)))]))
    boxes = "(or (and (>= X_0 0) (<= X_0 1)) (and (>= X_0 0.1) (<= X_0 1)))"
    calls: list[float | None] = []
    monkeypatch.setattr(module, "verify", _hard_case_first(calls))
    prop = stated(2, 1, boxes, "(>= X_1 0)", "(<= X_1 1)", "(>= Y_0 1.1)")
    result = verify_property(network, prop, Options(time_limit=100.0))
    assert result.status is PropertyStatus.UNSAT
    assert len(calls) == 3
    first, second, third = calls
    assert first is not None and second is not None and third is not None
    assert first <= 50.0 < second and third > 50.0


QUICK = [("acasxu", row) for row in (60, 150, 183)] + [("mnistfc", row) for row in (0, 4, 6, 7)]


@pytest.mark.parametrize(("benchmark", "row"), QUICK)
def test_quick_instances_of_the_competition_agree_with_published_verdicts(
    benchmark: str, row: int, shared_data: Path
) -> None:
    folder = shared_data / "vnncomp"
    with (folder / "expected.csv").open(newline="") as stream:
        published = {(line["benchmark"], line["row"]): line for line in csv.DictReader(stream)}
    line = published[benchmark, str(row)]
    network = load_onnx(folder / benchmark / line["onnx"])
    prop = read_vnnlib(folder / benchmark / line["vnnlib"])
    result = verify_property(network, prop, Options(time_limit=60.0))
    assert result.status is not PropertyStatus.UNKNOWN
    if line["basis"] == "agree":
        assert result.status.value == line["verdict"]
    assert result.evidence in OWN
    found = result.counterexample
    if found is not None:
        assert found.is_confirmed
        assert prop.holds(found.exact, exact_logits_at(network, found.exact))
