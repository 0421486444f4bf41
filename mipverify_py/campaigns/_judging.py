"""What several attempts at a query say together: bracket, verdict, state, and whether they contradict one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mipverify_py._tolerances import GAP_ABSOLUTE, GAP_RELATIVE
from mipverify_py.campaigns._records import Limits, QueryKind, QueryState

MAX_FAILURES: Final = 3
"""Attempts without an answer after which a query counts as failed, unless told otherwise."""

_ROUNDING: Final = 1e-9
"""A proven lower end above a checked upper one by at most this share of max(1, upper) is rounding: distances of the
same point computed in another order differ by less than a thousandth of it."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt without its findings and statistics; the fields are those of `Task`, `Answer` and `Failure`.

    Attributes:
        row: id in the store.
        digest: of its content; the same in every store that it is merged into.
        failure, failure_detail: None for an answer; all that follow `overrides` but `seconds` are None for a failure.
        seconds: of the answer; for a failure from sending the task to knowing of it.
    """

    row: int
    digest: str
    number: int
    final: bool
    limits: Limits
    overrides: Mapping[str, Any]
    failure: str | None
    failure_detail: str | None
    decided: bool | None
    verdict: str | None
    lower: float | None
    upper: float | None
    evidence: str | None
    stop_reason: str | None
    predicted: int | None
    reference: int | None
    engine: str | None
    backend: str | None
    seconds: float

    @property
    def is_complete(self) -> bool:
        """Whether it came back with an answer and was not cut short from outside."""
        return self.failure is None and self.stop_reason != "interrupted"

    @property
    def searcher(self) -> str:
        """Engine and backend, for people."""
        return f"attempt {self.digest[:12]}, {self.engine}" + ("" if self.backend is None else f" with {self.backend}")


@dataclass(frozen=True, slots=True)
class Ends:
    """The best that is known of a distance, with the attempts that found it; absent ends are None."""

    lower: float | None = None
    lower_by: Attempt | None = None
    upper: float | None = None
    upper_by: Attempt | None = None

    def and_also(self, other: Ends) -> Ends:
        """The greater of the lower ends with the lesser of the upper ones; at equality `self`'s."""
        lower, upper = self, self
        if other.lower is not None and (self.lower is None or other.lower > self.lower):
            lower = other
        if other.upper is not None and (self.upper is None or other.upper < self.upper):
            upper = other
        return Ends(lower.lower, lower.lower_by, upper.upper, upper.upper_by)

    def crossing(self) -> str | None:
        """None, or why both ends cannot be true."""
        if self.lower is None or self.upper is None or self.lower_by is None or self.upper_by is None:
            return None
        slack = _ROUNDING * max(1.0, self.upper)
        if self.lower_by.evidence != "reproved":  # a solver's word is good to its tolerances only
            slack = max(GAP_ABSOLUTE, GAP_RELATIVE * self.upper)
        if self.lower <= self.upper + slack:
            return None
        return (
            f"no example is nearer than {self.lower!r} ({self.lower_by.searcher}, {self.lower_by.evidence}), and there "
            f"is one at distance {self.upper!r} ({self.upper_by.searcher})"
        )


def ends_of(kind: QueryKind, eps: float | None, attempts: Sequence[Attempt]) -> Ends:
    """What the attempts at one query say about the distance; a verdict about a radius bounds it by the radius."""
    ends = Ends()
    for attempt in attempts:
        lower, upper = attempt.lower, attempt.upper
        if kind is QueryKind.VERIFY:
            lower = eps if attempt.verdict == "robust" else None
            upper = eps if attempt.verdict == "adversarial" else None
        ends = ends.and_also(Ends(lower, attempt, upper, attempt))
    return ends


def verdict_of(attempts: Sequence[Attempt]) -> str | None:
    """The verdict of all attempts together: "unknown" where they contradict one another, None where there is none."""
    known = {attempt.verdict for attempt in attempts} - {None}
    firm = known - {"unknown"}
    if len(firm) == 1:
        return firm.pop()
    return "unknown" if known else None


def contradiction_of(kind: QueryKind, eps: float | None, attempts: Sequence[Attempt]) -> str | None:
    """None, or how attempts at one query contradict one another."""
    by_verdict = {attempt.verdict: attempt for attempt in attempts}
    if "robust" in by_verdict and "adversarial" in by_verdict:
        return f"{by_verdict['robust'].searcher} says robust, and {by_verdict['adversarial'].searcher} adversarial"
    return ends_of(kind, eps, attempts).crossing()


def state_of(
    kind: QueryKind, attempts: Sequence[Attempt], limits: Limits | None, max_failures: int, *, is_sound: bool = True
) -> QueryState:
    """How far a query is.

    Args:
        kind: of the query.
        attempts: all attempts at it, in order.
        limits: how narrow a bracket is asked for; None asks for what the last answered attempt was asked for.
        max_failures: attempts without an answer after which it counts as failed.
        is_sound: whether the attempts agree; a query with a contradiction is never decided.
    """
    answers = [attempt for attempt in attempts if attempt.failure is None]
    if not answers:
        return QueryState.FAILED if attempts and len(attempts) >= max_failures else QueryState.NEW
    asked = answers[-1].limits if limits is None else limits
    decided = is_sound and _is_decided(kind, answers, asked)
    return QueryState.DECIDED if decided else QueryState.OPEN


def _is_decided(kind: QueryKind, answers: Sequence[Attempt], asked: Limits) -> bool:
    if kind is QueryKind.VERIFY:
        return any(answer.verdict in ("robust", "adversarial") for answer in answers)
    if kind is QueryKind.ATTACK:
        return any(answer.decided for answer in answers)
    if any(answer.decided and _is_as_narrow(answer.limits, asked) for answer in answers):
        return True
    ends = ends_of(kind, None, answers)
    return ends.lower is not None and ends.upper is not None and closes(asked, ends.lower, ends.upper)


def _is_as_narrow(limits: Limits, asked: Limits) -> bool:
    return limits.gap_absolute <= asked.gap_absolute and limits.gap_relative <= asked.gap_relative


def closes(limits: Limits, lower: float, upper: float) -> bool:
    """Whether the bracket is as narrow as the limits ask for, as in `Options.closes`."""
    return upper - lower <= max(limits.gap_absolute, limits.gap_relative * abs(upper))
