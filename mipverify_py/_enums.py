"""What is true, why the search stopped, and what the answer rests on: three questions, three enums."""

from __future__ import annotations

from enum import Enum


class Verdict(Enum):
    """What is known about adversarial examples in the perturbation set."""

    ROBUST = "robust"
    """No adversarial example exists in the perturbation set."""
    ADVERSARIAL = "adversarial"
    """An adversarial example is in hand, checked by us."""
    UNKNOWN = "unknown"
    """Neither: the search stopped before it knew."""


class StopReason(Enum):
    """Why the search ended."""

    SOLVED = "solved"
    """The question is answered to the gap asked for."""
    TIME_LIMIT = "time_limit"
    NODE_LIMIT = "node_limit"
    INTERRUPTED = "interrupted"
    """Stopped from outside (Ctrl-C)."""
    SOLVER_FAILED = "solver_failed"
    """The backend crashed, or stopped without an answer."""
    NUMERICAL = "numerical"
    """The backend claims an answer that our own checks do not confirm to the gap asked for."""


class Evidence(Enum):
    """What the answer rests on."""

    REPROVED = "reproved"
    """On a certificate that the checker has accepted, in exact arithmetic: see `Result.certificate`."""
    REPLAYED = "replayed"
    """On our own outward-rounded floats: bounds evaluated again by code that the search does not use, and re-evaluated
    witnesses. No solver is trusted."""
    SOLVER_CLAIM = "solver_claim"
    """Also on a solver's word, within its tolerances, or on bounds supplied by the user: `Result.evidence_detail` says
    which."""

    @property
    def is_own(self) -> bool:
        """Whether no solver and no bounds of the user's are trusted."""
        return self is not Evidence.SOLVER_CLAIM


class Objective(Enum):
    """What a query asks."""

    CLOSEST = "closest"
    """The distance to the nearest adversarial example."""
    FEASIBILITY = "feasibility"
    """Whether an adversarial example exists in the perturbation set."""
    WORST = "worst"
    """The largest margin max over targets j of f_j(x) - f_c(x) over the perturbation set."""


class Norm(Enum):
    """How the size of a perturbation is measured."""

    LINF = "linf"
    """The largest absolute entry."""
    L1 = "l1"
    """The sum of the absolute entries."""
    L2 = "l2"
    """The root of the sum of the squared entries."""


class Tightening(Enum):
    """The last stage of bound tightening; each stage looks only at units that the stages before left unstable."""

    INTERVAL = "interval"
    LINEAR = "linear"
    LP = "lp"
    MIP = "mip"

    @property
    def stages(self) -> tuple[Tightening, ...]:
        """This stage and all before it, cheapest first."""
        order = tuple(Tightening)
        return order[: order.index(self) + 1]
