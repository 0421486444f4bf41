"""Rows of a store as values."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from mipverify_py._enums import Evidence
from mipverify_py.campaigns._codec import Packed, checked_bytes, from_json, unpack
from mipverify_py.campaigns._errors import CampaignError
from mipverify_py.campaigns._judging import Attempt, Ends, bracket_of, contradiction_of, state_of, verdict_of
from mipverify_py.campaigns._records import InputRecord, Limits, ModelRecord, QueryKind, QueryRecord, QueryState
from onnx_models import Array


@dataclass(frozen=True, slots=True, eq=False)
class StoredQuery:
    """A query in a store, with what all attempts at it say together.

    Attributes:
        row: id in the store.
        key: `record.key`, also where the record has no pixel values.
        record: the query; its input's values are an empty array where they were left out.
        state: measured by the limits asked for.
        history: all attempts, oldest first.
        lower: greatest proven lower end, None if none is known. One that our own checks prove is preferred to a greater
            one that rests on a solver's word, where it leaves the bracket as narrow as the limits ask for.
        upper: least distance of a checked example, None if none is known.
        verdict: for `distance` and `verify` what is known; "unknown" also where attempts contradict one another.
        evidence, engine, backend, predicted, reference: of the attempt that the answer rests on (`source`).
        stop_reason: of the last attempt that came back with an answer.
        contradiction: how attempts contradict one another, None where they agree; such a query is open.
    """

    row: int
    key: str
    record: QueryRecord
    state: QueryState
    history: tuple[Attempt, ...]
    lower: float | None
    upper: float | None
    verdict: str | None
    contradiction: str | None

    @property
    def attempts(self) -> int:
        """Number of attempts."""
        return len(self.history)

    @property
    def failures(self) -> int:
        """Number of attempts that came back without an answer."""
        return sum(attempt.failure is not None for attempt in self.history)

    @property
    def seconds(self) -> float:
        """Seconds of all attempts together."""
        return sum(attempt.seconds for attempt in self.history)

    @property
    def answers(self) -> tuple[Attempt, ...]:
        """The attempts that came back with an answer."""
        return tuple(attempt for attempt in self.history if attempt.failure is None)

    @property
    def source(self) -> Attempt | None:
        """The attempt that the answer rests on, None without an answer.

        It is the first that proved the lower end, or gave the verdict, or, where there is neither, found the upper end;
        of several such one that rests on the best evidence is preferred. Failing these it is the last answer.
        """
        answers = self.answers
        choices = (
            [a for a in answers if self.record.kind is QueryKind.DISTANCE and a.lower == self.lower is not None],
            [a for a in answers if self.verdict in ("robust", "adversarial") and a.verdict == self.verdict],
            [a for a in answers if a.upper == self.upper is not None],
            answers[-1:],
        )
        found = next((choice for choice in choices if choice), ())
        levels = [level.value for level in Evidence]
        return min(found, key=lambda a: levels.index(a.evidence) if a.evidence in levels else len(levels), default=None)

    @property
    def evidence(self) -> str | None:
        """Of `source`."""
        return None if self.source is None else self.source.evidence

    @property
    def engine(self) -> str | None:
        """Of `source`."""
        return None if self.source is None else self.source.engine

    @property
    def backend(self) -> str | None:
        """Of `source`."""
        return None if self.source is None else self.source.backend

    @property
    def predicted(self) -> int | None:
        """The model's class for the input, of `source`."""
        return None if self.source is None else self.source.predicted

    @property
    def reference(self) -> int | None:
        """The class that examples are compared with, of `source`."""
        return None if self.source is None else self.source.reference

    @property
    def stop_reason(self) -> str | None:
        """Of the last attempt that came back with an answer."""
        return self.answers[-1].stop_reason if self.answers else None

    @property
    def failure(self) -> str | None:
        """Reason and detail of the last failure, None without one."""
        failed = [attempt for attempt in self.history if attempt.failure is not None]
        return f"{failed[-1].failure}: {failed[-1].failure_detail}" if failed else None

    @property
    def gap(self) -> float | None:
        """upper - lower, None if an end is absent; below 0 by rounding or where attempts disagree."""
        return None if self.lower is None or self.upper is None else self.upper - self.lower


@dataclass(frozen=True, slots=True)
class Counts:
    """How many queries are how far.

    Attributes:
        contradictions: open queries whose attempts contradict one another.
        parts: the same by configuration and kind of query; empty in a part.
    """

    total: int
    new: int
    open: int
    decided: int
    failed: int
    contradictions: int
    parts: Mapping[tuple[str, str], Counts] = field(default_factory=dict)


