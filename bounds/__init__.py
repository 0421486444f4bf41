"""What the units of a network can output over a box of inputs: interval, linear (CROWN) and LP bounds."""

from bounds._batched import BatchedBounds, BatchedNetwork, batched_bounds
from bounds._batched_choices import RowChoices
from bounds._batched_rows import BatchedForms
from bounds._bounds import Bounds, NetworkBounds
from bounds._float32 import float32_errors
from bounds._formulation import Formulation, ReluColumns
from bounds._hull import HullPlanes, LinearForms, UnitLines, linear_forms, rows_at_once
from bounds._interval import interval_bounds
from bounds._linear import Relaxation, linear_bounds, refined, upper_bounds
from bounds._lp import LpSession, LpTightening, lp_bounds
from bounds._model import Expression, MipModel, ModelBuilder, QuadraticRow
from bounds._sweep import Refinement, sweep

__all__ = [
    "BatchedBounds",
    "BatchedForms",
    "BatchedNetwork",
    "Bounds",
    "Expression",
    "Formulation",
    "HullPlanes",
    "LinearForms",
    "LpSession",
    "LpTightening",
    "MipModel",
    "ModelBuilder",
    "NetworkBounds",
    "QuadraticRow",
    "Refinement",
    "Relaxation",
    "ReluColumns",
    "RowChoices",
    "UnitLines",
    "batched_bounds",
    "float32_errors",
    "interval_bounds",
    "linear_bounds",
    "linear_forms",
    "lp_bounds",
    "refined",
    "rows_at_once",
    "sweep",
    "upper_bounds",
]
