"""Searching one image's answer and replaying its proof, in this process or in a worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from bounds import NetworkBounds
from mipverify_py import verify
from mipverify_py._bisect import bisect
from mipverify_py._enums import StopReason, Verdict
from mipverify_py._options import Options
from mipverify_py._over_parameters import as_searched
from mipverify_py._query import Query
from mipverify_py._result import Bracket, Result, Statistics
from mipverify_py.cli._certificates import Certified, with_certificate
from mipverify_py.cli._claim import unsupported
from mipverify_py.float32 import Float32Result, verify_float32
from mipverify_py.proof import Proof, ReplayReport, replay
from onnx_models.errors import BackendError, BackendMissingError, InvalidBoundsError

Answered = TypeVar("Answered", Result, Float32Result)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What came out for one image.

    Attributes:
        result: the answer; without its proof, bounds and certificate, which would have to be kept for every image.
        replay: what the replay of the proof said; None if none was asked for or there is no proof.
        bounds: the bounds that the search came to, where they are to be kept.
        float32: the answer for float32 evaluations, if asked for; likewise without proofs and bounds.
        certified: the certificate, if one was asked for.
    """

    result: Result
    replay: ReplayReport | None = None
    bounds: NetworkBounds | None = None
    float32: Float32Result | None = None
    certified: Certified | None = None


class Beside(NamedTuple):
    """What is wanted beside an answer: the bounds that the search came to, one about float32, a certificate."""

    bounds: bool = False
    float32: bool = False
    certificate: bool = False


PLAIN = Beside()


def search_image(
    query: Query,
    options: Options,
    on_progress: Callable[[Bracket], None] | None,
    *,
    with_replay: bool,
    supplied: NetworkBounds | None = None,
    beside: Beside = PLAIN,
    tolerance: float | None = None,
) -> Found:
    """The answer to one image's query; an error that concerns this image alone leaves it unknown.

    `supplied` are bounds that the user gives, `beside` says what is wanted beside the answer. With a `tolerance`, a
    distance is bisected up to that.

    Raises:
        BackendMissingError: no other image would get an answer either.
        InvalidBoundsError: the supplied bounds are wrong.
    """
    if beside.float32:
        return _in_float32(query, options, on_progress)
    if tolerance is None:
        result = _searched(query, options, on_progress, supplied)
    else:
        width = tolerance
        result = _guarded(query, options, lambda: bisect(query, options, tolerance=width, on_progress=on_progress))
    made = None
    if beside.certificate and result.stop_reason is not StopReason.INTERRUPTED:
        result, made = with_certificate(query, result, options)
    found = _with_replay(query, result) if with_replay else Found(_bare(result))
    return replace(found, certified=made, bounds=result.bounds if beside.bounds else None)


def _bare(result: Result) -> Result:
    """The answer without what would have to be kept for every image."""
    return replace(result, proof=None, bounds=None, certificate=None)


def _with_replay(query: Query, result: Result) -> Found:
    """The answer and what the replay of its proof says."""
    bare = _bare(result)
    if result.proof is None:
        return Found(bare)
    try:
        report = _replayed(query, result, result.proof)
    except KeyboardInterrupt:
        detail = "the replay of the proof was interrupted"
        return Found(replace(bare, stop_reason=StopReason.INTERRUPTED, stop_detail=detail))
    return Found(bare if report.holds else _refuted(bare, report), report)


def _replayed(query: Query, result: Result, proof: Proof) -> ReplayReport:
    """What the replay says; a proof that holds but does not bear the answer out counts as one that does not hold."""
    report = replay(proof)
    own = proof.network.digest == query.network.digest
    missing = unsupported(*((query, result) if own else as_searched(query, result)), proof)
    return replace(report, holds=False, failure=missing) if report.holds and missing else report


def _in_float32(query: Query, options: Options, on_progress: Callable[[Bracket], None] | None) -> Found:
    answer = _guarded(query, options, lambda: verify_float32(query, options, on_progress=on_progress))
    if isinstance(answer, Result):
        return Found(answer)
    real, enlarged = _bare(answer.real), None if answer.enlarged is None else _bare(answer.enlarged)
    return Found(real, float32=replace(answer, real=real, enlarged=enlarged))


def _searched(
    query: Query,
    options: Options,
    on_progress: Callable[[Bracket], None] | None,
    supplied: NetworkBounds | None,
) -> Result:
    return _guarded(
        query, options, lambda: verify(query, options, bounds=supplied, on_progress=on_progress), supplied=supplied
    )


def _guarded(
    query: Query, options: Options, search: Callable[[], Answered], *, supplied: NetworkBounds | None = None
) -> Answered | Result:
    """What `search` gives, or a result that knows nothing where an error concerns this image alone."""
    began = time.monotonic()
    try:
        return search()
    except BackendMissingError:
        raise
    except BackendError as error:
        return unanswered(query, options, StopReason.SOLVER_FAILED, str(error), time.monotonic() - began)
    except InvalidBoundsError as error:
        if supplied is not None:
            raise
        return unanswered(query, options, StopReason.NUMERICAL, str(error), time.monotonic() - began)


def unanswered(query: Query, options: Options, reason: StopReason, detail: str, seconds: float) -> Result:
    """A result that knows nothing and says why, after that many seconds."""
    return Result(
        verdict=Verdict.UNKNOWN,
        objective=query.objective,
        lower=None,
        upper=None,
        witness=None,
        point=None,
        evidence=None,
        evidence_detail="",
        stop_reason=reason,
        stop_detail=detail,
        predicted=query.predicted,
        reference=query.reference,
        engine=options.engine,
        backend=options.backend if options.engine == "mip" else None,
        seconds=seconds,
        attack_seconds=0.0,
        statistics=Statistics(),
        proof=None,
    )


def _refuted(result: Result, report: ReplayReport) -> Result:
    """What is left of an answer whose proof does not hold: the checked witness, and nothing that needs the proof."""
    return replace(
        result,
        verdict=Verdict.UNKNOWN if result.verdict is Verdict.ROBUST else result.verdict,
        lower=None,
        evidence=None,
        evidence_detail="",
        stop_reason=StopReason.NUMERICAL,
        stop_detail=f"the proof does not hold when it is replayed: {report.failure}",
    )
