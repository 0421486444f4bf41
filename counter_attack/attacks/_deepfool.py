"""DeepFool: steps to the nearest boundary of the linearised model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from counter_attack._distances import tensor_distances
from counter_attack.attacks._contract import Attack
from counter_attack.attacks._problem import AttackProblem
from mipverify_py import Norm
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

LEAST_STEP = 1e-5
"""Least size of a step, as a share of the distance from the input."""


@dataclass(frozen=True)
class DeepFool(Attack):
    """Steps to the nearest boundary of the linearised model (Moosavi-Dezfooli, Fawzi and Frossard 2016, algorithm 2).

    With w_j the gradient of f_j - f_c at the current point and 1/p + 1/q = 1, a step goes the distance
    |f_j - f_c| / |w_j|_q to the boundary that is nearest in the linearisation: along w_j in L2, along its signs in
    L-infinity. r is the sum of the steps so far; the next point is x + (1 + overshoot) r, clipped to the domain. An
    input stops once a point is adversarial.

    Clipping takes away a part of each step, so that the points may only approach the boundary, ever more slowly. A step
    therefore goes `LEAST_STEP` times the distance so far at least, which crosses it. The paper has no domain.

    Only targets are candidates, and of these the ones with the largest logits at x. All of them are differentiated in
    one call of the model, on `candidates` copies of the inputs.

    Attributes:
        steps: steps, for each input at most, >= 1.
        candidates: classes that are looked at, the reference among them, >= 2.
        overshoot: by which share of r to go beyond the boundary, >= 0.
    """

    name: ClassVar[str] = "deepfool"
    norms: ClassVar[tuple[Norm, ...]] = (Norm.LINF, Norm.L2)

    steps: int = 50
    candidates: int = 10
    overshoot: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.candidates < 2 or not self.overshoot >= 0:
            raise InputError(
                f"DeepFool needs at least 1 step, 2 candidates and an overshoot of at least 0; got {self.steps} steps, "
                f"{self.candidates} candidates and {self.overshoot}."
            )

    def run(self, problem: AttackProblem) -> None:
        """All inputs that are not settled, side by side."""
        import torch

        rows = (~problem.settled).nonzero()[:, 0]
        points = problem.x[rows]
        total = torch.zeros_like(points)
        rivals = likeliest(problem, rows, self.candidates - 1)
        for _ in range(self.steps):
            gap, slope = _linearised(problem, points, rivals, rows)
            step, able = self._step(gap, slope, LEAST_STEP * tensor_distances(points, problem.x[rows], self.norm))
            going = able & (gap.amax(dim=1) < 0)
            total, rivals, rows = (part[going] for part in (total + step, rivals, rows))
            if not len(rows):
                return
            points = problem.clip(problem.x[rows] + (1 + self.overshoot) * total)
        with torch.no_grad():
            problem.logits(points, rows)

    def _step(self, gap: Tensor, slope: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
        """The step to the nearest boundary, shape (K, n), of size `least` or more, and whether there is a boundary."""
        import torch

        size = slope.abs().sum(dim=2) if self.norm is Norm.LINF else slope.square().sum(dim=2).sqrt()
        far = torch.where(size > 0, -gap / size, torch.inf)
        nearest, choice = far.min(dim=1)
        able = torch.isfinite(nearest)
        place = torch.arange(len(slope), device=slope.device)
        w = slope[place, choice]
        direction = w.sign() if self.norm is Norm.LINF else w / size[place, choice, None]
        return torch.where(able, nearest.maximum(least), 0.0)[:, None] * torch.nan_to_num(direction), able


def likeliest(problem: AttackProblem, rows: Tensor, count: int) -> Tensor:
    """The `count` targets with the largest logits at x, shape (K, C), filled up with c where an input has fewer."""
    import torch

    with torch.no_grad():
        logits = problem.logits(problem.x[rows], rows)
    allowed = problem.is_target[rows]
    most = min(count, int(allowed.sum(dim=1).max()))
    chosen = logits.masked_fill(~allowed, -float("inf")).topk(most, dim=1).indices
    return torch.where(allowed.gather(1, chosen), chosen, problem.reference[rows, None])


def _linearised(problem: AttackProblem, points: Tensor, rivals: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """f_j - f_c for the rivals j, shape (K, C), -inf for c itself, and the gradients w_j, shape (K, C, n)."""
    count = rivals.shape[1]
    owners = rows.repeat_interleave(count)
    j, c = rivals.reshape(-1, 1), problem.reference[owners, None]

    def difference(logits: Tensor) -> Tensor:
        return (logits.gather(1, j) - logits.gather(1, c))[:, 0]

    logits, slope = problem.gradient(points.repeat_interleave(count, dim=0), difference, owners)
    gap = difference(logits).masked_fill((j == c)[:, 0], -float("inf"))
    return gap.reshape(-1, count), slope.reshape(len(rows), count, -1)
