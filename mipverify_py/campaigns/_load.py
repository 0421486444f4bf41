"""A campaign as pandas tables and arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mipverify_py.campaigns._codec import Packed, checked_bytes, unpack
from mipverify_py.campaigns._judging import MAX_FAILURES
from mipverify_py.campaigns._reading import Contradiction, StoredQuery
from mipverify_py.campaigns._records import Limits, ModelRecord, QueryKind
from mipverify_py.campaigns._store import Store
from onnx_models import Array

if TYPE_CHECKING:
    import pandas as pd

_TEXT, _WHOLE, _REAL, _FLAG = "string", "Int64", "float64", "boolean"

TABLE_COLUMNS = {
    "configuration": _TEXT,
    "kind": _TEXT,
    "norm": _TEXT,
    "eps": _REAL,
    "dataset": _TEXT,
    "index": _WHOLE,
    "label": _WHOLE,
    "state": _TEXT,
    "verdict": _TEXT,
    "lower": _REAL,
    "upper": _REAL,
    "gap": _REAL,
    "predicted": _WHOLE,
    "reference": _WHOLE,
    "target": _WHOLE,
    "evidence": _TEXT,
    "stop_reason": _TEXT,
    "engine": _TEXT,
    "backend": _TEXT,
    "attempts": _WHOLE,
    "failures": _WHOLE,
    "failure": _TEXT,
    "contradiction": _TEXT,
    "seconds": _REAL,
    "model": _TEXT,
    "key": _TEXT,
    "row": _WHOLE,
}
"""Columns of `Campaign.table`, with their pandas types."""

FINDING_COLUMNS = {
    "row": _WHOLE,
    "attempt": _WHOLE,
    "configuration": _TEXT,
    "dataset": _TEXT,
    "index": _WHOLE,
    "norm": _TEXT,
    "set": _TEXT,
    "name": _TEXT,
    "distance": _REAL,
    "target": _WHOLE,
    "seconds": _REAL,
    "calls": _WHOLE,
}
"""Columns of `Campaign.findings`."""

ATTEMPT_COLUMNS = {
    "attempt": _WHOLE,
    "row": _WHOLE,
    "number": _WHOLE,
    "final": _FLAG,
    "time_limit": _REAL,
    "gap_absolute": _REAL,
    "gap_relative": _REAL,
    "overrides": _TEXT,
    "failure": _TEXT,
    "failure_detail": _TEXT,
    "decided": _FLAG,
    "verdict": _TEXT,
    "lower": _REAL,
    "upper": _REAL,
    "evidence": _TEXT,
    "evidence_detail": _TEXT,
    "stop_reason": _TEXT,
    "stop_detail": _TEXT,
    "predicted": _WHOLE,
    "reference": _WHOLE,
    "engine": _TEXT,
    "backend": _TEXT,
    "seconds": _REAL,
    "elapsed": _REAL,
    "started": _TEXT,
    "worker": _TEXT,
    "host": _TEXT,
    "versions": _TEXT,
    "statistics": _TEXT,
    "session": _TEXT,
    "digest": _TEXT,
    "certificate": _TEXT,
    "certificate_bytes": _WHOLE,
}
"""Columns of `Campaign.attempts`; `certificate` is its SHA-256."""

EVENT_COLUMNS = {"event": _WHOLE, "time": _TEXT, "kind": _TEXT, "detail": _TEXT, "row": _WHOLE, "session": _TEXT}
"""Columns of `Campaign.events`."""

_FINDINGS = """
SELECT attempt.query, attempt.id, protocol.configuration, input.dataset, input.position, protocol.norm,
    nullif(protocol.attack_set, ''), finding.name, finding.distance, finding.target, finding.seconds, finding.calls
FROM finding JOIN attempt ON attempt.id = finding.attempt JOIN query ON query.id = attempt.query
JOIN protocol ON protocol.id = query.protocol JOIN input ON input.id = query.input ORDER BY finding.id
"""
_ATTEMPTS = """
SELECT id, query, number, final, time_limit, gap_absolute, gap_relative, overrides, failure, failure_detail, decided,
    verdict, lower, upper, evidence, evidence_detail, stop_reason, stop_detail, predicted, reference, engine, backend,
    seconds, elapsed, started, worker, host, versions, statistics, session, attempt.digest,
    certificate.checksum, certificate.size
