"""The variables of the Carlini and Wagner attacks and their optimiser, one independent run per row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from counter_attack.attacks._problem import AttackProblem

if TYPE_CHECKING:
    from torch import Tensor

INNER = 0.999999
"""How far towards the ends of the domain a point is moved before it gets a finite w, as in the authors' code."""

BETA_1 = 0.9
BETA_2 = 0.999
TINY = 1e-8
"""Adam's constants (Kingma and Ba 2015, algorithm 1)."""


class TanhSpace:
    """Points of the domain as x = middle + half tanh(w), so that no w leaves the domain (section V-B of the paper)."""

    def __init__(self, problem: AttackProblem) -> None:
        self._middle = (problem.lower + problem.upper) / 2
        self._half = (problem.upper - problem.lower) / 2

    def variables(self, points: Tensor) -> Tensor:
        """The w of points, shape (K, n), after a small move inwards; 0 where the domain is a single value."""
        import torch

        return torch.atanh(INNER * torch.nan_to_num((points - self._middle) / self._half, nan=0.0))

    def points(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """The points x, shape (K, n), and dx/dw."""
        import torch

        tanh = torch.tanh(w)
        return torch.addcmul(self._middle, self._half, tanh), (1 - tanh.square()).mul_(self._half)


@dataclass(eq=False)
class Runs:
    """One run of Adam for each of K rows, each with its own number of steps.

    Attributes:
        w: the variables, shape (K, n).
        first, second: Adam's moments, shape (K, n).
        step: steps since the start of the run, shape (K,).
    """

    w: Tensor
    first: Tensor
    second: Tensor
    step: Tensor

    @classmethod
    def begin(cls, w: Tensor) -> Runs:
        """New runs that start at w."""
        import torch

        step = torch.zeros(len(w), dtype=torch.float64, device=w.device)
        return cls(w, torch.zeros_like(w), torch.zeros_like(w), step)

    def advance(self, slope: Tensor, lr: float) -> None:
        """One step of Adam against the slope, shape (K, n), in place."""
        self.step += 1
        self.first.lerp_(slope, 1 - BETA_1)
        self.second.mul_(BETA_2).addcmul_(slope, slope, value=1 - BETA_2)
        # Adam divides by sqrt(second / scale^2) + TINY; one division of all entries is enough.
        scale = (1 - BETA_2**self.step).sqrt()
        size = self.second.sqrt().add_((TINY * scale)[:, None])
        self.w.addcdiv_(self.first * (-lr * scale / (1 - BETA_1**self.step))[:, None], size)

    def restart(self, which: Tensor, w: Tensor) -> None:
        """Starts the runs numbered `which`, shape (R,), anew at w, shape (R, n)."""
        self.w[which] = w
        self.first[which] = 0.0
        self.second[which] = 0.0
        self.step[which] = 0.0

    def keep(self, which: Tensor) -> None:
        """Drops all runs but those where the mask `which` is true."""
        self.w, self.first, self.second, self.step = (
            part[which] for part in (self.w, self.first, self.second, self.step)
        )


def shortfall(problem: AttackProblem, rows: Tensor, confidence: float = 0.0) -> Callable[[Tensor], Tensor]:
    """The loss f = max(0, f_c - max over targets j of f_j + confidence) as a function of logits (the paper's f_6)."""

    def loss(logits: Tensor) -> Tensor:
        return (confidence - problem.margin(logits, rows)).clamp(min=0.0)

    return loss
