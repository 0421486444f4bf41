"""What is done to images before the network learns from them: scaling, augmentation, the attack.

This module imports torch; it is itself imported only inside functions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from counter_attack.training._recipe import Recipe
from mipverify_py.data import DataSet


class Images:
    """A part of the data on the device: bytes until a batch is asked for.

    Attributes:
        labels: shape (N,), int64.
    """

    def __init__(self, data: DataSet, device: torch.device) -> None:
        self._pixels = torch.from_numpy(data.pixels.copy()).to(device)
        self._white = float(data.white)
        self.labels = torch.from_numpy(data.labels.copy()).to(device)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Images, shape (K, C, H, W), float32 in [0, 1], and their labels, shape (K,)."""
        chosen = rows.to(self.labels.device) if isinstance(rows, Tensor) else rows
        return self._pixels[chosen].float() / self._white, self.labels[chosen]


def augmented(images: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Images, shape (K, C, H, W), each mirrored, turned and shifted at random as the recipe says.

    Pixels are interpolated bilinearly; what comes in from outside is 0. Random numbers are drawn on the CPU.
    """
    count = len(images)
    draws = torch.rand((4, count), generator=generator)
    mirror = torch.where(draws[0] < 0.5, -1.0, 1.0) if recipe.flip else torch.ones(count)
    angle = (2 * draws[1] - 1) * math.radians(recipe.rotation)
    shift = 2 * recipe.translation * (2 * draws[2:] - 1)  # in the grid's unit, half an image
    height, width = images.shape[2:]
    ratio = height / width
    cosine, sine = torch.cos(angle), torch.sin(angle)
    # Where in the old image (columns x, y, 1; both in -1 .. 1) each place of the new one is looked up.
    across = torch.stack([mirror * cosine, -mirror * sine * ratio, shift[0]], dim=1)
    down = torch.stack([sine / ratio, cosine, shift[1]], dim=1)
    place = torch.stack([across, down], dim=1).to(images.device)
    grid = functional.affine_grid(place, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def attacked(module: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """The final iterate of projected gradient ascent on the loss (Madry et al., 2018), as a batch of images.

    From a uniform start within L-infinity distance eps, `attack_iterations` steps of length attack_step * eps along the
    sign of the gradient, each followed by a projection on the ball and on [0, 1]. The module is in evaluation mode
    meanwhile. Without iterations the images are returned as they are.
    """
    if recipe.attack_iterations == 0:
        return images
    assert recipe.eps is not None
    step = recipe.attack_step * recipe.eps
    low, high = (images - recipe.eps).clamp(0, 1), (images + recipe.eps).clamp(0, 1)
    noise = torch.rand(images.shape, generator=generator).to(images.device)
    point = torch.minimum(torch.maximum(images + recipe.eps * (2 * noise - 1), low), high)
    training = module.training
    module.eval()
    with torch.enable_grad():
        for _ in range(recipe.attack_iterations):
            point = point.detach().requires_grad_()
            loss = functional.cross_entropy(module(point), labels, reduction="sum")
            (slope,) = torch.autograd.grad(loss, point)
            point = torch.minimum(torch.maximum(point.detach() + step * slope.sign(), low), high)
    module.train(training)
    return point.detach()
