"""What several attempts at a query say together: bracket, verdict, state, and whether they contradict one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from mipverify_py._enums import Evidence
from mipverify_py._tolerances import GAP_ABSOLUTE, GAP_RELATIVE
from mipverify_py.campaigns._records import Limits, QueryKind, QueryState

MAX_FAILURES: Final = 3
"""Attempts without an answer after which a query counts as failed, unless told otherwise."""

ROUNDING: Final = 1e-9
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


OWN = tuple(level.value for level in Evidence if level.is_own)
"""What an answer rests on where no solver is trusted, the best first."""


class End(NamedTuple):
    """An end of a bracket, and the attempt that found it."""

    value: float
    by: Attempt


@dataclass(frozen=True, slots=True)
class Ends:
    """The best that is known of a distance; absent ends are None.

    The two lower ends are kept apart: a solver's word is good to its tolerances only, and must neither hide that what
    we prove ourselves contradicts an example, nor stand in for an end of our own that is enough.

    Attributes:
        own: greatest lower end that our own checks prove.
        claimed: greatest lower end that rests on a solver's word.
        upper: least distance of a checked example.
    """

    own: End | None = None
    claimed: End | None = None
    upper: End | None = None

    @property
    def lower(self) -> End | None:
        """The greater of the lower ends; at equality our own."""
        return _greater(self.own, self.claimed)

    def and_also(self, other: Ends) -> Ends:
        """The greater of the lower ends of each kind with the lesser of the upper ones; at equality `self`'s."""
        upper = self.upper
        if other.upper is not None and (upper is None or other.upper.value < upper.value):
            upper = other.upper
        return Ends(_greater(self.own, other.own), _greater(self.claimed, other.claimed), upper)

    def for_gap(self, asked: Limits) -> Ends:
        """The same without the claimed lower end if our own is as near to the upper end as is asked.

        Where ends contradict one another all of them stay.
        """
        if self.own is None or self.upper is None or self.crossing() is not None:
            return self
        return replace(self, claimed=None) if closes(asked, self.own.value, self.upper.value) else self

    def crossing(self) -> tuple[End, str] | None:
        """None, or a lower end that the upper end contradicts, and how."""
        if self.upper is None:
            return None
        upper, by = self.upper
        for lower in (self.own, self.claimed):
            slack = max(GAP_ABSOLUTE, GAP_RELATIVE * upper) if lower is self.claimed else ROUNDING * max(1.0, upper)
            if lower is not None and lower.value > upper + slack:
                return lower, (
                    f"no example is nearer than {lower.value!r} ({lower.by.searcher}, {lower.by.evidence}), and there "
                    f"is one at distance {upper!r} ({by.searcher})"
                )
        return None


def _greater(one: End | None, other: End | None) -> End | None:
    """The greater of two ends; at equality the first."""
    if one is None or other is None:
        return one if other is None else other
    return other if other.value > one.value else one


def ends_of(kind: QueryKind, eps: float | None, attempts: Sequence[Attempt]) -> Ends:
    """What the attempts at one query say about the distance; a verdict about a radius bounds it by the radius."""
    ends = Ends()
    for attempt in attempts:
        lower, upper = attempt.lower, attempt.upper
        if kind is QueryKind.VERIFY:
            lower = eps if attempt.verdict == "robust" else None
            upper = eps if attempt.verdict == "adversarial" else None
        proven = None if lower is None else End(lower, attempt)
        is_own = attempt.evidence in OWN
        ends = ends.and_also(
            Ends(
                proven if is_own else None,
                None if is_own else proven,
                None if upper is None else End(upper, attempt),
            )
        )
    return ends


def bracket_of(kind: QueryKind, eps: float | None, attempts: Sequence[Attempt], limits: Limits | None) -> Ends:
    """The same for people, who want our own lower end where it is as good as they ask; `limits` as in `state_of`."""
    ends = ends_of(kind, eps, attempts)
    answers = [attempt for attempt in attempts if attempt.failure is None]
    return ends.for_gap(_asked(answers, limits)) if answers else ends


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
    crossing = ends_of(kind, eps, attempts).crossing()
    return None if crossing is None else crossing[1]


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
    decided = is_sound and _is_decided(kind, answers, _asked(answers, limits))
    return QueryState.DECIDED if decided else QueryState.OPEN


def _asked(answers: Sequence[Attempt], limits: Limits | None) -> Limits:
    return answers[-1].limits if limits is None else limits


def _is_decided(kind: QueryKind, answers: Sequence[Attempt], asked: Limits) -> bool:
    if kind is QueryKind.VERIFY:
        return any(answer.verdict in ("robust", "adversarial") for answer in answers)
    if kind is QueryKind.ATTACK:
        return any(answer.decided for answer in answers)
    if any(answer.decided and _is_as_narrow(answer.limits, asked) for answer in answers):
        return True
    ends = ends_of(kind, None, answers)
    return ends.lower is not None and ends.upper is not None and closes(asked, ends.lower.value, ends.upper.value)


def _is_as_narrow(limits: Limits, asked: Limits) -> bool:
    return limits.gap_absolute <= asked.gap_absolute and limits.gap_relative <= asked.gap_relative


def closes(limits: Limits, lower: float, upper: float) -> bool:
    """Whether the bracket is as narrow as the limits ask for, as in `Options.closes`."""
    return upper - lower <= max(limits.gap_absolute, limits.gap_relative * abs(upper))
