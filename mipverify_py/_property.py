"""Does an input exist for which a VNN-LIB property holds? Each of its cases becomes an ordinary feasibility query."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np

from bounds import Bounds, linear_bounds
from mipverify_py._arguments import instance
from mipverify_py._attack import GradientAttack, passed
from mipverify_py._counterexample import Counterexample, Settler
from mipverify_py._enums import Evidence, Objective, StopReason, Verdict
from mipverify_py._options import Options
from mipverify_py._perturbation import Box
from mipverify_py._property_network import case_network, depends_on_box
from mipverify_py._query import Query
from mipverify_py._result import Result
from mipverify_py._search import REPLAYED_DETAIL
from mipverify_py._verify import verify
from onnx_models import ReluNetwork
from onnx_models.errors import InputError
from onnx_models.vnnlib import Case, Constraint, Property

NEARLY = "points were found that hold up to rounding only, and none that holds exactly"

Progress = Callable[[int, int], None]
"""Called with the number of decided cases, and of all."""


class PropertyStatus(Enum):
    """What is known about inputs for which a property holds."""

    SAT = "sat"
    """Such an input is in hand, checked by us."""
    UNSAT = "unsat"
    """None exists."""
    UNKNOWN = "unknown"
    """Neither: the search stopped before it knew."""


@dataclass(frozen=True, slots=True, eq=False)
class CaseResult:
    """The answer for one case.

    Attributes:
        status: whether an input of the case exists.
        evidence: what that rests on, None for UNKNOWN.
        evidence_detail: the same in words.
        stop_reason: why the search of this case ended.
        stop_detail: more about it; may be empty.
        result: the answer to the case's query, None where none had to be asked.
    """

    status: PropertyStatus
    evidence: Evidence | None = None
    evidence_detail: str = ""
    stop_reason: StopReason = StopReason.SOLVED
    stop_detail: str = ""
    result: Result | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PropertyResult:
    """The answer to a property.

    Attributes:
        status: sat, unsat or unknown.
        counterexample: the input for which it holds, None unless `sat`.
        evidence: what the status rests on, the weakest of all cases; None for UNKNOWN.
        evidence_detail: the same in words, with solver and tolerance where one is trusted.
        stop_reason: why the search ended.
        stop_detail: more about it; may be empty.
        seconds: wall-clock time of everything.
        cases: one answer per case, in the property's order; None for those not looked at any more.
    """

    status: PropertyStatus
    counterexample: Counterexample | None
    evidence: Evidence | None
    evidence_detail: str
    stop_reason: StopReason
    stop_detail: str
    seconds: float
    cases: tuple[CaseResult | None, ...]

    def __repr__(self) -> str:
        rests = "" if self.evidence is None else f", {self.evidence.value}"
        return f"PropertyResult({self.status.value}{rests}, {self.stop_reason.value}, {self.seconds:.2f} s)"


def verify_property(
    network: ReluNetwork, prop: Property, options: Options | None = None, *, on_progress: Progress | None = None
) -> PropertyResult:
    """Whether an input exists for which the property holds.

    UNSAT is proved for a little more than is asked: every box rounded outwards to float64, strict comparisons taken as
    not strict. SAT is checked for exactly what is asked: the decimals of the file, strict comparisons, the network in
    rational arithmetic. Between the two, where rounding decides, the answer is UNKNOWN (`StopReason.NUMERICAL`).

    Anytime: on a time or node limit, on Ctrl-C and when the solver fails, what is known so far is returned.

    Args:
        network: the network.
        prop: the property, with as many inputs and outputs.
        options: limits and choice of solver, for all cases together; None means `Options()`. Cases are certified only
            if `options.certify` is "always".
        on_progress: called whenever a case is decided, in this thread.

    Raises:
        InputError: the property does not fit the network, or is about a Softmax that is not part of it.
        BackendMissingError, BackendLimitError: as in `verify`.
    """
    instance(ReluNetwork, network, "The network")
    instance(Property, prop, "The property")
    chosen = Options() if options is None else options
    instance(Options, chosen, "The options argument")
    for what, has, needs in (
        ("inputs", network.input_size, prop.inputs),
        ("outputs", network.output_size, prop.outputs),
    ):
        if has != needs:
            raise InputError(f"The property is about {needs} {what}, the model has {has}.")
    if any("was left out" in note for note in network.notes):
        raise InputError(
            "The model ends in a Softmax, which is left out here, but the property is about its outputs. "
            "Export the model without it."
        )
    search = _PropertySearch(network, prop, chosen, on_progress)
    try:
        search.run()
    except KeyboardInterrupt:
        search.interrupted = True
    return search.result()


@dataclass(eq=False)
class _Open:
    """A case that bounds could not exclude."""

    index: int
    query: Query
    settler: Settler


@dataclass(eq=False)
class _PropertySearch:
    """The state of the search; consistent after every statement, so it can be turned into a result at any time."""

    network: ReluNetwork
    prop: Property
    options: Options
    on_progress: Progress | None
    started: float = field(default_factory=time.monotonic)
    counterexample: Counterexample | None = None
    interrupted: bool = False

    def __post_init__(self) -> None:
        self.answers: list[CaseResult | None] = [None] * len(self.prop.cases)
        self.shared: dict[tuple[tuple[Constraint, ...], ...], ReluNetwork] = {}
        limit = self.options.time_limit
        self.deadline = None if limit is None else self.started + limit

    def run(self) -> None:
        """Bounds exclude what they can, attacks find what they can, and the engine gets the rest."""
        left = [one for k, case in enumerate(self.prop.cases) if (one := self._screened(k, case)) is not None]
        if len(left) > 1:
            for one in left:
                if self._attacked(one):
                    return
        while left and not passed(self.deadline):
            again = []
            for position, one in enumerate(left):
                answer = self._searched(one, len(left) - position)
                self.interrupted = answer.stop_reason is StopReason.INTERRUPTED
                if self.counterexample is not None or self.interrupted:
                    return
                if answer.stop_reason is StopReason.TIME_LIMIT:
                    again.append(one)
            left = again

    def result(self) -> PropertyResult:
        """The answer as it stands."""
        status, evidence, words = PropertyStatus.UNKNOWN, None, ""
        if self.counterexample is not None:
            status, evidence, words = PropertyStatus.SAT, Evidence.REPLAYED, REPLAYED_DETAIL
        elif all(answer is not None and answer.status is PropertyStatus.UNSAT for answer in self.answers):
            status, evidence, words = PropertyStatus.UNSAT, Evidence.REPLAYED, REPLAYED_DETAIL
            for answer in self.answers:
                if answer is not None and answer.evidence is Evidence.SOLVER_CLAIM:
                    evidence, words = answer.evidence, answer.evidence_detail
        reason, detail = self._stopped(status)
        return PropertyResult(
            status=status,
            counterexample=self.counterexample,
            evidence=evidence,
            evidence_detail=words,
            stop_reason=reason,
            stop_detail=detail,
            seconds=time.monotonic() - self.started,
            cases=tuple(self.answers),
        )

    def _stopped(self, status: PropertyStatus) -> tuple[StopReason, str]:
        if status is not PropertyStatus.UNKNOWN:
            return StopReason.SOLVED, ""
        if self.interrupted:
            return StopReason.INTERRUPTED, ""
        unknown = [one for one in self.answers if one is not None and one.status is PropertyStatus.UNKNOWN]
        for one in sorted(unknown, key=lambda one: one.stop_reason is StopReason.TIME_LIMIT):
            return one.stop_reason, one.stop_detail
        return StopReason.TIME_LIMIT, ""

    def _decide(self, index: int, answer: CaseResult) -> CaseResult:
        self.answers[index] = answer
        if self.on_progress is not None:
            decided = sum(a is not None and a.status is not PropertyStatus.UNKNOWN for a in self.answers)
            self.on_progress(decided, len(self.answers))
        return answer

    def _screened(self, index: int, case: Case) -> _Open | None:
        """The case as a query, or None if it is decided by now, or no time is left."""
        if self.counterexample is not None or passed(self.deadline):
            return None
        proved = CaseResult(PropertyStatus.UNSAT, Evidence.REPLAYED, REPLAYED_DETAIL)
        if not case.clauses:
            self._decide(index, proved)
            return None
        box = Bounds(case.lower, case.upper)
        middle = np.clip(box.lower + 0.5 * (box.upper - box.lower), box.lower, box.upper)
        if not all(case.clauses):  # one of them asks for nothing, so every point of the box will do
            self._found(index, Settler(self.network, index, case).settle(middle, None, self.deadline), None)
            return None
        derived = self._derived(case)
        values = linear_bounds(derived, box).nodes[-1]
        if np.all(values.upper[1:] < 0):
            self._decide(index, proved)
            return None
        query = Query(derived, middle, perturbation=Box(box), objective=Objective.FEASIBILITY, label=0, domain=box)
        return _Open(index, query, Settler(self.network, index, case))

    def _derived(self, case: Case) -> ReluNetwork:
        """The network that the case's query is about; the same one for cases that differ in their boxes only."""
        if depends_on_box(case):
            return case_network(self.network, case)
        if case.clauses not in self.shared:
            self.shared[case.clauses] = case_network(self.network, case)
        return self.shared[case.clauses]

    def _attacked(self, one: _Open) -> bool:
        """Whether a search without proof finds a counterexample."""
        point = GradientAttack(one.query, self.options).within(one.query.box, self.deadline)
        found = None if point is None else one.settler.settle(point, one.query, self.deadline)
        if found is not None:
            self._found(one.index, found, None)
        return found is not None

    def _searched(self, one: _Open, remaining: int) -> CaseResult:
        """Asks the case's query; it gets its share of the time that is left for `remaining` cases."""
        options = self.options
        if options.certify == "cheap":  # a statement about the property needs more than its cases' certificates
            options = replace(options, certify="never")
        if self.deadline is not None:
            share = max(self.deadline - time.monotonic(), 1e-3) / remaining
            options = replace(options, time_limit=share)
        result = verify(one.query, options)
        if result.witness is not None:
            found = one.settler.settle(result.witness.point, one.query, self.deadline)
            return self._found(one.index, found, result)
        status = PropertyStatus.UNSAT if result.verdict is Verdict.ROBUST else PropertyStatus.UNKNOWN
        evidence, detail = result.evidence, result.evidence_detail
        stop = result.stop_reason
        return self._decide(one.index, CaseResult(status, evidence, detail, stop, result.stop_detail, result))

    def _found(self, index: int, found: Counterexample | None, result: Result | None) -> CaseResult:
        if found is None:
            unsure = StopReason.NUMERICAL
            return self._decide(index, CaseResult(PropertyStatus.UNKNOWN, None, "", unsure, NEARLY, result))
        self.counterexample = found
        return self._decide(index, CaseResult(PropertyStatus.SAT, Evidence.REPLAYED, REPLAYED_DETAIL, result=result))
