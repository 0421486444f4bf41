"""Fast minimum-norm attacks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from counter_attack.attacks._contract import Attack
from counter_attack.attacks._gradient import project, unit
from counter_attack.attacks._problem import AttackProblem
from mipverify_py import Norm
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

FINAL_STEP = 0.01
"""The last step's size, as a share of the first's."""

FINAL_GAMMA = 0.001
"""The last relative change of eps."""


@dataclass(frozen=True)
class FMN(Attack):
    """Steps within a ball that shrinks on success and grows on failure (Pintor et al. 2021, algorithm 1).

    With L = max over targets j of f_j - f_c and g its gradient at the current point x + delta, a round sets

        eps = (1 + gamma) max(eps, |delta| + |L| / |g|_*)   as long as the input has had no success,
        eps = min((1 - gamma) eps, |best|)                  if x + delta is adversarial,
        eps = (1 + gamma) eps                               otherwise,

    where |.|_* is the dual norm and eps is 0 at first. It then moves delta by alpha g / |g|_2, projects it to the ball
    of radius eps and clips it to the domain. alpha and gamma fall from their first values to `FINAL_STEP` alpha and
    `FINAL_GAMMA` along a half cosine.

    In the paper the first line is eps = |delta| + |L| / |g|_*. Where the model is linear that ends on the boundary, on
    whichever side rounding leaves it, and where the domain cuts delta off it may never get there.

    Attributes:
        steps: model calls, >= 1.
        step_size: the first alpha, in units of x, > 0.
        gamma: the first relative change of eps, from `FINAL_GAMMA` to below 1.
    """

    name: ClassVar[str] = "fmn"
    norms: ClassVar[tuple[Norm, ...]] = (Norm.LINF, Norm.L1, Norm.L2)

    steps: int = 100
    step_size: float = 1.0
    gamma: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.steps >= 1 and self.step_size > 0 and FINAL_GAMMA <= self.gamma < 1):
            raise InputError(
                f"FMN needs at least 1 step, a step_size above 0 and gamma from {FINAL_GAMMA} to below 1; got "
                f"{self.steps}, {self.step_size} and {self.gamma}."
            )

    def run(self, problem: AttackProblem) -> None:
        """All inputs that are not settled, side by side."""
        import torch

        rows = (~problem.settled).nonzero()[:, 0]
        origin = problem.x[rows]
        points = origin
        corner = torch.where(origin - problem.lower > problem.upper - origin, problem.lower, problem.upper)
        widest = problem.distance(corner, rows)
        eps = torch.zeros_like(widest)

        def loss(logits: Tensor) -> Tensor:
            return problem.margin(logits, rows)

        for step in range(self.steps):
            left = (1 + math.cos(math.pi * step / self.steps)) / 2
            alpha = self.step_size * (FINAL_STEP + (1 - FINAL_STEP) * left)
            gamma = FINAL_GAMMA + (self.gamma - FINAL_GAMMA) * left
            logits, slope = problem.gradient(points, loss, rows)
            margin, best = loss(logits), problem.best_distance[rows]
            boundary = problem.distance(points, rows) + margin.abs() / _dual(slope, self.norm)
            outside = (1 + gamma) * torch.where(best.isinf(), boundary.maximum(eps), eps)
            eps = torch.where(margin >= 0, torch.minimum(eps * (1 - gamma), best), outside).minimum(widest)
            delta = project(points - origin + alpha * unit(slope), eps, self.norm)
            points = problem.clip(origin + delta)


def _dual(slope: Tensor, norm: Norm) -> Tensor:
    """The norm dual to `norm`, shape (K,)."""
    if norm is Norm.LINF:
        return slope.abs().sum(dim=1)
    if norm is Norm.L1:
        return slope.abs().amax(dim=1)
    return slope.square().sum(dim=1).sqrt()
