"""Answers that cannot both be true: within the attempts at one query, and between queries about the same input."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from mipverify_py.campaigns._codec import from_json
from mipverify_py.campaigns._judging import Attempt, Ends, contradiction_of, ends_of
from mipverify_py.campaigns._reading import Contradiction, read_attempts
from mipverify_py.campaigns._records import QueryKind, canonical_json


class _Asked(NamedTuple):
    """A query as far as it matters to others about the same input."""

    row: int
    configuration: str
    dataset: str
    position: int
    kind: QueryKind
    eps: float | None
    place: tuple[str, int, str]


_QUERY = """
SELECT query.id, protocol.configuration, input.dataset, input.position, protocol.kind, query.eps, query.model,
    query.input, query.question
FROM query JOIN protocol ON protocol.id = query.protocol JOIN input ON input.id = query.input {where}
"""


def disagreements(connection: sqlite3.Connection) -> list[Contradiction]:
    """All of them, by the first query that each is about."""
    asked = [_asked(columns) for columns in connection.execute(_QUERY.format(where=""))]
    return _found(asked, read_attempts(connection, "WHERE failure IS NULL"))


def disagreements_about(connection: sqlite3.Connection, row: int) -> list[Contradiction]:
    """Those about the model and the input of the query in `row`."""
    where = "JOIN query AS this ON this.model = query.model AND this.input = query.input WHERE this.id = ?"
    asked = [_asked(columns) for columns in connection.execute(_QUERY.format(where=where), (row,))]
    rows = [one.row for one in asked]
    places = ", ".join("?" * len(rows))
    return _found(asked, read_attempts(connection, f"WHERE failure IS NULL AND query IN ({places})", rows))


def _asked(columns: Sequence[Any]) -> _Asked:
    row, configuration, dataset, position, kind, eps, model, input_row, text = columns
    question = from_json(text, f"Query {row}")
    ball = [question.get("norm"), question.get("domain"), question.get("margin") or 0.0, question.get("targets")]
    return _Asked(row, configuration, dataset, position, QueryKind(kind), eps, (model, input_row, canonical_json(ball)))


def _found(asked: Iterable[_Asked], attempts: dict[int, list[Attempt]]) -> list[Contradiction]:
    """Contradictions within each query, and between those that measure the same distance."""
    found, places = [], defaultdict(list)
    for one in asked:
        if not (history := attempts.get(one.row)):
            continue
        detail = contradiction_of(one.kind, one.eps, history)
        if detail is not None:
            found.append(_contradiction([one], detail))
        else:
            places[one.place, history[-1].reference].append((one, ends_of(one.kind, one.eps, history)))
    for group in places.values():
        found += _between(group)
    return sorted(found, key=lambda contradiction: contradiction.rows)


def _between(group: Sequence[tuple[_Asked, Ends]]) -> list[Contradiction]:
    """None, or the worst contradiction between queries that measure the same distance from the same reference class."""
    best = Ends()
    for _, ends in group:
        best = best.and_also(ends)
    crossing = best.crossing()
    if crossing is None:
        return []
    lower, detail = crossing
    lower_of = next(asked for asked, ends in group if lower in (ends.own, ends.claimed))
    upper_of = next(asked for asked, ends in group if ends.upper == best.upper)
    return [_contradiction([lower_of, upper_of], detail)]


def _contradiction(asked: Sequence[_Asked], detail: str) -> Contradiction:
    first = min(asked, key=lambda one: one.row)
    rows = tuple(sorted({one.row for one in asked}))
    return Contradiction(rows, first.configuration, first.dataset, first.position, detail)
