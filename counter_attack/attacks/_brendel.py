"""The attack of Brendel and Bethge: along the decision boundary, by trust-region steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from counter_attack.attacks._brendel_region import Region
from counter_attack.attacks._brendel_search import best_perturbations
from counter_attack.attacks._contract import Attack
from counter_attack.attacks._problem import AttackProblem
from mipverify_py import Norm
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

DRAWS = 100
"""Noisy images drawn for an input before it counts as a failure."""

BLENDS = 10
"""Mixtures of the input and a noisy image that are tried, evenly spaced, the last one pure noise."""

BISECTIONS = 10
"""Of the move from the noisy start to the boundary, as in the authors' code."""


@dataclass(frozen=True)
class BrendelBethge(Attack):
    """Follows the decision boundary to where it is nearest (Brendel, Rauber, Kuemmerer, Ustyuzhaninov, Bethge 2019).

    It starts from a blend of x and uniform noise that is adversarial, moved onto the boundary by bisection. With m the
    margin max over targets j of f_j - f_c at the current point and b its gradient, averaged over the steps so far
    (`momentum` b + (1 - `momentum`) new), every step moves to the nearest point to x for which

        b.delta = c,   |delta|_2 <= radius,   the point is in the domain,

    solved exactly (`_brendel_region`). c is -m on the boundary itself; to stay adversarial, c = -`overshoot` m where
    m < 0 and c = -(2 - `overshoot`) m where m >= 0. As in the authors' code, the radius is `lr` times the sum of the
    domain's widths (`lr` times the number of entries, for images in [0, 1]); it falls by `lr_decay` every
    `lr_decay_every` steps.

    An input for which no noise is adversarial is a failure; with few targets that is common.

    Attributes:
        steps: >= 1.
        lr: > 0.
        lr_decay: above 0, at most 1.
        lr_decay_every: steps, >= 1.
        momentum: from 0 to below 1.
        overshoot: from 1 to 2.
        init: "blended-noise", the only start there is.
    """

    name: ClassVar[str] = "brendel"
    norms: ClassVar[tuple[Norm, ...]] = (Norm.LINF, Norm.L1, Norm.L2)

    steps: int = 1000
    lr: float = 1e-3
    lr_decay: float = 0.75
    lr_decay_every: int = 50
    momentum: float = 0.8
    overshoot: float = 1.1
    init: str = "blended-noise"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.steps >= 1 and self.lr > 0 and 0 < self.lr_decay <= 1 and self.lr_decay_every >= 1):
            raise InputError(
                "Brendel & Bethge needs steps and lr_decay_every of at least 1, lr above 0 and lr_decay above 0 and at "
                f"most 1; got {self.steps}, {self.lr_decay_every}, {self.lr} and {self.lr_decay}."
            )
        if not (0 <= self.momentum < 1 and 1 <= self.overshoot <= 2):
            raise InputError(
                "Brendel & Bethge needs momentum from 0 to below 1 and overshoot from 1 to 2; got "
                f"{self.momentum} and {self.overshoot}."
            )
        if self.init != "blended-noise":
            raise InputError(f"Brendel & Bethge starts from 'blended-noise', not from {self.init!r}.")

    def run(self, problem: AttackProblem) -> None:
        """All inputs that are not settled and for which there is a start, side by side."""
        import torch

        with torch.no_grad():
            rows, points = _noisy_starts(problem)
            if not len(rows):
                return
            points = _onto_boundary(problem, points, rows)
        origin = problem.x[rows]
        box = (problem.lower - origin, problem.upper - origin)
        radius = torch.full_like(origin[:, 0], self.lr * float((problem.upper - problem.lower).sum()))
        b: Tensor | None = None

        def loss(logits: Tensor) -> Tensor:
            return problem.margin(logits, rows)

        for step in range(self.steps):
            logits, slope = problem.gradient(points, loss, rows)
            margin = loss(logits)
            b = slope if b is None else b.lerp_(slope, 1 - self.momentum)
            if step and step % self.lr_decay_every == 0:
                radius *= self.lr_decay
            gap = -margin * torch.where(margin < 0, self.overshoot, 2 - self.overshoot)
            p = best_perturbations(Region.of(self.norm, b, gap, points - origin, box, radius))
            points = problem.clip(origin + p)


def _noisy_starts(problem: AttackProblem) -> tuple[Tensor, Tensor]:
    """The inputs that have one, shape (K,), and for each a blend with noise that is adversarial, shape (K, n)."""
    import torch

    left = (~problem.settled).nonzero()[:, 0]
    share = (torch.arange(1, BLENDS + 1, dtype=torch.float64, device=left.device) / BLENDS)[:, None]
    rows, points = left[:0], problem.x[:0]
    for _ in range(DRAWS):
        noise = torch.lerp(problem.lower, problem.upper, problem.uniform(left, problem.x.shape[1]))
        blends = problem.clip(torch.lerp(problem.x[left][:, None], noise[:, None], share))
        owners = left.repeat_interleave(BLENDS)
        logits = problem.logits(blends.reshape(len(owners), -1), owners)
        adversarial = (problem.margin(logits, owners) >= 0).reshape(len(left), BLENDS)
        found = adversarial.any(dim=1).nonzero()[:, 0]
        first = adversarial.to(torch.uint8).argmax(dim=1)
        rows = torch.cat([rows, left[found]])
        points = torch.cat([points, blends[found, first[found]]])
        left = left[~adversarial.any(dim=1)]
        if not len(left):
            break
    return rows, points


def _onto_boundary(problem: AttackProblem, points: Tensor, rows: Tensor) -> Tensor:
    """Adversarial points closer to their inputs, by bisection along a path on which the distance falls to zero.

    With s from 0 to 1, the perturbation p of `points` becomes s p in L2, p clamped to s |p|_inf in L-infinity, and p
    with (1 - s) |p|_inf subtracted from all sizes in L1.
    """
    import torch

    origin = problem.x[rows]
    p = points - origin
    size = p.abs().amax(dim=1, keepdim=True)
    low, high = torch.zeros_like(size), torch.ones_like(size)
    for _ in range(BISECTIONS):
        s = (low + high) / 2
        if problem.norm is Norm.L2:
            part = s * p
        elif problem.norm is Norm.LINF:
            part = torch.clamp(p, -s * size, s * size)
        else:
            part = p - torch.clamp(p, -(1 - s) * size, (1 - s) * size)
        middle = problem.clip(origin + part)
        adversarial = (problem.margin(problem.logits(middle, rows), rows) >= 0)[:, None]
        points = middle.where(adversarial, points)
        low, high = low.where(adversarial, s), s.where(adversarial, high)
    return points
