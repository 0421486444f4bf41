"""The network of a formula: its theorem at corners, on grids and at real inputs, its distance, and a naive one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counter_attack.hardness import Formula, query_of, random_formula, reduce_formula
from mipverify_py import Objective, Options, Verdict, Witness, verify
from onnx_models import Array, DenseMap, NetworkBuilder
from onnx_models.errors import InputError
from tests.counter_attack.hardness.formulas import NAMED, assignments, formulas, models

WIDTHS = (1 / 2, 1 / 4, 1 / 10)


def margins(formula: Formula, mu: float, points: Array) -> Array:
    """f_1 - f_0 at points of shape (N, n)."""
    logits = reduce_formula(formula, mu=mu).network.forward_batch(points)
    return logits[:, 1] - logits[:, 0]


@given(formulas(least=1), st.sampled_from(WIDTHS))
def test_a_corner_counts_the_clauses_that_fail(formula: Formula, mu: float) -> None:
    corners = np.array(assignments(formula), dtype=np.float64)
    failing = [formula.failing(a) for a in assignments(formula)]
    assert margins(formula, mu, corners).tolist() == [0.5 - count for count in failing]


@given(formulas(variables=3, least=1), st.sampled_from((1 / 2, 1 / 4)))
def test_on_the_grid_a_variable_is_true_false_or_unset(formula: Formula, mu: float) -> None:
    points = np.array(list(product(np.arange(0, 1 + mu / 2, mu), repeat=formula.variables)))
    expected = []
    for x in points:
        true = {i + 1 for i in range(formula.variables) if x[i] > 0.5}
        false = {-i - 1 for i in range(formula.variables) if x[i] < 0.5}
        expected.append(0.5 - sum(not (true | false).intersection(clause) for clause in formula.clauses))
    assert margins(formula, mu, points).tolist() == expected


@given(formulas(least=1), st.sampled_from(WIDTHS), st.integers(0, 2**31))
def test_no_real_input_is_adversarial_unless_its_assignment_satisfies(formula: Formula, mu: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = np.concatenate(
        [rng.random((60, formula.variables)), 0.5 + mu * rng.uniform(-1, 1, (60, formula.variables))]
    )
    for x, margin in zip(points, margins(formula, mu, points), strict=True):
        holds = formula.holds([bool(v > 0.5) for v in x])
        assert margin <= 0.5
        assert margin <= -0.5 + 1e-9 or holds


def test_the_centre_has_class_0() -> None:
    for formula in NAMED.values():
        reduction = reduce_formula(formula)
        assert reduction.network.forward(reduction.x0).tolist() == [len(formula.clauses), 0.5]


def nearest(formula: Formula, mu: float) -> float | None:
    """The distance by its closed form: over all assignments, the breakpoints of a piecewise linear function."""
    best = None
    for a in models(formula):
        counts = [len({v for v in clause if a[abs(v) - 1] is (v > 0)}) for clause in formula.clauses]
        low, high = 0.0, 1.0
        for _ in range(60):
            s = (low + high) / 2
            low, high = (low, s) if sum(max(0.0, 1 - s * c) for c in counts) <= 0.5 else (s, high)
        best = high if best is None else min(best, high)
    return None if best is None else mu * best


@pytest.mark.parametrize("mu", [1 / 2, 1 / 4])
@pytest.mark.parametrize("name", NAMED)
def test_the_distance_is_its_closed_form(name: str, mu: float) -> None:
    formula = NAMED[name]
    result = verify(query_of(reduce_formula(formula, mu=mu), Objective.CLOSEST))
    expected = nearest(formula, mu)
    if expected is None:
        assert result.verdict is Verdict.ROBUST and result.upper is None
    elif not formula.clauses:
        assert result.upper == 0.0
    else:
        assert result.lower is not None and result.upper is not None
        assert result.lower <= expected + 1e-9 and result.upper >= expected - 1e-9
        assert result.upper - result.lower <= 1e-5


@pytest.mark.parametrize("seed", range(3))
def test_the_largest_margin_counts_clauses_that_must_fail(seed: int) -> None:
    formula = random_formula(4, 40, seed=seed)
    result = verify(query_of(reduce_formula(formula), Objective.WORST))
    least = min(formula.failing(a) for a in assignments(formula))
    assert least > 0
    assert result.lower is not None and result.upper is not None
    assert result.lower - 1e-6 <= 0.5 - least <= result.upper + 1e-6
    assert result.upper - result.lower <= 1e-4


def test_one_step_per_variable_would_be_wrong() -> None:
    """What the two one-sided steps are for: with s and 1 - s, halfway up every clause of two literals is true."""
    formula = NAMED["all signs of two"]
    builder = NetworkBuilder((2,))
    rows = np.array([[np.sign(v) * (abs(v) == k) for k in (1, 2)] for clause in formula.clauses for v in clause])
    literal = rows.reshape(4, 2, 2).sum(axis=1)  # s_i = x_i on the cube: the step of width 1
    constant = (rows < 0).any(axis=1).reshape(4, 2).sum(axis=1)
    fails = builder.relu(builder.affine((0,), (DenseMap(-literal.astype(np.float64)),), 1.0 - constant))
    naive = builder.build(builder.affine((fails,), (DenseMap(np.array([[1.0] * 4, [0.0] * 4])),), np.array([0, 0.5])))
    assert naive.forward(np.full(2, 0.5)).tolist() == [0, 0.5]  # "satisfied", and no assignment does
    assert not models(formula)
    assert margins(formula, 0.5, np.full((1, 2), 0.5))[0] == -3.5


@pytest.mark.parametrize("mu", [0.0, -0.5, 1.0, 0.3, 1 / 3, 2.0**-18, float("nan")])
def test_mu_has_to_divide_a_half(mu: float) -> None:
    with pytest.raises(InputError, match="mu is"):
        reduce_formula(Formula(1, ((1,),)), mu=mu)


def test_a_formula_that_is_too_large() -> None:
    with pytest.raises(InputError, match="too large"):
        reduce_formula(Formula(5000, tuple((v, -v) for v in range(1, 5001))))


@settings(max_examples=20)
@given(formulas(least=1), st.sampled_from(WIDTHS))
def test_the_weights_are_float32_numbers(formula: Formula, mu: float) -> None:
    for node in reduce_formula(formula, mu=mu).network.nodes[1:]:
        arrays = [] if not hasattr(node, "bias") else [node.bias, *(m.weight for m in node.maps)]
        for array in arrays:
            assert np.array_equal(array, array.astype(np.float32))


def test_a_witness_is_read_off() -> None:
    reduction = reduce_formula(Formula(3, ((1,), (-2,))))
    witness = Witness(query_of(reduction), np.array([0.9, 0.1, 0.5]))
    assert reduction.assignment(witness.point) == (True, False, False)


@pytest.mark.parametrize("engine", ["auto", "mip"])
def test_a_stopped_search_stays_open(engine: str) -> None:
    result = verify(query_of(reduce_formula(random_formula(40, 220, seed=1))), Options(engine=engine, time_limit=0.01))
    assert result.verdict is Verdict.UNKNOWN
