"""How long a run will still take, told from what its attempts have taken so far."""

from __future__ import annotations

from collections.abc import Sequence

from mipverify_py.campaigns._records import Answer, Completion


class Estimate:
    """The mean cost of an attempt in each stage, and the share that it leaves open.

    The stages are the rounds and, behind them, the attacks, for which the last budget holds, too (`Agenda.stage`).

    Args:
        budgets: seconds of an attempt in each round, None for no limit.
    """

    def __init__(self, budgets: Sequence[float | None]) -> None:
        self._last = len(budgets) - 1
        self._budgets = [*budgets, budgets[-1]]
        self._count = [0] * len(self._budgets)
        self._open = [0] * len(self._budgets)
        self._seconds = [0.0] * len(self._budgets)

    def add(self, number: int, completion: Completion) -> None:
        """Counts an attempt in stage `number`."""
        self._count[number] += 1
        self._seconds[number] += completion.seconds
        self._open[number] += not (isinstance(completion.outcome, Answer) and completion.outcome.decided)

    def seconds_left(self, waiting: Sequence[int], spent: float, workers: int) -> float | None:
        """Seconds until all is done, with what has no measure yet at its highest; None where there is none.

        With c_r the mean seconds of an attempt in round r (its budget before the first), and q_r the share of them that
        leave the query open (1 before the first), a query that waits in round r costs  e_r = c_r + q_r e_{r+1}; behind
        the last round, and behind attacks, nothing follows.

        Args:
            waiting: number of queries in each stage that wait or are being worked on.
            spent: seconds that those being worked on have taken already.
            workers: how many work at a time.
        """
        if not any(self._count) or workers < 1:
            return None
        total, cost = 0.0, 0.0
        for number in reversed(range(len(self._budgets))):
            measured, budget = self._count[number], self._budgets[number]
            cost = 0.0 if number >= self._last else cost
            if measured:
                cost = self._seconds[number] / measured + self._open[number] / measured * cost
            elif budget is not None:
                cost += budget
            elif waiting[number]:
                return None
            total += waiting[number] * cost
        return max(0.0, total - spent) / workers
