"""Searching one image's answer and replaying its proof, in this process or in a worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from bounds import NetworkBounds
from mipverify_py import verify
from mipverify_py._enums import StopReason, Verdict
from mipverify_py._options import Options
from mipverify_py._over_parameters import as_searched
from mipverify_py._query import Query
from mipverify_py._result import Bracket, Result, Statistics
from mipverify_py.cli._claim import unsupported
from mipverify_py.proof import Proof, ReplayReport, replay
from onnx_models.errors import BackendError, BackendMissingError, InvalidBoundsError


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What came out for one image.

    Attributes:
        result: the answer; without its proof and bounds, which would have to be kept for every image.
        replay: what the replay of the proof said; None if none was asked for or there is no proof.
        bounds: the bounds that the search came to, where they are to be kept.
    """

    result: Result
    replay: ReplayReport | None = None
    bounds: NetworkBounds | None = None


def search_image(
    query: Query,
    options: Options,
    on_progress: Callable[[Bracket], None] | None,
    *,
    with_replay: bool,
    supplied: NetworkBounds | None = None,
    keep_bounds: bool = False,
) -> Found:
    """The answer to one image's query; an error that concerns this image alone leaves it unknown.

    `supplied` are bounds that the user gives, `keep_bounds` says whether those of the search are wanted.

    Raises:
        BackendMissingError: no other image would get an answer either.
        InvalidBoundsError: the supplied bounds are wrong.
    """
    result = _searched(query, options, on_progress, supplied)
    found = _with_replay(query, result) if with_replay else Found(replace(result, proof=None, bounds=None))
    return replace(found, bounds=result.bounds) if keep_bounds else found


def _with_replay(query: Query, result: Result) -> Found:
    """The answer and what the replay of its proof says."""
    bare = replace(result, proof=None, bounds=None)
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


def _searched(
    query: Query,
    options: Options,
    on_progress: Callable[[Bracket], None] | None,
    supplied: NetworkBounds | None,
) -> Result:
    began = time.monotonic()
    try:
        return verify(query, options, bounds=supplied, on_progress=on_progress)
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
