"""What a native engine has to prove, given the best point in hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bounds import Bounds
from mipverify_py._attack import ball
from mipverify_py._enums import Objective
from mipverify_py._search import Search

GAP_SHARE = 0.98
"""The proof is attempted this share of the allowed gap below the witness; the rest absorbs rounding."""


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """That no target reaches `threshold` on `region`.

    Attributes:
        region: a box.
        threshold: what f_j - f_c stays below.
        radius: distance from x0 up to which `region` has all inputs of the query; 0 unless that is what is asked.
    """

    region: Bounds
    threshold: float
    radius: float

    @classmethod
    def of(cls, search: Search) -> Claim:
        """The claim that, once proved, closes the bracket around the best point in hand."""
        query, options = search.query, search.options
        if query.objective is Objective.CLOSEST and search.witness is not None:
            distance = search.witness.distance
            gap = GAP_SHARE * max(options.gap_absolute, options.gap_relative * distance)
            radius = max(0.0, float(np.nextafter(distance - gap, -np.inf)))
            return cls(ball(query, radius), query.margin, radius)
        if query.objective is Objective.WORST and search.best_margin is not None:
            best = search.best_margin
            gap = GAP_SHARE * max(options.gap_absolute, options.gap_relative * abs(best))
            return cls(query.box, float(np.nextafter(best + gap, np.inf)), 0.0)
        return cls(query.box, query.margin, 0.0)

    def same(self, other: Claim) -> bool:
        """Whether both claim the same."""
        ends = zip((self.region.lower, self.region.upper), (other.region.lower, other.region.upper), strict=True)
        return self.threshold == other.threshold and all(np.array_equal(a, b) for a, b in ends)
