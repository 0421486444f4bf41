"""Linearisations along an attack: which targets are looked at, at which points, in which entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from counter_attack.attacks._deepfool import likeliest
from counter_attack.attacks._problem import AttackProblem
from counter_attack.unified._groups import members_of
from counter_attack.unified._objectives import Linear, cross_entropy, jacobian, margins, values
from mipverify_py import Norm

if TYPE_CHECKING:
    from torch import Tensor

    from counter_attack.unified._attack import LinearisedAttack


class Lineariser:
    """The linearised objective of an attack on a problem.

    Attributes:
        in_box: whether the linearised problem knows the domain.
        members: the groups of entries of which only some may change, see `members_of`; None: all entries may.
        rivals: targets looked at, shape (N, C), filled up with c; without a meaning for other objectives than margins.
        origin: the outputs at the inputs, shape (N, m), for "output-change" only.
    """

    def __init__(self, attack: LinearisedAttack, problem: AttackProblem) -> None:
        import torch

        self.attack, self.problem = attack, problem
        self.in_box = attack.box or attack.norm is Norm.L1
        self.members: Tensor | None = None
        if attack.subsets is not None:
            self.members = members_of(attack.groups, problem.classifier.shape).to(problem.x.device)
        rows = (~problem.settled).nonzero()[:, 0]
        self.rivals = problem.reference[:, None]
        if attack.objective in ("margin", "targeted"):
            found = likeliest(problem, rows, attack.candidates - 1)
            self.rivals = self.rivals.repeat(1, found.shape[1])
            self.rivals[rows] = found
        self.origin: Tensor | None = None
        if attack.objective == "output-change":
            with torch.no_grad():
                self.origin = torch.zeros_like(problem.is_target, dtype=problem.x.dtype)
                self.origin[rows] = problem.logits(problem.x[rows], rows)

    def at(self, points: Tensor, rows: Tensor, mask: Tensor | None) -> Linear:
        """The objective at points, or with dithering its values there and its gradients nearby.

        Args:
            points: shape (K, n).
            rows: their inputs, shape (K,).
            mask: entries that may change, shape (K, n); None: all, or it is not decided yet.
        """
        import torch

        dither, problem = self.attack.dither, self.problem
        if dither == 0 or (mask is None and self.members is not None):
            return self._exactly_at(points, rows)
        with torch.no_grad():
            logits = problem.logits(points, rows)
        noise = dither * (2 * problem.uniform(rows, points.shape[1]) - 1)
        moved = problem.clip(points + (noise if mask is None else torch.where(mask, noise, 0.0)))
        linear = self._exactly_at(moved, rows)
        if self.attack.objective == "cross-entropy":
            return linear
        if self.attack.objective == "output-change":
            return Linear(logits, linear.slope)
        return Linear(values(problem, logits, self.rivals[rows], rows, self.attack.objective), linear.slope)

    def _exactly_at(self, points: Tensor, rows: Tensor) -> Linear:
        if self.attack.objective == "cross-entropy":
            return cross_entropy(self.problem, points, rows)
        if self.attack.objective == "output-change":
            return jacobian(self.problem.logits, points, rows, self.problem.is_target.shape[1])
        return margins(self.problem, points, self.rivals[rows], rows, self.attack.objective)
