"""Whether the claim of a proof, if it holds, bears out the answer that it came with."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from bounds import Bounds
from mipverify_py._enums import Verdict
from mipverify_py._query import Query
from mipverify_py._result import Result
from mipverify_py.proof import Proof


def unsupported(query: Query, result: Result, proof: Proof) -> str:
    """What the answer says and the proof does not, in a sentence; empty if there is nothing. Decided exactly.

    The verdict "robust" needs the whole of the query's box proved, a distance of at least `lower` the part of it within
    that of x0: no target's f_j - f_c may reach the margin there.
    """
    if proof.network.digest != query.network.digest:
        return "The proof is about another network."
    if proof.reference != query.reference:
        return f"The proof is about class {proof.reference}, the answer about class {query.reference}."
    left = sorted(set(query.target_classes) - set(proof.targets))
    if left:
        return f"The proof leaves out target {', '.join(map(str, left))}."
    if proof.threshold > query.margin:
        return f"The proof shows that {proof.threshold!r} is not reached, the margin is {query.margin!r}."
    if result.verdict is Verdict.ROBUST and not _covers(proof.region, query.box, query, None):
        return "The proof does not cover the perturbation set."
    if result.lower is not None and not _covers(proof.region, query.box, query, result.lower):
        return f"The proof does not cover all inputs within {result.lower!r}."
    return ""


def _covers(region: Bounds, box: Bounds, query: Query, radius: float | None) -> bool:
    """Whether the region contains those points of the box that are within `radius` (None: any distance) of x0."""
    short = np.flatnonzero((region.lower > box.lower) | (region.upper < box.upper))
    if radius is None:
        return not len(short)
    for entry in short:
        x0, low, high = (Fraction(float(v[entry])) for v in (query.x0, region.lower, region.upper))
        if low > max(x0 - Fraction(radius), Fraction(float(box.lower[entry]))):
            return False
        if high < min(x0 + Fraction(radius), Fraction(float(box.upper[entry]))):
            return False
    return True
