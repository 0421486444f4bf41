"""From a detector to a classifier (Tramer 2022): the class of the nearest accepted input within eps / 2."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from counter_attack.reductions._ask import Asked, Basis, Setting, checked_eps, nearest, question, rows_of
from counter_attack.reductions._reject import RejectNetwork
from mipverify_py import StopReason, Targets
from mipverify_py._arguments import instance
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from counter_attack.attacks import Attack


class Nearest(Enum):
    """What is known about the class of the nearest accepted input."""

    DECIDED = "decided"
    """Every accepted input that is as near has this class alone."""
    TIED = "tied"
    """Inputs of several classes are the nearest, up to the gap of the search; the answer is one of them."""
    EMPTY = "empty"
    """No input within eps / 2 is accepted, so there is no class: an error whatever the label."""
    OPEN = "open"
    """A limit was reached, or an attack searched; the answer is the class of the nearest accepted input in hand."""


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """What the classifier h says of one input z.

    Attributes:
        status: what is known about the answer.
        label: the answer; None where it is empty, or where no accepted input is in hand.
        candidates: the classes that the nearest accepted input may have as far as these were met, ascending.
        lower, upper: the distance to the nearest accepted input lies in [lower, upper]; infinite without a number.
            `lower` is eps / 2 where none lies within that.
        point: the nearest accepted input in hand, shape (n,); None without one.
        basis: the exact engine or an attack.
        stopped: why the search of an open answer ended; empty otherwise.
    """

    status: Nearest
    label: int | None
    candidates: tuple[int, ...]
    lower: float
    upper: float
    point: Array | None
    basis: Basis
    stopped: str


@dataclass(frozen=True, slots=True)
class Decoding:
    """What the classifier says of N inputs, or of fewer where it was interrupted.

    Attributes:
        eps: the radius of the attacks that the detector withstands; the classifier looks within half of it.
        answers: one each, in order.
        interrupted: whether Ctrl-C cut it short; inputs after the last answer were not looked at.
        seconds: wall-clock time.
    """

    eps: float
    answers: tuple[Decoded, ...]
    interrupted: bool
    seconds: float

    def count(self, status: Nearest) -> int:
        """How many inputs have this status."""
        return sum(one.status is status for one in self.answers)


@dataclass(frozen=True, slots=True)
class ExactDecoder:
    """The classifier h of a detector g: minimum-distance decoding.

    h(z) is the class of the nearest x of the domain with |x - z| <= eps / 2 that g accepts. Any accepted x of that ball
    would do for the theorem, see `classifier_from_detector`; the nearest one does not depend on eps.

    Attributes:
        detector: g.
        eps: the radius of the attacks that g withstands, finite and >= 0.
        setting: norm, domain, and limits of each search; the gap is that of its options.
    """

    detector: RejectNetwork
    eps: float
    setting: Setting = field(default_factory=Setting)

    def __post_init__(self) -> None:
        instance(RejectNetwork, self.detector, "The detector")
        object.__setattr__(self, "eps", checked_eps(self.eps))

    def __call__(self, inputs: ArrayLike, *, progress: Callable[[int], None] | None = None) -> Decoding:
        """The answers for inputs of shape (N, *shape) or (N, n); `progress` is told the position before each.

        After Ctrl-C the answers so far are returned.

        Raises:
            InputError: inputs that do not fit the model, or lie outside the domain.
        """
        started = time.monotonic()
        answers: list[Decoded] = []
        interrupted = False
        try:
            for position, row in enumerate(rows_of(self.detector.network, inputs)):
                if progress is not None:
                    progress(position)
                answers.append(self.decode(row))
        except KeyboardInterrupt:  # of ours, or between two searches
            interrupted = True
        return Decoding(self.eps, tuple(answers), interrupted, time.monotonic() - started)

    def decode(self, z: ArrayLike) -> Decoded:
        """The answer for one input.

        With c the class of the nearest accepted input in hand, at distance u, the engine is asked whether any accepted
        input within u has another class on top, ties included. If not, c is the answer, even if u is not yet the least
        distance. If so, the brackets of both distances decide where they are apart.

        Raises:
            KeyboardInterrupt: a search was interrupted.
        """
        found = self._nearest(z, self.detector.reject, None, self.eps / 2)
        if found.within is False:
            return Decoded(Nearest.EMPTY, None, (), found.lower, np.inf, None, Basis.EXACT, "")
        if found.target is None:
            return Decoded(Nearest.OPEN, None, (), found.lower, np.inf, None, Basis.EXACT, _why(found))
        first = found.lower
        while True:
            label = found.target
            assert label is not None
            others = self._nearest(z, label, Targets.excluding(self.detector.reject, winning=True), found.upper)
            if others.within is False:
                return _decoded(Nearest.DECIDED, found, first, (label,))
            if others.target is None:
                return _decoded(Nearest.OPEN, found, first, (label,), _why(others))
            same = self._nearest(z, self.detector.reject, Targets.only(label, winning=True), found.upper)
            if same.upper < others.lower:
                return _decoded(Nearest.DECIDED, found, first, (label,))
            if not others.upper < same.lower:
                closed = others.stop_reason is StopReason.SOLVED and same.stop_reason is StopReason.SOLVED
                status, why = (Nearest.TIED, "") if closed else (Nearest.OPEN, _why(others))
                return _decoded(status, found, first, (label, others.target), why)
            found = others  # strictly nearer than any accepted input of the class before, so no class comes twice

    def _nearest(self, z: ArrayLike, label: int, targets: Targets | None, radius: float) -> Asked:
        query = question(self.detector.network, z, self.setting, label=label, targets=targets)
        found = nearest(query, radius, self.setting)
        if found.stop_reason is StopReason.INTERRUPTED:
            raise KeyboardInterrupt
        return found


@dataclass(frozen=True, slots=True, eq=False)
class AttackDecoder:
    """The same with an attack that looks for the nearest accepted input: at most as near as the true one.

    Every answer is open but for inputs that are accepted themselves, with one class on top.

    Attributes:
        model: a torch module or `Classifier` with the outputs of a `RejectNetwork`, or a `ReluNetwork`.
        eps: the radius of the attacks that g withstands.
        attack: the attack; it is asked to leave the class "rejected".
        reject: the output for rejection; -1 for the last.
        setting: domain and seed; the norm is the attack's.
    """

    model: Any
    eps: float
    attack: Attack
    reject: int
    setting: Setting

    def __call__(self, inputs: ArrayLike, *, progress: Callable[[int], None] | None = None) -> Decoding:
        """As `ExactDecoder`; the inputs are attacked side by side, so `progress` is told only of the first."""
        from counter_attack._classifier import Classifier

        if progress is not None:
            progress(0)
        x = np.asarray(inputs, dtype=np.float64)
        classifier = Classifier.of(self.model, shape=x.shape[1:])
        rows = x.reshape(len(x), -1)
        outputs = _logits(classifier, rows)
        count = outputs.shape[1]
        if not -1 <= self.reject < count:
            raise InputError(f"The reject output is {self.reject}; the model has outputs 0 to {count - 1}, or -1.")
        reject = self.reject % count
        domain, seed = self.setting.domain, self.setting.options.seed
        found = self.attack(classifier, x, np.full(len(x), reject), domain=domain, seed=seed)
        points = np.where(found.success[:, None], found.adversarial.reshape(len(x), -1), rows)
        at = _logits(classifier, points)
        answers = []
        for row in range(len(x)):
            held = bool(found.success[row]) and found.distance[row] <= self.eps / 2
            label = _top(at[row], reject)[0] if held else None
            sure = label is not None and found.distance[row] == 0 and len(_top(at[row], reject)) == 1
            answers.append(
                Decoded(
                    Nearest.DECIDED if sure else Nearest.OPEN,
                    label,
                    () if label is None else (label,),
                    0.0,
                    float(found.distance[row]) if held else np.inf,
                    points[row] if held else None,
                    Basis.ATTACK,
                    "" if sure else "an attack proves nothing",
                )
            )
        interrupted = found.stop_reason.value == "interrupted"
        return Decoding(self.eps, tuple(answers), interrupted, found.seconds)


def classifier_from_detector(
    g: RejectNetwork | Any,
    eps: float,
    *,
    attack: Attack | None = None,
    reject: int = -1,
    setting: Setting | None = None,
) -> ExactDecoder | AttackDecoder:
    """A classifier for attacks within eps / 2 from a detector for attacks within eps.

    Let g be right at (x, y): it accepts x, and accepts no input within eps of x with a class other than y. For z within
    eps / 2 of x the ball of radius eps / 2 around z has an accepted input, x, and every accepted input of it is within
    eps of x, so has class y. Whichever of them is chosen, h(z) = y. So R^(eps/2)(h) <= R^eps_adv-det(g) in every metric
    space (Tramer 2022, arXiv 2107.11630; the reduction from detection to classification).

    Args:
        g: the detector. A `RejectNetwork` is decoded exactly unless there is an attack, which takes any torch module.
        eps: the radius of the attacks that g withstands, in the norm of `setting`, or with an attack in the attack's.
        attack: an attack to look for the nearest accepted input with.
        reject: the output of a torch module that stands for rejection; -1 for the last.
        setting: norm, domain, and limits of each search; with an attack only domain and seed are used.

    Raises:
        InputError: an argument that does not fit.
    """
    given = setting or Setting()
    radius = checked_eps(eps)
    if attack is not None:
        if setting is not None and attack.norm is not given.norm:
            raise InputError(
                f"The attack measures in {attack.norm.value}, the setting says {given.norm.value}; make them equal."
            )
        model, index = (g.network, g.reject) if isinstance(g, RejectNetwork) else (g, reject)
        return AttackDecoder(model, radius, attack, index, given)
    if isinstance(g, ReluNetwork):
        g = RejectNetwork(g, reject)
    if not isinstance(g, RejectNetwork):
        raise InputError(f"Exact decoding needs a RejectNetwork, got {type(g).__name__}; give one, or an attack.")
    return ExactDecoder(g, radius, given)


def _logits(classifier: Any, rows: Array) -> Array:
    import torch

    with torch.no_grad():
        found = classifier.logits(torch.from_numpy(rows.copy()).to(classifier.device))
    return np.asarray(found.cpu().numpy())


def _top(outputs: Array, reject: int) -> list[int]:
    """The classes with the largest output, rejection aside."""
    kept = [j for j in range(len(outputs)) if j != reject]
    best = max(outputs[j] for j in kept)
    return [j for j in kept if outputs[j] == best]


def _decoded(status: Nearest, found: Asked, lower: float, classes: tuple[int, ...], why: str = "") -> Decoded:
    """An answer with an accepted input in hand; `lower` is proved for accepted inputs of all classes."""
    low = min(lower, found.upper)
    return Decoded(status, found.target, tuple(sorted(classes)), low, found.upper, found.found, Basis.EXACT, why)


def _why(asked: Asked) -> str:
    return asked.stop_detail or asked.stop_reason.value.replace("_", " ")
