"""A campaign without its computing: what workers, their losses, and the process that leads them make of given costs.

Discrete events, in the manner of `mipverify_py.campaigns.run_campaign`. Each query is attempted with one budget after
the other until an attempt suffices; queries with fewer attempts behind them come first. One leader hands tasks out, up
to two per worker, and records each completion before it does anything with it; it does one thing at a time. A worker
that is lost loses its attempt and comes back empty-handed; the query is attempted again with the same budget. All times
are in seconds, and a core-second is one second of a worker of speed 1.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onnx_models import Array

AHEAD = 2
"""Tasks that are handed out per worker: the one that it is at, and the next (`Executor.capacity`)."""
CHUNK = 1000
"""Tasks that the leader hands out at most before it looks for completions."""


@dataclass(frozen=True, eq=False)
class Work:
    """What is to be computed.

    Attributes:
        costs: core-seconds that each query needs, in the order of the campaign, >= 0.
        budgets: limits of the attempts at a query, increasing. An attempt starts anew; the last is final in any case.
        max_failures: attempts that may be lost before a query counts as failed.
    """

    costs: Array
    budgets: tuple[float, ...]
    max_failures: int = 3


@dataclass(frozen=True)
class Cluster:
    """Who computes it.

    Attributes:
        workers: how many, each with one core.
        start: from the start of a worker to its first task.
        transfer: of the models to one worker, over the one connection that the leader has.
        send: that the leader takes to hand out a task.
        record: that it takes to record one completion ...
        commit: ... and one transaction, of at most `batch` completions.
        batch: see there.
        lifetime: mean time until a worker is lost (exponential), None: none is.
        notice: until the leader knows of a loss.
        away: until a lost worker is replaced; `start` comes on top.
        slow_share: share of the workers that take `slow_factor` times as long.
        slow_factor: see there, >= 1.
    """

    workers: int
    start: float = 0.0
    transfer: float = 0.0
    send: float = 0.0
    record: float = 0.0
    commit: float = 0.0
    batch: int = 1000
    lifetime: float | None = None
    notice: float = 0.0
    away: float = 0.0
    slow_share: float = 0.0
    slow_factor: float = 1.0


class Outcome(NamedTuple):
    """What came of it.

    Attributes:
        makespan: from the start to the last record.
        done: when each query was settled, ascending.
        useful: core-seconds of attempts that settled a query.
        repeated: of attempts whose budget did not suffice.
        lost: of attempts whose worker was lost.
        slowed: what slow workers took longer for the useful ones.
        present: worker-seconds if a worker leaves after its last attempt.
        leading: share of the makespan during which the leader was busy.
        attempts: completions recorded.
        still_open: queries that the last budget did not decide.
        failed: queries that were lost too often.
    """

    makespan: float
    done: Array
    useful: float
    repeated: float
    lost: float
    slowed: float
    present: float
    leading: float
    attempts: int
    still_open: int
    failed: int

    def tail(self, share: float) -> float:
        """Seconds from when that share of the queries was settled to the end."""
        return self.makespan - float(np.quantile(self.done, share, method="inverted_cdf"))

    def efficiency(self, workers: int) -> float:
        """Useful core-seconds by those paid, if all workers stay to the end."""
        return self.useful / (workers * self.makespan)


class _Attempt(NamedTuple):
    """Ordered: fewer attempts behind it first, then as in the campaign."""

    round: int
    query: int


class _Completion(NamedTuple):
    """An attempt that is over: whether it was answered, how long it took, and how slow its worker is."""

    attempt: _Attempt
    answered: bool
    seconds: float
    factor: float = 1.0


_Handler = Callable[[float, Any], None]
"""What is done when an event comes: it takes the time, and what the event is about."""


class _Spell(NamedTuple):
    """A worker between two losses."""

    worker: int
    number: int


def simulate(work: Work, cluster: Cluster, seed: int = 0) -> Outcome:
    """The course of a campaign; a function of its arguments."""
    return _Campaign(work, cluster, seed).run()


class _Campaign:
    """The events, and what stands between them: waiting -> handed out -> at a worker -> finished -> settled."""

    def __init__(self, work: Work, cluster: Cluster, seed: int) -> None:
        self._work, self._cluster = work, cluster
        self._costs = work.costs.tolist()
        self._generator = np.random.default_rng(seed)
        slow = self._generator.random(cluster.workers) < cluster.slow_share
        self._factors = np.where(slow, cluster.slow_factor, 1.0).tolist()
        self._events: list[tuple[float, int, _Handler, object]] = []
        self._numbered = 0
        self._waiting = [_Attempt(0, query) for query in range(len(self._costs))]  # ascending, so a heap already
        self._handed_out: deque[_Attempt] = deque()
        self._finished: deque[_Completion] = deque()
        self._outstanding = 0
        self._leader_busy = False
        self._idle: deque[_Spell] = deque()
        self._spell = [0] * cluster.workers
        self._at: dict[int, tuple[_Attempt, float]] = {}
        self._last = [0.0] * cluster.workers
        self._failures: NDArray[np.int64] = np.zeros(len(self._costs), dtype=np.int64)
        self._done: list[float] = []
        self._sums = dict.fromkeys(("useful", "repeated", "lost", "slowed", "leading"), 0.0)
        self._counts = dict.fromkeys(("attempts", "still_open", "failed"), 0)

    def run(self) -> Outcome:
        """See `simulate`."""
        for worker in range(self._cluster.workers):
            self._after(self._cluster.start + (worker + 1) * self._cluster.transfer, self._on_ready, worker, now=0.0)
        self._lead(0.0)
        while len(self._done) < len(self._costs):
            now, _, handle, content = heapq.heappop(self._events)
            handle(now, content)
        makespan = self._done[-1] if self._done else 0.0
        leading = self._sums.pop("leading")
        return Outcome(
            makespan=makespan,
            done=np.array(self._done),
            present=sum(self._last),
            leading=leading / makespan if makespan else 0.0,
            **self._sums,
            **self._counts,
        )

    def _after(self, delay: float, handle: _Handler, content: object, *, now: float) -> None:
        self._numbered += 1  # equal times keep their order
        heapq.heappush(self._events, (now + delay, self._numbered, handle, content))

    # ------------------------------------------------------------------------------------------------------- the leader

    def _lead(self, now: float) -> None:
        """Lets the leader, if it is free, record what has finished, or else hand out what there is room for."""
        if self._leader_busy:
            return
        cluster = self._cluster
        room = AHEAD * cluster.workers - self._outstanding
        if self._finished:
            taken = [self._finished.popleft() for _ in range(min(cluster.batch, len(self._finished)))]
            self._outstanding -= len(taken)
            self._lead_for(cluster.commit + cluster.record * len(taken), self._on_recorded, taken, now)
        elif self._waiting and room > 0:
            given = [heapq.heappop(self._waiting) for _ in range(min(room, len(self._waiting), CHUNK))]
            self._outstanding += len(given)
            for position, attempt in enumerate(given, start=1):
                self._after(position * cluster.send, self._on_handed_out, attempt, now=now)
            self._lead_for(cluster.send * len(given), self._on_free, None, now)

    def _lead_for(self, seconds: float, then: _Handler, content: object, now: float) -> None:
        self._leader_busy = True
        self._sums["leading"] += seconds
        self._after(seconds, then, content, now=now)

    def _on_free(self, now: float, _: object) -> None:
        self._leader_busy = False
        self._lead(now)

    def _on_recorded(self, now: float, taken: list[_Completion]) -> None:
        for completion in taken:
            self._settle(now, completion)
        self._on_free(now, None)

    def _settle(self, now: float, completion: _Completion) -> None:
        """Decides what a completion means for its query."""
        attempt, answered, seconds, factor = completion
        query, final = attempt.query, attempt.round == len(self._work.budgets) - 1
        self._counts["attempts"] += 1
        if not answered:
            self._sums["lost"] += seconds
            self._failures[query] += 1
            if self._failures[query] < self._work.max_failures:
                heapq.heappush(self._waiting, attempt)
            else:
                self._counts["failed"] += 1
                self._done.append(now)
            return
        decided = self._costs[query] * factor <= self._work.budgets[attempt.round]
        if decided or final:
            self._sums["useful"] += seconds / factor
            self._sums["slowed"] += seconds - seconds / factor
            self._counts["still_open"] += not decided
            self._done.append(now)
        else:
            self._sums["repeated"] += seconds
            heapq.heappush(self._waiting, _Attempt(attempt.round + 1, query))

    def _on_finished(self, now: float, completion: _Completion) -> None:
        self._finished.append(completion)
        self._lead(now)

    # ------------------------------------------------------------------------------------------------------ the workers

    def _on_ready(self, now: float, worker: int) -> None:
        self._spell[worker] += 1
        spell = _Spell(worker, self._spell[worker])
        if self._cluster.lifetime is not None:
            self._after(self._generator.exponential(self._cluster.lifetime), self._on_lost, spell, now=now)
        self._next(now, spell)

    def _next(self, now: float, spell: _Spell) -> None:
        if self._handed_out:
            self._begin(now, spell, self._handed_out.popleft())
        else:
            self._idle.append(spell)

    def _on_handed_out(self, now: float, attempt: _Attempt) -> None:
        while self._idle:
            spell = self._idle.popleft()
            if self._is_there(spell):
                self._begin(now, spell, attempt)
                return
        self._handed_out.append(attempt)

    def _is_there(self, spell: _Spell) -> bool:
        return self._spell[spell.worker] == spell.number

    def _begin(self, now: float, spell: _Spell, attempt: _Attempt) -> None:
        needed = self._costs[attempt.query] * self._factors[spell.worker]
        self._at[spell.worker] = (attempt, now)
        self._after(min(needed, self._work.budgets[attempt.round]), self._on_worked, spell, now=now)

    def _on_worked(self, now: float, spell: _Spell) -> None:
        if not self._is_there(spell):
            return
        attempt, began = self._at.pop(spell.worker)
        self._last[spell.worker] = now
        self._on_finished(now, _Completion(attempt, True, now - began, self._factors[spell.worker]))
        self._next(now, spell)

    def _on_lost(self, now: float, spell: _Spell) -> None:
        cluster, worker = self._cluster, spell.worker
        self._spell[worker] += 1  # whatever was to happen to it does not
        if worker in self._at:
            attempt, began = self._at.pop(worker)
            self._last[worker] = now
            self._after(cluster.notice, self._on_finished, _Completion(attempt, False, now - began), now=now)
        self._after(cluster.away + cluster.start, self._on_ready, worker, now=now)


class Estimate(NamedTuple):
    """What a makespan is made of, without a simulation; each part on its own makes it at least so long.

    Attributes:
        start: of the first worker.
        computing: of all attempts, losses included, by all workers as they join.
        hardest: of the longest chain of attempts at one query, without losses.
        leading: of the leader, for all attempts, transactions as full as can be.
    """

    start: float
    computing: float
    hardest: float
    leading: float

    @property
    def makespan(self) -> float:
        """The largest of the last three, behind the start; what gets in each other's way is not counted."""
        return self.start + max(self.computing, self.hardest, self.leading)

    @property
    def largest(self) -> str:
        """The name of the largest part."""
        return max(self._fields, key=lambda name: float(getattr(self, name)))


