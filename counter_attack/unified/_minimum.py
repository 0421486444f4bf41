"""The minimum-norm problem, iterated: the smallest step to the nearest linearised boundary."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from counter_attack._distances import tensor_distances
from counter_attack.attacks._deepfool import LEAST_STEP
from counter_attack.attacks._hyperplane import onto_hyperplane
from counter_attack.attacks._problem import AttackProblem
from counter_attack.unified._closed_forms import nearest, room_of
from counter_attack.unified._groups import groups_to_reach
from counter_attack.unified._linearise import Lineariser
from counter_attack.unified._objectives import Linear

if TYPE_CHECKING:
    from torch import Tensor

    from counter_attack.unified._attack import LinearisedAttack

REACHED = 1e-9
"""Share of a gap that a step in the box may be short of it: rounding is below that."""


class _Step(NamedTuple):
    """The step, shape (K, n), the entries that it is confined to, and whether there is any, shape (K,)."""

    step: Tensor
    mask: Tensor | None
    able: Tensor


def minimum(attack: LinearisedAttack, problem: AttackProblem) -> None:
    """All inputs that are not settled, side by side, each to its first point with a margin of at least 0."""
    import torch

    lineariser = Lineariser(attack, problem)
    rows = (~problem.settled).nonzero()[:, 0]
    points = problem.x[rows]
    total = torch.zeros_like(points)
    mask: Tensor | None = None
    for _ in range(attack.steps):
        linear = lineariser.at(points, rows, mask)
        least = LEAST_STEP * tensor_distances(points, problem.x[rows], problem.norm)
        step, mask, able = _smallest(lineariser, linear, points, least, mask)
        going = able & (linear.value.amax(dim=1) < 0)
        total, rows = (part[going] for part in (total + step, rows))
        mask = None if mask is None else mask[going]
        if not len(rows):
            return
        points = problem.clip(problem.x[rows] + (1 + attack.overshoot) * total)
    with torch.no_grad():
        problem.logits(points, rows)


def _smallest(lineariser: Lineariser, linear: Linear, points: Tensor, least: Tensor, mask: Tensor | None) -> _Step:
    """The step to the nearest boundary among those of the targets, of size `least` or more."""
    import torch

    count, n = linear.slope.shape[1:]
    slope, need = linear.slope.reshape(-1, n), (-linear.value).reshape(-1)
    looked_at = torch.isfinite(need)
    need = torch.where(looked_at, need, 0.0).clamp(min=0)
    wide = points.repeat_interleave(count, dim=0)
    masks = None if mask is None else mask.repeat_interleave(count, dim=0)
    if masks is None and lineariser.members is not None:
        masks = _chosen(lineariser, slope, wide, need)
    if masks is not None:
        slope = torch.where(masks, slope, 0.0)
    size, direction, gain = _solved(lineariser, slope, wide, need)
    short = gain < need * (1 - REACHED)
    far = torch.where(looked_at & ~short, size, torch.inf).reshape(-1, count)
    ends = torch.where(looked_at, gain - need, -torch.inf).reshape(-1, count)
    choice = torch.where(torch.isfinite(far).any(dim=1), far.argmin(dim=1), ends.argmax(dim=1))
    place = count * torch.arange(len(points), device=points.device) + choice
    able = (direction[place] != 0).any(dim=1)
    length = torch.where(able, size[place].maximum(least), 0.0)
    return _Step(length[:, None] * direction[place], None if masks is None else masks[place], able)


def _solved(lineariser: Lineariser, slope: Tensor, points: Tensor, need: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Size, direction of size 1 and gain of the smallest steps; those in the box may gain less than is needed."""
    import torch

    problem = lineariser.problem
    if not lineariser.in_box:
        size, direction = nearest(slope, need, problem.norm)
        able = torch.isfinite(size)
        return torch.where(able, size, 0.0), direction, torch.where(able, need, -torch.inf)
    step = onto_hyperplane(points, slope, need, (problem.lower, problem.upper), problem.norm)
    size = tensor_distances(step, torch.zeros_like(step), problem.norm)
    return size, torch.nan_to_num(step / size[:, None]), (slope * step).sum(dim=1)


def _chosen(lineariser: Lineariser, slope: Tensor, points: Tensor, need: Tensor) -> Tensor:
    """The entries of the groups to change, shape (K, n), for each input and target."""
    problem, attack = lineariser.problem, lineariser.attack
    assert lineariser.members is not None and attack.subsets is not None
    room = room_of(slope, points, (problem.lower, problem.upper)) if lineariser.in_box else None
    return groups_to_reach(slope, room, need, attack.norm, lineariser.members, attack.subsets)
