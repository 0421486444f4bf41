"""In which order a run attempts its queries, and with how much time.

Short attempts at all of them come first, then longer ones at those that stayed open: hard cases do not starve the rest.
Sets of attacks get all their time at once, several inputs in one go: their work is fixed, so a short attempt is lost.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from mipverify_py._arguments import whole_number
from mipverify_py.campaigns._batches import batches, together
from mipverify_py.campaigns._judging import MAX_FAILURES, ROUNDING, closes
from mipverify_py.campaigns._reading import StoredQuery
from mipverify_py.campaigns._records import (
    Answer,
    Certificates,
    Failure,
    Limits,
    QueryKind,
    QueryRecord,
    QueryState,
    Task,
)
from onnx_models import Array
from onnx_models.errors import InputError

SHARES = (0.02, 0.125, 1.0)
"""Shares of the time limit: if all attempts but the last are in vain they cost 14.5 % more than one long attempt."""

LEAST_SECONDS = 1.0
"""No round gives less: starting a search costs tenths of a second that a shorter attempt would waste."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """The budgets of a run.

    Attributes:
        limits: of the last round's attempts, which are the longest; the gaps are those of every attempt.
        shares: ascending shares of the time limit, in (0, 1], the last one 1. Without a time limit there is one round.
        least_seconds: what each round gives at least, >= 0, where the limit allows it.
        max_failures: attempts at a query that may come back without an answer before it is given up, >= 1.
        seed: of the order within a round.
        overrides: options that stand in for those of the queries.
        certificates: of which answers, and what is kept of them.

    Raises:
        InputError: a value out of range.
    """

    limits: Limits
    shares: tuple[float, ...] = SHARES
    least_seconds: float = LEAST_SECONDS
    max_failures: int = MAX_FAILURES
    seed: int = 0
    overrides: Mapping[str, Any] = field(default_factory=dict)
    certificates: Certificates = Certificates.HASH

    def __post_init__(self) -> None:
        shares, limit = self.shares, self.limits.time_limit
        ascending = all(0 < share < after for share, after in pairwise(shares))  # false for what is no number
        if not ascending or shares[-1:] != (1.0,):
            raise InputError(f"shares is {list(shares)}; it must be ascending shares of the time limit, ending with 1.")
        if whole_number(self.max_failures, "max_failures") < 1:
            raise InputError(f"max_failures is {self.max_failures}; it must be at least 1.")
        if not 0 <= self.least_seconds < float("inf"):
            raise InputError(f"least_seconds is {self.least_seconds}; it must be at least 0 and finite.")
        if limit is not None and not 0 < limit < float("inf"):
            raise InputError(f"time_limit is {limit}; it must be a finite number of seconds above 0, or None.")

    @property
    def budgets(self) -> tuple[float | None, ...]:
        """Seconds of an attempt in each round, ascending; None: no limit."""
        limit = self.limits.time_limit
        if limit is None:
            return (None,)
        return tuple(sorted({min(limit, max(self.least_seconds, share * limit)) for share in self.shares}))

    def first_round(self, query: StoredQuery) -> int:
        """The first round that gives more time than what has not been enough so far; the last one if none does.

        Attacks have the last one only.
        """
        if query.record.kind is QueryKind.ATTACK:
            return len(self.budgets) - 1
        tried = [
            attempt.limits.time_limit
            for attempt in query.history
            if attempt.stop_reason == "time_limit" and dict(attempt.overrides) == dict(self.overrides)
        ]
        budgets = self.budgets
        for number, budget in enumerate(budgets):
            if all(budget is None or (limit is not None and limit < budget) for limit in tried):
                return number
        return len(budgets) - 1

    def priority(self, row: int) -> int:
        """The place of a query within its round.

        It is random, so that what is answered at any time is a fair sample, and tells how long the rest will take.
        """
        return int.from_bytes(hashlib.blake2b(f"{self.seed} {row}".encode(), digest_size=8).digest(), "big")


@dataclass(slots=True, eq=False)
class Case:
    """A query in a run.

    Attributes:
        query: as it was when the run began.
        round: the round that it is in.
        attempts: number of attempts at it, those of earlier runs included.
        failures: number of attempts in vain that count towards `Rounds.max_failures`.
        lower, upper: the best bracket so far, absent ends None.
        state: how far it is.
        is_over: whether the run makes no further attempt.
    """

    query: StoredQuery
    round: int
    attempts: int
    failures: int
    lower: float | None
    upper: float | None
    state: QueryState
    is_over: bool = False


class Agenda:
    """The cases of a run that wait for an attempt.

    Args:
        queries: what the run is about.
        rounds: its budgets.
        read_input: values of the input of the query in a row of the store, for records that lack them.
        workers: how many work at a time.

    Attributes:
        cases: by row.
        waiting: number of cases that wait, by `stage`.
    """

    def __init__(
        self, queries: Sequence[StoredQuery], rounds: Rounds, read_input: Callable[[int], Array], workers: int = 1
    ) -> None:
        self._rounds, self._read_input = rounds, read_input
        self.cases = {query.row: _case(query, rounds) for query in queries}
        self.waiting = [0] * (len(rounds.budgets) + 1)
        self._heap: list[tuple[int, int, int]] = []
        self._companions: dict[int, list[int]] = {}
        for first, *others in self._batches(max(workers, 1)):
            self._add(first, others)

    def __len__(self) -> int:
        return sum(self.waiting)

    def stage(self, row: int) -> int:
        """The round that a case is in; for attacks, whose costs are others, one more than there are rounds."""
        case = self.cases[row]
        return len(self._rounds.budgets) if case.query.record.kind is QueryKind.ATTACK else case.round

    def next_task(self) -> Task:
        """Takes the next case, and those that go together with it."""
        row = heapq.heappop(self._heap)[-1]
        return together([self._take(member) for member in (row, *self._companions.pop(row, ()))])

    def _batches(self, workers: int) -> list[list[int]]:
        """Which cases are attempted in one go. They depend on the queries, the seed and the workers alone.

        One that has failed goes alone, so that it takes no others with it again. Where nothing is tried twice all do.
        """
        may_share = self._rounds.max_failures > 1
        sharing = {
            row
            for row, case in self.cases.items()
            if may_share and case.query.record.kind is QueryKind.ATTACK and not case.query.failures
        }
        in_order = sorted(sharing, key=lambda row: (self._rounds.priority(row), row))
        shared = batches([(row, self.cases[row].query.record) for row in in_order], workers)
        return shared + [[row] for row in self.cases if row not in sharing]

    def _take(self, row: int) -> Task:
        case = self.cases[row]
        self.waiting[self.stage(row)] -= 1
        case.attempts += 1
        budgets = self._rounds.budgets
        return Task(
            row,
            case.attempts,
            self._complete(row, case.query.record),
            replace(self._rounds.limits, time_limit=budgets[case.round]),
            self._rounds.overrides,
            final=case.round == len(budgets) - 1,
            certificates=self._rounds.certificates,
        )

    def settle(self, row: int, outcome: Answer | Failure) -> Case:
        """Notes what came of an attempt; the case waits again unless it is over."""
        case = self.cases[row]
        if isinstance(outcome, Failure):
            self._fail(case)
        else:
            _learn(case, outcome)
            if outcome.decided or self._is_closed(case):
                case.state, case.is_over = QueryState.DECIDED, True
            else:
                case.state = QueryState.OPEN
                if outcome.stop_reason == "interrupted":  # by somebody else: what this round gives is not used up
                    self._fail(case)
                else:
                    self._go_on(case)
        if not case.is_over:
            self._add(row, [])
        return case

    def _fail(self, case: Case) -> None:
        case.failures += 1
        case.is_over = case.failures >= self._rounds.max_failures
        if case.is_over and case.state is QueryState.NEW:
            case.state = QueryState.FAILED

    def _go_on(self, case: Case) -> None:
        case.is_over = case.round == len(self._rounds.budgets) - 1
        case.round += not case.is_over

    def _is_closed(self, case: Case) -> bool:
        """Whether several attempts at a distance together say what none of them says alone."""
        if case.query.record.kind is not QueryKind.DISTANCE or case.lower is None or case.upper is None:
            return False
        agree = case.lower <= case.upper + ROUNDING * max(1.0, case.upper)
        return agree and closes(self._rounds.limits, case.lower, case.upper)

    def _add(self, row: int, companions: list[int]) -> None:
        for member in (row, *companions):
            self.waiting[self.stage(member)] += 1
        if companions:
            self._companions[row] = companions
        heapq.heappush(self._heap, (self.cases[row].round, self._rounds.priority(row), row))

    def _complete(self, row: int, record: QueryRecord) -> QueryRecord:
        if np.size(record.input.values):
            return record
        return replace(record, input=replace(record.input, values=self._read_input(row)))


def _case(query: StoredQuery, rounds: Rounds) -> Case:
    is_new = query.state is QueryState.NEW
    return Case(
        query,
        rounds.first_round(query),
        query.attempts,
        query.failures if is_new else 0,  # whoever asks for a failed query anew wants it tried as often anew
        query.lower,
        query.upper,
        QueryState.NEW if query.state is QueryState.FAILED else query.state,
    )


def _learn(case: Case, answer: Answer) -> None:
    if answer.lower is not None and (case.lower is None or answer.lower > case.lower):
        case.lower = answer.lower
    if answer.upper is not None and (case.upper is None or answer.upper < case.upper):
        case.upper = answer.upper
