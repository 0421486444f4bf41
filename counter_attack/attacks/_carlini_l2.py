"""The L2 attack of Carlini and Wagner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from counter_attack.attacks._carlini_variables import Runs, TanhSpace, shortfall
from counter_attack.attacks._contract import Attack
from counter_attack.attacks._problem import AttackProblem
from mipverify_py import Norm
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

LOOKS = 10
"""How often in a run of Adam the loss is compared with what it was, as in the authors' code."""

PROGRESS = 0.9999
"""The loss has to fall below this share from one look to the next."""

GROWTH = 10.0
"""Factor of const as long as no success is known."""


@dataclass(frozen=True)
class CarliniWagnerL2(Attack):
    """Trades squared distance for misclassification (Carlini and Wagner 2017, section VI-A).

    With x' = x + delta written in tanh variables, Adam minimises

        |delta|_2^2  +  const * max(0, f_c(x') - max over targets j of f_j(x') + confidence),

    anew from x for each of `binary_search_steps` values of const, which look for the least const that gives a success:
    ten times larger until one does, then bisection. From ten values on, the last is the least that gave one. Inputs
    run side by side, each with its own const; those that are done cost nothing.

    Attributes:
        binary_search_steps: values of const, >= 1.
        steps: of Adam for one const, at most, >= 1.
        lr: of Adam, > 0.
        initial_const: the first const, > 0.
        confidence: by how much a target's logit has to exceed f_c for const to count as sufficient, >= 0. Points with
            less count as adversarial examples all the same.
        abort_early: whether to end a run whose loss has not fallen within a tenth of `steps`.
    """

    name: ClassVar[str] = "cw-l2"
    norms: ClassVar[tuple[Norm, ...]] = (Norm.L2,)

    norm: Norm = Norm.L2
    binary_search_steps: int = 9
    steps: int = 1000
    lr: float = 1e-2
    initial_const: float = 1e-3
    confidence: float = 0.0
    abort_early: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.binary_search_steps >= 1 and self.steps >= 1):
            raise InputError(
                "Carlini & Wagner needs at least 1 binary search step and 1 step; got "
                f"{self.binary_search_steps} and {self.steps}."
            )
        if not (self.lr > 0 and self.initial_const > 0 and self.confidence >= 0):
            raise InputError(
                "Carlini & Wagner needs lr and initial_const above 0 and confidence at least 0; got "
                f"{self.lr}, {self.initial_const} and {self.confidence}."
            )

    def run(self, problem: AttackProblem) -> None:
        """All inputs that are not settled, side by side."""
        search = _Search(self, problem)
        while len(search.rows):
            search.step()


class _Search:
    """Where each of the K inputs that are not done stands.

    Attributes:
        rows: their numbers.
        const: the weight in use; `low`, `high`: the largest that failed, 0 at first, and the least that did not,
            infinite at first; shape (K,).
        left: weights still to be tried, the one in use among them, shape (K,).
        found: whether this one has given a success, shape (K,).
        before: the loss at the last look, shape (K,).
    """

    def __init__(self, attack: CarliniWagnerL2, problem: AttackProblem) -> None:
        import torch

        self._attack, self._problem, self._space = attack, problem, TanhSpace(problem)
        self._every = -(-attack.steps // LOOKS)
        self.rows = (~problem.settled).nonzero()[:, 0]
        self._origin = problem.x[self.rows]
        self._runs = Runs.begin(self._space.variables(self._origin))
        self.const = torch.full_like(self._origin[:, 0], attack.initial_const)
        self.low, self.high = torch.zeros_like(self.const), torch.full_like(self.const, torch.inf)
        self.left = torch.full_like(self.const, attack.binary_search_steps)
        self.found = torch.zeros_like(self.const, dtype=torch.bool)
        self.before = torch.full_like(self.const, torch.inf)

    def step(self) -> None:
        """One step of Adam for every input, and the next const for those that are through with theirs."""
        attack = self._attack
        points, inner = self._space.points(self._runs.w)
        loss = shortfall(self._problem, self.rows, attack.confidence)
        logits, slope = self._problem.gradient(points, loss, self.rows)
        delta = points.sub_(self._origin)
        short = loss(logits)
        total = delta.square().sum(dim=1) + self.const * short
        self.found |= short == 0
        look = self._runs.step % self._every == 0
        stuck = look & (total > PROGRESS * self.before) & attack.abort_early
        self.before = total.where(look, self.before)
        slope.mul_(self.const[:, None]).add_(delta, alpha=2.0).mul_(inner)
        self._runs.advance(slope, attack.lr)
        over = stuck | (self._runs.step >= attack.steps)
        if bool(over.any()):
            self._turn(over)

    def _turn(self, over: Tensor) -> None:
        """The next const where `over`; drops the inputs that are done."""
        attack = self._attack
        self.high = self.const.minimum(self.high).where(over & self.found, self.high)
        self.low = self.const.maximum(self.low).where(over & ~self.found, self.low)
        self.left -= over.to(self.left.dtype)
        bracketed = self.high.isfinite()
        following = ((self.low + self.high) / 2).where(bracketed, self.const * GROWTH)
        if attack.binary_search_steps >= LOOKS:
            following = self.high.where(bracketed & (self.left == 1), following)
        self.const = following.where(over, self.const)
        self.found &= ~over
        self.before[over] = float("inf")
        which = over.nonzero()[:, 0]
        self._runs.restart(which, self._space.variables(self._origin[which]))
        going = self.left > 0
        if not bool(going.all()):
            self._runs.keep(going)
            self.rows, self._origin = self.rows[going], self._origin[going]
            self.const, self.low, self.high = self.const[going], self.low[going], self.high[going]
            self.left, self.found, self.before = self.left[going], self.found[going], self.before[going]
