"""What `counter-attack campaign` shows of a store: states by configuration and kind, contradictions, last events."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from counter_attack.cli._tables import TableWriter
from counter_attack.ug100 import Column, Table
from mipverify_py.campaigns._reading import StoredQuery
from mipverify_py.campaigns._records import QueryState
from mipverify_py.campaigns._spec import settings_of
from mipverify_py.campaigns._store import Store
from mipverify_py.cli import ExitCode
from mipverify_py.cli._json import SCHEMA, write_line
from mipverify_py.cli._numbers import seconds
from mipverify_py.cli._output import Output
from mipverify_py.cli._printable import printable

_COLUMNS = (
    Column("configuration", "configuration", "text"),
    Column("kind", "query", "text"),
    Column("total", "total", "count"),
    Column("decided", "decided", "count"),
    Column("open", "open", "count"),
    Column("failed", "failed", "count"),
    Column("new", "new", "count"),
    Column("median_gap", "median\ngap", "distance"),
    Column("worst_gap", "worst\ngap", "distance"),
    Column("seconds", "seconds", "percent"),
)


def show_status(path: Path, *, events: int, as_json: bool) -> int:
    """Writes how far the campaign in a store is; returns the exit code.

    Raises:
        CampaignError: the file is no store, or damaged.
    """
    with Store.open(path, read_only=True) as store, store.database.reading():
        record = status_record(store, events=events)
    if as_json:
        write_line(record)
    else:
        _write(record)
    return exit_code(record)


def status_record(store: Store, *, events: int) -> dict[str, Any]:
    """Everything that is shown, as JSON; measured by the limits of the spec that was added last."""
    limits, settings = settings_of(store.spec() or {})
    queries = store.queries(limits, settings.max_failures, with_inputs=False)
    groups: dict[tuple[str, str], list[StoredQuery]] = {}
    for query in queries:
        groups.setdefault((query.record.configuration, _asked(query)), []).append(query)
    return {
        "schema": SCHEMA,
        "kind": "campaign-status",
        "version": version("mipverify-py"),
        "store": store.name,
        **_counts(queries),
        "rows": [{"configuration": name, "kind": kind, **_counts(part)} for (name, kind), part in groups.items()],
        "contradictions": [
            {"configuration": one.configuration, "dataset": one.dataset, "index": one.index, "detail": one.detail}
            for one in store.contradictions()
        ],
        "failures": _failures(queries),
        "events": _events(store, events),
    }


def exit_code(record: Mapping[str, Any]) -> int:
    """0 if everything is decided and nothing contradicts itself, 2 otherwise."""
    done = record["decided"] == record["total"] and not record["contradictions"]
    return ExitCode.ANSWERED if done else ExitCode.UNKNOWN


def show_counts(record: Mapping[str, Any]) -> None:
    """The table of states, and what is wrong."""
    table = Table("status", _title(record), _COLUMNS, tuple(record["rows"]))
    TableWriter(as_json=False, folder=None).add(table)
    out = Output()
    for one in record["failures"]:
        line = f"failed ({one['queries']}): {one['detail']}"
        out.line(printable(line))
    for one in record["contradictions"]:
        place = f"{one['configuration']}, {one['dataset']} {one['index']}"
        out.line(printable(f"contradiction: {place}: {one['detail']}"))


def _write(record: Mapping[str, Any]) -> None:
    show_counts(record)
    out = Output()
    if record["events"]:
        out.line("")
        out.line("Last events", "bold")
    for event in record["events"]:
        about = "" if event["query"] is None else f" (query {event['query']})"
        detail = event["detail"].partition("\n")[0]
        out.line(printable(f"  {event['time']}  {event['kind']}: {detail}{about}"))


def _title(record: Mapping[str, Any]) -> str:
    words = [f"{record[state]:,} {state}" for state in ("decided", "open", "failed", "new") if record[state]]
    total = f"{record['total']:,} {'query' if record['total'] == 1 else 'queries'}"
    return f"{record['store']}: {total}: {', '.join(words) or 'nothing asked'}; {seconds(record['seconds'])} of work"


def _asked(query: StoredQuery) -> str:
    """What is asked, in words: "distance linf", "verify l1 0.1", "attack strong linf"."""
    question = query.record.question
    words = [query.record.kind.value, question.get("set"), question["norm"], question.get("eps")]
    return " ".join(str(word) for word in words if word is not None)


def _counts(queries: Sequence[StoredQuery]) -> dict[str, Any]:
    states = [query.state for query in queries]
    gaps = [max(query.gap, 0.0) for query in queries if query.gap is not None]
    return {
        "total": len(queries),
        **{state.value: states.count(state) for state in QueryState},
        "median_gap": statistics.median(gaps) if gaps else None,
        "worst_gap": max(gaps, default=None),
        "seconds": sum(query.seconds for query in queries),
    }


def _failures(queries: Sequence[StoredQuery]) -> list[dict[str, Any]]:
    """The reasons of failed queries, the most frequent first, each with the number of queries."""
    found: dict[str, int] = {}
    for query in queries:
        if query.state is QueryState.FAILED and query.failure is not None:
            reason = query.failure.strip().rpartition("\n")[2]
            found[reason] = found.get(reason, 0) + 1
    return [{"detail": detail, "queries": count} for detail, count in sorted(found.items(), key=lambda one: -one[1])]


def _events(store: Store, count: int) -> list[dict[str, Any]]:
    """The last events, the oldest first."""
    command = "SELECT time, kind, detail, query FROM event ORDER BY id DESC LIMIT ?"
    with store.database.reading() as connection:
        rows = connection.execute(command, (count,)).fetchall()
    return [dict(zip(("time", "kind", "detail", "query"), row, strict=True)) for row in reversed(rows)]
