"""Writing certificates: what an answer's proof shows in floats, shown again in exact arithmetic."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from mipverify_py._attack import ball
from mipverify_py._enums import Norm, Objective, StopReason, Verdict
from mipverify_py._options import Options
from mipverify_py._perturbation import Box, LinfBall
from mipverify_py._query import Query
from mipverify_py._result import Result
from mipverify_py._verify import verify
from mipverify_py.certificate._boxes import BoxWriter
from mipverify_py.certificate._document import Rejected
from mipverify_py.certificate._encode import compressed, network_section, packed
from mipverify_py.certificate._fast_network import FastNetwork
from mipverify_py.certificate._region import tree_regions
from mipverify_py.certificate._tree import NotProvedError, Tally
from mipverify_py.certificate.checker import Statement, ends
from mipverify_py.certificate.fast import check
from mipverify_py.proof import Proof
from onnx_models.errors import MipverifyError

ATTEMPTS = ((False, 0.0), (True, 0.0), (True, 1e-9), (True, 1e-7), (True, 1e-6))
"""Whether multipliers have all their bits, and by what share the radius gives way, until exact arithmetic agrees."""


class CertificateError(MipverifyError):
    """There is no certificate for an answer; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """A certificate that the checker has accepted.

    Attributes:
        data: the file.
        statement: what it proves.
        leaves: leaves of its trees, those of intermediate bounds included.
        repaired: leaves and boxes that had to be split further in exact arithmetic than in floats.
        again: whether the native engines had to prove the answer again.
        fine: whether multipliers needed all their bits.
        shrunk: share by which the radius had to give way.
        write_seconds: time for writing, which evaluates every leaf exactly.
        check_seconds: time of the check.
    """

    data: bytes
    statement: Statement
    leaves: int
    repaired: int
    again: bool
    fine: bool
    shrunk: float
    write_seconds: float
    check_seconds: float


def certify(query: Query, result: Result, options: Options | None = None, *, search_again: bool = True) -> Certificate:
    """The certificate of an answer: its proof, its witness, or both.

    For a distance the radius is the answer's lower end, or a little less where exact arithmetic needs it. An answer
    without a proof of ours, such as a solver's claim, is proved again by the native engines, with the limits in
    `options`; so is one whose proof exact arithmetic does not confirm, if `search_again` says so.

    Raises:
        CertificateError: there is nothing to certify, or something that certificates do not cover; or exact arithmetic
            does not confirm it.
    """
    began, tally = time.monotonic(), Tally()
    if reason := uncovered(query):
        raise CertificateError(reason)
    try:
        exact = FastNetwork(section := network_section(query.network))
    except Rejected as error:
        raise CertificateError(f"The checker would not read the network: {error}") from error
    worst = query.objective is Objective.WORST
    witness = None if result.witness is None or worst else packed(result.witness.point)
    robust, shrunk, margin, again = None, 0.0, query.margin, False
    limits = options or Options()
    if (found := _proved(query, result, limits)) is not None:
        proof, radius = found
        again = result.proof is None
        margin = proof.threshold if worst else query.margin
        made = _robust(query, radius, proof, exact, margin)
        if made is None and search_again and not worst:
            # A proof about one box from the start, where the one in hand may be about many that shrank.
            found = _proved_again(query, radius, result, limits)
            if found is not None:
                again, (proof, radius) = True, found
                made = _robust(query, radius, proof, exact, margin)
        if made is None:
            raise CertificateError("Exact arithmetic does not confirm the proof.")
        robust, shrunk, tally = made
    if robust is None and witness is None:
        raise CertificateError(f"There is nothing to certify: the answer is {result.verdict.value}, without a proof.")
    question = {
        "x0": packed(query.x0),
        "lower": packed(query.box.lower),
        "upper": packed(query.box.upper),
        "reference": query.reference,
        "targets": list(query.target_classes),
        "margin": margin.hex(),
    }
    data = compressed(
        {
            "format": "mipverify-certificate",
            "version": 1,
            "network": section,
            "question": question,
            "robust": robust,
            "witness": witness,
        }
    )
    written = time.monotonic()
    try:
        statement = check(data)
    except Rejected as error:
        raise CertificateError(f"The checker rejects the certificate: {error}") from error
    return Certificate(
        data,
        statement,
        tally.leaves,
        tally.repaired,
        again,
        tally.fine,
        shrunk,
        written - began,
        time.monotonic() - written,
    )


