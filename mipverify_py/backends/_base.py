"""The contract that a solver fulfils: model and limits in, claims out."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from bounds import MipModel
from onnx_models import Array


class SolveStatus(Enum):
    """Why a solver stopped, in its own words translated; a claim, not a proof."""

    OPTIMAL = "optimal within the gap asked for"
    INFEASIBLE = "no feasible point exists"
    CUTOFF = "no feasible point is better than the cutoff"
    UNBOUNDED = "the objective is unbounded"
    INFEASIBLE_OR_UNBOUNDED = "infeasible or unbounded, the solver did not say which"
    TIME_LIMIT = "time limit"
    NODE_LIMIT = "node limit"
    INTERRUPTED = "stopped from outside"
    UNKNOWN = "stopped without an answer"

    @property
    def proves_infeasible(self) -> bool:
        """Whether this claims that no feasible point exists; "infeasible or unbounded" does not."""
        return self is SolveStatus.INFEASIBLE


@dataclass(frozen=True, slots=True)
class SolveLimits:
    """What a solve may cost and how exact it must be.

    Attributes:
        seconds: wall-clock limit, None for none.
        nodes: branch-and-bound node limit, None for none.
        gap_absolute, gap_relative: stop when |objective - dual bound| is within either.
        threads: number of threads, at least 1.
        seed: seed of the solver's random choices, 0 <= seed < 2**31.
        cutoff: only points with objective below this are of interest; None for none.
        start: a point to start from, shape (columns,), NaN entries unknown; a hint that a backend may ignore.
    """

    seconds: float | None = None
    nodes: int | None = None
    gap_absolute: float = 1e-6
    gap_relative: float = 1e-5
    threads: int = 1
    seed: int = 0
    cutoff: float | None = None
    start: Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class MipSolution:
    """What a solver says about a `MipModel`.

    Attributes:
        status: why it stopped.
        objective: cost of `point` (offset included), None without a point.
        dual_bound: claimed lower end of the optimum (offset included), None if it has none.
        point: best feasible point found, shape (columns,), or None.
        row_duals: for models without integer columns, one multiplier per row (d objective / d right-hand side), or None.
        nodes: branch-and-bound nodes, 0 if none or not told.
        seconds: wall-clock time of the solve.
    """

    status: SolveStatus
    objective: float | None
    dual_bound: float | None
    point: Array | None
    row_duals: Array | None
    nodes: int
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class SolveProgress:
    """A running solve's bracket: dual bound and, where it is new, an improved feasible point."""

    dual_bound: float | None
    objective: float | None
    point: Array | None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend honours; a limit it cannot honour is enforced by the watchdog or reported as ignored.

    Attributes:
        row_duals: gives duals of linear programs.
        start: uses a start point.
        cutoff: uses an objective cutoff.
        node_limit: honours a node limit.
        threads: honours more than one thread.
        progress: reports improved points and bounds while it runs.
    """

    row_duals: bool
    start: bool
    cutoff: bool
    node_limit: bool
    threads: bool
    progress: bool


class Backend(ABC):
    """One solver. A subclass is one file: names, capabilities, the full table of its statuses, and `solve`."""

    name: ClassVar[str]
    module: ClassVar[str]
    """The module whose presence means that the solver is installed."""
    package: ClassVar[str]
    """What to install: the extra of this distribution that brings it."""
    capabilities: ClassVar[Capabilities]

    @classmethod
    def is_installed(cls) -> bool:
        """Whether the solver's package is there; imports nothing."""
        return importlib.util.find_spec(cls.module) is not None

    @abstractmethod
    def check_size(self, model: MipModel) -> None:
        """Raises BackendLimitError if the licence at hand does not allow a model of this size."""

    @abstractmethod
    def solve(
        self, model: MipModel, limits: SolveLimits, report: Callable[[SolveProgress], None]
    ) -> MipSolution:
        """Solves `model` in this process; runs in a child process of ours, never in the user's."""
