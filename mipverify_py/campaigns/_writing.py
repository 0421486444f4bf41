"""Rows for models, queries, attempts and events; every function runs inside a transaction of its caller."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from mipverify_py.campaigns._codec import (
    digest,
    number,
    number_or_none,
    pack,
    printable,
    to_json,
    whole,
    whole_or_none,
)
from mipverify_py.campaigns._errors import CampaignError
from mipverify_py.campaigns._records import (
    Answer,
    Certificates,
    Completion,
    Failure,
    Finding,
    InputRecord,
    ModelRecord,
    QueryRecord,
    Task,
)


@dataclass
class Session:
    """One opening of a store by a writer; its row is made with the first thing that it writes.

    Attributes:
        id: unique, random.
        started: time of opening, for people.
        package: version of this package.
        events: events written so far.
    """

    id: str
    started: str
    package: str
    events: int = 0

    def store(self, connection: sqlite3.Connection) -> None:
        """Makes the row, once."""
        insert(connection, "session", {"id": self.id, "started": self.started, "package": self.package}, once="id")


def utc_text(moment: datetime) -> str:
    """A moment for people, to the millisecond: "2024-05-06T07:08:09.123Z"."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def insert(connection: sqlite3.Connection, table: str, row: Mapping[str, object], *, once: str | None = None) -> int:
    """Adds a row and returns its id; if one with the same value in column `once` is there, nothing is done: 0."""
    columns, places = ", ".join(row), ", ".join("?" * len(row))
    present = "" if once is None else f" ON CONFLICT ({once}) DO NOTHING"
    command = f"INSERT INTO {table} ({columns}) VALUES ({places}){present}"  # noqa: S608 - names are our own
    done = connection.execute(command, tuple(row.values()))
    return int(done.lastrowid or 0) if done.rowcount else 0


def insert_model(connection: sqlite3.Connection, model: ModelRecord) -> bool:
    """Adds a model; False if one of this digest, so one that computes the same, is there already."""
    row = {
        "digest": model.digest,
        "name": model.name,
        "onnx": model.onnx,
        "checksum": hashlib.sha256(model.onnx).hexdigest(),
        "card": to_json(model.card, f"The card of model {model.name}"),
    }
    return insert(connection, "model", row, once="digest") > 0


def insert_query(connection: sqlite3.Connection, query: QueryRecord) -> bool:
    """Adds a query with its configuration, protocol and input; False if it is there already.

    Raises:
        CampaignError: it does not go with what the store holds.
    """
    name = f"Configuration {query.configuration}"
    known = connection.execute("SELECT name FROM model WHERE digest = ?", (query.model,)).fetchone()
    if known is None:
        raise CampaignError(f"{name}: its model {query.model} is not in the store; add_model comes before add_queries.")
    _match_configuration(connection, query)
    checked = {
        "eps": number_or_none(query.question.get("eps"), f"{name}: eps"),
        "question": to_json(query.question, f"{name}: the question"),
        "options": to_json(query.options, f"{name}: the options"),
        "seed": whole(query.seed, f"{name}: the seed"),
    }
    protocol, input_row = _protocol(connection, query), _input(connection, query.input)
    key = query.key
    found = connection.execute("SELECT protocol FROM query WHERE key = ?", (key,)).fetchone()
    if found is not None:
        if found[0] != protocol:
            raise CampaignError(
                f"{name}: the store has the same query (model {query.model}) under another configuration's name. "
                "Use one name for one configuration."
            )
        return False
    row = {"key": key, "protocol": protocol, "model": query.model, "input": input_row, **checked}
    insert(connection, "query", row)
    return True


def _match_configuration(connection: sqlite3.Connection, query: QueryRecord) -> None:
    """Makes the configuration, or checks that it has the query's model."""
    found = connection.execute("SELECT model FROM configuration WHERE name = ?", (query.configuration,)).fetchone()
    if found is None:
        insert(connection, "configuration", {"name": query.configuration, "model": query.model})
    elif found[0] != query.model:
        raise CampaignError(
            f"Configuration {query.configuration} has model {found[0]} in the store, and model {query.model} is given. "
            "A configuration keeps its model: give the new one another name, or use another store."
        )


