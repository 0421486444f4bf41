"""Auto-PGD (Croce and Hein, "Reliable evaluation of adversarial robustness ...", 2020): PGD that sets its own step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar

from counter_attack.attacks._epsilon import AttackAt, EpsilonAttack, reached
from counter_attack.attacks._problem import AttackProblem
from mipverify_py import Norm
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

LossAt = Callable[["Tensor", "Tensor"], "Tensor"]
"""A function (logits, rows) -> losses, shape (K,): what is to become large."""

ALPHA = 0.75
"""Share of the new step in an iterate; the rest is momentum."""

RHO = 0.75
"""A step length is halved where a smaller share of the steps since the last checkpoint raised the loss."""

FIRST_CHECKPOINT, SHRINKING, SHORTEST = Fraction(22, 100), Fraction(3, 100), Fraction(6, 100)
"""Checkpoints as shares of all steps: the first, by how much each distance between them is shorter, the shortest."""

LEAST_RATIO = 1e-12
"""Least denominator of the logit ratio, for points where the largest logits are all the same."""

TINY = 1e-100
"""Least length that a gradient is divided by: the gradient 0 stays 0."""


@dataclass(frozen=True)
class APGD(EpsilonAttack):
    """Gradient ascent within a ball: momentum, step lengths halved at checkpoints, each time from the best point.

    A row ends at its first success. Every restart begins at a random point of the ball's surface.

    Attributes:
        loss: "ce", the cross-entropy of the class c among c and the targets, or "dlr", the difference of logits ratio
            (see `logit_ratio`), which needs at least three classes.
        steps: gradient steps per restart, >= 1.
        restarts: >= 1.

    Raises:
        InputError: a value out of range.
    """

    name: ClassVar[str] = "apgd-ce"
    """With the loss "dlr" it is "apgd-dlr"."""
    norms: ClassVar[tuple[Norm, ...]] = (Norm.LINF, Norm.L2)

    loss: str = "ce"
    steps: int = 100
    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss not in ("ce", "dlr"):
            raise InputError(f'The loss of APGD is "ce" or "dlr"; got {self.loss!r}.')
        if self.steps < 1 or self.restarts < 1:
            raise InputError(f"APGD needs at least 1 step and 1 restart; got {self.steps} and {self.restarts}.")
        object.__setattr__(self, "name", f"apgd-{self.loss}")

    def prepare(self, problem: AttackProblem) -> AttackAt:
        """See `EpsilonAttack`. Raises InputError for "dlr" and fewer than three classes."""
        loss = cross_entropy(problem) if self.loss == "ce" else logit_ratio(problem)
        return self.raising(problem, loss)

    def raising(self, problem: AttackProblem, loss: LossAt) -> AttackAt:
        """The attack with another loss."""

        def attack_at(eps: Tensor, rows: Tensor) -> None:
            for _ in range(self.restarts):
                left = ~reached(problem, eps, rows)
                if bool(left.any()):
                    _Ascent(problem, loss, eps[left], rows[left]).run(self.steps)

        return attack_at


def cross_entropy(problem: AttackProblem) -> LossAt:
    """log(1 + sum over targets j of exp(f_j - f_c)): the cross-entropy -log p_c if only c and the targets count."""

    def loss(logits: Tensor, rows: Tensor) -> Tensor:
        from torch.nn.functional import softplus

        others = logits.masked_fill(~problem.is_target[rows], -math.inf).logsumexp(dim=1)
        return softplus(others - _of(logits, problem.reference[rows]))  # exact gradients where p_c is 1 to rounding

    return loss


def logit_ratio(problem: AttackProblem, aim: Tensor | None = None) -> LossAt:
    """The difference of logits ratio, with z the logits and z_(k) the k-th largest of them.

    Where all classes but c are targets:  (max over j of z_j - z_c) / (z_(1) - z_(3));  otherwise, and with an `aim`,
    the targeted one:  (z_t - z_c) / (z_(1) - (z_(3) + z_(4)) / 2)  with t the aim, or the target with the largest
    logit. With three classes z_(3) stands for z_(4).

    Args:
        problem: whose targets these are.
        aim: the class t of each of the N inputs, shape (N,).

    Raises:
        InputError: fewer than three classes.
    """
    classes = problem.is_target.shape[1]
    if classes < 3:
        raise InputError(f'The loss "dlr" needs at least 3 classes, the model has {classes}; use the loss "ce".')
    whole = problem.is_target.sum(dim=1) == classes - 1 if aim is None else problem.settled.new_zeros(len(problem))

    def loss(logits: Tensor, rows: Tensor) -> Tensor:
        import torch

        own = _of(logits, problem.reference[rows])
        allowed = logits.masked_fill(~problem.is_target[rows], -math.inf)
        other = allowed.amax(dim=1) if aim is None else _of(logits, aim[rows])
        top = logits.topk(min(4, classes), dim=1).values
        low = torch.where(whole[rows], top[:, 2], (top[:, 2] + top[:, -1]) / 2)
        return (other - own) / (top[:, 0] - low).clamp_min(LEAST_RATIO)

    return loss


def _of(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None])[:, 0]


def checkpoints(steps: int) -> list[int]:
    """The numbers of steps after which step lengths are looked at: ceil(p_k * steps) for

    p_0 = 0,  p_1 = 0.22,  p_{k+1} = p_k + max(p_k - p_{k-1} - 0.03, 0.06).
    """
    before, share = Fraction(0), FIRST_CHECKPOINT
    found = []
    while share <= 1:
        found.append(math.ceil(share * steps))
        before, share = share, share + max(share - before - SHRINKING, SHORTEST)
    return sorted(set(found))


class _Ascent:
    """One run from random points, all rows at once; rows that have succeeded are dropped.

    Attributes:
        rows, eps: the inputs and their radii, shape (K,) and (K, 1).
        point, previous: the last two iterates, shape (K, n).
        value, slope: loss and gradient at `point`.
        best, best_value, best_slope: the same where the loss was largest.
        step: step lengths, shape (K, 1).
        rises: steps since the last checkpoint that raised the loss, shape (K,).
        halved, known: whether the step was halved at the last checkpoint, and the best loss there, shape (K,).
    """

    STATE = ("rows", "eps", "point", "previous", "value", "slope", "best", "best_value", "best_slope", "step")
    COUNTERS = ("rises", "halved", "known")

    def __init__(self, problem: AttackProblem, loss: LossAt, eps: Tensor, rows: Tensor) -> None:
        self.problem, self.loss = problem, loss
        self.rows, self.eps = rows, eps[:, None]
        self.point = self._inside(problem.x[rows] + self.eps * self._random())
        self.previous, self.step = self.point, 2.0 * self.eps
        self.value, self.slope, done = self._look()
        self.best, self.best_value, self.best_slope = self.point, self.value, self.slope
        self.rises, self.halved, self.known = self._zeros(), self._zeros() > 0, self.value
        self._keep(~done)

    def run(self, steps: int) -> None:
        last, looks = 0, set(checkpoints(steps))
        for k in range(1, steps + 1):
            if not len(self.rows):
                return
            self._advance(1.0 if k == 1 else ALPHA)
            if k in looks:
                self._review(k - last)
                last = k

    def _advance(self, alpha: float) -> None:
        import torch

        along = self._inside(self.point + self.step * self._direction())
        moved = self._inside(self.point + alpha * (along - self.point) + (1.0 - alpha) * (self.point - self.previous))
        self.previous, self.point, before = self.point, moved, self.value
        self.value, self.slope, done = self._look()
        self.rises = self.rises + (self.value > before)
        better = self.value > self.best_value
        self.best_value = torch.where(better, self.value, self.best_value)
        self.best = torch.where(better[:, None], self.point, self.best)
        self.best_slope = torch.where(better[:, None], self.slope, self.best_slope)
        self._keep(~done)

    def _review(self, steps: int) -> None:
        """Halves steps that no longer help, and goes on from the best point there (conditions 1 and 2 of the paper)."""
        import torch

        stalled = ~self.halved & (self.best_value <= self.known)
        back = (self.rises < RHO * steps) | stalled
        self.step = torch.where(back[:, None], self.step / 2, self.step)
        self.point = torch.where(back[:, None], self.best, self.point)
        self.slope = torch.where(back[:, None], self.best_slope, self.slope)
        self.value = torch.where(back, self.best_value, self.value)
        self.halved, self.known, self.rises = back, self.best_value, self._zeros()

    def _look(self) -> tuple[Tensor, Tensor, Tensor]:
        """Loss and gradient at the points, and which of these are adversarial."""
        logits, slope = self.problem.gradient(self.point, lambda z: self.loss(z, self.rows), self.rows)
        return self.loss(logits, self.rows), slope, self.problem.margin(logits, self.rows) >= 0

    def _keep(self, mask: Tensor) -> None:
        if not bool(mask.all()):
            for name in (*self.STATE, *self.COUNTERS):
                setattr(self, name, getattr(self, name)[mask])

    def _direction(self) -> Tensor:
        if self.problem.norm is Norm.LINF:
            return self.slope.sign()
        return self.slope / _length(self.slope)

    def _random(self) -> Tensor:
        """Points of size 1 in the norm."""
        n = self.problem.x.shape[1]
        if self.problem.norm is Norm.LINF:
            drawn = 2.0 * self.problem.uniform(self.rows, n) - 1.0
            return drawn / drawn.abs().amax(dim=1, keepdim=True)
        drawn = self.problem.normal(self.rows, n)
        return drawn / _length(drawn)

    def _inside(self, points: Tensor) -> Tensor:
        """The points moved into ball and domain: into the ball first, clipping then leads nearer to the input."""
        x = self.problem.x[self.rows]
        moved = points - x
        if self.problem.norm is Norm.LINF:
            moved = moved.clamp(-self.eps, self.eps)
        else:
            moved = moved * (self.eps / _length(moved)).clamp_max(1.0)
        return self.problem.clip(x + moved)

    def _zeros(self) -> Tensor:
        return self.value.new_zeros(len(self.rows))


def _length(rows: Tensor) -> Tensor:
    """L2 norm of each row, shape (K, 1)."""
    return rows.square().sum(dim=1, keepdim=True).sqrt().clamp_min(TINY)
