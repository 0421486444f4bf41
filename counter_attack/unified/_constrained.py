"""The norm-constrained problem, iterated: steps that raise the linearised objective most, within a ball."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counter_attack.attacks._epsilon import reached
from counter_attack.attacks._gradient import project, uniform_in_ball
from counter_attack.attacks._problem import AttackProblem
from counter_attack.unified._closed_forms import room_of
from counter_attack.unified._groups import best, gain_of, groups_within, support
from counter_attack.unified._linearise import Lineariser
from counter_attack.unified._objectives import Linear
from counter_attack.unified._output_change import largest_change
from mipverify_py import Norm

if TYPE_CHECKING:
    from torch import Tensor

    from counter_attack.unified._attack import LinearisedAttack


class Constrained:
    """The attack at given radii; what does not depend on them is done once."""

    def __init__(self, attack: LinearisedAttack, problem: AttackProblem) -> None:
        self.attack, self.problem = attack, problem
        self.lineariser = Lineariser(attack, problem)
        self.first: Linear | None = None
        self.place = problem.rows.new_zeros(len(problem))
        if attack.steps == 1 and not attack.random_start and attack.dither == 0:
            rows = (~problem.settled).nonzero()[:, 0]
            self.first = self.lineariser.at(problem.x[rows], rows, None)
            self.place[rows] = rows.new_tensor(range(len(rows)))

    def attack_at(self, eps: Tensor, rows: Tensor) -> None:
        """Shows the model points within eps of the inputs `rows`; an input stops once such a point is adversarial."""
        import torch

        problem, attack = self.problem, self.attack
        x = problem.x[rows]
        points = problem.clip(x + uniform_in_ball(problem, eps, rows)) if attack.random_start else x
        mask: Tensor | None = None
        for _ in range(attack.steps):
            linear = self._at(points, rows, mask)
            going = ~reached(problem, eps, rows)
            if not bool(going.all()):
                points, x, eps, rows = (part[going] for part in (points, x, eps, rows))
                linear, mask = Linear(*(part[going] for part in linear)), None if mask is None else mask[going]
                if not len(rows):
                    return
            size = eps / attack.steps if attack.step_size is None else torch.full_like(eps, attack.step_size)
            if attack.objective == "output-change":
                step, mask = self._most_change(linear, size, eps, rows, mask)
            else:
                step, mask = self._most_growth(linear, points, size, eps, mask)
            moved = points + step
            if attack.step_size is not None:
                moved = x + project(moved - x, eps, attack.norm)
            points = problem.clip(moved)
        with torch.no_grad():
            problem.logits(points, rows)

    def _at(self, points: Tensor, rows: Tensor, mask: Tensor | None) -> Linear:
        if self.first is None:
            return self.lineariser.at(points, rows, mask)
        return Linear(*(part[self.place[rows]] for part in self.first))

    def _most_growth(
        self, linear: Linear, points: Tensor, size: Tensor, eps: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The step, shape (K, n), of the target whose linearised value ends largest, and the entries it keeps to."""
        import torch

        count, n = linear.slope.shape[1:]
        slope = linear.slope.reshape(-1, n)
        room: Tensor | None = None
        if self.lineariser.in_box:
            box = (self.problem.lower, self.problem.upper)
            room = room_of(slope, points.repeat_interleave(count, dim=0), box)
        masks = None if mask is None else mask.repeat_interleave(count, dim=0)
        if masks is None and self.lineariser.members is not None:
            assert self.attack.subsets is not None
            radius = eps.repeat_interleave(count)
            masks = groups_within(slope, room, radius, self.attack.norm, self.lineariser.members, self.attack.subsets)
        if masks is not None:
            slope = torch.where(masks, slope, 0.0)
            room = None if room is None else torch.where(masks, room, 0.0)
        steps, gain = gain_of(slope, room, size.repeat_interleave(count), self.attack.norm)
        choice = (linear.value + gain.reshape(-1, count)).argmax(dim=1)
        place = count * torch.arange(len(choice), device=choice.device) + choice
        return steps[place], None if masks is None else masks[place]

    def _most_change(
        self, linear: Linear, size: Tensor, eps: Tensor, rows: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The step, shape (K, n), that changes the linearised outputs most, and the entries it keeps to."""
        import torch

        assert self.lineariser.origin is not None
        change, slope = linear.value - self.lineariser.origin[rows], linear.slope
        p, q = self.attack.norm, self.attack.output_norm
        if mask is None and self.lineariser.members is not None:
            assert self.attack.subsets is not None
            chosen = best(
                group_changes(linear.slope, change, eps, (p, q), self.lineariser.members), self.attack.subsets
            )
            mask = support(chosen, self.lineariser.members, slope.shape[2])
        if mask is not None:
            slope = torch.where(mask[:, None], slope, 0.0)
        return largest_change(slope, change, size, p, q).step, mask


def group_changes(slope: Tensor, change: Tensor, eps: Tensor, norms: tuple[Norm, Norm], members: Tensor) -> Tensor:
    """The largest change of the linearised outputs within each group of entries alone, shape (K, groups)."""
    outputs, (count, entries) = slope.shape[1], members.shape
    each = slope[:, :, members].permute(0, 2, 1, 3).reshape(-1, outputs, entries)
    wide = change.repeat_interleave(count, dim=0)
    return largest_change(each, wide, eps.repeat_interleave(count), *norms).value.reshape(-1, count)