PER_QUERY = ("label", "eps", "targets")
"""What may differ between the questions of one protocol."""


def protocol_of(query: QueryRecord) -> dict[str, Any]:
    """What all queries of one configuration, kind, norm and attack set have in common."""
    common = {name: value for name, value in query.question.items() if name not in PER_QUERY}
    return {"question": common, "options": dict(query.options), "seed": int(query.seed)}


def _protocol(connection: sqlite3.Connection, query: QueryRecord) -> int:
    """Row of the query's protocol, made if need be; other options, seed or question are refused."""
    content = protocol_of(query)
    row = {
        "configuration": query.configuration,
        "kind": query.kind.value,
        "norm": str(query.question.get("norm", "")),
        "attack_set": str(query.question.get("set", "")),
    }
    found = connection.execute(
        "SELECT id, digest, content FROM protocol WHERE configuration = ? AND kind = ? AND norm = ? AND attack_set = ?",
        tuple(row.values()),
    ).fetchone()
    what = f"Configuration {query.configuration}: question and options"
    given, text = digest(content, what), to_json(content, what)
    if found is None:
        return insert(connection, "protocol", {**row, "digest": given, "content": text})
    if found[1] != given:
        asked = " ".join(text for text in (row["kind"], row["norm"], row["attack_set"]) if text)
        raise CampaignError(
            f"Configuration {query.configuration}, {asked}: the store has options {found[1][:16]} ({found[2]}), and "
            f"{given[:16]} ({text}) are given. Answers under different options are never "
            "mixed: restore the options, give the configuration another name, or use another store."
        )
    return int(found[0])


def _input(connection: sqlite3.Connection, record: InputRecord) -> int:
    """Row of the input, made if need be; other values or another label for the same row of a data set are refused."""
    what = f"Input {record.index} of data set {record.dataset}"
    packed = pack(record.values, what)
    label, index = whole_or_none(record.label, f"{what}: its label"), whole(record.index, f"{what}: its index")
    found = connection.execute(
        "SELECT id, checksum, label FROM input WHERE dataset = ? AND position = ? AND shape = ?",
        (record.dataset, index, packed.shape),
    ).fetchone()
    if found is None:
        row = {"dataset": record.dataset, "position": index, "label": label, **packed._asdict()}
        return insert(connection, "input", row)
    if found[1] != packed.checksum:
        raise CampaignError(
            f"{what}: the store has values {found[1][:16]}, and values {packed.checksum[:16]} are given. The data set "
            "has changed: restore it, give it another name, or use another store."
        )
    if found[2] != label:
        raise CampaignError(
            f"{what}: the store has label {found[2]}, and label {label} is given. Restore the labels, give the data "
            "set another name, or use another store."
        )
    return int(found[0])