def uncovered(query: Query) -> str:
    """Why certificates do not cover answers to a query, in a sentence; empty if they do."""
    if len(query.rivals) > 1:
        return "Certificates do not cover targets that have to win against all other classes."
    if not query.perturbation.is_box:
        name = type(query.perturbation).__name__
        return f"Certificates cover boxes and L-infinity balls, not the perturbation set {name}."
    if query.objective is Objective.CLOSEST and (query.norm is not Norm.LINF or query.measured is not None):
        return "Certificates cover distances in the L-infinity norm of the input alone."
    return ""


def _proved(query: Query, result: Result, options: Options) -> tuple[Proof, float | None] | None:
    """A proof, and the radius that it is about, None for all of the query's box; None if there is nothing to prove.

    Raises:
        CertificateError: the answer rests on a solver, and the native engines do not prove it within the limits.
    """
    if query.objective is Objective.CLOSEST and result.verdict is not Verdict.ROBUST:
        if not result.lower:
            return None
        return (result.proof, result.lower) if result.proof else _proved_again(query, result.lower, result, options)
    if result.proof is None and (result.verdict is not Verdict.ROBUST or query.objective is Objective.WORST):
        return None
    radius = query.perturbation.radius if isinstance(query.perturbation, LinfBall) else None
    return (result.proof, radius) if result.proof else _proved_again(query, radius, result, options)


def _proved_again(
    query: Query, radius: float | None, result: Result, options: Options
) -> tuple[Proof, float | None] | None:
    """A proof of the native engines for what an answer claims; a radius gives way by the gap below the witness."""
    if radius is not None and result.upper is not None:
        radius = min(radius, result.upper - max(options.gap_absolute, options.gap_relative * result.upper))
        while options.closes(result.lower or 0.0, result.upper) and not options.closes(radius, result.upper):
            radius = math.nextafter(radius, math.inf)  # the difference above has been rounded
        if radius <= 0:
            return None
    again = Query(
        query.network,
        query.x0,
        perturbation=Box(query.box if radius is None else ball(query, radius)),
        objective=Objective.FEASIBILITY,
        label=query.reference,
        targets=query.targets,
        margin=query.margin,
        domain=query.domain,
    )
    found = verify(again, replace(options, engine="auto", backend="highs", certify="never"))
    if found.stop_reason is StopReason.INTERRUPTED:  # the search has taken the signal; it is for all of this
        raise KeyboardInterrupt
    proof = found.proof
    if proof is None:
        raise CertificateError("The native engines do not prove the answer within the limits; no solver is believed.")
    return proof, radius


def _robust(
    query: Query, radius: float | None, proof: Proof, exact: FastNetwork, margin: float
) -> tuple[dict[str, Any], float, Tally] | None:
    """The section that proves the set robust, by how much the radius gave way, and what was met; None if it fails."""
    for fine, share in ATTEMPTS if radius else ATTEMPTS[:2]:
        kept = None if radius is None else radius * (1.0 - share)
        tally, exactly = Tally(fine=fine), None if kept is None else Fraction(kept)
        box = ends(query.box.lower.tolist(), query.box.upper.tolist(), query.x0.tolist(), exactly)
        claim = query.reference, Fraction(margin)
        try:
            if proof.boxes is None:
                regions = tree_regions(query.network, exact, box, claim, proof.trees, tally)
            else:
                regions = BoxWriter(query.network, exact, claim, proof.boxes, tally).run(box)
        except NotProvedError:
            continue
        return {"radius": None if kept is None else kept.hex(), "regions": regions}, share, tally
    return None
