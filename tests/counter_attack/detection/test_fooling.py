"""Attacks on the detector: every success holds when looked at again, and a detector that can be fooled is."""

from __future__ import annotations

import numpy as np
import pytest

from counter_attack.detection import (
    CounterAttack,
    ExactAttack,
    FoolingAttack,
    FunctionBuffer,
    Zero,
    fooling_rates,
    largest_distance,
)
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork
from onnx_models.errors import InputError
from tests.counter_attack.detection.scripted import Boundary, Guess, Nothing
from tests.helpers.queries import line_classifier

QUICK = FoolingAttack(lambdas=(1e2, 1e-2), steps=30, step_size=0.02, samples=4, sigma=1e-3, draws=30)


EXACT = Boundary(at=(0.35, 0.65))
"""The exact attack on `band()`."""


def band(width: float = 0.3) -> ReluNetwork:
    """Two classes on [0, 1]^2: 1 where |x_0 - 0.5| >= width / 2, 0 between, so a step may land deep in class 1."""
    builder = NetworkBuilder((2,))
    left = DenseMap(np.array([[1.0, 0.0], [-1.0, 0.0]]))
    hidden = builder.relu(builder.affine([0], [left], np.array([-0.5, 0.5])))
    out = builder.affine([hidden], [DenseMap(np.array([[0.0, 0.0], [1.0, 1.0]]))], np.array([0.0, -width / 2]))
    return builder.build(out)


def check(detector: CounterAttack, x: Array, result: object, targets: set[int]) -> None:
    """Successes, looked at again one by one."""
    network = detector.model
    for method in range(len(result.methods)):
        for row in range(len(x)):
            point = result.adversarial[method, row]
            if not result.success[method, row]:
                assert np.isnan(point).all() and np.isnan(result.estimate[method, row])
                continue
            assert np.abs(point - x[row]).max() <= result.radius and point.min() >= 0 and point.max() <= 1
            assert int(np.argmax(network.forward(point))) in targets
            again = detector.detect(point[None])
            assert not again.non_robust[0]
            assert result.estimate[method, row] == pytest.approx(again.estimate[0]) and again.estimate[0] > detector.eps


def test_a_wide_radius_fools_even_an_exact_detector() -> None:
    network, x = band(), np.array([[0.5, 0.5], [0.6, 0.2]])
    detector = CounterAttack(EXACT, Zero(), 0.05, model=network)
    result = QUICK(detector, x, radius=0.4)
    check(detector, x, result, {1})
    assert result.methods == ("lambda=100", "lambda=0.01", "uniform")
    assert result.rates["any"] == 1.0 and result.rates["lambda=0.01"] == 1.0
    assert np.all(result.queries > 0)


def test_an_exact_detector_cannot_be_fooled_within_its_own_radius() -> None:
    """Within eps of x, a point of another class has x within eps of it: the distances are the same both ways."""
    network, x = band(), np.random.default_rng(0).random((4, 2))
    result = QUICK(CounterAttack(EXACT, Zero(), 0.3, model=network), x, radius=None)
    assert result.radius == 0.3 and not result.success.any()
    assert set(result.rates.values()) == {0.0}


def test_a_failing_inner_attack_is_fooled_at_once() -> None:
    network, x = band(), np.array([[0.5, 0.5]])
    detector = CounterAttack(Nothing(), Zero(), 0.2, model=network)
    result = QUICK(detector, x)
    check(detector, x, result, {1})
    assert result.success.all() and np.isinf(result.estimate).all()


def test_a_buffer_that_is_large_enough_protects() -> None:
    network, x = band(), np.array([[0.5, 0.5], [0.6, 0.2]])
    weak = CounterAttack(Guess(draws=3), Zero(), 0.2, model=network)
    assert QUICK(weak, x).success.any()
    wide = FunctionBuffer(lambda *found: found[2])
    assert not QUICK(CounterAttack(Guess(draws=30), wide, 0.2, model=network), x).success.any()


