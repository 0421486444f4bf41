"""How a classifier is trained: every number that decides it, and the presets per data set and method."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from onnx_models.errors import InputError

METHODS = ("standard", "adversarial", "relu")
"""Plain training; against projected gradient ascent; that, an L1 and a ReLU-stability loss, and pruning afterwards."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train, with Adam on the cross-entropy; what is off is 0 or None.

    Attributes:
        epochs: passes over the training rows, >= 1.
        learning_rate: of Adam, > 0.
        batch_size: images per step, >= 1.
        seed: of initial weights, order of images, augmentation and starts of the attack, 0 .. 2**31 - 1.
        flip: mirror half of the images left to right.
        translation: images are shifted by up to this share of their size along each axis, 0 .. 1.
        rotation: and turned by up to so many degrees, 0 .. 180.
        eps: L-infinity radius of the attack and of the boxes of the stability loss, > 0; None where neither is used.
        attack_iterations: steps of the attack that replaces each image by its final iterate (Madry et al., 2018); 0
            trains on the images themselves.
        attack_step: length of one step, as a share of `eps`, > 0.
        l1: weight of the sum of the absolute values of all parameters, >= 0.
        stability: weight of the ReLU-stability loss (Xiao et al., 2019), >= 0.
        weight_threshold: afterwards, weights of dense and convolutional layers below it in absolute value become 0.
        constant_share: afterwards, ReLUs that are off (or on) for at least this share of the training images always are
            so; above 0.5, at most 1, or None.
        patience: end after so many epochs without a smaller loss on the validation rows, and keep the weights of the
            best epoch; None trains all epochs and keeps the last weights.

    Raises:
        InputError: a value out of range, or `eps` missing or given in vain.
    """

    epochs: int
    learning_rate: float
    batch_size: int
    seed: int = 0
    flip: bool = False
    translation: float = 0.0
    rotation: float = 0.0
    eps: float | None = None
    attack_iterations: int = 0
    attack_step: float = 0.1
    l1: float = 0.0
    stability: float = 0.0
    weight_threshold: float = 0.0
    constant_share: float | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        for name, (accepts, expected) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and accepts(value)):
                raise InputError(f"{name} is {value}; it must be {expected}.")
        if self.eps is None and self.uses_eps:
            raise InputError("The attack and the stability loss need a radius; give eps.")
        if self.eps is not None and not self.uses_eps:
            raise InputError(f"eps is {self.eps}, but there is neither an attack nor a stability loss to use it.")

    @property
    def uses_eps(self) -> bool:
        """Whether anything depends on `eps`."""
        return self.attack_iterations > 0 or self.stability > 0

    @property
    def augments(self) -> bool:
        """Whether training images are changed at random."""
        return self.flip or self.translation > 0 or self.rotation > 0


_RANGES: MappingProxyType[str, tuple[Callable[[float], bool], str]] = MappingProxyType(
    {
        "epochs": (lambda v: v >= 1, "at least 1"),
        "learning_rate": (lambda v: v > 0, "above 0"),
        "batch_size": (lambda v: v >= 1, "at least 1"),
        "seed": (lambda v: 0 <= v < 2**31, "at least 0 and below 2147483648"),
        "translation": (lambda v: 0 <= v <= 1, "a share of the image's size, 0 to 1"),
        "rotation": (lambda v: 0 <= v <= 180, "degrees, 0 to 180"),
        "eps": (lambda v: v > 0, "above 0"),
        "attack_iterations": (lambda v: v >= 0, "at least 0"),
        "attack_step": (lambda v: v > 0, "above 0"),
        "l1": (lambda v: v >= 0, "at least 0"),
        "stability": (lambda v: v >= 0, "at least 0"),
        "weight_threshold": (lambda v: v >= 0, "at least 0"),
        "constant_share": (lambda v: 0.5 < v <= 1, "above 0.5 and at most 1"),
        "patience": (lambda v: v >= 1, "at least 1"),
    }
)

_PLAIN = MappingProxyType(
    {
        "digits": Recipe(epochs=100, learning_rate=3e-3, batch_size=64),
        "mnist": Recipe(epochs=425, learning_rate=1e-4, batch_size=32, translation=0.1, rotation=15.0),
        "fashion-mnist": Recipe(
            epochs=425, learning_rate=1e-4, batch_size=32, flip=True, translation=0.1, rotation=15.0
        ),
        "cifar10": Recipe(epochs=425, learning_rate=1e-4, batch_size=128, flip=True, translation=0.1, rotation=15.0),
    }
)

_MNIST_ATTACK = {"eps": 0.05, "attack_iterations": 200, "attack_step": 0.1}
_ATTACK: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {
        "digits": {"eps": 0.1, "attack_iterations": 10, "attack_step": 0.25},
        "mnist": _MNIST_ATTACK,
        "fashion-mnist": _MNIST_ATTACK,
        "cifar10": {"eps": 2 / 255, "attack_iterations": 200, "attack_step": 0.1},
    }
)

_REGULARISERS: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {
        "digits": {"l1": 1e-4, "stability": 2e-3},
        "mnist": {"l1": 2e-5, "stability": 1.2e-4},
        "fashion-mnist": {"l1": 2e-5, "stability": 1.2e-4},
        "cifar10": {"l1": 1e-5, "stability": 1e-3},
    }
)

_PRUNING: dict[str, Any] = {"weight_threshold": 1e-3, "constant_share": 0.9}

DATASETS = tuple(_PLAIN)
"""The data sets that have presets."""


def preset(dataset: str, method: str, **changes: Any) -> Recipe:
    """The recipe for a data set (one of `DATASETS`) and a method (one of `METHODS`), with some values changed.

    For MNIST and CIFAR-10 the numbers are those published with UG100 (Marro and Lombardi, 2023), for Fashion-MNIST
    MNIST's; those for the digits are ours. The published step of the attack, 0.1, has no unit; it is read as a share of
    eps, because as a distance it is at least the width of the box, so that every step would end in a corner.

    Raises:
        InputError: an unknown data set or method, or a changed value that `Recipe` does not allow.
    """
    if dataset not in DATASETS:
        raise InputError(f"Data set {dataset!r} is unknown; choose one of {', '.join(DATASETS)}.")
    if method not in METHODS:
        raise InputError(f"Method {method!r} is unknown; choose one of {', '.join(METHODS)}.")
    values: dict[str, Any] = {}
    if method != "standard":
        values |= _ATTACK[dataset]
    if method == "relu":
        values |= _REGULARISERS[dataset] | _PRUNING
    values |= changes
    if method == "relu" and not (values["attack_iterations"] or values["stability"] or "eps" in changes):
        del values["eps"]  # L1 and pruning alone need no radius
    try:
        return replace(_PLAIN[dataset], **values)
    except TypeError:
        unknown = sorted(set(changes) - set(Recipe.__slots__))
        raise InputError(f"A recipe has no {', '.join(unknown)}; it has {', '.join(Recipe.__slots__)}.") from None
