"""What a detector's claim implies: a robust classifier, and how that compares with known ones (Tramer 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from counter_attack.reductions._known import KNOWN, KnownResult
from mipverify_py import Norm
from mipverify_py._arguments import instance
from onnx_models.errors import InputError


@dataclass(frozen=True, slots=True)
class Claim:
    """What is claimed of a detector and the classifier behind it.

    Attributes:
        norm: of the attacks.
        eps: their radius, > 0.
        false_positives: FPR, the share of clean inputs that are rejected.
        false_negatives: FNR, the share of attacks within eps that are neither rejected nor classified correctly.
        accuracy: share of clean inputs that the classifier gets right.
        data_set: "cifar10", for example; None: no known results to compare with.

    Raises:
        InputError: a share outside [0, 1], or an eps that is not above 0.
    """

    norm: Norm
    eps: Fraction
    false_positives: Fraction
    false_negatives: Fraction
    accuracy: Fraction
    data_set: str | None = None

    def __post_init__(self) -> None:
        instance(Norm, self.norm, "The norm")
        shares = {
            "false positive rate": self.false_positives,
            "false negative rate": self.false_negatives,
            "accuracy": self.accuracy,
        }
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise InputError(f"The {name} is {float(value):g}; a share is between 0 and 1.")
        if not self.eps > 0:
            raise InputError(f"The radius (eps) is {float(self.eps):g}; it must be above 0.")

    @property
    def detection_risk(self) -> Fraction:
        """At least R^eps_adv-det:  FPR + FNR + R, at most 1, where R = 1 - accuracy."""
        return min(Fraction(1), self.false_positives + self.false_negatives + (1 - self.accuracy))

    @property
    def implied_eps(self) -> Fraction:
        """eps / 2, the radius within which the classifier of the detector is robust."""
        return self.eps / 2

    @property
    def implied_accuracy(self) -> Fraction:
        """At most the accuracy of that classifier under all attacks within eps / 2."""
        return 1 - self.detection_risk


@dataclass(frozen=True, slots=True)
class Comparison:
    """A claim beside one known result.

    Attributes:
        known: the result.
        applies: whether eps / 2 >= the known eps: what is robust within a radius is so within any smaller one.
            Otherwise nothing can be said.
        excess: implied minus known robust accuracy, where it applies; None elsewhere.
    """

    known: KnownResult
    applies: bool
    excess: Fraction | None

    @property
    def is_beyond(self) -> bool | None:
        """Whether the claim implies a classifier more robust than this one; None where nothing can be said."""
        return None if self.excess is None else self.excess > 0


def compare_claim(claim: Claim, known: Sequence[KnownResult] = KNOWN) -> tuple[Comparison, ...]:
    """The claim beside every known result for its data set and norm, in the order of these.

    A claim that goes beyond all of them is not refuted. It says that a classifier exists, if one too slow to be used,
    which is more robust than any that was built: a reason to doubt the evaluation of the detector first.
    """
    found = []
    for row in known:
        if row.data_set == claim.data_set and row.norm is claim.norm:
            applies = claim.implied_eps >= row.eps
            found.append(Comparison(row, applies, claim.implied_accuracy - row.robust if applies else None))
    return tuple(found)
