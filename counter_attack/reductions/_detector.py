"""From a classifier to a detector (Tramer 2022): reject x when the class changes within eps / 2 of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from counter_attack.detection import Buffer, BufferKind, CounterAttack, Zero
from counter_attack.detection._detector import AttackLike
from counter_attack.reductions._ask import Asked, Basis, Setting, checked_eps, question, rows_of, within
from mipverify_py import Norm, StopReason
from mipverify_py._arguments import instance
from onnx_models import ReluNetwork
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from counter_attack._classifier import Classifier


class Answer(Enum):
    """What a detector says of an input."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    OPEN = "open"
    """A limit was reached before it was known; the bracket tells how far the search came."""


@dataclass(frozen=True, slots=True)
class Detected:
    """What the detector g says of one input x.

    Attributes:
        answer: whether x is accepted.
        predicted: the model's class c of x (lowest index among ties): g(x) where x is accepted.
        lower, upper: d* lies in [lower, upper], where d* is the distance to the nearest input at which another class
            reaches f_c; infinite without a number. From an attack: 0, and the distance of what it found.
        proved: whether the answer is one for all real inputs of the ball, or rests on a checked example in it.
        basis: the exact engine or an attack.
        stopped: why the search of an open answer ended; empty otherwise.
    """

    answer: Answer
    predicted: int
    lower: float
    upper: float
    proved: bool
    basis: Basis
    stopped: str


@dataclass(frozen=True, slots=True)
class Detection:
    """What the detector says of N inputs, or of fewer where it was interrupted.

    Attributes:
        eps: the radius of the attacks that g is to withstand; the class was looked at within half of it.
        answers: one each, in order.
        interrupted: whether Ctrl-C cut it short; inputs after the last answer were not looked at.
        seconds: wall-clock time.
    """

    eps: float
    answers: tuple[Detected, ...]
    interrupted: bool
    seconds: float

    def count(self, answer: Answer) -> int:
        """How many inputs have this answer."""
        return sum(one.answer is answer for one in self.answers)


@dataclass(frozen=True, slots=True)
class ExactDetector:
    """The detector g of a classifier f:  g(x) = f(x) if f is constant within eps / 2 of x, and a rejection if not.

    The ball is closed and a tie counts as a change, as everywhere in this project: x is rejected iff d*(x) <= eps / 2,
    with d* the least distance at which another class reaches f_c. That is the paper's detector of the classifier whose
    answer on a tie is "tie", a class of its own that is never right.

    Attributes:
        network: f.
        eps: the radius of the attacks, finite and >= 0. Halving a float is exact.
        setting: norm, domain, and limits of each search.
    """

    network: ReluNetwork
    eps: float
    setting: Setting = field(default_factory=Setting)

    def __post_init__(self) -> None:
        instance(ReluNetwork, self.network, "The classifier")
        object.__setattr__(self, "eps", checked_eps(self.eps))

    def __call__(self, inputs: ArrayLike, *, progress: Callable[[int], None] | None = None) -> Detection:
        """The answers for inputs of shape (N, *shape) or (N, n); `progress` is told the position before each.

        After Ctrl-C the answers so far are returned.

        Raises:
            InputError: inputs that do not fit the model, or lie outside the domain.
        """
        started = time.monotonic()
        answers: list[Detected] = []
        interrupted = False
        try:
            for position, row in enumerate(rows_of(self.network, inputs)):
                if progress is not None:
                    progress(position)
                asked, predicted = self.ask(row)
                interrupted = asked.stop_reason is StopReason.INTERRUPTED
                if interrupted:
                    break
                answers.append(_answered(asked, predicted))
        except KeyboardInterrupt:  # between two searches
            interrupted = True
        return Detection(self.eps, tuple(answers), interrupted, time.monotonic() - started)

    def ask(self, x: ArrayLike) -> tuple[Asked, int]:
        """What the engine knows about a change of class within eps / 2 of x, and the model's class of x."""
        query = question(self.network, x, self.setting, label=None)
        return within(query, self.eps / 2, self.setting), query.predicted


@dataclass(frozen=True, slots=True, eq=False)
class AttackDetector:
    """The same with an attack and a buffer in place of the exact distance: x is rejected iff d - b <= eps / 2.

    A rejection is proved if the attack holds an example within eps / 2; an acceptance never is.

    Attributes:
        eps: the radius of the attacks that g is to withstand.
        detector: the Counter-Attack that decides, at eps / 2.
    """

    eps: float
    detector: CounterAttack

    def __call__(self, inputs: ArrayLike, *, progress: Callable[[int], None] | None = None) -> Detection:
        """As `ExactDetector`; the inputs are attacked side by side, so `progress` is told only of the first."""
        if progress is not None:
            progress(0)
        found = self.detector.detect(inputs)
        columns = zip(found.non_robust, found.predicted, found.distance, found.proved_non_robust, strict=True)
        answers = [
            Detected(
                Answer.REJECTED if rejected else Answer.ACCEPTED,
                int(predicted),
                0.0,
                float(distance),
                bool(rejected and held),
                Basis.ATTACK,
                "",
            )
            for rejected, predicted, distance, held in columns
        ]
        return Detection(self.eps, tuple(answers), found.interrupted, found.seconds)


def detector_from_classifier(
    f: ReluNetwork | nn.Module | Classifier,
    eps: float,
    *,
    attack: AttackLike | None = None,
    buffer: Buffer | BufferKind = Zero(),  # noqa: B008 - frozen
    setting: Setting | None = None,
) -> ExactDetector | AttackDetector:
    """A detector for attacks within eps from a classifier that is robust within eps / 2.

    Where f is right on the whole ball of radius eps / 2 around x, the detector accepts x, and accepts no input within
    eps of x with another class: the midpoint of the two would have both classes. So for a set of inputs between any two
    of which there is a midpoint, R^eps_adv-det(g) = R^(eps/2)(f) (Tramer 2022, arXiv 2107.11630; the reduction from
    classification to detection).

    Args:
        f: the classifier; a ReLU network unless there is an attack.
        eps: the radius of the attacks, in the norm of `setting`, or with an attack in the attack's.
        attack: an attack or a pool of them, to be used instead of the exact engine.
        buffer: by how much the attack's distances are taken to exceed the exact ones, see `counter_attack.detection`.
        setting: norm, domain, and limits of each search; with an attack only domain and seed are used.

    Raises:
        InputError: an argument that does not fit.
    """
    given = setting or Setting()
    radius = checked_eps(eps)
    if attack is not None:
        norm: Norm | None = getattr(attack, "norm", None)
        if setting is not None and norm is not None and norm is not given.norm:
            raise InputError(
                f"The attack measures in {norm.value}, the setting says {given.norm.value}; make them equal."
            )
        found = CounterAttack(attack, buffer, radius / 2, model=f, domain=given.domain, seed=given.options.seed)
        return AttackDetector(radius, found)
    if not isinstance(f, ReluNetwork):
        raise InputError(
            f"The exact detector needs a ReluNetwork, got {type(f).__name__}; give an attack, or load one."
        )
    if not isinstance(buffer, Zero):
        raise InputError("A buffer corrects an attack's distances, and there is no attack; give one, or no buffer.")
    return ExactDetector(f, radius, given)


def _answered(asked: Asked, predicted: int) -> Detected:
    answer = {True: Answer.REJECTED, False: Answer.ACCEPTED, None: Answer.OPEN}[asked.within]
    stopped = "" if asked.within is not None else asked.stop_detail or asked.stop_reason.value.replace("_", " ")
    return Detected(answer, predicted, asked.lower, asked.upper, asked.within is not None, Basis.EXACT, stopped)