def insert_completion(connection: sqlite3.Connection, completion: Completion, session: Session) -> bool:
    """Adds an attempt with its findings; False if this very completion is there already.

    Raises:
        CampaignError: its query is not in the store, or it holds numbers that are not finite.
    """
    task = completion.task
    what = f"Attempt {task.number} at query {task.query}"
    found = connection.execute("SELECT key FROM query WHERE id = ?", (task.query,)).fetchone()
    if found is None:
        raise CampaignError(f"{what}: there is no such query in the store.")
    host, versions = to_json(completion.host, f"{what}: host"), to_json(completion.versions, f"{what}: versions")
    provenance = digest([host, versions], what)
    row = {
        "number": whole(task.number, f"{what}: its number"),
        "final": int(task.final),
        "time_limit": number_or_none(task.limits.time_limit, f"{what}: time limit"),
        "gap_absolute": number(task.limits.gap_absolute, f"{what}: absolute gap"),
        "gap_relative": number(task.limits.gap_relative, f"{what}: relative gap"),
        "overrides": to_json(task.overrides, f"{what}: overrides"),
        "worker": completion.worker,
        "provenance": provenance,
        "elapsed": number(completion.seconds, f"{what}: seconds"),
        "session": session.id,
        **_outcome_columns(completion.outcome, what),
    }
    outcome = completion.outcome
    findings = [] if isinstance(outcome, Failure) else [_finding_columns(f, what) for f in outcome.findings]
    certificate = _certificate_columns(task, outcome)
    content = [found[0], row, [{k: v for k, v in finding.items() if k != "data"} for finding in findings]]
    if certificate is not None:
        content.append(certificate["checksum"])
    started = utc_text(datetime.now(UTC) - timedelta(seconds=max(completion.seconds, 0.0)))
    insert(connection, "provenance", {"digest": provenance, "host": host, "versions": versions}, once="digest")
    attempt = {"digest": digest(content, what), "query": task.query, "started": started, **row}
    number_of_row = insert(connection, "attempt", attempt, once="digest")
    for finding in findings if number_of_row else ():
        insert(connection, "finding", {"attempt": number_of_row, **finding})
    if certificate is not None and number_of_row:
        insert(connection, "certificate", {"attempt": number_of_row, **certificate})
    return number_of_row > 0


def _outcome_columns(outcome: Answer | Failure, what: str) -> dict[str, object]:
    """What came of an attempt, as columns."""
    if isinstance(outcome, Failure):
        return {"failure": outcome.reason.value, "failure_detail": printable(outcome.detail)}
    return {
        "decided": int(outcome.decided),
        "verdict": outcome.verdict,
        "lower": number_or_none(outcome.lower, f"{what}: the lower end"),
        "upper": number_or_none(outcome.upper, f"{what}: the upper end"),
        "evidence": outcome.evidence,
        "evidence_detail": printable(outcome.evidence_detail),
        "stop_reason": outcome.stop_reason,
        "stop_detail": printable(outcome.stop_detail),
        "predicted": whole_or_none(outcome.predicted, f"{what}: the predicted class"),
        "reference": whole_or_none(outcome.reference, f"{what}: the reference class"),
        "engine": outcome.engine,
        "backend": outcome.backend,
        "seconds": number(outcome.seconds, f"{what}: the answer's seconds"),
        "statistics": to_json(outcome.statistics, f"{what}: statistics"),
    }


def _certificate_columns(task: Task, outcome: Answer | Failure) -> dict[str, object] | None:
    """What is kept of the answer's certificate, as columns."""
    if isinstance(outcome, Failure) or outcome.certificate is None or task.certificates is Certificates.NONE:
        return None
    data = outcome.certificate
    return {
        "checksum": hashlib.sha256(data).hexdigest(),
        "size": len(data),
        "data": data if task.certificates is Certificates.STORE else None,
    }


def _finding_columns(finding: Finding, what: str) -> dict[str, object]:
    """An example, or the failure to find one, as columns."""
    name = f"{what}: finding {finding.name}"
    shape, data, checksum = (None, None, None) if finding.point is None else pack(finding.point, name)
    return {
        "name": finding.name,
        "distance": number_or_none(finding.distance, f"{name}: the distance"),
        "target": whole_or_none(finding.target, f"{name}: the target"),
        "shape": shape,
        "data": data,
        "checksum": checksum,
        "seconds": number_or_none(finding.seconds, f"{name}: seconds"),
        "calls": whole_or_none(finding.calls, f"{name}: the calls"),
    }


def insert_event(connection: sqlite3.Connection, session: Session, kind: str, detail: str, query: int | None) -> None:
    """Adds a line to the log."""
    session.events += 1
    row = {
        "session": session.id,
        "ordinal": session.events,
        "time": utc_text(datetime.now(UTC)),
        "kind": kind,
        "detail": printable(detail),
        "query": query,
    }
    insert(connection, "event", row)
