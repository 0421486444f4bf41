"""Pruning: what it changes, by counting anew in numpy, and how far logits can move."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from counter_attack.training import build_architecture
from counter_attack.training._layers import MaskedRelu, flat_layers
from counter_attack.training._pruning import count_relus, prune_relus, prune_weights

SHARE = 0.9


def images(count: int = 300) -> torch.Tensor:
    return torch.rand((count, 1, 8, 8), generator=torch.Generator().manual_seed(0))


def dense() -> nn.Sequential:
    """Dense 64-32-10 whose pre-activations lie on both sides of 0, for some units nearly always on one."""
    module = build_architecture("digits", "A", seed=2)
    with torch.no_grad():
        module[1].weight.copy_(torch.randn((32, 64), generator=torch.Generator().manual_seed(1)) / 4)
        module[1].bias.copy_(torch.linspace(-3, 3, 32) - module[1].weight.sum(1) / 2)
    return module


@torch.no_grad()
def test_small_weights_become_zero_and_logits_move_as_little_as_their_sum() -> None:
    module, threshold = build_architecture("digits", "A", seed=2), 0.03
    w1, b1, w2, b2 = (p.detach().double().numpy().copy() for p in module.parameters())
    before = module(images()).double().numpy()
    changed, total = prune_weights(module, threshold)
    small1, small2 = np.abs(w1) < threshold, np.abs(w2) < threshold
    assert (changed, total) == (small1.sum() + small2.sum(), w1.size + w2.size)
    np.testing.assert_array_equal(module[1].weight.numpy(), np.where(small1, 0, w1))
    np.testing.assert_array_equal(module[3].weight.numpy(), np.where(small2, 0, w2))
    np.testing.assert_array_equal(module[1].bias.numpy(), b1)
    np.testing.assert_array_equal(module[3].bias.numpy(), b2)
    # |change of h| <= sum of threshold |x| over pruned entries; logits: that through |W2|, and W2's own pruned entries.
    x = images().double().numpy().reshape(300, 64)
    moved = threshold * x @ small1.T
    hidden = np.maximum(x @ w1.T + b1, 0) + moved
    bound = moved @ np.abs(w2).T + threshold * hidden @ small2.T
    assert np.all(np.abs(module(images()).double().numpy() - before) <= bound + 1e-5)
    assert prune_weights(module, threshold) == (0, total)


@torch.no_grad()
def test_masks_are_those_of_a_count_and_logits_move_by_what_they_change() -> None:
    module = dense()
    pruned = prune_relus(module, torch.split(images(), 77), SHARE)
    w1, b1, w2, _ = (p.detach().double().numpy() for p in module.parameters())
    z = images().double().numpy().reshape(300, 64) @ w1.T + b1
    share_on = (z > 0).mean(0)
    assert np.abs(share_on - SHARE).min() > 1e-9 and np.abs(1 - share_on - SHARE).min() > 1e-9
    expected = (share_on >= SHARE).astype(int) - (1 - share_on >= SHARE).astype(int)
    mask = pruned[2].mask.numpy()
    np.testing.assert_array_equal(mask, expected)
    assert set(expected) == {-1, 0, 1}
    relu = np.maximum(z, 0)
    masked = np.where(mask == 1, z, np.where(mask == -1, 0, relu))
    difference = (pruned(images()) - module(images())).double().numpy()
    np.testing.assert_allclose(difference, (masked - relu) @ w2.T, atol=1e-5)
    obeys = (masked == relu).all(1)
    assert 0 < obeys.sum() < 300
    np.testing.assert_array_equal(pruned(images())[obeys], module(images())[obeys])


@torch.no_grad()
def test_units_are_counted_in_every_layer_by_the_network_before_pruning() -> None:
    torch.manual_seed(4)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2),
        nn.ReLU(),
        nn.Sequential(nn.Flatten(), nn.Linear(36, 9), nn.ReLU()),
        nn.Linear(9, 10),
    )
    pruned = prune_relus(module, [images()], SHARE)
    first = module[0](images())
    second = module[2][1](torch.relu(first).flatten(1))
    layers = [layer for layer in flat_layers(pruned) if isinstance(layer, nn.ReLU | MaskedRelu)]
    fixed = 0
    for z, layer in zip((first, second), layers, strict=True):
        on = (z > 0).double().mean(0)
        expected = (on >= SHARE).int() - (1 - on >= SHARE).int()
        if isinstance(layer, MaskedRelu):
            np.testing.assert_array_equal(layer.mask, expected)
            fixed += int((expected != 0).sum())
        else:
            assert not expected.any()
    counts = count_relus(pruned, (1, 8, 8), torch.device("cpu"))
    assert counts.relus_of == 36 + 9 and counts.off + counts.linear == fixed > 0


@torch.no_grad()
def test_a_network_without_constant_units_is_left_alone() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 3, bias=False), nn.ReLU(), nn.Linear(3, 10))
    module[1].weight.copy_(torch.tensor([1.0, -1.0]).repeat(3, 32))
    both = torch.cat([images(), images().roll(1, 3)])  # each image and one on which every unit has the other sign
    pruned = prune_relus(module, [both], SHARE)
    assert [type(layer) for layer in pruned] == [type(layer) for layer in module]


def test_a_masked_relu_is_zero_rectified_or_linear() -> None:
    layer = MaskedRelu(torch.tensor([-1, 0, 1]))
    z = torch.tensor([[-2.0, -2.0, -2.0], [3.0, 3.0, 3.0], [-0.0, 0.0, 0.0]], requires_grad=True)
    found = layer(z)
    assert found.tolist() == [[0, 0, -2], [0, 3, 3], [0, 0, 0]]
    found.sum().backward()
    assert z.grad is not None and z.grad[:2].tolist() == [[0, 0, 1], [0, 1, 1]]


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_a_share_that_could_fix_a_unit_both_ways_is_our_own_mistake(share: float) -> None:
    with pytest.raises(AssertionError):
        prune_relus(dense(), [images()], share)
