"""Risk, robust risk and robust risk with detection (Tramer 2022), each as a bracket of shares of a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from numpy.typing import ArrayLike

from counter_attack.reductions._ask import (
    Asked,
    Setting,
    checked_eps,
    labels_of,
    question,
    rows_of,
    within,
)
from counter_attack.reductions._decoder import Decoded, ExactDecoder, Nearest
from counter_attack.reductions._reject import RejectNetwork
from mipverify_py import Query, StopReason, Targets
from onnx_models import Array, ReluNetwork, exact_logits
from onnx_models.errors import InputError

Progress = Callable[[int], None]
"""Told the position of the input that is looked at now."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of N inputs of which some may be open.

    Attributes:
        least: inputs that are known to count.
        most: these and the open ones.
        count: N, at least 1.
    """

    least: int
    most: int
    count: int

    @property
    def lower(self) -> Fraction:
        """The share if no open input counts."""
        return Fraction(self.least, self.count)

    @property
    def upper(self) -> Fraction:
        """The share if all open inputs count."""
        return Fraction(self.most, self.count)

    @property
    def is_exact(self) -> bool:
        """Whether no input is open."""
        return self.least == self.most

    @classmethod
    def of(cls, known: Sequence[bool | None]) -> Rate:
        """The share of inputs that count (True); None for those that are open."""
        least = sum(one is True for one in known)
        return cls(least, least + sum(one is None for one in known), len(known))


def risk(f: ReluNetwork, inputs: ArrayLike, labels: ArrayLike) -> Rate:
    """R(f), the share of the inputs at which f_y is not larger than every other output, in exact arithmetic.

    Raises:
        InputError: inputs and labels that do not fit the network or each other.
    """
    rows = rows_of(f, inputs)
    classes = labels_of(labels, len(rows), f.output_size)
    return Rate.of([not _wins(f, x, y) for x, y in zip(rows, classes, strict=True)])


def robust_risk(
    f: ReluNetwork,
    inputs: ArrayLike,
    labels: ArrayLike,
    eps: float,
    setting: Setting | None = None,
    *,
    progress: Progress | None = None,
) -> Rate:
    """R^eps(f): the share of inputs with an x' in the closed ball of radius eps at which f_y does not win alone.

    Inputs whose search a limit stopped are open; after Ctrl-C those that were not looked at as well.

    Raises:
        InputError: as `risk`, an eps out of range, or inputs outside the domain.
    """
    given, radius = setting or Setting(), checked_eps(eps)
    rows = rows_of(f, inputs)
    classes = labels_of(labels, len(rows), f.output_size)

    def ask(position: int) -> Asked:
        return within(question(f, rows[position], given, label=classes[position]), radius, given)

    return Rate.of([None if one is None else one.within for one in _each(len(rows), ask, progress)])


@dataclass(frozen=True, slots=True, eq=False)
class DetectionRisk:
    """R^eps_adv-det(g) = P[ x is rejected, or an x' within eps is accepted with a class other than y ], and its parts.

    Attributes:
        eps: the radius.
        rejected: whether g rejects the input itself, one each.
        wrong: whether a class other than y is on top at the input itself, accepted or not, ties included.
        fooled: whether some x' within eps is accepted with such a class; None where that is open.
        examples: such an x', shape (n,), or None, one each.
        stopped: why a search ended where `fooled` is open; empty elsewhere.
    """

    eps: float
    rejected: tuple[bool, ...]
    wrong: tuple[bool, ...]
    fooled: tuple[bool | None, ...]
    examples: tuple[Array | None, ...]
    stopped: tuple[str, ...]

    @property
    def failures(self) -> tuple[bool | None, ...]:
        """Whether the detector fails at each input: the event whose share is the risk. Three-valued "or"."""
        return tuple(True if rejected else fooled for rejected, fooled in zip(self.rejected, self.fooled, strict=True))

    @property
    def risk(self) -> Rate:
        """R^eps_adv-det(g)."""
        return Rate.of(self.failures)

    @property
    def false_positives(self) -> Rate:
        """FPR: the share of inputs that are rejected as they are."""
        return Rate.of(self.rejected)

    @property
    def standard_risk(self) -> Rate:
        """R: the share of inputs with a wrong class on top."""
        return Rate.of(self.wrong)

    @property
    def false_negatives(self) -> Rate:
        """FNR: the share of all inputs with the right class of which an adversarial example within eps is accepted.

        A share of all inputs, not of the right ones only; that one is larger, so the bound below holds with it, too.
        """
        return Rate.of([False if wrong else fooled for wrong, fooled in zip(self.wrong, self.fooled, strict=True)])

    @property
    def bound(self) -> Rate:
        """FPR + FNR + R >= R^eps_adv-det(g); more than 1 where they overlap much."""
        parts = (self.false_positives, self.false_negatives, self.standard_risk)
        return Rate(sum(part.least for part in parts), sum(part.most for part in parts), len(self.rejected))


def detection_risk(
    g: RejectNetwork,
    inputs: ArrayLike,
    labels: ArrayLike,
    eps: float,
    setting: Setting | None = None,
    *,
    progress: Progress | None = None,
) -> DetectionRisk:
    """R^eps_adv-det of a detector that is a ReLU network; labels are indices of its outputs.

    x' counts against (x, y) if  max over classes j != y of f_j(x') >= max(f_y(x'), f_r(x')): it is accepted, and
    another class is on top or ties. Inputs whose search a limit stopped are open, and after Ctrl-C those not looked at.

    Raises:
        InputError: as `robust_risk`, or the reject output as a label.
    """
    given, radius = setting or Setting(), checked_eps(eps)
    rows = rows_of(g.network, inputs)
    classes = _class_labels(g, labels, len(rows))

    def ask(position: int) -> Asked:
        return within(_fooling(g, rows[position], classes[position], given), radius, given)

    found = list(_each(len(rows), ask, progress))
    return DetectionRisk(
        eps=radius,
        rejected=tuple(g.rejects(x) for x in rows),
        wrong=tuple(not g.is_right(x, y) for x, y in zip(rows, classes, strict=True)),
        fooled=tuple(None if one is None else one.within for one in found),
        examples=tuple(None if one is None or not one.within else one.found for one in found),
        stopped=tuple(_why(one) for one in found),
    )


def decoder_risk(h: ExactDecoder, labels: ArrayLike, rows: ArrayLike, known: DetectionRisk) -> Rate:
    """A bracket of R^(eps/2)(h) for the classifier h of a detector g.

    No single program tells what h does everywhere in a ball: h is itself the answer to one. The upper end is the
    theorem's: h is right within eps / 2 wherever g does not fail within eps. The lower end counts inputs with a z in
    hand where h is wrong, or without an answer: one that g itself accepts with a class other than y (the engine says
    whether there is one), x itself, or the point of the ball next to the example that fools g.

    Args:
        h: the classifier.
        labels: the classes y.
        rows: the inputs x.
        known: the detector's risk at h's eps, for the same inputs.

    Raises:
        InputError: as `detection_risk`, or a risk for another eps or for other inputs.
        KeyboardInterrupt: a search was interrupted.
    """
    inputs = rows_of(h.detector.network, rows)
    classes = _class_labels(h.detector, labels, len(inputs))
    if known.eps != h.eps or len(known.rejected) != len(inputs):
        raise InputError(
            f"The detector's risk is at eps {known.eps} for {len(known.rejected)} inputs, the classifier's at {h.eps} "
            f"for {len(inputs)}; make them equal."
        )
    found: list[bool | None] = []
    for x, label, failed, example in zip(inputs, classes, known.failures, known.examples, strict=True):
        if failed is False:
            found.append(False)
            continue
        found.append(True if _errs(h, x, label, example) else None)
    return Rate.of(found)


def _errs(h: ExactDecoder, x: Array, label: int, example: Array | None) -> bool:
    """Whether a z within eps / 2 of x is found at which h is wrong."""
    near = within(_fooling(h.detector, x, label, h.setting), h.eps / 2, h.setting)
    if near.within:
        return True
    if near.stop_reason is StopReason.INTERRUPTED:
        raise KeyboardInterrupt
    box = h.setting.box(len(x))
    tried = [x] if example is None else [x, h.setting.ball(h.eps / 2).project(example, x, box)]
    return any(_is_wrong(h.decode(z), label) for z in tried)


def _fooling(g: RejectNetwork, x: Array, label: int, setting: Setting) -> Query:
    """The query for inputs that g accepts with a class other than the label."""
    targets = Targets.excluding(g.reject, winning=True)
    return question(g.network, x, setting, label=label, targets=targets)


def _is_wrong(answer: Decoded, label: int) -> bool:
    """Whether h is proved to err; a tie is one up to the gap only, and proves nothing."""
    return answer.status is Nearest.EMPTY or (answer.status is Nearest.DECIDED and answer.label != label)


def _wins(f: ReluNetwork, x: Array, label: int) -> bool:
    logits = exact_logits(f, x)
    return all(logits[label] > other for j, other in enumerate(logits) if j != label)


def _class_labels(g: RejectNetwork, labels: ArrayLike, count: int) -> list[int]:
    classes = labels_of(labels, count, g.network.output_size)
    if g.reject in classes:
        raise InputError(f"Label {g.reject} is the output for rejection; labels are the outputs of classes.")
    return classes


def _each(count: int, ask: Callable[[int], Asked], progress: Progress | None) -> Iterable[Asked | None]:
    """What was found about each input, in order; None for those that were not looked at after Ctrl-C."""
    interrupted = False
    for position in range(count):
        found = None
        if not interrupted:
            try:
                if progress is not None:
                    progress(position)
                found = ask(position)
                interrupted = found.stop_reason is StopReason.INTERRUPTED
            except KeyboardInterrupt:  # between two searches
                interrupted = True
        yield found


def _why(asked: Asked | None) -> str:
    if asked is None:
        return "interrupted"
    return "" if asked.within is not None else asked.stop_detail or asked.stop_reason.value.replace("_", " ")
