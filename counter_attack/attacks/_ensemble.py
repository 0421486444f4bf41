"""Four attacks one after the other, as in AutoAttack's standard version (Croce and Hein, 2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from counter_attack.attacks._apgd import APGD, logit_ratio
from counter_attack.attacks._contract import Attack
from counter_attack.attacks._epsilon import AttackAt, EpsilonSearch, reached
from counter_attack.attacks._fab import FAB
from counter_attack.attacks._problem import AttackProblem
from counter_attack.attacks._square import Square
from mipverify_py import Norm
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class AutoEnsemble(Attack):
    """APGD with cross-entropy, APGD with the targeted logit ratio, FAB per target, Square; the closest success stays.

    With `eps`, an input that has a success within eps is done. Without, every attack looks for the least distance, from
    what the attacks before it have found. The two in the middle go through the targets with the largest logits at the
    input, one after the other. With two classes there is no logit ratio, and that stage is left out.

    Attributes:
        eps, search: as in `EpsilonAttack`.
        steps: of APGD and of FAB, >= 1.
        targets: classes aimed at, >= 1; fewer where there are no more.
        queries: of Square, per radius, >= 1.

    Raises:
        InputError: a value out of range.
    """

    name: ClassVar[str] = "auto"
    norms: ClassVar[tuple[Norm, ...]] = (Norm.LINF, Norm.L2)

    eps: float | None = None
    search: EpsilonSearch = EpsilonSearch()  # noqa: RUF009 - frozen
    steps: int = 100
    targets: int = 9
    queries: int = 5000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.targets < 1:
            raise InputError(f"The ensemble has to aim at 1 target at least; got {self.targets}.")
        self._parts()  # they check what they are given

    def run(self, problem: AttackProblem) -> None:
        """See `Attack`."""
        import torch

        plain, aimed, fab, square = self._parts()
        plain.run(problem)
        if problem.is_target.shape[1] > 2:
            aimed.run(problem)
        for aim, usable in ranked(problem, self.targets):
            left = ~problem.settled & usable
            if self.eps is not None:
                left &= ~reached(problem, torch.full_like(problem.best_distance, self.eps), torch.arange(len(problem)))
            fab.approach(problem, left.nonzero()[:, 0], aim)
        square.run(problem)

    def _parts(self) -> tuple[APGD, APGD, FAB, Square]:
        norm, eps, search = self.norm, self.eps, self.search
        return (
            APGD(norm, eps, search, steps=self.steps),
            _AimedAPGD(norm, eps, search, steps=self.steps, loss="dlr", targets=self.targets),
            FAB(norm, steps=self.steps),
            Square(norm, eps, search, queries=self.queries),
        )


@dataclass(frozen=True)
class _AimedAPGD(APGD):
    """APGD with the targeted logit ratio, for one target after the other: APGD-T."""

    targets: int = 9

    def prepare(self, problem: AttackProblem) -> AttackAt:
        aims = ranked(problem, self.targets)
        attacks = [(self.raising(problem, logit_ratio(problem, aim)), usable) for aim, usable in aims]

        def attack_at(eps: Tensor, rows: Tensor) -> None:
            for attack, usable in attacks:
                mine = usable[rows]
                if bool(mine.any()):
                    attack(eps[mine], rows[mine])

        return attack_at


def ranked(problem: AttackProblem, count: int) -> list[tuple[Tensor, Tensor]]:
    """The targets of each input by their logits there, the largest first, at most `count`. Costs a model call.

    Each as a pair: the class for each of the N inputs, and which inputs have so many targets, both of shape (N,).
    """
    import torch

    with torch.no_grad():
        logits = problem.logits(problem.x).masked_fill(~problem.is_target, -math.inf)
    order, there = logits.argsort(dim=1, descending=True, stable=True), problem.is_target.sum(dim=1)
    most = min(count, int(there.max()))
    return [(order[:, rank], there > rank) for rank in range(most)]
