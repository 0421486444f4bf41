"""What attacks see of a model: modules are copied to float64, and networks inside them stay the ones they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from counter_attack._classifier import Classifier
from counter_attack.attacks import FGSM, ExactFinish, make_attack
from onnx_models import NetworkBuilder, load_onnx, to_torch
from onnx_models.errors import InputError
from onnx_models.zoo import digits_test, zoo_path

IMAGES = digits_test().images[:4]


@pytest.fixture
def network_of_a_file() -> Path:
    return zoo_path("digits_conv_standard")


def test_a_module_made_from_a_file_is_taken(network_of_a_file: Path) -> None:
    network = load_onnx(network_of_a_file)
    module = to_torch(network)
    found = Classifier.of(module, shape=network.input_shape)
    assert found.module is not module
    assert found.module.network is network
    rows = torch.from_numpy(IMAGES.reshape(4, -1).astype(np.float64))
    np.testing.assert_allclose(found.logits(rows).numpy(), network.forward_batch(rows.numpy()), atol=1e-12)
    plain, finished = FGSM(), ExactFinish(inner=FGSM(), kicks=False)
    assert np.all(finished(module, IMAGES).distance <= plain(module, IMAGES).distance)


def test_a_module_with_a_network_within_is_taken(network_of_a_file: Path) -> None:
    network = load_onnx(network_of_a_file)

    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.full((1,), 0.25))
            self.inner = to_torch(network)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x - self.shift)

    module = Shifted()
    found = Classifier.of(module, shape=(64,))
    with torch.no_grad():
        module.shift.zero_()  # the copy must not follow
    rows = torch.from_numpy(IMAGES.reshape(4, -1).astype(np.float64))
    np.testing.assert_allclose(found.logits(rows).numpy(), network.forward_batch(rows.numpy() - 0.25), atol=1e-12)
    assert not any(parameter.requires_grad for parameter in found.module.parameters())


def test_a_module_needs_a_shape() -> None:
    with pytest.raises(InputError, match="does not tell the shape"):
        Classifier.of(nn.Linear(2, 2))


@pytest.mark.parametrize("name", ["fgsm", "fab", "cw"])
def test_a_network_that_ignores_its_input_has_no_examples(name: str) -> None:
    builder = NetworkBuilder((4,))
    network = builder.build(builder.constant(np.array([0.0, 1.0, 0.5])))
    found = make_attack(name, **({"steps": 10, "min_tau": 0.1} if name == "cw" else {}))(network, np.full((2, 4), 0.5))
    assert not found.success.any()
