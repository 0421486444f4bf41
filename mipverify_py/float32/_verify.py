"""The answer to a query for every float32 evaluation of the model: a proof with a margin that allows for rounding."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from bounds import Bounds
from mipverify_py._arguments import instance
from mipverify_py._enums import Objective, StopReason, Verdict
from mipverify_py._options import Options
from mipverify_py._parametric import ParametricSet
from mipverify_py._perturbation import LinfBall
from mipverify_py._query import Query
from mipverify_py._result import Bracket, Result
from mipverify_py._verify import verify
from mipverify_py.float32._result import Float32Result
from mipverify_py.float32._search import float32_witness
from mipverify_py.float32._slack import rounding_slack
from mipverify_py.float32._witness import Float32Witness
from onnx_models.errors import InputError, InvalidBoundsError

SHARE_OF_REAL = 0.5
"""Share of the time limit that the answer about real numbers may take: as hard a question is to be asked again."""


def verify_float32(
    query: Query, options: Options | None = None, *, on_progress: Callable[[Bracket], None] | None = None
) -> Float32Result:
    """The answer to `query` for float32 inputs and every float32 evaluation of the model, and that for real numbers.

    Any order of summation and fused multiply-add are covered; docs/explanation/float32.md says what an evaluation is.
    First `verify` answers the query. Then, over the box that this leaves, rounding errors are bounded, and the query is
    asked once more with a margin that is smaller by that bound: what has no example then has none in float32. The other
    end is a float32 input that onnxruntime gets wrong, near the example of real numbers.

    Args:
        query: the question, with objective closest or feasibility, about a network from an ONNX model.
        options: as for `verify`; the time limit is that of both searches together.
        on_progress: called with the bracket of each search, in turn.

    Raises:
        InputError: the objective is worst; the perturbation set is one of images of parameters; or the network came
            from no ONNX model.
        UnsupportedModelError: there is no bound of the rounding errors, for the reason it says.
    """
    instance(Query, query, "The query")
    chosen = Options() if options is None else options
    instance(Options, chosen, "The options argument")
    began = time.monotonic()
    _check(query)
    slack = rounding_slack(query, Bounds(query.x0, query.x0))  # what is refused is refused before a long search
    real = verify(query, _limited(chosen, SHARE_OF_REAL), on_progress=on_progress)
    witness = None if real.witness is None else float32_witness(query, real.witness)
    enlarged: Result | None = None
    settled = witness is not None and query.objective is Objective.FEASIBILITY
    if not settled and real.stop_reason is not StopReason.INTERRUPTED:
        slack = rounding_slack(query, _region(query, real))
        left = chosen
        if chosen.time_limit is not None:
            left = replace(chosen, time_limit=max(chosen.time_limit - (time.monotonic() - began), 1e-3))
        enlarged = verify(_with_less_margin(query, slack), left, on_progress=on_progress)
        if witness is None and enlarged.witness is not None:
            witness = float32_witness(query, enlarged.witness)
    return _result(real, enlarged, witness, slack, time.monotonic() - began)


def _check(query: Query) -> None:
    if query.objective is Objective.WORST:
        raise InputError("There is no float32 answer for the objective worst; ask for closest or feasibility.")
    if isinstance(query.perturbation, ParametricSet) or query.measured is not None:
        name = type(query.perturbation).__name__
        raise InputError(f"There is no float32 answer for {name}: its images are made from parameters that are real.")


def _limited(options: Options, share: float) -> Options:
    return options if options.time_limit is None else replace(options, time_limit=share * options.time_limit)


def _region(query: Query, real: Result) -> Bounds:
    """A box with every input that is no further away than the nearest example known."""
    if query.objective is not Objective.CLOSEST or real.upper is None:
        return query.box
    # In every norm the largest change of an entry is at most the distance.
    return LinfBall(real.upper).bounding_box(query.x0, query.input_domain).intersect(query.box)


def _with_less_margin(query: Query, slack: float) -> Query:
    return replace(query, margin=float(np.nextafter(query.margin - slack, -np.inf)))


def _result(
    real: Result, enlarged: Result | None, witness: Float32Witness | None, slack: float, seconds: float
) -> Float32Result:
    closest = real.objective is Objective.CLOSEST
    robust = enlarged is not None and enlarged.verdict is Verdict.ROBUST
    verdict = Verdict.ROBUST if robust else Verdict.UNKNOWN if witness is None else Verdict.ADVERSARIAL
    lower = None if enlarged is None or not closest else enlarged.lower
    upper = None if witness is None or not closest else witness.distance
    last = real if enlarged is None else enlarged
    if lower is not None and real.upper is not None:
        lower = min(lower, real.upper)  # the slack holds no further out
    if (robust and witness is not None) or (lower is not None and upper is not None and lower > upper):
        raise InvalidBoundsError(
            f"The bounds prove {'that there is none' if lower is None else repr(lower)} in float32, onnxruntime gets a "
            f"point at {upper!r} wrong. This is a bug, or onnxruntime computes in less than float32; please report it."
        )
    proved = enlarged is not None and (robust or lower is not None)
    return Float32Result(
        verdict=verdict,
        lower=lower,
        upper=upper,
        witness=witness,
        slack=slack,
        evidence=last.evidence if proved else None,
        evidence_detail=last.evidence_detail if proved else "",
        stop_reason=last.stop_reason,
        stop_detail=last.stop_detail,
        seconds=seconds,
        real=real,
        enlarged=enlarged,
    )
