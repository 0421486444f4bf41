"""The contract that a solver fulfils: model and limits in, claims out."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from bounds import MipModel
from onnx_models import Array
from onnx_models.errors import InputError


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


@dataclass(frozen=True, slots=True, eq=False)
class SolveLimits:
    """What a solve may cost and how exact it must be.

    Attributes:
        seconds: wall-clock limit, at least 0; None for none.
        nodes: branch-and-bound node limit, at least 1; None for none.
        gap_absolute, gap_relative: stop when objective - dual bound is at most gap_absolute or at most
            gap_relative * |objective|; both finite and at least 0.
        threads: number of threads, at least 1.
        seed: seed of the solver's random choices, 0 <= seed < 2**31.
        cutoff: only points with objective below this are of interest; finite, or None for none.
        start: a point to start from, shape (columns,), NaN entries unknown; a hint that a backend may ignore.

    Raises:
        InputError: a value outside its range, naming it.
    """

    seconds: float | None = None
    nodes: int | None = None
    gap_absolute: float = 1e-6
    gap_relative: float = 1e-5
    threads: int = 1
    seed: int = 0
    cutoff: float | None = None
    start: Array | None = None

    def __post_init__(self) -> None:
        checks = {
            "seconds": (self.seconds is None or self.seconds >= 0, "at least 0, or None"),
            "nodes": (self.nodes is None or self.nodes >= 1, "at least 1, or None"),
            "gap_absolute": (0 <= self.gap_absolute < math.inf, "finite and at least 0"),
            "gap_relative": (0 <= self.gap_relative < math.inf, "finite and at least 0"),
            "threads": (self.threads >= 1, "at least 1"),
            "seed": (0 <= self.seed < 2**31, "at least 0 and below 2**31"),
            "cutoff": (self.cutoff is None or math.isfinite(self.cutoff), "a finite number, or None"),
            "start": (self.start is None or self.start.ndim == 1, "a vector with one entry per column, or None"),
        }
        for name, (fine, expected) in checks.items():
            if not fine:
                raise InputError(f"Solve limit {name} is {getattr(self, name)!r}; it must be {expected}.")

    def allowed_gap(self, objective: float) -> float:
        """The largest objective - dual bound that counts as optimal."""
        return max(self.gap_absolute, self.gap_relative * abs(objective))


@dataclass(frozen=True, slots=True, eq=False)
class MipSolution:
    """What a solver says about a `MipModel`, tidied by rules that hold for every backend.

    `point` satisfies the model up to `POINT_FEASIBILITY` and `objective` is its cost, both checked by us; everything
    else is the solver's claim. `dual_bound` never exceeds `objective`, nor the cutoff if one was given.

    Attributes:
        status: why it stopped.
        objective: cost of `point` (offset included), None without a point.
        dual_bound: claimed lower end of the optimum (offset included), None if it has none.
        point: best feasible point found, shape (columns,), or None.
        row_duals: for models without integer columns, one multiplier per row, shape (rows,): d objective /
            d right-hand side, so positive where the row's lower end holds the optimum up and negative where its upper
            end does. None if the model has integer columns or the backend gives none.
        nodes: branch-and-bound nodes, 0 if none or not told.
        seconds: wall-clock time of the solve.
        iterations: simplex iterations of all its linear programs, 0 if not told.
    """

    status: SolveStatus
    objective: float | None
    dual_bound: float | None
    point: Array | None
    row_duals: Array | None
    nodes: int
    seconds: float
    iterations: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class SolveProgress:
    """A running solve's bracket: dual bound and, where it is new, an improved feasible point.

    Attributes:
        dual_bound: claimed lower end of the optimum so far, offset included, or None.
        objective: cost of the best feasible point so far, offset included, or None.
        point: that point, shape (columns,); None when it is not new or the solver does not hand it out.
    """

    dual_bound: float | None
    objective: float | None
    point: Array | None


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a backend hands over, in the solver's own figures: raw material that `conclude` turns into a MipSolution.

    Attributes are as in `MipSolution`; infinite or NaN bounds and points mean "none".
    """

    status: SolveStatus
    point: Array | None = None
    dual_bound: float | None = None
    row_duals: Array | None = None
    nodes: int = 0
    iterations: int = 0


