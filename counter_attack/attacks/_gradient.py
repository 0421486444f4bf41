"""FGSM, BIM and PGD: steps along the gradient, within a ball around the input.

All three climb the cross-entropy of the reference class c, as in their papers. The classes that count are c and the
targets t alone, so that one loss serves queries with and without given targets:

    CE = -log P(c) = log(1 + exp(L)),   L(x) = log sum over t of exp f_t(x) - f_c(x).

CE grows with L, and a step uses the direction of the gradient only. The attacks therefore take the gradient of L: the
factor between the two, 1 - P(c), vanishes in rounding where the model is sure, and signs with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from counter_attack.attacks._epsilon import AttackAt, EpsilonAttack, reached
from counter_attack.attacks._problem import AttackProblem
from mipverify_py import Norm
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


def ascent(problem: AttackProblem, points: Tensor, rows: Tensor) -> Tensor:
    """The gradient of L (see above) at points, shape (K, n)."""
    import torch

    reference, allowed = problem.reference[rows], problem.is_target[rows]

    def odds(logits: Tensor) -> Tensor:
        others = logits.masked_fill(~allowed, -float("inf"))
        return torch.logsumexp(others, dim=1) - logits.gather(1, reference[:, None])[:, 0]

    return problem.gradient(points, odds, rows)[1]


def unit(vectors: Tensor) -> Tensor:
    """Rows divided by their L2 norms; rows of zeros stay. Tiny entries do not underflow."""
    import torch

    scaled = torch.nan_to_num(vectors / vectors.abs().amax(dim=1, keepdim=True))
    return torch.nan_to_num(scaled / scaled.square().sum(dim=1, keepdim=True).sqrt())


def step(problem: AttackProblem, points: Tensor, slope: Tensor, size: Tensor) -> Tensor:
    """The step of `size` (shape (K,), in the problem's norm) along which a linear function of this slope grows most.

    In L-infinity it follows the signs, in L2 the slope. In L1 it would follow the largest entry alone, which a pixel
    that has come to the domain's end blocks for good; so the domain counts there: the entries with the largest slopes
    go to its end, one after the other, until `size` is spent. Zero where the slope is.
    """
    import torch

    if problem.norm is Norm.LINF:
        return size[:, None] * slope.sign()
    if problem.norm is Norm.L2:
        return size[:, None] * unit(slope)
    end = torch.where(slope > 0, problem.upper, torch.where(slope < 0, problem.lower, points))
    order = slope.abs().argsort(dim=1, descending=True, stable=True)
    room = (end - points).abs().gather(1, order)
    spent = room.cumsum(dim=1) - room
    share = room.minimum((size[:, None] - spent).clamp(min=0))
    return slope.sign() * torch.zeros_like(slope).scatter(1, order, share)


def project(difference: Tensor, eps: Tensor, norm: Norm) -> Tensor:
    """The nearest (in L2) vectors of `norm` at most eps; rows of shape (K, n), eps of shape (K,)."""
    import torch

    radius = eps[:, None]
    if norm is Norm.LINF:
        return torch.minimum(torch.maximum(difference, -radius), radius)
    size = difference.abs()
    if norm is Norm.L2:
        length = size.square().sum(dim=1, keepdim=True).sqrt()
        return torch.where(length > radius, difference * (radius / length), difference)
    # L1: subtract from all sizes the threshold that leaves a sum of eps (Duchi et al. 2008, "Efficient projections").
    falling = size.sort(dim=1, descending=True).values
    place = torch.arange(1, size.shape[1] + 1, dtype=size.dtype, device=size.device)
    thresholds = (falling.cumsum(dim=1) - radius) / place
    kept = (falling > thresholds).sum(dim=1, keepdim=True).clamp(min=1)
    threshold = thresholds.gather(1, kept - 1).clamp(min=0)
    return difference.sign() * (size - threshold).clamp(min=0)


def uniform_in_ball(problem: AttackProblem, eps: Tensor, rows: Tensor) -> Tensor:
    """Uniform draws from the balls of radius eps around 0 in the problem's norm for the inputs `rows`, shape (K, n)."""
    import torch

    n = problem.x.shape[1]
    if problem.norm is Norm.LINF:
        return eps[:, None] * (2 * problem.uniform(rows, n) - 1)
    if problem.norm is Norm.L2:
        direction = unit(problem.normal(rows, n))
        return eps[:, None] * problem.uniform(rows, 1) ** (1 / n) * direction
    # n + 1 exponential draws divided by their sum are uniform on the simplex; the last is the slack.
    share = -torch.log1p(-problem.uniform(rows, n + 1))
    sign = torch.where(problem.uniform(rows, n) < 0.5, -1.0, 1.0)
    return eps[:, None] * sign * share[:, :n] / share.sum(dim=1, keepdim=True)


@dataclass(frozen=True)
class FGSM(EpsilonAttack):
    """One step of size eps along the gradient at the input (Goodfellow, Shlens and Szegedy 2015, section 4).

    In L2 the step follows the normalised gradient. In L1 it is the best one for a linear function within the domain.
    """

    name: ClassVar[str] = "fgsm"
    norms: ClassVar[tuple[Norm, ...]] = (Norm.LINF, Norm.L1, Norm.L2)

    def prepare(self, problem: AttackProblem) -> AttackAt:
        """Takes the gradients at the inputs, which serve for every eps."""
        import torch

        slope = torch.zeros_like(problem.x)
        unsettled = (~problem.settled).nonzero()[:, 0]
        slope[unsettled] = ascent(problem, problem.x[unsettled], unsettled)

        def attack_at(eps: Tensor, rows: Tensor) -> None:
            x = problem.x[rows]
            with torch.no_grad():
                problem.logits(problem.clip(x + step(problem, x, slope[rows], eps)), rows)

        return attack_at


@dataclass(frozen=True)
class _Descent(EpsilonAttack):
    """Steps along the gradient, each followed by a projection onto the ball and the domain.

    An input stops as soon as a point within its eps is adversarial.

    Attributes:
        steps: steps, for each input at most, >= 1.
        step_size: length of a step in `norm`, > 0.
    """

    norms: ClassVar[tuple[Norm, ...]] = (Norm.LINF, Norm.L1, Norm.L2)

    steps: int = 200
    step_size: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or not self.step_size > 0:
            raise InputError(
                f"The attack {self.name} needs at least 1 step of a size above 0; got {self.steps} steps of "
                f"{self.step_size}."
            )

    def climb(self, problem: AttackProblem, start: Tensor, eps: Tensor, rows: Tensor) -> None:
        """All steps, from differences `start` to the inputs."""
        import torch

        x = problem.x[rows]
        points = problem.clip(x + start)
        for _ in range(self.steps):
            slope = ascent(problem, points, rows)
            going = ~reached(problem, eps, rows)
            if not bool(going.all()):
                points, slope, x, eps, rows = (part[going] for part in (points, slope, x, eps, rows))
                if not len(rows):
                    return
            moved = points + step(problem, points, slope, torch.full_like(eps, self.step_size)) - x
            points = problem.clip(x + project(moved, eps, self.norm))
        with torch.no_grad():
            problem.logits(points, rows)


@dataclass(frozen=True)
class BIM(_Descent):
    """Small steps along the gradient from the input itself (Kurakin, Goodfellow and Bengio 2017, section 2.2).

    An input stops as soon as a point within its eps is adversarial.

    Attributes:
        steps: steps, for each input at most, >= 1.
        step_size: length of a step in `norm`, > 0.
    """

    name: ClassVar[str] = "bim"

    step_size: float = 1e-2

    def prepare(self, problem: AttackProblem) -> AttackAt:
        """Nothing is shared between radii."""
        import torch

        return lambda eps, rows: self.climb(problem, torch.zeros_like(problem.x[rows]), eps, rows)


@dataclass(frozen=True)
class PGD(_Descent):
    """Small steps along the gradient from random points of the ball (Madry et al. 2018, section 2.1).

    An input stops as soon as a point within its eps is adversarial.

    Attributes:
        steps: steps of each start, for each input at most, >= 1.
        step_size: length of a step in `norm`, > 0.
        random_start: whether to start from uniform draws from the ball rather than from the input.
        restarts: starts, for each input at most, >= 1; more than one only with `random_start`.
    """

    name: ClassVar[str] = "pgd"

    random_start: bool = True
    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.restarts < 1 or (self.restarts > 1 and not self.random_start):
            raise InputError(
                f"PGD needs at least 1 start, and random starts if there are several; got restarts={self.restarts}, "
                f"random_start={self.random_start}."
            )

    def prepare(self, problem: AttackProblem) -> AttackAt:
        """Nothing is shared between radii."""
        import torch

        def attack_at(eps: Tensor, rows: Tensor) -> None:
            for _ in range(self.restarts):
                start = uniform_in_ball(problem, eps, rows) if self.random_start else torch.zeros_like(problem.x[rows])
                self.climb(problem, start, eps, rows)
                left = ~reached(problem, eps, rows)
                eps, rows = eps[left], rows[left]
                if not len(rows):
                    return

        return attack_at
