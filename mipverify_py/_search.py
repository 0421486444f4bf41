"""What a running query knows: the best witness, both ends of the bracket, and what they rest on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bounds import NetworkBounds
from mipverify_py._assumed import AssumedBounds
from mipverify_py._clock import Clock
from mipverify_py._enums import Evidence, Objective, StopReason, Verdict
from mipverify_py._options import Options
from mipverify_py._polish import polish
from mipverify_py._projected import attack_for
from mipverify_py._query import Query
from mipverify_py._result import Bracket, Result, Statistics
from mipverify_py._witness import Witness, margin_below
from mipverify_py.proof import Proof, RegionBounds
from onnx_models import Array
from onnx_models.errors import InvalidBoundsError

REPLAYED_DETAIL = "re-evaluated in exact or outward-rounded arithmetic; no solver is trusted"


@dataclass(eq=False)
class Search:
    """Mutable state of one query; every method leaves it consistent, so it can be turned into a result at any time.

    `proven` and `claimed` are the ends that a proof gives (lower for closest, upper for worst): the first from our own
    outward-rounded bounds, the second from a solver.
    """

    query: Query
    options: Options
    on_progress: Callable[[Bracket], None] | None
    started: float = field(default_factory=time.monotonic)
    witness: Witness | None = None
    best_point: Array | None = None
    best_margin: float | None = None
    proven: float | None = None
    claimed: float | None = None
    claim_detail: str = ""
    refuted: str = ""
    """Set when a checked point contradicts the solver; says how."""
    robust: Evidence | None = None
    """Set when no adversarial example exists in the perturbation set (not for worst); says what that rests on."""
    stop_reason: StopReason = StopReason.SOLVED
    stop_detail: str = ""
    assumed: AssumedBounds | None = None
    """Bounds supplied by the user; what rests on them is claimed, never proved."""
    relaxed: Query | None = None
    """The question about a box that contains a set that is none: if it has no adversarial example, the set has none."""
    clock: Clock = field(default_factory=Clock)
    backend: str | None = None
    statistics: Statistics = field(default_factory=Statistics)
    proof: Proof | None = None
    bounds: NetworkBounds | None = None
    """What every node can be over the box that the engine searches."""

    def __post_init__(self) -> None:
        self.attack = attack_for(self.query, self.options)
        self.regions = RegionBounds(self.query.network)
        """Bounds over regions, each computed once for all parts of the search."""

    @property
    def deadline(self) -> float | None:
        """Value of `time.monotonic()` at which the time limit ends."""
        return None if self.options.time_limit is None else self.started + self.options.time_limit

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the deadline, at least 0; None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def offer(self, point: Array) -> bool:
        """Takes `point`, shape (n,), if a checked witness nearer than the present one can be made of it."""
        found = polish(self.query, point, self.attack)
        return found is not None and self.take(found)

    def take(self, witness: Witness) -> bool:
        """Takes a witness if it is nearer than the present one, unmoved: rounding may keep it from being polished."""
        if self.witness is not None and witness.distance >= self.witness.distance:
            return False
        self.witness = witness
        self._confront()
        self.report()
        return True

    def offer_margin(self, point: Array) -> bool:
        """Takes `point` if its margin, rounded down, is larger than the best so far (objective worst)."""
        query = self.query
        inside = query.perturbation.project(point, query.x0, query.input_domain)
        if not query.perturbation.contains(inside, query.x0):
            return False
        margin = margin_below(query, inside)
        if self.best_margin is not None and margin <= self.best_margin:
            return False
        self.best_point, self.best_margin = inside, margin
        if margin >= query.margin:
            self.witness = Witness(query, inside)
        self._confront()
        self.report()
        return True

    def prove(self, value: float) -> None:
        """Takes an end of the bracket that our own bounds prove, if it is better."""
        if self.proven is None or self._better(value, self.proven):
            self.proven = value
            self._confront()
            self.report()

    def claim(self, value: float, detail: str) -> None:
        """Takes an end of the bracket that a solver claims, if it is better.

        A claim that a checked point refutes by more than the gap discredits the solver: all its claims are dropped.
        """
        if not self.refuted and (self.claimed is None or self._better(value, self.claimed)):
            self.claimed, self.claim_detail = value, detail
            self._confront()
            self.report()

    def stop(self, reason: StopReason, detail: str = "") -> None:
        """Records why the search ends."""
        self.stop_reason, self.stop_detail = reason, detail

    @property
    def bracket(self) -> Bracket:
        """Both ends as they stand; a claimed end never passes the checked one."""
        if self.query.objective is Objective.FEASIBILITY:
            return Bracket(None, None)
        end, checked = self._proven_end(), self._checked_end()
        if end is not None and checked is not None and self._better(end, checked):
            end = checked
        return Bracket(checked, end) if self.query.objective is Objective.WORST else Bracket(end, checked)

    @property
    def closed(self) -> bool:
        """Whether the bracket is as narrow as the options ask for, or, for feasibility, a witness is in hand."""
        if self.query.objective is Objective.FEASIBILITY:
            return self.witness is not None
        low, high = self.bracket.lower, self.bracket.upper
        return low is not None and high is not None and self.options.closes(low, high)

    def report(self) -> None:
        """Tells the caller the bracket."""
        if self.on_progress is not None:
            self.on_progress(self.bracket)

    def result(self) -> Result:
        """The answer as it stands."""
        verdict, bracket = self._verdict(), self.bracket
        evidence = self._evidence(verdict, bracket)
        return Result(
            verdict=verdict,
            objective=self.query.objective,
            lower=bracket.lower,
            upper=bracket.upper,
            witness=self.witness,
            point=self.best_point if self.witness is None else self.witness.point,
            evidence=evidence,
            evidence_detail=self._detail(evidence),
            stop_reason=self.stop_reason,
            stop_detail=self.stop_detail,
            predicted=self.query.predicted,
            reference=self.query.reference,
            engine=self.options.engine,
            backend=self.backend,
            seconds=time.monotonic() - self.started,
            attack_seconds=self.clock.seconds("attack"),
            statistics=replace(self.statistics, phase_seconds=self.clock.phases()),
            proof=self.proof if evidence is Evidence.REPLAYED else None,
            bounds=self.bounds,
        )

    def _better(self, value: float, old: float) -> bool:
        return value < old if self.query.objective is Objective.WORST else value > old

    def _confront(self) -> None:
        """Drops the solver's claim for good where it goes beyond a checked point by more than the gap.

        Our own bounds can do so only through a bug: an InvalidBoundsError, since no end would be worth anything.
        """
        checked, claimed = self._checked_end(), self.claimed
        if checked is not None and self.proven is not None and self._better(self.proven, checked):
            raise InvalidBoundsError(
                f"Our bounds prove {self.proven!r}, a checked point gives {checked!r}. "
                "This is a bug; please report the model."
            )
        if checked is None or claimed is None or not self._better(claimed, checked):
            return
        if not self.options.closes(*sorted((checked, claimed))):
            self.refuted = f"the solver claims {claimed:.9g}, a checked point gives {checked:.9g}"
            self.claimed = None

    def _checked_end(self) -> float | None:
        """The end that a checked point gives: upper for closest, lower for worst."""
        if self.query.objective is Objective.WORST:
            return self.best_margin
        return None if self.witness is None else self.witness.distance

    def _proven_end(self) -> float | None:
        """The other end: the better of what is proven and what is claimed."""
        ends = [e for e in (self.proven, self.claimed) if e is not None]
        if not ends:
            return None
        return min(ends) if self.query.objective is Objective.WORST else max(ends)

    def _verdict(self) -> Verdict:
        if self.witness is not None:
            return Verdict.ADVERSARIAL
        if self.query.objective is Objective.WORST:
            end = self._proven_end()
            return Verdict.ROBUST if end is not None and end < self.query.margin else Verdict.UNKNOWN
        return Verdict.UNKNOWN if self.robust is None else Verdict.ROBUST

    def _evidence(self, verdict: Verdict, bracket: Bracket) -> Evidence | None:
        """The weaker of what the verdict and what the proven end of the bracket rest on."""
        if verdict is Verdict.ROBUST and self.query.objective is not Objective.WORST:
            return self.robust
        if self.query.objective is Objective.FEASIBILITY:
            return None if verdict is Verdict.UNKNOWN else Evidence.REPLAYED
        end = bracket.upper if self.query.objective is Objective.WORST else bracket.lower
        if end is None:
            return None if verdict is Verdict.UNKNOWN else Evidence.REPLAYED
        return (
            Evidence.REPLAYED
            if self.proven is not None and not self._better(end, self.proven)
            else Evidence.SOLVER_CLAIM
        )

    def _detail(self, evidence: Evidence | None) -> str:
        if evidence is None:
            return ""
        return REPLAYED_DETAIL if evidence is Evidence.REPLAYED else self.claim_detail