Report = Callable[[SolveProgress], None]
"""Takes the progress of a running solve."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend honours; a limit it cannot honour is enforced by the watchdog or reported as ignored.

    Attributes:
        row_duals: gives duals of linear programs.
        start: uses a start point.
        cutoff: uses an objective cutoff for models with integer columns.
        node_limit: honours a node limit.
        threads: honours more than one thread.
        progress: reports improved bounds or points while it runs.
        quadratic_objective: minimises a convex quadratic objective (`MipModel.quadratic`), at least without integer
            columns.
        quadratic_integer: does so with integer columns, too.
        quadratic_rows: takes convex quadratic rows (`MipModel.quadratic_rows`), with or without integer columns.
    """

    row_duals: bool
    start: bool
    cutoff: bool
    node_limit: bool
    threads: bool
    progress: bool
    quadratic_objective: bool = False
    quadratic_integer: bool = False
    quadratic_rows: bool = False

    def missing(self, *, objective: bool, integral: bool, rows: bool) -> str:
        """What a model with a quadratic objective, integer columns or quadratic rows lacks; empty if nothing."""
        if objective and integral and not self.quadratic_integer:
            return "a quadratic objective with integer columns (MIQP)"
        if objective and not self.quadratic_objective:
            return "a quadratic objective (QP)"
        return "quadratic rows (MIQCP)" if rows and not self.quadratic_rows else ""


class Backend(ABC):
    """One solver. A subclass is one file: names, capabilities, the full table of its statuses, and `solve`."""

    name: ClassVar[str]
    """What users call it, also the extra of this distribution that brings it: mipverify-py[name]."""
    module: ClassVar[str]
    """The top-level module whose presence means that the solver is installed."""
    distribution: ClassVar[str]
    """The distribution that holds the module, for its version."""
    licence: ClassVar[str]
    """The licence it comes under."""
    capabilities: ClassVar[Capabilities]
    statuses: ClassVar[Mapping[str, SolveStatus]]
    """Every status the solver can return, by its own name for it."""

    @classmethod
    def is_installed(cls) -> bool:
        """Whether the solver's package is there; imports nothing."""
        return importlib.util.find_spec(cls.module) is not None

    @classmethod
    def version(cls) -> str | None:
        """The version of the installed package, None if it is not installed; imports nothing."""
        try:
            return importlib.metadata.version(cls.distribution)
        except importlib.metadata.PackageNotFoundError:
            return None

    @classmethod
    def licence_note(cls) -> str:
        """The licence that a solve would run under, as far as can be told without starting the solver."""
        return cls.licence

    @classmethod
    def translate(cls, status: str) -> SolveStatus:
        """Our word for one of the solver's; a status that the table does not list is UNKNOWN, never success."""
        return cls.statuses.get(status, SolveStatus.UNKNOWN)

    def load(self) -> None:
        """Imports the solver, so that its start-up is not charged to the first solve; raises ImportError."""
        importlib.import_module(self.module)

    def check_size(self, model: MipModel) -> None:  # noqa: B027 - most solvers have no limit, so not abstract
        """Raises BackendLimitError if the licence at hand does not allow a model of this size."""

    @abstractmethod
    def solve(self, model: MipModel, limits: SolveLimits, report: Report) -> Answer:
        """Solves `model` in this process; runs in a child process of ours, never in the user's.

        The model has columns, ordered bounds, finite numbers and a canonical matrix (see `_preflight`). Exceptions of
        the solver may pass through: the caller turns them into a BackendError that names this backend.
        """
