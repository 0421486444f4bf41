"""Attacks for tests: one whose answers are known, and one that only guesses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from counter_attack.attacks import Attack, AttackProblem
from counter_attack.detection import ExactAttack
from mipverify_py import Norm


@dataclass(frozen=True)
class Guess(Attack):
    """Tries uniform draws from the domain: a heuristic attack that errs by much and may fail."""

    name: ClassVar[str] = "guess"

    draws: int = 20

    def run(self, problem: AttackProblem) -> None:
        import torch

        for _ in range(self.draws):
            share = problem.uniform(problem.rows, problem.x.shape[1])
            with torch.no_grad():
                problem.logits(problem.lower + share * (problem.upper - problem.lower))


@dataclass(frozen=True)
class Nothing(Attack):
    """Always fails."""

    name: ClassVar[str] = "nothing"

    def run(self, problem: AttackProblem) -> None:
        return


@dataclass(frozen=True)
class Boundary(Attack):
    """The exact attack on a model whose class changes where the first entry of the input passes one of the values `at`.

    Shows the input with its first entry moved just to either side of each: right up to 1e-12.
    """

    name: ClassVar[str] = "boundary"

    at: tuple[float, ...] = (0.5,)

    def run(self, problem: AttackProblem) -> None:
        import torch

        for value in self.at:
            for side in (-1e-12, 1e-12):
                moved = problem.x.clone()
                moved[:, 0] = value + side
                with torch.no_grad():
                    problem.logits(moved)


def exact_distances(network: Any, x: Any) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends of the exact L-infinity distances; infinite where no example exists."""
    found = ExactAttack(Norm.LINF)(network, x)
    assert found.exact.all()
    return found.lower, found.upper
