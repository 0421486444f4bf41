"""Changes of outputs: exact on linear models, never beyond what a proof allows, and the domain is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bounds import Bounds, interval_bounds
from counter_attack.attacks import AttackStop
from counter_attack.unified import _regression, change_outputs
from counter_attack.unified._objectives import Linear
from mipverify_py import Norm
from onnx_models import DenseMap, NetworkBuilder
from onnx_models.errors import InputError
from onnx_models.zoo import load_zoo
from tests.helpers.attacked import linear_classifier
from tests.helpers.attacks import digits, size

PAIRS = [(p, q) for p in Norm for q in Norm]


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_a_linear_model_changes_as_its_linearisation_says(p: Norm, q: Norm) -> None:
    rng = np.random.default_rng(1)
    network, x = linear_classifier(rng.normal(size=(3, 5)), rng.normal(size=3)), rng.random((4, 5))
    found = change_outputs(network, x, eps=0.3, norms=(p, q), domain=(-9.0, 9.0))
    assert found.solved
    np.testing.assert_allclose(found.change, found.linearised, rtol=1e-9)
    np.testing.assert_allclose(found.change, size(network.forward_batch(found.points) - network.forward_batch(x), q))
    assert np.all(found.size <= 0.3 * (1 + 1e-9))


@pytest.mark.parametrize("steps", [1, 5])
def test_one_output_of_a_network_stays_within_its_bounds(steps: int) -> None:
    """A regression network with one output; intervals prove how far it can go."""
    rng = np.random.default_rng(2)
    builder = NetworkBuilder((3,))
    hidden = builder.relu(builder.affine([0], [DenseMap(rng.normal(size=(6, 3)))], rng.normal(size=6)))
    network = builder.build(builder.affine([hidden], [DenseMap(rng.normal(size=(1, 6)))], np.zeros(1)))
    x = rng.random((10, 3))
    found = change_outputs(network, x, eps=0.2, steps=steps)
    assert found.points.min() >= 0 and found.points.max() <= 1
    shares = []
    for k in range(10):
        proved = interval_bounds(network, Bounds(np.maximum(x[k] - 0.2, 0), np.minimum(x[k] + 0.2, 1))).nodes[-1]
        own = network.forward(x[k])
        furthest = max(proved.upper[0] - own[0], own[0] - proved.lower[0])
        grid = rng.uniform(np.maximum(x[k] - 0.2, 0), np.minimum(x[k] + 0.2, 1), size=(300, 3))
        drawn = np.abs(network.forward_batch(grid) - own).max()
        assert found.change[k] <= furthest * (1 + 1e-9)
        shares.append(found.change[k] / drawn)
    assert np.mean(shares) > 0.8


def test_more_steps_and_torch_modules() -> None:
    network, x = load_zoo("digits_small_standard"), digits(5)
    one, five = (change_outputs(network, x, eps=0.1, steps=steps) for steps in (1, 5))
    assert not one.solved and five.change.mean() > one.change.mean()
    np.testing.assert_array_equal(one.linearised, five.linearised)
    module = torch.nn.Linear(4, 1)
    found = change_outputs(module, np.full((2, 4), 0.5), eps=0.1)
    expected = 0.1 * module.weight.detach().double().abs().sum().item()
    np.testing.assert_allclose(found.change, expected, rtol=1e-9)


def test_a_limit_and_ctrl_c_give_the_steps_done_by_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step is always done; what a stopped search returns is what the same steps had reached before."""
    network, x = load_zoo("digits_small_standard"), digits(3)
    late = change_outputs(network, x, eps=0.1, steps=10, seconds=1e-9)
    assert late.stop is AttackStop.TIME and np.all(late.change > 0) and np.all(late.size <= 0.01 * (1 + 1e-9))
    plain, calls = _regression.jacobian, []

    def third_is_interrupted(*arguments: Any) -> Linear:
        calls.append(1)
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return plain(*arguments)

    monkeypatch.setattr(_regression, "jacobian", third_is_interrupted)
    stop_at = 3
    two = change_outputs(network, x, eps=0.1, steps=10)
    assert two.stop is AttackStop.INTERRUPTED and np.all(two.change > late.change)
    own = network.forward_batch(x.reshape(3, -1))
    np.testing.assert_allclose(two.change, size(network.forward_batch(two.points) - own, Norm.L2))
    calls.clear()
    stop_at = 1
    none = change_outputs(network, x, eps=0.1, steps=10)
    assert none.stop is AttackStop.INTERRUPTED and not none.change.any() and np.isnan(none.linearised).all()
    np.testing.assert_array_equal(none.points, x.reshape(3, -1))


@pytest.mark.parametrize(
    "arguments", [{"eps": 0.0}, {"eps": float("inf")}, {"eps": 0.1, "steps": 0}, {"eps": 0.1, "seconds": 0.0}]
)
def test_mistakes_are_named(arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="a finite eps > 0 and at least 1 step"):
        change_outputs(load_zoo("digits_small_standard"), digits(1), **arguments)
