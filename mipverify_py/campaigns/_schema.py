"""The tables of a store, and how they grew. docs/reference/campaign-store.md says what each column means."""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x4D504343
"""`PRAGMA application_id` of every store ("MPCC"): other SQLite files have another, most of them 0."""

_FINITE = "BETWEEN -1.7976931348623157e308 AND 1.7976931348623157e308"
_DISTANCE = "BETWEEN 0 AND 1.7976931348623157e308"

_TABLES = f"""
CREATE TABLE session (
    id TEXT PRIMARY KEY,
    started TEXT NOT NULL,
    package TEXT NOT NULL
) STRICT;

CREATE TABLE spec (
    digest TEXT PRIMARY KEY,
    session TEXT NOT NULL REFERENCES session (id),
    spec TEXT NOT NULL
) STRICT;

CREATE TABLE model (
    digest TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    onnx BLOB NOT NULL,
    checksum TEXT NOT NULL,
    card TEXT NOT NULL
) STRICT;

CREATE TABLE configuration (
    name TEXT PRIMARY KEY,
    model TEXT NOT NULL REFERENCES model (digest)
) STRICT;

CREATE TABLE protocol (
    id INTEGER PRIMARY KEY,
    configuration TEXT NOT NULL REFERENCES configuration (name),
    kind TEXT NOT NULL CHECK (kind IN ('distance', 'verify', 'attack')),
    norm TEXT NOT NULL,
    attack_set TEXT NOT NULL,
    digest TEXT NOT NULL,
    content TEXT NOT NULL,
    UNIQUE (configuration, kind, norm, attack_set)
) STRICT;

CREATE TABLE input (
    id INTEGER PRIMARY KEY,
    dataset TEXT NOT NULL,
    position INTEGER NOT NULL,
    label INTEGER,
    shape TEXT NOT NULL,
    data BLOB NOT NULL,
    checksum TEXT NOT NULL,
    UNIQUE (dataset, position, shape)
) STRICT;

CREATE TABLE query (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    protocol INTEGER NOT NULL REFERENCES protocol (id),
    model TEXT NOT NULL REFERENCES model (digest),
    input INTEGER NOT NULL REFERENCES input (id),
    eps REAL CHECK (eps {_DISTANCE}),
    question TEXT NOT NULL,
    options TEXT NOT NULL,
    seed INTEGER NOT NULL
) STRICT;
CREATE INDEX query_of_input ON query (input);

CREATE TABLE provenance (
    digest TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    versions TEXT NOT NULL
) STRICT;

CREATE TABLE attempt (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    query INTEGER NOT NULL REFERENCES query (id),
    session TEXT NOT NULL REFERENCES session (id),
    number INTEGER NOT NULL,
    final INTEGER NOT NULL CHECK (final IN (0, 1)),
    time_limit REAL CHECK (time_limit {_FINITE}),
    gap_absolute REAL NOT NULL CHECK (gap_absolute {_FINITE}),
    gap_relative REAL NOT NULL CHECK (gap_relative {_FINITE}),
    overrides TEXT NOT NULL,
    worker TEXT NOT NULL,
    provenance TEXT NOT NULL REFERENCES provenance (digest),
    started TEXT NOT NULL,
    elapsed REAL NOT NULL CHECK (elapsed {_FINITE}),
    failure TEXT CHECK (failure IN ('killed', 'hung', 'memory', 'lost', 'error')),
    failure_detail TEXT,
    decided INTEGER CHECK (decided IN (0, 1)),
    verdict TEXT CHECK (verdict IN ('robust', 'adversarial', 'unknown')),
    lower REAL CHECK (lower {_FINITE}),
    upper REAL CHECK (upper {_DISTANCE}),
    evidence TEXT CHECK (evidence IN ('reproved', 'solver_claim')),
    evidence_detail TEXT,
    stop_reason TEXT,
    stop_detail TEXT,
    predicted INTEGER,
    reference INTEGER,
    engine TEXT,
    backend TEXT,
    seconds REAL CHECK (seconds {_FINITE}),
    statistics TEXT,
    CHECK ((failure IS NULL) = (decided IS NOT NULL)),
    CHECK (failure IS NOT NULL OR (stop_reason IS NOT NULL AND engine IS NOT NULL AND seconds IS NOT NULL))
) STRICT;
CREATE INDEX attempt_of_query ON attempt (query);

CREATE TABLE finding (
    id INTEGER PRIMARY KEY,
    attempt INTEGER NOT NULL REFERENCES attempt (id),
    name TEXT NOT NULL,
    distance REAL CHECK (distance {_DISTANCE}),
    target INTEGER,
    shape TEXT,
    data BLOB,
    checksum TEXT,
    seconds REAL CHECK (seconds {_FINITE}),
    calls INTEGER,
    CHECK ((data IS NULL) = (shape IS NULL) AND (data IS NULL) = (checksum IS NULL))
) STRICT;
CREATE INDEX finding_of_attempt ON finding (attempt);

CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    session TEXT NOT NULL REFERENCES session (id),
    ordinal INTEGER NOT NULL,
    time TEXT NOT NULL,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL,
    query INTEGER REFERENCES query (id),
    UNIQUE (session, ordinal)
) STRICT;
CREATE INDEX event_of_query ON event (query);
"""

_FIRST_TABLES: Final = (
    "session",
    "spec",
    "model",
    "configuration",
    "protocol",
    "input",
    "query",
    "provenance",
    "attempt",
    "finding",
    "event",
)
"""The tables of version 1."""

TABLES: Final = (*_FIRST_TABLES, "certificate")
"""All tables, each after those that it refers to."""

_TRIGGER = """
CREATE TRIGGER {table}_is_not_{past} BEFORE {action} ON {table}
BEGIN SELECT RAISE(ABORT, 'rows of table {table} are only ever added'); END;
"""


def version_1() -> str:
    """SQL that makes an empty store of version 1; no row of any table can be changed or removed afterwards."""
    return _TABLES + "".join(_guards(table) for table in _FIRST_TABLES)


LEVELS_1: Final = "evidence IN ('reproved', 'solver_claim')"
LEVELS_2: Final = "evidence IN ('reproved', 'replayed', 'solver_claim')"
"""What an attempt's answer may rest on, in version 1 of the schema and since version 2."""


_RELABELLED = """
DROP TRIGGER attempt_is_not_changed;
UPDATE attempt SET evidence = 'replayed' WHERE evidence = 'reproved';
"""

_ADDED = """
CREATE TABLE certificate (
    attempt INTEGER PRIMARY KEY REFERENCES attempt (id),
    checksum TEXT NOT NULL,
    size INTEGER NOT NULL,
    data BLOB
) STRICT;
"""


def version_2() -> str:
    """SQL that takes a store from version 1 to version 2, apart from the change of `LEVELS_1` to `LEVELS_2`.

    What version 1 called reproved had been replayed in outward-rounded floats; there were no certificates.
    """
    return (
        _RELABELLED
        + _TRIGGER.format(table="attempt", past="changed", action="UPDATE")
        + _ADDED
        + _guards("certificate")
    )


def _guards(table: str) -> str:
    changes = (("changed", "UPDATE"), ("removed", "DELETE"))
    return "".join(_TRIGGER.format(table=table, past=past, action=action) for past, action in changes)
