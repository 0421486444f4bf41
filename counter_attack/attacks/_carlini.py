"""The L-infinity attack of Carlini and Wagner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from counter_attack.attacks._carlini_variables import Runs, TanhSpace, shortfall
from counter_attack.attacks._contract import Attack
from counter_attack.attacks._problem import AttackProblem
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

REACHED = 1e-4
"""The loss counts as zero below this multiple of const, as in the authors' code."""


@dataclass(frozen=True)
class CarliniWagnerLinf(Attack):
    """Pushes all entries of the perturbation below a falling limit tau (Carlini and Wagner 2017, section VI-C).

    With x' = x + delta written in tanh variables, Adam minimises

        sum over i of max(0, |delta_i| - tau)  +  const * max(0, f_c(x') - max over targets j of f_j(x')).

    The loss reaches zero at an adversarial x' with |delta| <= tau. tau then becomes `tau_factor` times the distance
    reached, const stays, and Adam begins anew. After `steps` steps without it, const grows by `const_factor` while Adam
    goes on, as in the authors' code. An input is done once const is `max_const` or tau is `min_tau`. Inputs run side
    by side, each with its own tau and const; those that are done cost nothing.

    The distance reached is that of the closest success met so far, which may be nearer than the point of zero loss.

    Attributes:
        tau: the first limit, in units of x, > 0.
        min_tau: an input is done once its limit is below this, > 0.
        tau_factor: above 0 and below 1.
        const: the first weight of the logits, > 0.
        const_factor: > 1.
        max_const: an input is done once its weight is this or more, > `const`.
        lr: of Adam, > 0.
        steps: of Adam for one tau and const, at most, >= 1.
        warm_start: whether to begin each tau at the closest success met so far, and not at x.
        abort_early: whether to take the first point of zero loss, and not the one after all `steps`.
    """

    name: ClassVar[str] = "cw"

    tau: float = 1.0
    min_tau: float = 1e-5
    tau_factor: float = 0.9
    const: float = 1e-5
    const_factor: float = 2.0
    max_const: float = 20.0
    lr: float = 1e-2
    steps: int = 1000
    warm_start: bool = True
    abort_early: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.tau > 0 and self.min_tau > 0 and 0 < self.tau_factor < 1):
            raise InputError(
                "Carlini & Wagner needs tau and min_tau above 0 and tau_factor between 0 and 1; got "
                f"{self.tau}, {self.min_tau} and {self.tau_factor}."
            )
        if not (0 < self.const < self.max_const and self.const_factor > 1):
            raise InputError(
                "Carlini & Wagner needs 0 < const < max_const and const_factor above 1; got "
                f"{self.const}, {self.max_const} and {self.const_factor}."
            )
        if not (self.lr > 0 and self.steps >= 1):
            raise InputError(f"Carlini & Wagner needs lr above 0 and at least 1 step; got {self.lr} and {self.steps}.")

    def run(self, problem: AttackProblem) -> None:
        """All inputs that are not settled, side by side."""
        search = _Search(self, problem)
        while len(search.rows):
            search.step()


class _Search:
    """Where each of the K inputs that are not done stands.

    Attributes:
        rows: their numbers.
        tau, const: their limits and weights, shape (K,).
        tried: steps at this tau and const, shape (K,).
    """

    def __init__(self, attack: CarliniWagnerLinf, problem: AttackProblem) -> None:
        import torch

        self._attack, self._problem, self._space = attack, problem, TanhSpace(problem)
        self.rows = (~problem.settled).nonzero()[:, 0]
        self._origin = problem.x[self.rows]
        self._runs = Runs.begin(self._space.variables(self._origin))
        self.tau = torch.full_like(self._origin[:, 0], attack.tau)
        self.const = torch.full_like(self.tau, attack.const)
        self.tried = torch.zeros_like(self.tau)

    def step(self) -> None:
        """One step of Adam for every input, and the next tau or const for those that are through with theirs."""
        attack = self._attack
        points, inner = self._space.points(self._runs.w)
        loss = shortfall(self._problem, self.rows)
        logits, slope = self._problem.gradient(points, loss, self.rows)
        delta = points.sub_(self._origin)
        excess = delta.abs().sub_(self.tau[:, None]).clamp_(min=0.0)
        short = loss(logits)
        self.tried += 1
        last = self.tried >= attack.steps
        reached = (short == 0) & (excess.sum(dim=1) < REACHED * self.const)
        reached &= last | attack.abort_early
        slope.mul_(self.const[:, None]).add_(excess.sign_().mul_(delta.sign_())).mul_(inner)
        self._runs.advance(slope, attack.lr)
        if bool((reached | last).any()):
            self._turn(reached, last & ~reached)

    def _turn(self, reached: Tensor, failed: Tensor) -> None:
        """The next tau where it was reached, the next const where it was not; drops the inputs that are done."""
        attack, problem = self._attack, self._problem
        found = reached.nonzero()[:, 0]
        owners = self.rows[found]
        self.tau[found] = self.tau[found].minimum(problem.best_distance[owners]) * attack.tau_factor
        start = problem.best[owners] if attack.warm_start else self._origin[found]
        self._runs.restart(found, self._space.variables(start))
        self.const[failed] *= attack.const_factor
        self.tried[reached | failed] = 0.0
        going = (self.tau > attack.min_tau) & (self.const < attack.max_const)
        if not bool(going.all()):
            self._runs.keep(going)
            self.rows, self.tau, self.const = self.rows[going], self.tau[going], self.const[going]
            self.tried, self._origin = self.tried[going], self._origin[going]