def test_lambda_decides_between_class_and_distance() -> None:
    """At x = 0.45 the exact distance falls towards the boundary at 0.5, and the class changes behind it: with a large
    lambda the climb turns away from the boundary, with a small one it crosses it.
    """
    network, x = line_classifier(slope=20.0, bias=-10.0), np.array([[0.45]])
    detector = CounterAttack(Boundary(), Zero(), 0.02, model=network)
    climb = FoolingAttack(lambdas=(1e4, 1e-4), steps=40, step_size=0.005, samples=3, sigma=1e-3, draws=0)
    result = climb(detector, x, radius=0.1, seed=3)  # this seed starts on the near side
    assert list(result.success[:, 0]) == [False, True]
    check(detector, x, result, {1})


def test_the_seed_decides() -> None:
    network, x = band(), np.array([[0.5, 0.5]])
    detector = CounterAttack(EXACT, Zero(), 0.05, model=network)
    one, again, other = (QUICK(detector, x, radius=0.4, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.adversarial, again.adversarial, equal_nan=True)
    assert not np.array_equal(one.adversarial, other.adversarial, equal_nan=True)


def test_targets_are_kept() -> None:
    builder = NetworkBuilder((1,))
    hidden = builder.relu(builder.affine([0], [DenseMap(np.array([[1.0], [1.0]]))], np.array([-0.4, -0.6])))
    steps = DenseMap(np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 4.0]]))
    network = builder.build(builder.affine([hidden], [steps], np.array([0.0, -0.05, -0.45])))
    assert [int(np.argmax(network.forward(np.array([v])))) for v in (0.2, 0.5, 0.9)] == [0, 1, 2]
    detector = CounterAttack(Boundary(at=(0.45, 0.7)), Zero(), 0.01, model=network)
    result = QUICK(detector, [[0.3]], radius=0.65, targets=[2])
    check(detector, np.array([[0.3]]), result, {2})
    assert result.success.any()
    assert not QUICK(detector, [[0.3]], radius=0.2, targets=[2]).success.any()


def test_rates_per_eps() -> None:
    network, x = band(), np.array([[0.5, 0.5], [0.0, 0.0]])
    detector = CounterAttack(Guess(draws=3), Zero(), 0.1, model=network)
    results = fooling_rates(QUICK, detector, x, [0.05, 0.2])
    assert list(results) == [0.05, 0.2]
    assert [result.radius for result in results.values()] == [0.05, 0.2]
    assert results[0.05].rates["any"] == 0.0  # no other class within 0.05 of either input
    assert results[0.2].rates["any"] == 0.5
    assert detector.eps == 0.1
    wide = fooling_rates(QUICK, detector, x, [0.05], correction=4.0)
    assert wide[0.05].radius == 0.2 and wide[0.05].eps == 0.05


@pytest.mark.slow
def test_no_success_beyond_what_is_provable() -> None:
    network, x = band(), np.array([[0.5, 0.5]])
    for radius in (0.2, 0.3):
        bound = largest_distance(network, x[0], radius, gap=1e-2)
        result = QUICK(CounterAttack(EXACT, Zero(), 0.02, model=network), x, radius=radius)
        found = result.estimate[result.success]
        assert len(found) and np.all(found <= bound.upper + 1e-5)


@pytest.mark.parametrize(
    ("field", "bad"), [("steps", 0), ("samples", 0), ("draws", -1), ("sigma", 0.0), ("step_size", -1.0)]
)
def test_parameters_out_of_range(field: str, bad: float) -> None:
    with pytest.raises(InputError, match=field):
        FoolingAttack(**{field: bad})


def test_bad_arguments() -> None:
    with pytest.raises(InputError, match="lambda"):
        FoolingAttack(lambdas=(1.0, -1.0))
    detector = CounterAttack(ExactAttack(), Zero(), 0.1, model=band())
    with pytest.raises(InputError, match="radius"):
        QUICK(detector, [[0.5, 0.5]], radius=0.0)
    with pytest.raises(InputError, match="has class 0 already"):
        QUICK(detector, [[0.5, 0.5]], targets=[0])
