"""Published defences and what became of them, as data."""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "Athalye, Carlini, Wagner: Obfuscated Gradients Give a False Sense of Security (ICML 2018), table 1"
"""Where the figures of `DEFENCES` come from."""


@dataclass(frozen=True, slots=True)
class Defence:
    """One defence that was published as secure against attackers who know it, and the attack on it.

    Attributes:
        reference: authors and year.
        method: what it does, in our words.
        acts: "training" if it changes the weights, "inference" if it changes what happens to an input.
        data: the data set of the attack.
        norm: "linf" or "l2".
        radius: of the attack, in that norm; of an l2 one as the source gives it, which is per entry.
        accuracy: percent of inputs still classified rightly under the attack.
        remark: what the source adds; may be empty.
    """

    reference: str
    method: str
    acts: str
    data: str
    norm: str
    radius: float
    accuracy: int
    remark: str = ""


_ALONE = "the defence alone; also proposed with adversarial training"

DEFENCES = (
    Defence("Buckman et al. 2018", "thermometer encoding", "inference", "CIFAR", "linf", 0.031, 0, _ALONE),
    Defence("Ma et al. 2018", "local intrinsic dimensionality", "inference", "CIFAR", "linf", 0.031, 5),
    Defence("Guo et al. 2018", "input transformations", "inference", "ImageNet", "l2", 0.005, 0, _ALONE),
    Defence("Dhillon et al. 2018", "stochastic activation pruning", "inference", "CIFAR", "linf", 0.031, 0),
    Defence("Xie et al. 2018", "random resizing and padding", "inference", "ImageNet", "linf", 0.031, 0, _ALONE),
    Defence("Song et al. 2018", "PixelDefend", "inference", "CIFAR", "linf", 0.031, 9, _ALONE),
    Defence(
        "Samangouei et al. 2018",
        "Defense-GAN",
        "inference",
        "MNIST",
        "l2",
        0.005,
        55,
        "its principle has 0 %; imperfections make the best attack fail",
    ),
    Defence("Madry et al. 2018", "adversarial training", "training", "CIFAR", "linf", 0.031, 47, "not defeated"),
    Defence("Na et al. 2018", "cascade adversarial training", "training", "CIFAR", "linf", 0.015, 15),
)
"""The nine defences of ICLR 2018 without certificates that the source attacked, in its order; `acts` is our reading."""
