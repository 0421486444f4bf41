"""The answer for float32 evaluations, in words and as JSON."""

from __future__ import annotations

from typing import Any

from mipverify_py._enums import Objective, Verdict
from mipverify_py.cli._numbers import rounded_down, rounded_up
from mipverify_py.float32 import Float32Result, Float32Witness


def float32_words(answer: Float32Result) -> str:
    """One line about every float32 evaluation of the model."""
    parts = [_closest(answer) if answer.objective is Objective.CLOSEST else _at_radius(answer)]
    if answer.witness is not None:
        found = f"class {answer.witness.predicted} at distance {rounded_up(answer.witness.distance)}"
        parts.append(f"in onnxruntime {found}")
    parts.append(f"rounding changes a margin by at most {rounded_up(answer.slack)}")
    return "; ".join(parts)


def _closest(answer: Float32Result) -> str:
    if answer.verdict is Verdict.ROBUST:
        return "no adversarial example in any float32 evaluation"
    low = "" if answer.lower is None else f"{rounded_down(answer.lower)} <= "
    high = "" if answer.upper is None else f" <= {rounded_up(answer.upper)}"
    return f"{low}distance{high}" if low or high else "unknown"


def _at_radius(answer: Float32Result) -> str:
    return "robust in every float32 evaluation" if answer.verdict is Verdict.ROBUST else answer.verdict.value


def float32_record(answer: Float32Result | None) -> dict[str, Any] | None:
    """The object `float32` of a result; null where --arithmetic float32 was not asked for, or failed."""
    if answer is None:
        return None
    return {
        "verdict": answer.verdict.value,
        "lower": answer.lower,
        "upper": answer.upper,
        "gap": answer.gap,
        "slack": answer.slack,
        "evidence": None if answer.evidence is None else answer.evidence.value,
        "evidence_detail": answer.evidence_detail,
        "stop_reason": answer.stop_reason.value,
        "stop_detail": answer.stop_detail,
        "seconds": answer.seconds,
        "witness": _witness(answer.witness),
    }


def _witness(witness: Float32Witness | None) -> dict[str, Any] | None:
    if witness is None:
        return None
    return {
        "distance": witness.distance,
        "target": witness.target,
        "predicted": witness.predicted,
        "logits": witness.logits.tolist(),
    }
