"""What the attack makes grow, and its linearisation: values and gradients at points, in one call of the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from counter_attack.attacks._gradient import ascent
from counter_attack.attacks._problem import AttackProblem

if TYPE_CHECKING:
    from torch import Tensor

OBJECTIVES = ("cross-entropy", "margin", "targeted", "output-change")
"""cross-entropy: of the reference class c, in the form that `counter_attack.attacks._gradient` explains. margin:
f_j - f_c, for each target j. targeted: f_j less the largest other logit, for each target j. output-change:
|f(x + eta) - f(x)|_q."""


class Linear(NamedTuple):
    """C affine functions for each of K inputs: their values at the point, (K, C), and gradients, (K, C, n)."""

    value: Tensor
    slope: Tensor


def values(problem: AttackProblem, logits: Tensor, rivals: Tensor, rows: Tensor, objective: str) -> Tensor:
    """The margins of the rivals j, shape (K, C), -inf where j is the class c itself; logits of shape (K, classes)."""
    own = rivals == problem.reference[rows, None]
    return _differences(problem, logits, rivals, rows, objective).masked_fill(own, -float("inf"))


def _differences(problem: AttackProblem, logits: Tensor, rivals: Tensor, rows: Tensor, objective: str) -> Tensor:
    import torch

    found = logits.gather(1, rivals)
    if objective == "margin":
        return found - logits.gather(1, problem.reference[rows, None])
    most, place = logits.topk(2, dim=1)
    return found - torch.where(place[:, :1] == rivals, most[:, 1:], most[:, :1])


def margins(problem: AttackProblem, points: Tensor, rivals: Tensor, rows: Tensor, objective: str) -> Linear:
    """The margins of the rivals, shape (K, C), linearised at points: the model is called on C copies of them."""
    count = rivals.shape[1]
    owners, each = rows.repeat_interleave(count), rivals.reshape(-1, 1)

    def loss(logits: Tensor) -> Tensor:
        return _differences(problem, logits, each, owners, objective)[:, 0]

    logits, slope = problem.gradient(points.repeat_interleave(count, dim=0), loss, owners)
    value = values(problem, logits, each, owners, objective)
    return Linear(value.reshape(-1, count), slope.reshape(len(rows), count, -1))


def cross_entropy(problem: AttackProblem, points: Tensor, rows: Tensor) -> Linear:
    """The cross-entropy's direction; its value is of no use and given as 0."""
    slope = ascent(problem, points, rows)[:, None]
    return Linear(slope.new_zeros(slope.shape[:2]), slope)


Evaluate = Callable[["Tensor", "Tensor"], "Tensor"]
"""A function (points, rows) -> outputs, shapes (K, n), (K,) and (K, m)."""


def jacobian(evaluate: Evaluate, points: Tensor, rows: Tensor, outputs: int) -> Linear:
    """The m outputs, shape (K, m), and the Jacobian, shape (K, m, n): the model is called on m copies of the points."""
    import torch

    leaf = points.detach().repeat_interleave(outputs, dim=0)
    leaf.requires_grad = True
    each = torch.arange(outputs, device=points.device).repeat(len(points))[:, None]
    with torch.enable_grad():
        found = evaluate(leaf, rows.repeat_interleave(outputs))
        (slope,) = torch.autograd.grad(found.gather(1, each).sum(), leaf)
    value = found.detach().reshape(len(points), outputs, outputs)[:, 0]
    return Linear(value, slope.reshape(len(points), outputs, -1))
