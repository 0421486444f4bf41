"""Fooling the detector: the grid against loops, the construction against both quantifiers, real inputs."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counter_attack.detection import FoolingLimits, largest_distance
from counter_attack.hardness import Formula, false_for_all, fool_on_grid, fooling_network
from mipverify_py import distance
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork
from onnx_models.errors import InputError
from tests.counter_attack.hardness.formulas import NAMED, formulas
from tests.helpers.networks import random_dense


def points_that_fool(network: ReluNetwork, x0: Array, gamma: float, eps: float, steps: int) -> list[tuple[float, ...]]:
    """The definition, one loop per quantifier."""
    grid = [np.array(p) / steps for p in product(range(steps + 1), repeat=network.input_size)]
    logits = {tuple(x): network.forward(x) for x in grid}
    own = int(np.argmax(network.forward(x0)))
    found = []
    for x in grid:
        label = int(np.argmax(logits[tuple(x)]))
        if np.abs(x - x0).max() > gamma + 1e-12 or label == own:
            continue
        near = [logits[tuple(z)] for z in grid if np.abs(z - x).max() <= eps + 1e-12]
        if all(f[label] > np.delete(f, label).max() for f in near):
            found.append(tuple(float(v) for v in x))
    return found


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.sampled_from((2, 3, 4)), st.data())
def test_the_grid_is_searched_as_the_definition_says(seed: int, steps: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    network = random_dense(rng, max_relus=6, outputs=3)
    if network.input_size > 3:
        return
    gamma, eps = (data.draw(st.integers(0, steps)) / steps for _ in range(2))
    x0 = rng.integers(0, steps + 1, size=network.input_size) / steps
    found = fool_on_grid(network, x0, gamma=gamma, eps=eps, mu=1 / steps)
    expected = points_that_fool(network, x0, gamma, eps, steps)
    assert found.points == (steps + 1) ** network.input_size
    assert found.fooling == len(expected) and found.foolable is bool(expected)
    if expected:
        assert found.point is not None and tuple(found.point) == expected[0]
        assert found.label == np.argmax(network.forward(found.point))


def test_a_tie_is_no_robust_point() -> None:
    builder = NetworkBuilder((1,))
    node = builder.affine((0,), (DenseMap(np.array([[0.0], [4.0]])),), np.array([2.0, 0.0]))
    network = builder.build(node)  # class 1 beyond 1/2, a tie at 1/2, which has class 0
    assert fool_on_grid(network, [0.0], gamma=1, eps=0, mu=0.25).fooling == 2
    flipped = builder.build(builder.affine((0,), (DenseMap(np.array([[4.0], [0.0]])),), np.array([0.0, 2.0])))
    found = fool_on_grid(flipped, [0.0], gamma=1, eps=0, mu=0.25)  # the tie has class 0 and is not robust
    assert (found.adversarial, found.fooling) == (3, 2)


@settings(max_examples=40)
@given(formulas(least=1), st.data())
def test_fooling_on_the_grid_decides_both_quantifiers(formula: Formula, data: st.DataObject) -> None:
    outer = data.draw(st.integers(1, formula.variables))
    made = fooling_network(formula, outer)
    y = false_for_all(formula, outer)
    found = fool_on_grid(made.network, made.x0, gamma=0.5, eps=0.25, mu=0.25)
    assert found.foolable is (y is not None)
    if found.point is not None:
        read = tuple(bool(v > 0.5) for v in found.point[:outer])
        assert not any(formula.holds((*read, *z)) for z in product((False, True), repeat=formula.variables - outer))


@pytest.mark.slow
@settings(max_examples=25)
@given(formulas(variables=3, least=1), st.data())
def test_a_finer_grid_gives_the_same_answer(formula: Formula, data: st.DataObject) -> None:
    outer = data.draw(st.integers(1, formula.variables))
    made = fooling_network(formula, outer)
    found = fool_on_grid(made.network, made.x0, gamma=0.5, eps=0.25, mu=1 / 32)
    assert found.foolable is (false_for_all(formula, outer) is not None)


@pytest.mark.parametrize("name", ["unit clauses", "all signs of two", "an empty clause among others"])
def test_the_point_of_the_proof_is_robust_for_real_inputs(name: str) -> None:
    formula = NAMED[name]
    made = fooling_network(formula, 1)
    y = false_for_all(formula, 1)
    assert y is not None
    point = np.array([*y, *[0.5] * (formula.variables - 1)], dtype=np.float64)
    result = distance(made.network, point)
    assert result.predicted == 1
    assert result.lower is not None and result.lower > 0.25


CASES = {
    "fooled": (Formula(2, ((1, 2), (1, -2))), 1, True),
    "safe": (Formula(2, ((1, 2), (-1, -2))), 1, False),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_real_inputs_agree(name: str) -> None:
    formula, outer, expected = CASES[name]
    assert (false_for_all(formula, outer) is not None) is expected
    made = fooling_network(formula, outer)
    bound = largest_distance(made.network, made.x0, 0.5, gap=1e-4, eps=0.25, limits=FoolingLimits(boxes=4000))
    assert bound.can_be_fooled(0.25) is expected


def test_both_quantifiers_on_known_formulas() -> None:
    assert false_for_all(NAMED["all signs of two"], 1) == (False,)
    assert false_for_all(Formula(2, ((1, 2), (-1, -2))), 1) is None  # z = not y makes it true
    assert false_for_all(Formula(2, ((1, 2), (-1, -2))), 2) == (False, False)
    assert false_for_all(Formula(1, ()), 1) is None


WRONG = {
    "no inputs": ({"outer": 0}, "0 outer variables; 1 to 2"),
    "too many": ({"outer": 3}, "3 outer variables; 1 to 2"),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_split_is_checked(name: str) -> None:
    arguments, message = WRONG[name]
    for function in (fooling_network, false_for_all):
        with pytest.raises(InputError, match=message):
            function(Formula(2, ((1,),)), **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mu": 0.3}, "mu is 0.3"),
        ({"mu": 2.0**-11}, r"The grid has 2049\*\*2 points; at most 2,000,000"),
        ({"gamma": 0.3}, "gamma is no multiple of mu: it is 1.2 steps"),
        ({"eps": -0.25}, "eps is -0.25; it must be finite and at least 0"),
        ({"x0": [0.1, 0.5]}, "x0 is not a point of the grid: an entry is 0.4 steps"),
        ({"x0": [1.25, 0.5]}, "x0 lies outside"),
    ],
)
def test_arguments_of_the_grid(change: dict[str, object], message: str) -> None:
    made = fooling_network(Formula(2, ((1, 2),)), 1)
    arguments = {"x0": made.x0, "gamma": 0.5, "eps": 0.25, "mu": 0.25, **change}
    with pytest.raises(InputError, match=message):
        fool_on_grid(made.network, **arguments)


def test_too_many_assignments() -> None:
    with pytest.raises(InputError, match=r"2\*\*30 assignments"):
        false_for_all(Formula(30, ()), 2)
