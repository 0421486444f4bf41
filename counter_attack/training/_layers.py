"""ReLUs of which some units are fixed. This module imports torch; it is itself imported only inside functions."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MaskedRelu(nn.Module):
    """relu(z) where the mask is 0, 0 where it is -1, z where it is +1, as in MIPVerify.

    Attributes:
        mask: int8, of the shape of one input's pre-activations z.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask.to(torch.int8))

    def forward(self, z: Tensor) -> Tensor:
        """The activations, of z's shape (N, *mask.shape)."""
        passed = torch.where(self.mask == 1, z, torch.relu(z))
        return torch.where(self.mask == -1, torch.zeros((), dtype=z.dtype, device=z.device), passed)


def flat_layers(module: nn.Module) -> list[nn.Module]:
    """The layers of a module in the order in which they are applied; nested Sequentials are opened.

    A module that is no Sequential is one layer.
    """
    if not isinstance(module, nn.Sequential):
        return [module]
    return [layer for part in module for layer in flat_layers(part)]
