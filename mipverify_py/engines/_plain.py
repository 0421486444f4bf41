"""Robustness that one backward pass shows: most inputs of a network trained to be robust need no more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from bounds import upper_bounds
from mipverify_py._encode import margin_rows
from mipverify_py._enums import Evidence, Objective
from mipverify_py._result import layer_statistics
from mipverify_py._search import Search
from mipverify_py.proof import Multipliers, Proof, ProofNode, Stage, Tree
from onnx_models import Array

ROOM = 1e-9
"""How far below the margin a bound has to be, as a share of 1 + |bound|: the replay sums in another order."""


def prove_plainly(search: Search) -> bool:
    """Answers a query for feasibility if linear bounds with CROWN's slopes exclude every target, or does nothing.

    Takes some milliseconds, so it comes before the attack. The proof has a tree of one node per target.
    """
    query = search.query
    if query.objective is not Objective.FEASIBILITY:
        return False
    bounds, last = search.regions(query.box), len(query.network.nodes) - 1
    search.bounds, search.statistics = (
        bounds,
        replace(search.statistics, layers=layer_statistics(query.network, bounds)),
    )
    rows = sparse.csr_array(margin_rows(query, query.target_classes))
    found: Array = upper_bounds(query.network, bounds, last, rows)
    if not np.all(found + ROOM * (1.0 + np.abs(found)) < query.margin):
        return False
    nothing = np.zeros(0)
    crown = Multipliers(nothing, nothing, np.zeros(0, np.intp), nothing)
    trees = tuple(
        Tree(target, (), [Stage(query.box, query.margin)], [], [ProofNode(-1, -1, 0, multipliers=crown)])
        for target in query.target_classes
    )
    search.proof = Proof(query.network, query.reference, query.box, query.margin, trees)
    search.robust = Evidence.REPLAYED
    return True
