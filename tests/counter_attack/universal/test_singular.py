"""(p, q)-singular vectors against numpy's SVD, brute force and the rise that theory promises."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from counter_attack.diagnostics import Subject
from counter_attack.universal import by_singular_vector, layer_nodes, singular_vector
from mipverify_py import Norm
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork
from onnx_models.errors import InputError
from onnx_models.zoo import digits_test, load_zoo
from tests.helpers.networks import random_network

ORDER = {Norm.LINF: np.inf, Norm.L1: 1, Norm.L2: 2}


def linear(weight: Array, bias: Array | float = 0.0) -> ReluNetwork:
    builder = NetworkBuilder((weight.shape[1],))
    return builder.build(builder.affine([0], [DenseMap(weight)], bias))


def subject(network: ReluNetwork, count: int, norm: Norm, seed: int = 0) -> Subject:
    x = np.random.default_rng(seed).random((count, network.input_size))
    return Subject.of(network, x, norm=norm, seed=seed)


@given(st.integers(0, 2**32 - 1))
def test_on_a_linear_model_p_q_2_is_the_svd(seed: int) -> None:
    """With N inputs the same Jacobian stands N times on top of itself, which multiplies its value by sqrt(N)."""
    rng = np.random.default_rng(seed)
    left, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    right, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    weight = left @ np.diag([2.0, 1.0, 0.5, 0.25]) @ right[:4]  # the first value stands out, so steps converge fast
    found = singular_vector(subject(linear(weight), 3, Norm.L2), q=2.0, steps=200)
    assert found.converged and found.value == pytest.approx(2.0 * np.sqrt(3), rel=1e-8)
    assert abs(found.vector @ np.linalg.svd(weight)[2][0]) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("q", [1.0, 2.0, 5.0])
def test_in_linf_and_l1_brute_force_over_the_ball_s_corners_agrees(q: float) -> None:
    """A convex function is largest at a corner: 2^n sign vectors, or the 2 n unit vectors. Many starts find it."""
    rng = np.random.default_rng(7)
    weight = rng.normal(size=(3, 5))
    corners = {Norm.LINF: np.array(list(product((-1.0, 1.0), repeat=5))), Norm.L1: np.eye(5)}
    for norm, every in corners.items():
        truth = max(float((np.abs(weight @ corner) ** q).sum() ** (1 / q)) for corner in every)
        found = singular_vector(subject(linear(weight), 1, norm), q=q, starts=20)
        assert found.value == pytest.approx(truth, rel=1e-12)
        assert np.linalg.norm(found.vector, ord=ORDER[norm]) == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize("norm", list(Norm))
def test_no_step_makes_the_value_smaller_and_the_value_is_that_of_the_jacobians(norm: Norm) -> None:
    """J from central differences of the network itself, which is linear around almost every input."""
    for seed in range(6):
        network = random_network(np.random.default_rng(seed), max_relus=6)
        one = subject(network, 4, norm, seed)
        found = singular_vector(one, layer=len(layer_nodes(network)), q=3.0)
        values = np.array(found.values)
        assert np.all(np.diff(values) >= -1e-9 * values[:-1])
        steps = 1e-7 * found.vector
        change = (network.forward_batch(one.x + steps) - network.forward_batch(one.x - steps)) / 2e-7
        assert found.value == pytest.approx(float((np.abs(change) ** 3).sum() ** (1 / 3)), rel=1e-4)
        assert found.value == values[-1]


def test_layers_are_counted_from_the_input_to_the_logits() -> None:
    network = load_zoo("digits_conv_standard")
    nodes = layer_nodes(network)
    assert nodes[-1] == len(network.nodes) - 1 and list(nodes) == sorted(set(nodes))
    assert [network.nodes[k + 1].size for k in nodes[:-1]] == [network.nodes[k].size for k in network.relu_indices]


def test_the_sign_is_that_which_fools_more() -> None:
    data = digits_test()
    one = Subject.of(load_zoo("digits_small_standard"), data.images[:60], data.labels[:60])
    v = singular_vector(one, layer=2)
    found = by_singular_vector(one, 0.3, v)
    assert np.abs(found.vector).max() <= 0.3 and np.allclose(np.abs(found.vector), 0.3 * np.abs(v.vector))
    other = one.fooled(one.clip(one.x - found.vector)).sum()
    assert found.fooling(one).count >= other and found.fooling(one).count > 0


def test_what_cannot_be_is_refused() -> None:
    one = subject(linear(np.eye(3)), 2, Norm.L2)
    with pytest.raises(InputError, match="layers 1 to 1"):
        singular_vector(one, layer=2)
    for q, starts, steps in ((0.5, 1, 1), (np.inf, 1, 1), (2.0, 0, 1), (2.0, 1, 0)):
        with pytest.raises(InputError, match="power method"):
            singular_vector(one, q=q, starts=starts, steps=steps)
    with pytest.raises(InputError, match="vanish"):
        singular_vector(subject(linear(np.zeros((2, 3)), np.array([1.0, 0.0])), 2, Norm.L2))
    with pytest.raises(InputError, match="eps > 0"):
        by_singular_vector(one, 0.0, singular_vector(one))
