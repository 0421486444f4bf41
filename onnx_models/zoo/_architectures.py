"""The zoo's architectures as torch modules.

This module imports torch; only the training script uses it.
"""

from __future__ import annotations

from torch import Tensor, nn


class Residual(nn.Module):
    """x + body(x)."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, batch: Tensor) -> Tensor:
        result: Tensor = batch + self.body(batch)
        return result


def build_architecture(name: str) -> nn.Sequential:
    """A freshly initialised module, from images (N, 1, 8, 8) to logits (N, 10); `name` is a key of `ARCHITECTURES`."""
    return nn.Sequential(*_LAYERS[name]())


def _small() -> list[nn.Module]:
    return [nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10)]


def _dense() -> list[nn.Module]:
    return [nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10)]


def _conv() -> list[nn.Module]:
    return [
        nn.Conv2d(1, 6, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 12, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(48, 10),
    ]


def _pool() -> list[nn.Module]:
    """The pooling stands before the ReLU: the same function as after it, with a quarter of the units."""
    return [
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(36, 10),
    ]


def _residual() -> list[nn.Module]:
    block = Residual(
        nn.Conv2d(3, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Conv2d(3, 3, 3, padding=1),
        nn.BatchNorm2d(3),
    )
    return [nn.Conv2d(1, 3, 4, stride=2, padding=1), block, nn.ReLU(), nn.Flatten(), nn.Linear(48, 10)]


_LAYERS = {"small": _small, "dense": _dense, "conv": _conv, "pool": _pool, "residual": _residual}
