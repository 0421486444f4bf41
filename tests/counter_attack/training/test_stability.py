"""Interval bounds of pre-activations and the stability loss, against the package `bounds` and sampling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bounds import Bounds, interval_bounds
from counter_attack.training import build_architecture
from counter_attack.training._export import export
from counter_attack.training._layers import flat_layers
from counter_attack.training._stability import check_layers, intervals, l1_norm, stability_loss
from onnx_models import Relu
from onnx_models.errors import InputError

NETWORKS = {
    "dense": lambda: build_architecture("digits", "A", seed=3),
    "conv": lambda: build_architecture("digits", "C", seed=3),
    "deep": lambda: nn.Sequential(
        nn.Conv2d(1, 3, 3, stride=2, padding=1, bias=False),
        nn.ReLU(),
        nn.Sequential(nn.Flatten(), nn.Linear(48, 12)),
        nn.ReLU(),
        nn.Linear(12, 10),
    ),
}


def images(count: int = 4) -> torch.Tensor:
    return torch.rand((count, 1, 8, 8), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NETWORKS)
def test_intervals_are_those_of_the_package_bounds(name: str) -> None:
    torch.manual_seed(0)
    module = NETWORKS[name]()
    _, network = export(module, images(), "net", "")
    relus = [node for node in network.nodes if isinstance(node, Relu)]
    low, high = (images() - 0.1).clamp(0, 1), (images() + 0.1).clamp(0, 1)
    with torch.no_grad():
        found = intervals(module, low, high)
    for k in range(4):
        region = Bounds(*(end[k].double().numpy().ravel() for end in (low, high)))
        expected = interval_bounds(network, region)
        for (l, u), relu in zip(found, relus, strict=True):
            bounds = expected.nodes[relu.input]
            np.testing.assert_allclose(l[k].numpy().ravel(), bounds.lower, atol=1e-5)
            np.testing.assert_allclose(u[k].numpy().ravel(), bounds.upper, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_loss_is_the_formula_and_falls_along_its_gradient(name: str) -> None:
    torch.manual_seed(0)
    module = NETWORKS[name]()
    loss = stability_loss(module, images(), 0.05)
    with torch.no_grad():
        ends = intervals(module, (images() - 0.05).clamp(0, 1), (images() + 0.05).clamp(0, 1))
        products = np.concatenate([(l * u).double().flatten(1).numpy() for l, u in ends], axis=1)
    assert loss.item() == pytest.approx(-np.tanh(1 + products).sum(1).mean(), rel=1e-5)
    loss.backward()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.sub_(1e-3 * parameter.grad)
    assert stability_loss(module, images(), 0.05) < loss


def test_the_l1_norm_counts_every_parameter() -> None:
    module = build_architecture("digits", "B", seed=1)
    expected = sum(float(np.abs(p.detach().double().numpy()).sum()) for p in module.parameters())
    assert l1_norm(module).item() == pytest.approx(expected, rel=1e-5)


def test_layers_that_intervals_do_not_go_through_are_named() -> None:
    wrong = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"), nn.MaxPool2d(2), nn.Tanh())
    with pytest.raises(InputError, match="has MaxPool2d, Tanh, Conv2d with padding_mode"):
        check_layers(wrong)
    with pytest.raises(InputError, match="has Bilinear"):
        check_layers(nn.Bilinear(2, 2, 2))
    check_layers(NETWORKS["deep"]())
    assert len(flat_layers(NETWORKS["deep"]())) == 6
