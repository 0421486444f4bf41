"""Several stores as one."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mipverify_py.campaigns._errors import CampaignError
from mipverify_py.campaigns._reading import read_records
from mipverify_py.campaigns._store import Store
from mipverify_py.campaigns._writing import insert


class Merged(NamedTuple):
    """What a merge added.

    Attributes:
        queries, attempts: rows that were not in the target before.
        contradictions: answers that cannot both be true, in the whole of the target.
    """

    queries: int
    attempts: int
    contradictions: int


def merge_campaigns(sources: Sequence[str | Path], into: str | Path) -> Merged:
    """Puts all that is in the sources into one store; merging the same twice changes nothing.

    Queries with equal keys become one, with the attempts of all sources: those of a source stand in its order behind
    those that the target had. Models, specifications and the event logs come along. Either all of it is done or, on an
    error, none.

    Args:
        sources: stores, which are only read; a run may be writing to them.
        into: a store, which is made if it is missing.

    Raises:
        CampaignError: a source cannot be read, is the target itself, or does not go with the rest: a configuration has
            another model or other options, an input has other values or another label.
        StoreBusyError: another process is writing to the target.
        StoreFullError: there is no room for it all.
    """
    target_path = Path(into)
    for source in sources:
        if Path(source).resolve() == target_path.resolve():
            raise CampaignError(f"{target_path.name} is a source and the target of the merge; name another target.")
    is_new = not target_path.exists()
    target = Store.create(target_path) if is_new else Store.open(target_path)
    try:
        with target, target.database.writing():
            counts = [_copy(Path(source), target) for source in sources]
            found = target.note_contradictions()
    except BaseException:
        for ending in ("", "-wal", "-shm") if is_new else ():
            target_path.with_name(target_path.name + ending).unlink(missing_ok=True)
        raise
    return Merged(sum(queries for queries, _ in counts), sum(attempts for _, attempts in counts), found)


def _copy(path: Path, target: Store) -> tuple[int, int]:
    """Adds what one source holds; returns the numbers of new queries and attempts."""
    with Store.open(path, read_only=True) as source, source.database.reading() as reader:
        try:
            for model in source.models().values():
                target.add_model(model)
            records = list(read_records(reader, with_inputs=True))
            writer = target.database.connection
            added = target.add_queries([record for _, _, record in records]).new
        except CampaignError as error:
            raise CampaignError(f"{path.name} cannot be merged into {target.name}. {error}") from error
        rows = {row: _row_of(writer, key, path) for row, key, _ in records}
        for table, once in (("session", "id"), ("provenance", "digest"), ("spec", "digest")):
            for row in _rows(reader, table):
                insert(writer, table, row, once=once)
        attempts = _copy_attempts(reader, writer, rows)
        for event in _rows(reader, "event"):
            query = None if event["query"] is None else rows[event["query"]]
            del event["id"]
            insert(writer, "event", {**event, "query": query}, once="session, ordinal")
        return added, attempts


def _row_of(writer: sqlite3.Connection, key: str, path: Path) -> int:
    found = writer.execute("SELECT id FROM query WHERE key = ?", (key,)).fetchone()
    if found is None:
        raise CampaignError(f"{path.name}: a query does not match its key {key}; the store is damaged.")
    return int(found[0])


def _copy_attempts(reader: sqlite3.Connection, writer: sqlite3.Connection, rows: Mapping[int, int]) -> int:
    """Adds the attempts that the target does not have, with their findings; returns how many those were."""
    new = 0
    for attempt in _rows(reader, "attempt"):
        old, query = attempt.pop("id"), rows[attempt["query"]]
        number = insert(writer, "attempt", {**attempt, "query": query}, once="digest")
        if number == 0:
            continue
        new += 1
        for finding in _rows(reader, "finding", "WHERE attempt = ?", (old,)):
            del finding["id"]
            insert(writer, "finding", {**finding, "attempt": number})
        for certificate in _rows(reader, "certificate", "WHERE attempt = ?", (old,)):
            insert(writer, "certificate", {**certificate, "attempt": number})
    return new


def _rows(
    reader: sqlite3.Connection, table: str, where: str = "", values: Sequence[object] = ()
) -> list[dict[str, Any]]:
    """Rows of a table in the order in which they were added, by column name."""
    found = reader.execute(f"SELECT * FROM {table} {where} ORDER BY rowid", values)  # noqa: S608 - names are our own
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
