"""The exact attack: against every activation pattern tried, and what it says where it did not finish."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counter_attack.attacks import AttackStop, Budget, ExactFinish
from counter_attack.detection import ExactAttack
from mipverify_py import Norm, Options
from onnx_models import ReluNetwork, to_torch
from onnx_models.errors import InputError
from tests.helpers.networks import networks
from tests.helpers.oracles import nearest_adversarial
from tests.helpers.queries import hard_question, line_classifier


@settings(max_examples=8, deadline=None)
@given(network=networks(max_relus=5), seed=st.integers(0, 2**32 - 1))
def test_distance_is_that_of_the_nearest_of_all_patterns(network: ReluNetwork, seed: int) -> None:
    x = np.random.default_rng(seed).random((2, network.input_size))
    found = ExactAttack()(network, x)
    for row in range(2):
        reference = int(np.argmax(network.forward(x[row])))
        others = tuple(j for j in range(network.output_size) if j != reference)
        low, high = np.zeros(network.input_size), np.ones(network.input_size)
        truth = nearest_adversarial(network, x[row], others, reference, lower=low, upper=high)
        assert found.exact[row]
        if truth is None:
            assert not found.success[row] and np.isinf(found.upper[row]) and np.isinf(found.lower[row])
            assert np.isnan(found.distance[row])
        else:
            assert found.success[row] and found.lower[row] <= truth + 1e-6
            assert truth - 1e-6 <= found.upper[row] <= truth + 3e-6 + 2e-5 * truth
            assert found.distance[row] == pytest.approx(found.upper[row], rel=2e-6, abs=1e-15)


def test_labels_targets_and_domain_are_kept() -> None:
    network = line_classifier()  # class 1 from x = 0.5 on
    found = ExactAttack()(network, [[0.2], [0.7], [0.2]], label=[0, 0, 1])
    assert found.distance == pytest.approx([0.3, 0.0, 0.0], abs=1e-6)
    assert found.exact.all() and list(found.lower[1:]) == [0.0, 0.0]
    narrow = ExactAttack()(network, [[0.2]], domain=(0.0, 0.4))
    assert not narrow.success[0] and np.isinf(narrow.lower[0]) and narrow.exact[0]


def test_l1_and_l2_distances() -> None:
    network, x = line_classifier(), [[0.2]]
    for norm in (Norm.L1, Norm.L2):
        found = ExactAttack(norm, Options(backend="scip"))(network, x)
        assert found.norm is norm and found.upper == pytest.approx([0.3], abs=1e-4)


def test_a_search_cut_short_is_not_exact() -> None:
    network, x = hard_question()
    found = ExactAttack(options=Options(time_limit=1e-3))(network, x[None])
    assert not found.exact[0]
    assert 0 <= found.lower[0] <= found.upper[0]


def test_inputs_beyond_the_time_are_left_open() -> None:
    network, x = hard_question()
    found = ExactAttack()(network, np.stack([x, x + 1e-3, x + 2e-3]).clip(0, 1), budget=Budget(seconds=1e-2))
    assert found.stop_reason is AttackStop.TIME
    assert not found.exact.any() and not found.success[2]
    assert found.lower[2] == 0.0 and np.isinf(found.upper[2])


def test_needs_a_relu_network() -> None:
    from torch import nn

    with pytest.raises(InputError, match="needs a ReluNetwork, got a Linear"):
        ExactAttack()(nn.Linear(2, 2), np.full((1, 2), 0.5))


def test_a_witness_is_kept_when_the_budget_is_used_up() -> None:
    found = ExactAttack()(line_classifier(), [[0.2]], budget=Budget(calls=1))  # the look at the input is the one call
    assert found.exact[0] and found.success[0] and found.distance == pytest.approx(found.upper, rel=2e-6)


def test_a_module_that_wraps_a_network_is_not_that_network() -> None:
    from torch import Tensor, nn

    class Flipped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = line_classifier()
            self.inner = to_torch(self.network)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(1 - x)

    for attack in (ExactAttack(), ExactFinish()):
        with pytest.raises(InputError, match="needs .* ReluNetwork, got a Flipped"):
            attack(Flipped(), [[0.1]])


def test_the_torch_module_of_a_network_is_that_network() -> None:
    network = line_classifier()
    found = ExactAttack()(to_torch(network), [[0.2]])
    assert found.upper == pytest.approx([0.3], abs=1e-6) and found.own[0]
