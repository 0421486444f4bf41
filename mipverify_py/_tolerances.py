"""Every tolerance of the project, each with the reason for its value."""

from __future__ import annotations

from typing import Final

GAP_ABSOLUTE: Final = 1e-6
"""A distance is closed when upper - lower is at most this: one order below the feasibility tolerance of MIP solvers'
rows would promise digits that their answers do not have."""

GAP_RELATIVE: Final = 1e-5
"""... or at most this share of upper: five digits of a distance, finer than any published comparison needs."""

SOLVER_FEASIBILITY: Final = 1e-9
"""Row and integrality tolerance asked of every backend (the tightest that all accept): a big-M row with M = 10 then
moves a pre-activation by at most 1e-8. What a solver returns is re-checked by us whatever this is."""

BOUNDARY_BITS: Final = 56
"""Bits to which the move onto the decision boundary bisects its factor: all 53 of a float64."""

CLAIM_PADDING: Final = 1e-6
"""A MIP solver's claimed bound on a unit is widened by this times (1 + its absolute value): a thousand times the row
tolerance asked for, since errors of rows add up over layers. The bound still counts as the solver's claim."""

RADIUS_SLACK: Final = 1e-6
"""The MIP searches this much beyond the distance of the best witness, so that the witness itself stays feasible
within the solver's tolerances and "infeasible" would contradict it."""

POINT_FEASIBILITY: Final = 1e-6
"""A solver's point that misses a row, a bound (relative to max(1, |bound|)) or a whole number by more than this is
thrown away: a thousand times the tolerance asked for, so only a solver that has gone wrong loses a point."""
