"""FAB (Croce and Hein, "Minimally distorted adversarial examples with a fast adaptive boundary attack", 2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from counter_attack._distances import tensor_distances
from counter_attack.attacks._contract import Attack
from counter_attack.attacks._epsilon import widest
from counter_attack.attacks._hyperplane import onto_hyperplane
from counter_attack.attacks._problem import AttackProblem
from mipverify_py import Norm
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

ALPHA_MAX = 0.1
"""Largest share of the step from the input itself, which draws the iterates towards it."""

ETA = 1.05
"""Steps go beyond the linearised boundary by this factor."""

BETA = 0.9
"""An adversarial iterate moves back towards the input, to this share of its difference."""

FINAL_STEPS = 10
"""Points looked at on the segment from an input to its closest success."""

BEYOND = 1e-9
"""The secant goes on by this share of the bracket, so that rounding does not leave it short of the boundary."""

TINY = 1e-30
"""Least denominator, for zero gradients and zero steps."""


@dataclass(frozen=True)
class FAB(Attack):
    """Projections onto the linearised decision boundary within the domain, drawn towards the input.

    In every step the nearest linearised boundary {z: f_l - f_c + w.(z - x_i) = 0} is chosen among the targets l; the
    iterate x_i and the input x are projected onto it in the attack's norm, exactly, and both steps are mixed. A step
    costs two model calls, the second with one backward pass per target class.

    Attributes:
        steps: per restart, >= 1.
        restarts: the first begins at the input, the others at random points within half the distance known so far.

    Raises:
        InputError: a value out of range.
    """

    name: ClassVar[str] = "fab"
    norms: ClassVar[tuple[Norm, ...]] = (Norm.LINF, Norm.L2, Norm.L1)

    steps: int = 100
    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.restarts < 1:
            raise InputError(f"FAB needs at least 1 step and 1 restart; got {self.steps} and {self.restarts}.")

    def run(self, problem: AttackProblem) -> None:
        """See `Attack`."""
        self.approach(problem, (~problem.settled).nonzero()[:, 0])

    def approach(self, problem: AttackProblem, rows: Tensor, aim: Tensor | None = None) -> None:
        """Attacks the inputs `rows`, shape (K,), along the boundaries of all targets, or of one each (FAB-T).

        `aim` has the classes aimed at, shape (N,); a point of another target class is a success all the same.
        """
        import torch

        if not len(rows):
            return
        allowed = problem.is_target
        if aim is not None:
            allowed = torch.zeros_like(allowed).scatter(1, aim[:, None], value=True)
        for restart in range(self.restarts):
            point = problem.x[rows] if restart == 0 else _random_start(problem, rows)
            for _ in range(self.steps):
                point = _step(problem, point, rows, allowed[rows])
        _final_search(problem, rows)


def _step(problem: AttackProblem, point: Tensor, rows: Tensor, allowed: Tensor) -> Tensor:
    """The next iterate of each row."""
    import torch

    x, norm, box = problem.x[rows], problem.norm, (problem.lower, problem.upper)
    normal, gap = _nearest_boundary(problem, point, rows, allowed)
    own = onto_hyperplane(point, normal, gap, box, norm)
    from_x = onto_hyperplane(x, normal, gap + (normal * (point - x)).sum(dim=1), box, norm)
    size, size_x = (tensor_distances(d, torch.zeros_like(d), norm) for d in (own, from_x))
    alpha = (size / (size + size_x).clamp_min(TINY)).clamp_max(ALPHA_MAX)[:, None]
    moved = problem.clip((1.0 - alpha) * (point + ETA * own) + alpha * (x + ETA * from_x))
    with torch.no_grad():
        adversarial = problem.margin(problem.logits(moved, rows), rows) >= 0
    return torch.where(adversarial[:, None], (1.0 - BETA) * x + BETA * moved, moved)


def _nearest_boundary(problem: AttackProblem, point: Tensor, rows: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """w and b of the nearest linearised boundary w.(z - point) = b among the classes allowed, shapes (K, n), (K,).

    The distance to it is |f_l - f_c| divided by the dual norm of w.
    """
    import torch

    dual = {Norm.LINF: Norm.L1, Norm.L1: Norm.LINF, Norm.L2: Norm.L2}[problem.norm]
    leaf = point.detach().clone().requires_grad_()
    with torch.enable_grad():
        logits = problem.logits(leaf, rows)
        gaps = logits - logits.gather(1, problem.reference[rows][:, None])
    nearest = torch.full_like(gaps[:, 0], math.inf)
    normal, gap = torch.zeros_like(point), torch.zeros_like(nearest)
    for target in allowed.any(dim=0).nonzero()[:, 0].tolist():
        (slope,) = torch.autograd.grad(gaps[:, target].sum(), leaf, retain_graph=True)
        size = tensor_distances(slope, torch.zeros_like(slope), dual)
        away = torch.where(size > 0, gaps[:, target].detach().abs() / size.clamp_min(TINY), math.inf)
        nearer = allowed[:, target] & (away < nearest)
        nearest = torch.where(nearer, away, nearest)
        normal = torch.where(nearer[:, None], slope, normal)
        gap = torch.where(nearer, -gaps[:, target].detach(), gap)
    return normal, gap


def _random_start(problem: AttackProblem, rows: Tensor) -> Tensor:
    """Points within half the distance known of each input, or half the domain's width."""
    import torch

    n = problem.x.shape[1]
    drawn = 2.0 * problem.uniform(rows, n) - 1.0 if problem.norm is Norm.LINF else problem.normal(rows, n)
    size = tensor_distances(drawn, torch.zeros_like(drawn), problem.norm).clamp_min(TINY)
    radius = 0.5 * problem.best_distance[rows].clamp_max(float(widest(problem)))
    return problem.clip(problem.x[rows] + drawn * (radius / size)[:, None])


def _final_search(problem: AttackProblem, rows: Tensor) -> None:
    """Looks for the boundary between each input and its closest success, by the secant and by halves in turn."""
    import torch

    rows = rows[torch.isfinite(problem.best_distance[rows])]
    if not len(rows):
        return
    x, end = problem.x[rows], problem.best[rows].clone()
    with torch.no_grad():
        below, above = (problem.margin(problem.logits(z, rows), rows) for z in (x, end))
        low, high = torch.zeros_like(below), torch.ones_like(above)
        for k in range(FINAL_STEPS):
            secant = (-below / (above - below).clamp_min(TINY) + BEYOND).clamp(0.0, 1.0)
            t = low + (torch.full_like(low, 0.5) if k % 2 else secant) * (high - low)
            found = problem.margin(problem.logits(x + t[:, None] * (end - x), rows), rows)
            reached = found >= 0
            low, below = torch.where(reached, low, t), torch.where(reached, below, found)
            high, above = torch.where(reached, t, high), torch.where(reached, found, above)