def estimate(work: Work, cluster: Cluster) -> Estimate:
    """Closed forms; slow workers and failed queries are not considered.

    A worker is lost at rate 1 / T, and each loss costs R = away + start besides the work. An attempt of length a that
    is begun anew after each loss takes (exp(a / T) - 1)(T + R) on average, since it suffers exp(a / T) - 1 losses.
    Let C be the sum of these. If one of W workers joins every s seconds, t^2 / 2s worker-seconds have passed after t;
    so C takes sqrt(2 s C) if that is before all have joined, at W s, and C / W + W s / 2 otherwise.
    """
    spent = np.minimum(work.costs[:, None], np.array(work.budgets))
    begun = np.column_stack([np.ones(len(work.costs), bool), *(work.costs > b for b in work.budgets[:-1])])
    lengths, losses = spent[begun], np.zeros(int(begun.sum()))
    taken = lengths
    if cluster.lifetime is not None:
        losses = np.expm1(lengths / cluster.lifetime)
        taken = losses * (cluster.lifetime + cluster.away + cluster.start)
    total, workers, step = float(taken.sum()), cluster.workers, cluster.transfer
    joining = math.sqrt(2 * step * total)
    attempts = len(lengths) + losses.sum()
    return Estimate(
        start=cluster.start,
        computing=joining if joining < workers * step else total / workers + workers * step / 2,
        hardest=float((spent * begun).sum(axis=1).max()),
        leading=float(attempts * (cluster.send + cluster.record + cluster.commit / cluster.batch)),
    )
