"""From attacks within a ball of given radius to the least radius at which they succeed, for each input on its own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from counter_attack._distances import tensor_distances
from counter_attack.attacks._contract import Attack
from counter_attack.attacks._problem import AttackProblem
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

AttackAt = Callable[["Tensor", "Tensor"], None]
"""A function (eps, rows), both of shape (K,): shows to `problem.logits` points within eps of the inputs `rows`."""

ROUNDING = 1e-12
"""Share of the domain's width by which a point's distance may exceed eps: the projection's rounding is below it."""


def widest(problem: AttackProblem) -> Tensor:
    """The domain's width in the problem's norm, a single number: no adversarial example is further away."""
    return tensor_distances(problem.upper[None, :], problem.lower[None, :], problem.norm)[0]


def reached(problem: AttackProblem, eps: Tensor, rows: Tensor) -> Tensor:
    """Whether the closest success of each of `rows` is within its eps, shape (K,), up to `ROUNDING`."""
    return problem.best_distance[rows] <= eps + ROUNDING * widest(problem)


@dataclass(frozen=True, slots=True)
class EpsilonSearch:
    """Looks for the least eps at which an attack succeeds: decay first, bisection then.

    Eps starts at the domain's width, measured in the attack's norm, and is multiplied by `initial_factor` as long as
    the attack succeeds. The least eps that succeeded and the next one, which failed, are then bisected. An attack that
    fails at the width may still succeed nearer (a single large step overshoots), so eps goes on decaying until the
    first success; an input without any after `decay_steps` is given up.

    An attack succeeds at eps if `problem.best_distance` is at most eps, up to `ROUNDING`. It often finds a point nearer
    than the eps that it was given, or another attack did before; no eps above that point's distance is tried any more,
    and decay and bisection go on from the distance. That saves attempts and leaves the radii off the grid of powers of
    `initial_factor`; a random attack loses the chance to find, within a larger ball, a point nearer still.

    Attributes:
        initial_factor: what eps is multiplied by while the attack succeeds, in (0, 1).
        decay_steps: attempts in the decay, for each input at most, >= 1.
        bisections: attempts in the bisection, for each input at most, >= 0.

    Raises:
        InputError: a value out of range.
    """

    initial_factor: float = 0.75
    decay_steps: int = 30
    bisections: int = 20

    def __post_init__(self) -> None:
        if not 0 < self.initial_factor < 1:
            raise InputError(f"The search multiplies eps by a factor between 0 and 1; got {self.initial_factor}.")
        if self.decay_steps < 1 or self.bisections < 0:
            raise InputError(
                f"The search needs at least 1 decay step and no negative number of bisections; got "
                f"{self.decay_steps} and {self.bisections}."
            )

    def run(self, problem: AttackProblem, attack_at: AttackAt) -> None:
        """Calls `attack_at` with the inputs that are not done and their eps, until all are.

        `attack_at(eps, rows)` shows points within eps[k] of the input rows[k] to `problem.logits` and returns nothing.
        """
        _Search(self, problem, attack_at).run()


class _Search:
    """The state of one search: for each of N inputs the largest eps that failed, and the attempts made."""

    def __init__(self, plan: EpsilonSearch, problem: AttackProblem, attack_at: AttackAt) -> None:
        self.plan, self.problem, self.attack_at = plan, problem, attack_at
        self.width = widest(problem)
        count = len(problem)
        self.failed = problem.x.new_zeros(count)
        self.decays = problem.calls.new_zeros(count)
        self.halvings = problem.calls.new_zeros(count)
        self.bisecting = problem.settled.new_zeros(count)

    def run(self) -> None:
        while True:
            eps = self._next()
            rows = (eps > 0).nonzero()[:, 0]
            if not len(rows):
                return
            self.attack_at(eps[rows], rows)
            self._learn(eps[rows], rows)

    def _next(self) -> Tensor:
        """The eps to try, shape (N,); 0 for inputs that are done."""
        import torch

        best, plan = self.problem.best_distance, self.plan
        found = torch.isfinite(best)
        decayed = torch.where(found, plan.initial_factor * best, self.width * plan.initial_factor**self.decays)
        middle = self.failed + (best - self.failed) / 2
        open_middle = (self.failed < middle) & (middle < best) & (self.halvings < plan.bisections)
        eps = torch.where(self.bisecting, torch.where(open_middle, middle, 0.0), decayed)
        return torch.where(~self.bisecting & (self.decays >= plan.decay_steps) | self.problem.settled, 0.0, eps)

    def _learn(self, eps: Tensor, rows: Tensor) -> None:
        """Takes note of the attempt; an eps that failed although a nearer point is known now proves nothing."""
        import torch

        best = self.problem.best_distance[rows]
        success = reached(self.problem, eps, rows)
        bisecting = self.bisecting[rows]
        self.halvings[rows] += bisecting.to(self.halvings.dtype)
        self.decays[rows] += (~bisecting).to(self.decays.dtype)
        failed = torch.where(success, self.failed[rows], eps)
        self.failed[rows] = torch.where(failed < best, failed, 0.0)
        exhausted = self.decays[rows] >= self.plan.decay_steps
        self.bisecting[rows] = bisecting | (torch.isfinite(best) & (~success | exhausted))


@dataclass(frozen=True)
class EpsilonAttack(Attack):
    """An attack within a ball of radius eps, which it searches for if it is not given.

    Attributes:
        eps: radius of the ball in `norm`, > 0; None: the least one at which the attack succeeds, for each input.
        search: how that is found; without a meaning if `eps` is given.
    """

    eps: float | None = None
    search: EpsilonSearch = EpsilonSearch()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eps is not None and not self.eps > 0:
            raise InputError(f"The attack {self.name} needs eps > 0; got {self.eps}. None searches for the least one.")

    @abstractmethod
    def prepare(self, problem: AttackProblem) -> AttackAt:
        """What is to be done for given eps; work that does not depend on eps is done here, once."""

    def run(self, problem: AttackProblem) -> None:
        """Attacks at `eps`, or searches."""
        import torch

        attack_at = self.prepare(problem)
        if self.eps is None:
            self.search.run(problem, attack_at)
        else:
            rows = (~problem.settled).nonzero()[:, 0]
            attack_at(torch.full_like(problem.best_distance[rows], self.eps), rows)
