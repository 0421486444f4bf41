"""Removing what hardly counts: small weights, and ReLUs that nearly always do the same.

This module imports torch; it is itself imported only inside functions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from counter_attack.training._layers import MaskedRelu, flat_layers


@dataclass(frozen=True, slots=True)
class Pruned:
    """What pruning did.

    Attributes:
        weights: weights of dense and convolutional layers that became 0 (those that were 0 before do not count).
        weights_of: how many such weights there are.
        off: ReLUs that are now always 0.
        linear: ReLUs that now pass their value on.
        relus_of: how many ReLUs there were.
    """

    weights: int = 0
    weights_of: int = 0
    off: int = 0
    linear: int = 0
    relus_of: int = 0


@torch.no_grad()
def prune_weights(module: nn.Module, threshold: float) -> tuple[int, int]:
    """Sets weights w with |w| < threshold to 0, in place; returns how many became 0, of how many.

    Only weights of dense and convolutional layers count, not biases.
    """
    changed = total = 0
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            small = (layer.weight.abs() < threshold) & (layer.weight != 0)
            layer.weight[small] = 0.0
            changed += int(small.sum())
            total += layer.weight.numel()
    return changed, total


@torch.no_grad()
def prune_relus(module: nn.Module, batches: Iterable[Tensor], share: float) -> nn.Sequential:
    """The layers with masks in place of ReLUs: units that are off, or on, for at least `share` of the images.

    A unit is off for an image if its pre-activation is at most 0. A unit is fixed where it does the same for at least
    `share` > 0.5 of all images, so never both ways. Layers without such a unit stay plain ReLUs. The other layers are
    shared with `module`, a Sequential.
    """
    assert share > 0.5
    layers = flat_layers(module)
    on: dict[int, Tensor] = {}
    count = 0
    for images in batches:
        count += len(images)
        value = images
        for position, layer in enumerate(layers):
            if isinstance(layer, nn.ReLU):
                above = (value > 0).sum(0)
                on[position] = above if position not in on else on[position] + above
            value = layer(value)
    needed = share * count
    for position, above in on.items():
        mask = (above >= needed).to(torch.int8) - (count - above >= needed).to(torch.int8)
        if bool((mask != 0).any()):
            layers[position] = MaskedRelu(mask)
    return nn.Sequential(*layers)


def count_relus(module: nn.Module, shape: tuple[int, ...], device: torch.device) -> Pruned:
    """How many ReLUs of a Sequential are off, linear, and there at all; nothing about weights."""
    off = linear = total = 0
    value = torch.zeros(1, *shape, device=device)
    with torch.no_grad():
        for layer in flat_layers(module):
            if isinstance(layer, MaskedRelu):
                off, linear = off + int((layer.mask == -1).sum()), linear + int((layer.mask == 1).sum())
            total += value.numel() if isinstance(layer, nn.ReLU | MaskedRelu) else 0
            value = layer(value)
    return Pruned(off=off, linear=linear, relus_of=total)
