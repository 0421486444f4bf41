"""One image's answer with everything that is shown of it, whether as text or as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mipverify_py._balls import NormBall
from mipverify_py._enums import Objective, StopReason, Verdict
from mipverify_py._options import Options
from mipverify_py._perturbation import LinfBall
from mipverify_py._query import Query
from mipverify_py._result import Result
from mipverify_py._sparse import Sparse
from mipverify_py.cli._certificates import Certified
from mipverify_py.cli._exit import ExitCode
from mipverify_py.float32 import Float32Result
from mipverify_py.proof import ReplayReport


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What was asked about one image, and what came out.

    Attributes:
        index: position of the image in its data set or file.
        query, options, result: question, search and answer.
        replay: what the replay of the proof said; None if none was asked for or there is no proof.
        saved: the file that the witness was written to, or None.
        float32: the answer for float32 evaluations, if that was asked for, too.
        certified: the certificate, if one was asked for.
    """

    index: int
    query: Query
    options: Options
    result: Result
    replay: ReplayReport | None = None
    saved: Path | None = None
    float32: Float32Result | None = None
    certified: Certified | None = None

    @property
    def eps(self) -> float | None:
        """The radius asked about, None for a distance."""
        ball = self.query.perturbation
        return ball.radius if isinstance(ball, LinfBall | NormBall | Sparse) else None

    @property
    def misclassified(self) -> bool:
        """Whether the model gets the image wrong to begin with."""
        return self.result.predicted != self.result.reference

    @property
    def exit_code(self) -> ExitCode:
        """What this image alone would end with; with an answer for float32, what that says."""
        result = self.result if self.float32 is None else self.float32
        if self.replay is not None and not self.replay.holds:
            return ExitCode.REPLAY_FAILED
        if result.stop_reason is StopReason.INTERRUPTED:
            return ExitCode.INTERRUPTED
        if result.objective is Objective.FEASIBILITY:
            return _BY_VERDICT[result.verdict]
        return ExitCode.ANSWERED if result.stop_reason is StopReason.SOLVED else ExitCode.UNKNOWN

    @property
    def float32_differs(self) -> bool:
        """Whether onnxruntime, in float32, does not find the witness adversarial: it lies very near the boundary."""
        witness = self.result.witness
        return witness is not None and witness.replay is not None and not witness.replay.adversarial

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is unusual about this image, in sentences."""
        found, result = [], self.result
        if self.misclassified:
            wrong = f"The model says {result.predicted}, the label is {result.reference}: the input is misclassified"
            found.append(wrong + (", so its distance is 0." if result.upper == 0.0 else "."))
        if result.stop_detail:
            found.append(result.stop_detail[0].upper() + result.stop_detail[1:].removesuffix(".") + ".")
        return tuple(found)

    @property
    def notes(self) -> tuple[str, ...]:
        """The remarks and, common as it is for a point on the boundary, that float32 differs."""
        if not self.float32_differs:
            return self.remarks
        assert self.result.witness is not None and self.result.witness.replay is not None
        says = self.result.witness.replay.predicted
        return (
            *self.remarks,
            f"In float32, onnxruntime still says {says} for the witness: it lies on the boundary to within rounding.",
        )


_BY_VERDICT = {
    Verdict.ROBUST: ExitCode.ANSWERED,
    Verdict.ADVERSARIAL: ExitCode.ADVERSARIAL,
    Verdict.UNKNOWN: ExitCode.UNKNOWN,
}


def worst(codes: list[ExitCode]) -> ExitCode:
    """The exit code of several images: interrupted, else a failed replay, unknown, adversarial, answered."""
    return max(codes, default=ExitCode.ANSWERED)
