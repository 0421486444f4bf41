"""Queries that are answered in one go: which go together, and what came of each.

A step of an attack on one input costs nearly what it costs on thirty, so attacks go together.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from mipverify_py.campaigns._records import (
    Answer,
    Completion,
    Failure,
    FailureReason,
    QueryKind,
    QueryRecord,
    Task,
    canonical_json,
)

BATCH = 32
"""So many go together at most: with more, an attack takes hardly less per input."""

WORTHWHILE = 8
"""Groups are not made smaller than this to give more workers something to do: they would end hardly sooner."""


def batches(records: Iterable[tuple[int, QueryRecord]], workers: int) -> list[list[int]]:
    """Which of the queries go together, each of them once: rows of the store.

    The same model, question (but for the label), options and seed go together, neighbours first, in groups as equal as
    can be: at most `BATCH`, and of those from `WORTHWHILE` on so many that every worker gets something to do.

    Args:
        records: rows and queries; only attacks go together, so no others.
        workers: how many work at a time, >= 1.
    """
    alike: dict[tuple[str, ...], list[int]] = {}
    for row, record in records:
        alike.setdefault(_kinship(record), []).append(row)
    largest = min(BATCH, max(WORTHWHILE, math.ceil(sum(map(len, alike.values())) / workers)))
    found = []
    for rows in alike.values():
        number = math.ceil(len(rows) / largest)
        ends = [len(rows) * k // number for k in range(number + 1)]
        found += [rows[first:end] for first, end in itertools.pairwise(ends)]
    return found


def _kinship(record: QueryRecord) -> tuple[str, ...]:
    """What queries have in common that go together."""
    assert record.kind is QueryKind.ATTACK
    question = {**record.question, "label": record.question.get("label") is None}
    return (record.model, canonical_json([question, record.options, record.seed]))


def together(tasks: Sequence[Task]) -> Task:
    """One task of several, which may take as long as all of them one after the other."""
    first, *others = tasks
    if not others:
        return first
    limit = first.limits.time_limit
    limits = replace(first.limits, time_limit=None if limit is None else limit * len(tasks))
    return replace(first, limits=limits, companions=tuple(others))


def unfold(completion: Completion) -> list[Completion]:
    """What came of each of the tasks that were answered in one go; a failure is the failure of all of them."""
    members = completion.task.members
    outcomes = _outcomes(completion.outcome, len(members))
    share = completion.seconds / len(members)
    return [
        replace(completion, task=task, outcome=outcome, seconds=share)
        for task, outcome in zip(members, outcomes, strict=True)
    ]


def _outcomes(outcome: Answer | Failure, count: int) -> Sequence[Answer | Failure]:
    if isinstance(outcome, Failure):
        return [outcome] * count
    answers = [replace(outcome, companions=()), *outcome.companions]
    if len(answers) != count:
        return [Failure(FailureReason.ERROR, f"{len(answers)} answers came where {count} were asked for")] * count
    return answers