class Added(NamedTuple):
    """How many queries were new, and how many were there already."""

    new: int
    present: int


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Answers that cannot both be true.

    Attributes:
        rows: the queries that they answer, one or more.
        configuration, dataset, index: where.
        detail: what is said, and by what.
    """

    rows: tuple[int, ...]
    configuration: str
    dataset: str
    index: int
    detail: str


def read_models(connection: sqlite3.Connection) -> dict[str, ModelRecord]:
    """The models by digest, in the order in which they were added."""
    models = {}
    for digest, name, onnx, checksum, card in connection.execute(
        "SELECT digest, name, onnx, checksum, card FROM model ORDER BY rowid"
    ):
        what = f"Model {name}"
        models[digest] = ModelRecord(digest, name, checked_bytes(onnx, checksum, what), from_json(card, what))
    return models


def read_input(connection: sqlite3.Connection, row: int) -> Array:
    """Values of the input of query `row`."""
    found = connection.execute(
        "SELECT dataset, position, shape, data, checksum FROM input WHERE id = (SELECT input FROM query WHERE id = ?)",
        (row,),
    ).fetchone()
    if found is None:
        raise CampaignError(f"There is no query in row {row} of the store.")
    return unpack(Packed(*found[2:]), f"Input {found[1]} of data set {found[0]} (row {row})")


_ATTEMPT_COLUMNS = (
    "query, id, digest, number, final, time_limit, gap_absolute, gap_relative, overrides, failure, failure_detail, "
    "decided, verdict, lower, upper, evidence, stop_reason, predicted, reference, engine, backend, "
    "ifnull(seconds, elapsed)"
)


def _attempt(columns: Sequence[Any]) -> Attempt:
    row, digest, number, final, *limits, overrides, failure, detail, decided = columns[:11]
    return Attempt(
        row,
        digest,
        number,
        bool(final),
        Limits(*limits),
        {} if overrides == "{}" else from_json(overrides, f"Attempt {row}"),
        failure,
        detail,
        None if decided is None else bool(decided),
        *columns[11:],
    )


def read_attempts(
    connection: sqlite3.Connection, where: str = "", values: Sequence[Any] = ()
) -> dict[int, list[Attempt]]:
    """Attempts by query, oldest first; `where` is a condition with `values` for its question marks."""
    found: dict[int, list[Attempt]] = defaultdict(list)
    command = f"SELECT {_ATTEMPT_COLUMNS} FROM attempt {where} ORDER BY id"  # noqa: S608 - texts are our own
    for query, *columns in connection.execute(command, values):
        found[query].append(_attempt(columns))
    return found


_QUERY = """
SELECT query.id, query.key, protocol.configuration, protocol.kind, query.model, query.input, query.question,
    query.options, query.seed
FROM query JOIN protocol ON protocol.id = query.protocol {where} ORDER BY query.id
"""


def read_records(
    connection: sqlite3.Connection, *, with_inputs: bool, where: str = "", values: Sequence[Any] = ()
) -> Iterator[tuple[int, str, QueryRecord]]:
    """Row, key and record of each query; queries about the same input share one record of it."""
    inputs: dict[int, InputRecord] = {}
    for row, key, configuration, kind, model, input_row, question, options, seed in connection.execute(
        _QUERY.format(where=where), values
    ).fetchall():
        if input_row not in inputs:
            inputs[input_row] = _input_record(connection, input_row, with_values=with_inputs)
        what = f"Query {row}"
        yield (
            row,
            key,
            QueryRecord(
                configuration,
                model,
                inputs[input_row],
                QueryKind(kind),
                from_json(question, what),
                from_json(options, what),
                seed,
            ),
        )


def _input_record(connection: sqlite3.Connection, row: int, *, with_values: bool) -> InputRecord:
    columns = "dataset, position, label" + (", shape, data, checksum" if with_values else "")
    command = f"SELECT {columns} FROM input WHERE id = ?"  # noqa: S608 - names are our own
    dataset, position, label, *packed = connection.execute(command, (row,)).fetchone()
    what = f"Input {position} of data set {dataset}"
    return InputRecord(unpack(Packed(*packed), what) if packed else np.empty(0), dataset, position, label)


def stored_query(
    row: int, key: str, record: QueryRecord, history: Sequence[Attempt], limits: Limits | None, max_failures: int
) -> StoredQuery:
    """A query with what its attempts say together, measured by `limits` (see `state_of`)."""
    eps = record.question.get("eps")
    contradiction = contradiction_of(record.kind, eps, history)
    ends = Ends() if record.kind is QueryKind.VERIFY else bracket_of(record.kind, eps, history, limits)
    return StoredQuery(
        row,
        key,
        record,
        state_of(record.kind, history, limits, max_failures, is_sound=contradiction is None),
        tuple(history),
        None if ends.lower is None else ends.lower.value,
        None if ends.upper is None else ends.upper.value,
        verdict_of(history),
        contradiction,
    )


def count(queries: Sequence[StoredQuery]) -> Counts:
    """How many of the queries are how far, altogether and by configuration and kind."""
    groups: dict[tuple[str, str], list[StoredQuery]] = defaultdict(list)
    for query in queries:
        groups[query.record.configuration, query.record.kind.value].append(query)
    return _counts(queries, {name: _counts(group, {}) for name, group in groups.items()})


def _counts(queries: Sequence[StoredQuery], parts: Mapping[tuple[str, str], Counts]) -> Counts:
    states = [query.state for query in queries]
    return Counts(
        len(states),
        states.count(QueryState.NEW),
        states.count(QueryState.OPEN),
        states.count(QueryState.DECIDED),
        states.count(QueryState.FAILED),
        sum(query.contradiction is not None for query in queries),
        parts,
    )
