"""Which models the zoo holds and how each was trained."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

ADVERSARIAL_EPS = 0.1
"""L-infinity radius of the adversarial training and of the attack in the cards; pixels are multiples of 1/16."""

ARCHITECTURES = MappingProxyType(
    {
        "small": "dense 64-24-10",
        "dense": "dense 64-32-32-10",
        "conv": "conv 6 (4x4, stride 2), conv 12 (3x3, stride 2), dense 10",
        "pool": "conv 4 (3x3), batch norm, max-pool 2x2, dense 10",
        "residual": "conv 3 (4x4, stride 2), residual block of two conv 3 (3x3) with batch norm, dense 10",
    }
)
"""What each architecture consists of; ReLUs stand between the layers."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train one model of the zoo.

    Attributes:
        architecture: a key of `ARCHITECTURES`.
        eps: L-infinity radius of the attack that it was trained against, None for standard training.
        seed: of initial weights, order of images and random starts of the attack.
        epochs: passes over the training rows.
    """

    architecture: str
    eps: float | None
    seed: int
    epochs: int

    @property
    def training(self) -> str:
        """'standard' or 'adversarial'."""
        return "standard" if self.eps is None else "adversarial"

    @property
    def name(self) -> str:
        """The model's name in the zoo, such as 'digits_conv_adversarial'."""
        return f"digits_{self.architecture}_{self.training}"


RECIPES = tuple(
    Recipe(architecture, eps, seed=20 + number, epochs=epochs)
    for number, architecture in enumerate(ARCHITECTURES)
    for eps, epochs in ((None, 60), (ADVERSARIAL_EPS, 100))
)
"""All models, by architecture, the standard one first."""
