"""What comes back: the answer for float32 beside that for real numbers."""

from __future__ import annotations

from dataclasses import dataclass

from mipverify_py._enums import Evidence, Objective, StopReason, Verdict
from mipverify_py._result import Result
from mipverify_py.float32._witness import Float32Witness


@dataclass(frozen=True, slots=True, eq=False)
class Float32Result:
    """Two answers to one query: about every float32 evaluation of the model, and about its function of real numbers.

    Attributes:
        verdict: ROBUST: no float32 input of the perturbation set is adversarial, whichever way the model is evaluated
            in float32; ADVERSARIAL: onnxruntime gets one wrong, `witness`; UNKNOWN: neither is known, as where the
            answer depends on how sums are ordered.
        lower: for a distance: no float32 input nearer than this is adversarial in any float32 evaluation; None if no
            end is known.
        upper: for a distance: that of `witness`; None without one.
        witness: the nearest float32 input found whose class changes in onnxruntime.
        slack: by how much rounding can change a difference of two logits, in the region that was looked at.
        evidence: what ROBUST, or `lower`, rests on; None where neither is known.
        evidence_detail: the same in words.
        stop_reason: why the search ended, that of `enlarged` or, where it ended first, of `real`.
        stop_detail: the same in words; may be empty.
        seconds: wall-clock time of everything.
        real: the answer about real numbers, as `verify` gives it.
        enlarged: the answer about real numbers for the margin less `slack`, whose proof is that of `lower`; None where
            the search ended before it began, or a witness at a fixed radius left nothing to ask.
    """

    verdict: Verdict
    lower: float | None
    upper: float | None
    witness: Float32Witness | None
    slack: float
    evidence: Evidence | None
    evidence_detail: str
    stop_reason: StopReason
    stop_detail: str
    seconds: float
    real: Result
    enlarged: Result | None

    def __repr__(self) -> str:
        ends = "" if self.objective is Objective.FEASIBILITY else f", [{self.lower}, {self.upper}]"
        return f"Float32Result({self.verdict.value}{ends}, slack {self.slack:.3g}, {self.real!r})"

    @property
    def objective(self) -> Objective:
        """What was asked."""
        return self.real.objective

    @property
    def gap(self) -> float | None:
        """upper - lower, None if an end is absent."""
        return None if self.lower is None or self.upper is None else self.upper - self.lower
