"""From an answer that rests on outward-rounded floats, or on a solver, to one that rests on a certificate."""

from __future__ import annotations

import time
from dataclasses import replace

from mipverify_py._enums import Evidence, Objective, StopReason, Verdict
from mipverify_py._options import Options
from mipverify_py._query import Query
from mipverify_py._result import LayerStatistics, Result
from mipverify_py.proof import Proof
from onnx_models import Affine

CHEAP = 2**22
"""Products of a weight with a number, in exact arithmetic, that a certificate may take where it is to be cheap: one or
two seconds."""

MOMENT = 0.1
"""Seconds for proving a solver's claim anew where the search has used up its time."""

REPROVED_DETAIL = "a certificate of it was checked in exact arithmetic; no solver is trusted"


def reproved(query: Query, result: Result, options: Options) -> Result:
    """The answer with a certificate, as far as `options.certify` asks for one; otherwise the answer as it is.

    A lower end that exact arithmetic confirms only for a slightly smaller radius becomes that radius, provided that the
    bracket stays as narrow as it was asked to be. Ctrl-C leaves the answer as it was, with stop reason INTERRUPTED.
    """
    return certified(query, result, options)[0] if _is_wanted(query, result, options) else result


def certified(query: Query, result: Result, options: Options) -> tuple[Result, str]:
    """The answer with a certificate and an empty text, or the answer as it is and why it has none."""
    from mipverify_py.certificate import CertificateError, certify

    began = time.monotonic()
    limit, always = options.time_limit, options.certify == "always"
    left = None if limit is None else max(MOMENT, limit - result.seconds)
    try:
        certificate = certify(query, result, replace(options, time_limit=left), search_again=always)
    except CertificateError as error:
        return _with_time(result, began), str(error)
    except KeyboardInterrupt:
        detail = "the writing of the certificate was interrupted"
        return _with_time(replace(result, stop_reason=StopReason.INTERRUPTED, stop_detail=detail), began), detail
    lower = result.lower
    if certificate.statement.robust and certificate.statement.radius is not None and lower is not None:
        lower = min(lower, float(certificate.statement.radius))  # the radius is a float64
        if _closes(options, result.lower, result.upper) and not _closes(options, lower, result.upper):
            return _with_time(result, began), f"exact arithmetic confirms only {lower!r}, which leaves too wide a gap"
    found = replace(
        result, lower=lower, evidence=Evidence.REPROVED, evidence_detail=REPROVED_DETAIL, certificate=certificate
    )
    return _with_time(found, began), ""


def _closes(options: Options, lower: float | None, upper: float | None) -> bool:
    return lower is not None and upper is not None and options.closes(lower, upper)


def _with_time(result: Result, began: float) -> Result:
    """The answer with the time since `began` on its account, as a phase of its own."""
    seconds = time.monotonic() - began
    phases = (*result.statistics.phase_seconds, ("certificate", seconds))
    statistics = replace(result.statistics, phase_seconds=phases)
    return replace(result, seconds=result.seconds + seconds, statistics=statistics)


def _is_wanted(query: Query, result: Result, options: Options) -> bool:
    if options.certify == "never" or result.evidence is None or result.stop_reason is StopReason.INTERRUPTED:
        return False
    if options.certify == "always":
        return True
    from mipverify_py.certificate._write import uncovered

    if result.evidence is not Evidence.REPLAYED or uncovered(query):
        return False
    if result.proof is None:
        return not _has_proven_part(query, result)
    return price(result.proof, result.statistics.layers) <= CHEAP


def _has_proven_part(query: Query, result: Result) -> bool:
    """Whether the answer says more than that there is an adversarial example."""
    if query.objective is Objective.CLOSEST and result.verdict is not Verdict.ROBUST:
        return bool(result.lower)
    return query.objective is Objective.WORST or result.verdict is Verdict.ROBUST


def price(proof: Proof, layers: tuple[LayerStatistics, ...]) -> int:
    """About how many products of a weight with a number a certificate of the proof takes.

    Every node of a tree, and each of the two bounds of a pre-activation behind the first layer that is unstable by
    `layers`, is a linear form that is carried back to the input.
    """
    network, boxes = proof.network, proof.boxes
    before = [0]
    for node in network.nodes:
        before.append(before[-1] + (sum(m.entries for m in node.maps) if isinstance(node, Affine) else 0))
    bounds = sum(2 * layer.unstable * before[layer.node] for layer in layers if layer.node != network.relu_indices[0])
    if boxes is not None:
        return len(boxes.axes) * (len(boxes.targets) * before[-1] + bounds)
    refined = {id(found): found for tree in proof.trees for stage in tree.stages for found in stage.refinements}
    pieces = [(f, 2 * len(f.units) + sum(len(tree.nodes) for tree in f.trees)) for f in refined.values()]
    nodes = sum(len(tree.nodes) for tree in proof.trees)
    return nodes * before[-1] + bounds + sum(count * before[found.relu] for found, count in pieces)
