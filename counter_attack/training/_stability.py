"""How far ReLUs are from being always on or always off (Xiao, Tjeng, Shafiullah and Madry, 2019).

This module imports torch; it is itself imported only inside functions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from counter_attack.training._layers import flat_layers
from onnx_models.errors import InputError

_SUPPORTED = (nn.Linear, nn.Conv2d, nn.Flatten, nn.ReLU, nn.Identity)


def check_layers(module: nn.Module) -> None:
    """Raises InputError unless the module is a Sequential of layers that intervals go through."""
    wrong = [type(layer).__name__ for layer in flat_layers(module) if not isinstance(layer, _SUPPORTED)]
    wrong += ["Conv2d with padding_mode" for layer in flat_layers(module) if _is_odd(layer)]
    if wrong:
        raise InputError(
            f"The stability loss and the pruning of ReLUs need a Sequential of Linear, Conv2d, ReLU and Flatten; this "
            f"module has {', '.join(dict.fromkeys(wrong))}. Train it with method standard or adversarial."
        )


def _is_odd(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.padding_mode != "zeros"


def intervals(module: nn.Module, low: Tensor, high: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Bounds (l, u) of the pre-activations of every ReLU layer for inputs between `low` and `high`; differentiable.

    Interval arithmetic in the tensors' own precision, not rounded outwards: for training, not for proofs. Layers have
    been checked with `check_layers`.
    """
    middle, radius = (high + low) / 2, (high - low) / 2
    found = []
    for layer in flat_layers(module):
        if isinstance(layer, nn.ReLU):
            l, u = middle - radius, middle + radius
            found.append((l, u))
            l, u = torch.relu(l), torch.relu(u)
            middle, radius = (u + l) / 2, (u - l) / 2
        elif isinstance(layer, nn.Linear):
            middle, radius = layer(middle), nn.functional.linear(radius, layer.weight.abs())
        elif isinstance(layer, nn.Conv2d):
            middle, radius = layer(middle), layer._conv_forward(radius, layer.weight.abs(), None)
        else:
            middle, radius = layer(middle), layer(radius)
    return found


def stability_loss(module: nn.Module, images: Tensor, eps: float) -> Tensor:
    """- sum over ReLUs of tanh(1 + l u), the mean over images; l and u bound the pre-activation within eps of an image.

    l u > 0 exactly for a ReLU that is on (or off) in the whole box; the loss falls as l u grows. The box is cut to
    [0, 1].
    """
    loss = images.new_zeros(())
    for l, u in intervals(module, (images - eps).clamp(0, 1), (images + eps).clamp(0, 1)):
        loss = loss - torch.tanh(1 + l * u).flatten(1).sum(1).mean()
    return loss


def l1_norm(module: nn.Module) -> Tensor:
    """The sum of the absolute values of all parameters, biases included."""
    return torch.stack([parameter.abs().sum() for parameter in module.parameters()]).sum()
