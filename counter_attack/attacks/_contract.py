"""The contract of every attack: what goes in, what comes out, and who checks it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from counter_attack._classifier import Classifier
from counter_attack.attacks._problem import AttackProblem, SpentError
from mipverify_py import Norm
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import nn

TargetsLike = int | Sequence[int] | NDArray[np.integer] | None


class AttackStop(Enum):
    """Why an attack ended."""

    FINISHED = "finished"
    """It did all its steps."""
    BUDGET = "budget"
    """It had used up its model calls."""
    TIME = "time"
    """It had used up its time."""
    INTERRUPTED = "interrupted"
    """Stopped from outside (Ctrl-C)."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What an attack may use; None is no limit. When it is used up, the closest successes so far are returned.

    Attributes:
        calls: model calls, a forward and backward pass of the whole batch being one, >= 1.
        seconds: wall-clock seconds, > 0.

    Raises:
        InputError: a value out of range.
    """

    calls: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.calls is not None and self.calls < 1:
            raise InputError(f"A budget of {self.calls} model calls allows nothing; give at least 1, or None.")
        if self.seconds is not None and not self.seconds > 0:
            raise InputError(f"A budget of {self.seconds} seconds allows nothing; give more than 0, or None.")


@dataclass(frozen=True, slots=True, eq=False)
class AttackResult:
    """The closest adversarial example that an attack met, for each of N inputs.

    Success and distance are computed anew from the returned rows, in float64, after they were clipped to the domain.

    Attributes:
        attack: the attack's name.
        norm: how `distance` is measured.
        success: whether `adversarial` is adversarial, shape (N,): some target j has f_j >= f_c. Ties count.
        tie: successes with f_j = f_c exactly, shape (N,).
        distance: |adversarial - x| in `norm`, shape (N,); NaN without success. 0 where x itself is adversarial.
        adversarial: the examples, shape (N, n), in the domain; rows of NaN without success.
        reference: the class c of each input, shape (N,).
        found: the class predicted for the example (least index among ties), shape (N,); -1 without success.
        calls: inputs that the model was evaluated on, for each input, shape (N,), those for gradients included.
        seconds: wall-clock seconds for the whole batch.
        stop_reason: why the attack ended.
    """

    attack: str
    norm: Norm
    success: NDArray[np.bool_]
    tie: NDArray[np.bool_]
    distance: Array
    adversarial: Array
    reference: NDArray[np.int64]
    found: NDArray[np.int64]
    calls: NDArray[np.int64]
    seconds: float
    stop_reason: AttackStop


@dataclass(frozen=True)
class Attack(ABC):
    """An attack with its parameters; calling it attacks a batch.

    Subclasses are frozen dataclasses whose fields are the parameters, check these in `__post_init__` with InputError,
    and implement `run`. Whatever point `run` shows to the model counts: the problem keeps each input's closest success.

    Attributes:
        norm: the distance to make small; one of `norms`.
    """

    name: ClassVar[str]
    """As on the command line: "pgd"."""
    norms: ClassVar[tuple[Norm, ...]] = (Norm.LINF,)
    """The norms that the attack can make small."""

    norm: Norm = Norm.LINF

    def __post_init__(self) -> None:
        if not isinstance(self.norm, Norm):
            raise InputError(f"The norm of {self.name} has to be a Norm, such as Norm.LINF; got {self.norm!r}.")
        if self.norm not in self.norms:
            able = ", ".join(norm.value for norm in self.norms)
            raise InputError(f"The attack {self.name} does not work in {self.norm.value}; it does in {able}.")

    @abstractmethod
    def run(self, problem: AttackProblem) -> None:
        """Shows points to `problem.logits`; the closest successes are kept there."""

    def __call__(
        self,
        network: ReluNetwork | nn.Module | Classifier,
        x: ArrayLike,
        label: ArrayLike | None = None,
        targets: TargetsLike = None,
        *,
        domain: tuple[ArrayLike, ArrayLike] = (0.0, 1.0),
        seed: int = 0,
        budget: Budget | None = None,
    ) -> AttackResult:
        """Looks for the nearest adversarial example of every input.

        Args:
            network: the model; a torch module is copied to float64 and takes inputs of the shape of x's rows.
            x: inputs, shape (N, *shape) or (N, n), or one input; in the domain.
            label: the classes c, shape (N,) or one for all; None: those that the model predicts. An input that the
                model gives another class (one of the targets) has distance 0.
            targets: which classes count as wrong: one, several (for every input the same), or an array of shape (N, 1)
                with one for each; None: all but c.
            domain: valid inputs, two numbers or two arrays of n entries, finite.
            seed: of all randomness; the result is a function of it and the arguments, unless time runs out.
            budget: when to stop; None: when the attack's own steps are done.

        Raises:
            InputError: an argument that does not fit, naming it.
        """
        started = time.monotonic()
        problem = AttackProblem(network, x, label, targets, domain=domain, seed=seed, norm=self.norm)
        return self.solve(problem, budget, started)

    def solve(self, problem: AttackProblem, budget: Budget | None, started: float) -> AttackResult:
        """Attacks a problem that nothing was done on; time counts from `started`, as `time.monotonic` has it."""
        problem.limit(budget or Budget(), started)
        stop = AttackStop.FINISHED
        try:
            problem.start()
            if bool((~problem.settled).any()):
                self.run(problem)
        except SpentError as spent:
            stop = AttackStop(spent.reason)
        except KeyboardInterrupt:
            stop = AttackStop.INTERRUPTED
        return self._result(problem, stop, started)

    def _result(self, problem: AttackProblem, stop: AttackStop, started: float) -> AttackResult:
        check = problem.check()
        return AttackResult(
            attack=self.name,
            norm=self.norm,
            success=check.success,
            tie=check.tie,
            distance=check.distance,
            adversarial=check.adversarial,
            reference=check.reference,
            found=check.found,
            calls=problem.calls.cpu().numpy().copy(),
            seconds=time.monotonic() - started,
            stop_reason=stop,
        )
