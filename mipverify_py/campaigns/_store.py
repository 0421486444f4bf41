"""The store of a campaign: one SQLite file with its models, inputs, queries, and every attempt at an answer."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from mipverify_py.campaigns._codec import digest, from_json, to_json
from mipverify_py.campaigns._database import Database, create_file
from mipverify_py.campaigns._disagreements import disagreements, disagreements_about
from mipverify_py.campaigns._errors import CampaignError
from mipverify_py.campaigns._judging import MAX_FAILURES
from mipverify_py.campaigns._lock import WriterLock
from mipverify_py.campaigns._reading import (
    Added,
    Contradiction,
    Counts,
    StoredQuery,
    count,
    read_attempts,
    read_input,
    read_models,
    read_records,
    stored_query,
)
from mipverify_py.campaigns._records import Completion, Failure, Limits, ModelRecord, QueryRecord
from mipverify_py.campaigns._writing import (
    Session,
    insert,
    insert_completion,
    insert_event,
    insert_model,
    insert_query,
    utc_text,
)
from onnx_models import Array


class Store:
    """A campaign's file, open for writing (by one process at a time) or for reading (by any number).

    What a method has recorded is durable when it returns: it survives kill -9 and loss of power. Rows are only ever
    added. A store may be used from several threads. Make one with `Store.create` or `Store.open`, and close it, or use
    it in a `with` statement.
    """

    def __init__(self, database: Database, lock: WriterLock | None) -> None:
        self._database = database
        self._lock = lock
        self._session = Session(uuid.uuid4().hex, utc_text(datetime.now(UTC)), _package_version())

    @classmethod
    def create(cls, path: str | Path) -> Store:
        """A new, empty store, open for writing.

        Raises:
            CampaignError: there is a file of this name, or none can be made there.
            StoreBusyError: another process is making it.
            StoreFullError: there is no room.
        """
        return cls._open_to_write(_place(path), is_new=True)

    @classmethod
    def open(cls, path: str | Path, *, read_only: bool = False) -> Store:
        """The store in a file; a store of an older version of the schema is brought up to date by opening to write.

        Raises:
            CampaignError: there is no such file, or it is no store, is damaged, or is newer than this package.
            StoreBusyError: another process is writing to it, and `read_only` is False.
            StoreFullError: opening to write needs a little room, which is not there.
        """
        place = _place(path)
        if read_only:
            return cls(Database(place, read_only=True), None)
        try:
            place.stat()
        except FileNotFoundError as error:
            raise CampaignError(f"{place.name}: there is no store of this name; Store.create makes one.") from error
        except OSError as error:
            raise CampaignError(f"{place.name}: no store can be opened there ({error.strerror}).") from error
        return cls._open_to_write(place, is_new=False)

    @classmethod
    def _open_to_write(cls, path: Path, *, is_new: bool) -> Store:
        lock = WriterLock(path, utc_text(datetime.now(UTC)))
        try:
            if is_new:
                create_file(path)
            return cls(Database(path, read_only=False), lock)
        except BaseException:
            lock.release()
            raise

    @property
    def name(self) -> str:
        """The file's name, without folders."""
        return self._database.name

    @property
    def read_only(self) -> bool:
        """Whether it is open for reading only."""
        return self._database.read_only

    @property
    def database(self) -> Database:
        """The file itself, for transactions of several steps and for reading with SQL."""
        return self._database

    # ------------------------------------------------------------------------------------------------------- writing

    def add_model(self, model: ModelRecord) -> bool:
        """Adds a model; False if one with the same digest, which computes the same, is there already and is kept."""
        with self._database.writing() as connection:
            return insert_model(connection, model)

    def add_queries(self, queries: Sequence[QueryRecord], spec: Mapping[str, Any] | None = None) -> Added:
        """Adds those of the queries that are not there yet, all of them or, on an error, none.

        Args:
            queries: their models have to be in the store.
            spec: what the campaign was asked to do, JSON; kept beside the queries for `spec`.

        Raises:
            CampaignError: a configuration is there with another model or other options, an input with other values or
                another label, or a model is missing.
        """
        with self._database.writing() as connection:
            new = sum(insert_query(connection, query) for query in queries)
            if new or spec is not None:
                self._session.store(connection)
            if spec is not None:
                text = to_json(spec, "The specification")
                row = {
                    "digest": digest([self._session.id, text], "The specification"),
                    "session": self._session.id,
                    "spec": text,
                }
                insert(connection, "spec", row, once="digest")
            if new:
                insert_event(connection, self._session, "queries", f"{new} new queries", None)
            return Added(new, len(queries) - new)

    def record(self, completion: Completion) -> bool:
        """Adds an attempt and what came of it; False if this very completion has been recorded since opening.

        Raises:
            CampaignError: its query is not in the store, or a number in it is not finite; nothing is recorded.
            StoreFullError: there is no room; nothing is recorded, and the store can be used again when there is.
        """
        return self.record_many([completion]) == 1

    def record_many(self, completions: Sequence[Completion]) -> int:
        """Adds all of the attempts or, on an error, none, as one step; returns how many were not there yet."""
        with self._database.writing() as connection:
            self._session.store(connection)
            return sum(self._record(completion) for completion in completions)

    def _record(self, completion: Completion) -> bool:
        connection, query = self._database.connection, completion.task.query
        if not insert_completion(connection, completion, self._session):
            return False
        outcome = completion.outcome
        if isinstance(outcome, Failure):
            insert_event(connection, self._session, "failure", f"{outcome.reason.value}: {outcome.detail}", query)
            return True
        insert_event(connection, self._session, "answer", outcome.stop_reason, query)
        self._note_contradictions(disagreements_about(connection, query))
        return True

    def note_contradictions(self) -> int:
        """Adds an event for every contradiction that the log does not know yet; returns how many there are in all.

        `record` does so for what it adds; this is for attempts that came into the store in another way.
        """
        with self._database.writing() as connection:
            found = disagreements(connection)
            self._note_contradictions(found)
            return len(found)

    def _note_contradictions(self, found: Sequence[Contradiction]) -> None:
        connection = self._database.connection
        known = "SELECT 1 FROM event WHERE kind = 'contradiction' AND query = ? AND detail = ?"
        for one in found:
            if connection.execute(known, (one.rows[0], one.detail)).fetchone() is None:
                self._session.store(connection)
                insert_event(connection, self._session, "contradiction", one.detail, one.rows[0])

    def note(self, kind: str, detail: str, query: int | None = None) -> None:
        """Adds a line to the event log, about a query (its row) or about the campaign."""
        with self._database.writing() as connection:
            self._session.store(connection)
            insert_event(connection, self._session, kind, detail, query)

    # ------------------------------------------------------------------------------------------------------- reading

    def models(self) -> dict[str, ModelRecord]:
        """The models by digest, in the order in which they were added."""
        with self._database.reading() as connection:
            return read_models(connection)

    def queries(
        self, limits: Limits | None = None, max_failures: int = MAX_FAILURES, *, with_inputs: bool = True
    ) -> list[StoredQuery]:
        """All queries by row, with what the attempts at them say together.

        Args:
            limits: how narrow a bracket has to be for a query to be decided; None takes for each query the limits of
                the last attempt that was answered.
            max_failures: attempts without an answer after which a query counts as failed.
            with_inputs: whether to read the inputs' values; without them `record.input.values` is empty.
        """
        with self._database.reading() as connection:
            attempts = read_attempts(connection)
            return [
                stored_query(row, key, record, attempts.get(row, []), limits, max_failures)
                for row, key, record in read_records(connection, with_inputs=with_inputs)
            ]

    def summary(self, limits: Limits | None = None, max_failures: int = MAX_FAILURES) -> Counts:
        """How many queries are how far; the arguments are those of `queries`."""
        return count(self.queries(limits, max_failures, with_inputs=False))

    def contradictions(self) -> list[Contradiction]:
        """Answers that cannot both be true, about one query or about two of the same input; none is ever dropped."""
        with self._database.reading() as connection:
            return disagreements(connection)

    def input(self, row: int) -> Array:
        """Values of the input of the query in `row`."""
        with self._database.reading() as connection:
            return read_input(connection, row)

    def spec(self) -> dict[str, Any] | None:
        """What was last given to `add_queries` as the specification, None if nothing was."""
        with self._database.reading() as connection:
            found = connection.execute("SELECT spec FROM spec ORDER BY rowid DESC LIMIT 1").fetchone()
        return None if found is None else dict(from_json(found[0], "The specification"))

    def close(self) -> None:
        """Closes the file, and lets others write; does nothing the second time."""
        self._database.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _place(path: str | Path) -> Path:
    """The path; raises CampaignError where there can be no file: in a loop of links, or with a zero byte."""
    place = Path(path)
    try:
        place.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise CampaignError(f"{place.name}: there can be no store of this name ({error}).") from error
    return place


def _package_version() -> str:
    from importlib.metadata import version

    return version("mipverify-py")
