"""A model with the inputs that it gets right: what is attacked, counted and measured."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from counter_attack._classifier import Classifier
from counter_attack.attacks._contract import Attack, AttackResult, AttackStop, Budget
from counter_attack.attacks._epsilon import ROUNDING
from counter_attack.attacks._problem import AttackProblem, SpentError
from mipverify_py import Norm
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A model and N inputs that it gives their class; made by `Subject.of`.

    Inputs that the model gets wrong without any perturbation are left out: that they are wrong says nothing about
    an attack.

    Attributes:
        classifier: the model.
        x: the inputs, shape (N, n), in the domain.
        label: their classes, shape (N,), which are those that the model predicts.
        kept: their positions among the inputs given, shape (N,).
        norm: how perturbations are measured.
        domain: the least and the largest valid input, each of shape (n,).
        seed: of all randomness.
        deadline: value of `time.monotonic()` at which the work on these inputs ends; None: no limit.
    """

    classifier: Classifier
    x: Array
    label: NDArray[np.int64]
    kept: NDArray[np.int64]
    norm: Norm
    domain: tuple[Array, Array]
    seed: int
    deadline: float | None = None

    @classmethod
    def of(
        cls,
        model: ReluNetwork | nn.Module | Classifier,
        x: ArrayLike,
        label: ArrayLike | None = None,
        *,
        norm: Norm = Norm.LINF,
        domain: tuple[ArrayLike, ArrayLike] = (0.0, 1.0),
        seed: int = 0,
    ) -> Subject:
        """The inputs that the model gets right.

        Args:
            model: the model; a torch module takes inputs of the shape of x's rows.
            x: inputs, shape (N, *shape) or (N, n), in the domain.
            label: their classes, shape (N,) or one for all; None: those that the model predicts, so all are kept.
            norm: how perturbations are measured.
            domain: valid inputs, two numbers or two arrays of n entries, finite.
            seed: of all randomness.

        Raises:
            InputError: an argument that does not fit, or no input that the model gets right.
        """
        problem = AttackProblem(model, x, label, domain=domain, norm=norm, seed=seed)
        problem.start()
        right = (~problem.settled).nonzero()[:, 0].cpu().numpy()
        if not len(right):
            raise InputError(f"The model gets all of the {len(problem)} inputs wrong; give some that it gets right.")
        return cls(
            classifier=problem.classifier,
            x=problem.x.cpu().numpy()[right],
            label=problem.reference.cpu().numpy()[right],
            kept=right,
            norm=norm,
            domain=(problem.lower.cpu().numpy(), problem.upper.cpu().numpy()),
            seed=seed,
        )

    def __len__(self) -> int:
        return len(self.x)

    @property
    def width(self) -> float:
        """The domain's width in `norm`: no valid input is further away from another."""
        return float(sizes((self.domain[1] - self.domain[0])[None], self.norm)[0])

    @property
    def hair(self) -> float:
        """By how much a distance may exceed a radius by rounding alone."""
        return ROUNDING * self.width

    def problem(self) -> AttackProblem:
        """The inputs as attacks see them."""
        return AttackProblem(self.classifier, self.x, self.label, domain=self.domain, norm=self.norm, seed=self.seed)

    def left(self) -> Budget | None:
        """The time left until the deadline; None without one.

        Raises:
            SpentError: there is none left.
        """
        if self.deadline is None:
            return None
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            raise SpentError("time")
        return Budget(seconds=seconds)

    def attacked(self, attack: Attack) -> AttackResult:
        """What the attack finds, in the attack's own norm; Ctrl-C goes on as KeyboardInterrupt.

        Raises:
            SpentError: the deadline came first; what half an attack finds says nothing about the model.
        """
        budget = self.left()
        found = attack(self.classifier, self.x, self.label, domain=self.domain, seed=self.seed, budget=budget)
        if found.stop_reason is AttackStop.INTERRUPTED:
            raise KeyboardInterrupt
        if found.stop_reason is AttackStop.TIME and budget is not None:
            raise SpentError("time")
        return found

    def within(self, result: AttackResult, eps: float) -> NDArray[np.bool_]:
        """Which inputs have an example within eps, up to rounding, shape (N,)."""
        return result.success & (result.distance <= eps + self.hair)  # NaN compares false

    def fooled(self, points: Array) -> NDArray[np.bool_]:
        """Which of the points, one per input, shape (N, n), the model gives another class; ties count; shape (N,)."""
        import torch

        problem = self.problem()
        with torch.no_grad():
            logits = self.classifier.logits(torch.from_numpy(np.array(points)).to(problem.x.device))
            return np.asarray((problem.margin(logits) >= 0).cpu().numpy())

    def only(self, rows: NDArray[np.int64]) -> Subject:
        """The same with some of the inputs, by their numbers 0 to N - 1."""
        return replace(self, x=self.x[rows], label=self.label[rows], kept=self.kept[rows])

    def clip(self, points: Array) -> Array:
        """The points moved into the domain."""
        return np.clip(points, *self.domain)


def sizes(rows: Array, norm: Norm) -> Array:
    """Norms of rows, shape (N,)."""
    from counter_attack._distances import distances

    return distances(rows, np.zeros_like(rows), norm)
