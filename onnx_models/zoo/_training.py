"""Standard training, and adversarial training by projected gradient ascent (Madry et al., 2018).

This module imports torch; only the training script uses it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from onnx_models.zoo._architectures import build_architecture
from onnx_models.zoo._digits import LabelledImages
from onnx_models.zoo._recipes import Recipe

BATCH_SIZE = 64
LEARNING_RATE = 5e-3
WEIGHT_DECAY = 3e-3
TRAINING_ATTACK_STEPS = 10


def train(recipe: Recipe, rows: LabelledImages) -> nn.Sequential:
    """The trained module, in evaluation mode. The same recipe, rows, machine and thread count give the same weights.

    Adam with a learning rate that falls to zero over the epochs; with `recipe.eps` each batch is replaced by the end
    points of a projected gradient ascent within that radius.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        module = build_architecture(recipe.architecture)
    generator = torch.Generator().manual_seed(recipe.seed)
    images, labels = torch.from_numpy(rows.images), torch.from_numpy(rows.labels)
    optimiser = torch.optim.Adam(module.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.epochs)
    for _ in range(recipe.epochs):
        for batch in torch.split(torch.randperm(len(labels), generator=generator), BATCH_SIZE):
            inputs = images[batch]
            if recipe.eps is not None:
                inputs = ascend(module.eval(), inputs, labels[batch], recipe.eps, TRAINING_ATTACK_STEPS, generator)
            optimiser.zero_grad()
            functional.cross_entropy(module.train()(inputs), labels[batch]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        schedule.step()
    return module.eval()


def ascend(
    module: nn.Module, images: Tensor, labels: Tensor, eps: float, steps: int, generator: torch.Generator
) -> Tensor:
    """Images that raise the loss, within L-infinity distance `eps` and in [0, 1].

    Projected steps along the sign of the gradient, from a random start.
    """
    noise = torch.rand(images.shape, generator=generator) * 2 - 1
    current = (images + eps * noise).clamp(0, 1)
    step = 2.5 * eps / steps
    for _ in range(steps):
        current.requires_grad_()
        loss = functional.cross_entropy(module(current), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, current)
        moved = current.detach() + step * gradient.sign()
        current = torch.minimum(torch.maximum(moved, images - eps), images + eps).clamp(0, 1)
    return current.detach()


def accuracy(module: nn.Module, rows: LabelledImages) -> float:
    """Share of the rows that the module classifies correctly."""
    return float(np.mean(_correct(module, torch.from_numpy(rows.images), torch.from_numpy(rows.labels)).numpy()))


def attacked_accuracy(
    module: nn.Module, rows: LabelledImages, eps: float, *, steps: int = 40, restarts: int = 5, seed: int = 0
) -> float:
    """Share of the rows that stay correct under `restarts` attacks of `steps` steps each.

    Attacks can miss an adversarial example, so the robust accuracy is at most this.
    """
    images, labels = torch.from_numpy(rows.images), torch.from_numpy(rows.labels)
    generator = torch.Generator().manual_seed(seed)
    standing = _correct(module, images, labels)
    for _ in range(restarts):
        standing &= _correct(module, ascend(module, images, labels, eps, steps, generator), labels)
    return float(np.mean(standing.numpy()))


@torch.no_grad()
def _correct(module: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    result: Tensor = module(images).argmax(1) == labels
    return result
