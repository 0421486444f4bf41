"""MIP solvers behind one interface, each run in a process of its own; importing this package imports no solver.

>>> from mipverify_py.backends import SolveLimits, available_backends, solve_isolated
>>> available_backends()                                               # doctest: +SKIP
>>> solve_isolated("highs", model, SolveLimits(seconds=60)).status     # doctest: +SKIP
"""

from mipverify_py.backends._base import (
    Answer,
    Backend,
    Capabilities,
    MipSolution,
    SolveLimits,
    SolveProgress,
    SolveStatus,
)
from mipverify_py.backends._check import Violations, violations
from mipverify_py.backends._mps import write_mps
from mipverify_py.backends._process import WorkerPool, solve_isolated
from mipverify_py.backends._registry import (
    BACKEND_NAMES,
    BackendStatus,
    available_backends,
    backend_status,
    check_ability,
    get_backend,
)

__all__ = [
    "BACKEND_NAMES",
    "Answer",
    "Backend",
    "BackendStatus",
    "Capabilities",
    "MipSolution",
    "SolveLimits",
    "SolveProgress",
    "SolveStatus",
    "Violations",
    "WorkerPool",
    "available_backends",
    "backend_status",
    "check_ability",
    "get_backend",
    "solve_isolated",
    "violations",
    "write_mps",
]