FROM attempt JOIN provenance ON provenance.digest = attempt.provenance
LEFT JOIN certificate ON certificate.attempt = attempt.id ORDER BY id
"""
_EVENTS = "SELECT id, time, kind, detail, query, session FROM event ORDER BY id"
_TARGETS = """
SELECT query, target, min(distance) FROM finding JOIN attempt ON attempt.id = finding.attempt
WHERE distance IS NOT NULL GROUP BY query
"""
_POINT = """
SELECT shape, data, checksum FROM finding JOIN attempt ON attempt.id = finding.attempt
WHERE query = ? AND (? IS NULL OR name = ?) AND data IS NOT NULL ORDER BY distance, finding.id LIMIT 1
"""
_CERTIFICATE = """
SELECT certificate.data, checksum FROM certificate JOIN attempt ON attempt.id = certificate.attempt
WHERE query = ? AND certificate.data IS NOT NULL ORDER BY attempt.lower DESC, attempt.id LIMIT 1
"""


@dataclass(frozen=True, slots=True, eq=False)
class Campaign:
    """What a store held when it was loaded; docs/reference/campaign-store.md says what each column means.

    Attributes:
        path: the store, absolute.
        table: one row per query.
        findings: one row per example, or per attack's failure to find one, in every attempt.
        attempts: one row per attempt.
        events: the log.
        models: by digest.
        contradictions: answers that cannot both be true.
        spec: what the campaign was asked to do, None if that was not told.
        queries: the queries as values, without pixel values.
    """

    path: Path
    table: pd.DataFrame
    findings: pd.DataFrame
    attempts: pd.DataFrame
    events: pd.DataFrame
    models: Mapping[str, ModelRecord]
    contradictions: tuple[Contradiction, ...]
    spec: Mapping[str, Any] | None
    queries: tuple[StoredQuery, ...]

    def input(self, row: int) -> Array:
        """The input of the query in `row`, float64, of the model's shape; read from the store now."""
        with Store.open(self.path, read_only=True) as store:
            return store.input(int(row))

    def point(self, row: int, name: str | None = None) -> Array | None:
        """The nearest example found for the query in `row`, of the input's shape; read from the store now.

        Args:
            row: as in the table.
            name: of the attack, "finish" or "exact"; None takes the nearest of all.

        Returns:
            None if no example was found or stored.
        """
        with Store.open(self.path, read_only=True) as store, store.database.reading() as connection:
            found = connection.execute(_POINT, (int(row), name, name)).fetchone()
        return None if found is None else unpack(Packed(*found), f"The example of query {row}")

    def certificate(self, row: int) -> bytes | None:
        """The file of the certificate of the greatest lower end for the query in `row`; read from the store now.

        Returns:
            None if no certificate was made, or only its SHA-256 was kept.
        """
        with Store.open(self.path, read_only=True) as store, store.database.reading() as connection:
            found = connection.execute(_CERTIFICATE, (int(row),)).fetchone()
        return None if found is None else checked_bytes(found[0], found[1], f"The certificate of query {row}")


def load_campaign(path: str | Path, limits: Limits | None = None, max_failures: int = MAX_FAILURES) -> Campaign:
    """The campaign in a store, as it is now; a run may be writing to it meanwhile.

    Args:
        path: the store.
        limits: how narrow a bracket has to be for a query to be decided; None takes for each query the limits of its
            last answered attempt.
        max_failures: attempts without an answer after which a query counts as failed.

    Raises:
        CampaignError: there is no such file, or it is no store or damaged.
    """
    with Store.open(path, read_only=True) as store, store.database.reading() as connection:
        queries = store.queries(limits, max_failures, with_inputs=False)
        targets = {row: target for row, target, _ in connection.execute(_TARGETS)}
        table = _frame((_table_row(query, targets.get(query.row)) for query in queries), TABLE_COLUMNS)
        return Campaign(
            Path(path).absolute(),
            table,
            _frame(connection.execute(_FINDINGS), FINDING_COLUMNS),
            _frame(connection.execute(_ATTEMPTS), ATTEMPT_COLUMNS),
            _frame(connection.execute(_EVENTS), EVENT_COLUMNS),
            store.models(),
            tuple(store.contradictions()),
            store.spec(),
            tuple(queries),
        )


def _table_row(query: StoredQuery, target: int | None) -> tuple[object, ...]:
    record = query.record
    question = record.question
    return (
        record.configuration,
        record.kind.value,
        question.get("norm"),
        question.get("eps") if record.kind is QueryKind.VERIFY else None,
        record.input.dataset,
        record.input.index,
        record.input.label,
        query.state.value,
        query.verdict,
        query.lower,
        query.upper,
        query.gap,
        query.predicted,
        query.reference,
        target,
        query.evidence,
        query.stop_reason,
        query.engine,
        query.backend,
        query.attempts,
        query.failures,
        query.failure,
        query.contradiction,
        query.seconds,
        record.model,
        query.key,
        query.row,
    )


def _frame(rows: Iterable[tuple[object, ...]], columns: Mapping[str, str]) -> pd.DataFrame:
    """A table with these columns and types; absent values are NaN among fractions and NA elsewhere."""
    import pandas as pd

    values = list(zip(*rows, strict=True)) or [()] * len(columns)
    return pd.DataFrame(
        {name: pd.Series(column, dtype=kind) for (name, kind), column in zip(columns.items(), values, strict=True)}
    )
