"""Older files are brought up to date step by step; newer ones are refused by name and left as they are."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mipverify_py.campaigns import CampaignError, QueryState, Store, load_campaign
from mipverify_py.campaigns import _database as database
from mipverify_py.campaigns._migrations import STEPS, migrate, statements, version_of
from tests.helpers.campaigns import answer, completion, filled_store

VERSION_1 = Path(__file__).with_name("store_version_1.sql")
"""A store as the first release wrote it, as SQL. It is never written anew: it stands for files that people have."""


@pytest.fixture
def old_store(tmp_path: Path) -> Path:
    """The file that `VERSION_1` describes, built by SQLite alone."""
    path = tmp_path / "campaign.sqlite"
    connection = sqlite3.connect(path)
    connection.executescript(VERSION_1.read_text("utf-8"))
    connection.close()
    return path


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def test_a_store_of_version_1_says_what_it_said(old_store: Path) -> None:
    assert version_of(_open(old_store)) == 1
    Store.open(old_store).close()
    campaign = load_campaign(old_store)
    table = campaign.table.set_index("row")
    assert list(table.state) == ["decided", "open", "decided", "failed"]
    assert list(table.kind) == ["distance", "distance", "verify", "attack"]
    assert (table.lower[1], table.upper[1], table.evidence[1], table.target[1]) == (0.1, 0.1, "replayed", 5)
    assert (table.lower[2], table.stop_reason[2], table.backend[2]) == (0.25, "time_limit", "scip")
    assert (table.verdict[3], table.eps[3], table.label[3]) == ("robust", 0.0625, 3)
    assert (table.failures[4], table.failure[4]) == (3, "memory: over 2 GiB")
    assert list(campaign.models) == ["a" * 64] and campaign.spec == {"limits": {"time_limit": 10.0}}
    np.testing.assert_array_equal(campaign.input(1), [[[0.0, 0.5, 1.0], [0.25, 0.75, 0.125]]])
    np.testing.assert_array_equal(campaign.point(1), [[[0.1, 0.5, 1.0], [0.25, 0.75, 0.125]]])


def test_a_store_of_version_1_can_be_written_to(old_store: Path) -> None:
    with Store.open(old_store) as store:
        stored = store.queries()[1]
        assert store.record(completion(stored, answer(0.25, 0.25)))
        assert store.queries()[1].state is QueryState.DECIDED
        assert version_of(store.database.connection) == len(STEPS)


def test_what_is_made_now_is_what_migration_makes(old_store: Path, tmp_path: Path) -> None:
    filled_store(tmp_path / "new.sqlite").close()
    Store.open(old_store).close()

    def schema(path: Path) -> list[tuple[str, str]]:
        rows = _open(path).execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
        return [(name, " ".join(sql.split())) for name, sql in rows]

    assert schema(old_store) == schema(tmp_path / "new.sqlite")


def test_what_version_1_called_reproved_was_replayed(old_store: Path) -> None:
    with Store.open(old_store) as store:
        assert [answer.evidence for query in store.queries() for answer in query.answers].count("reproved") == 0
        stored = store.queries()[1]
        certified = replace(answer(0.25, 0.25), evidence="reproved", certificate=b"a proof")
        assert store.record(completion(stored, certified))
        assert store.queries()[1].evidence == "reproved"
        with pytest.raises(sqlite3.IntegrityError, match="only ever added"):
            store.database.connection.execute("UPDATE attempt SET evidence = 'solver_claim'")
        with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            store.database.connection.execute(
                "INSERT INTO attempt SELECT id + 99, 'x', query, session, number, final, time_limit, gap_absolute, "
                "gap_relative, overrides, worker, provenance, started, elapsed, failure, failure_detail, decided, "
                "verdict, lower, upper, 'nonsense', evidence_detail, stop_reason, stop_detail, predicted, reference, "
                "engine, backend, seconds, statistics FROM attempt WHERE id = 1"
            )


def _add_mood(connection: sqlite3.Connection) -> None:
    connection.execute("DROP TRIGGER event_is_not_changed")
    connection.execute("ALTER TABLE event ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm'")
    connection.execute("UPDATE event SET mood = 'glad' WHERE kind = 'answer'")
    connection.execute(
        "CREATE TRIGGER event_is_not_changed BEFORE UPDATE ON event "
        "BEGIN SELECT RAISE(ABORT, 'rows of table event are only ever added'); END"
    )


def _fail_half_way(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE half (way TEXT)")
    raise RuntimeError("the power is off")


def test_every_step_from_the_files_version_on_is_taken(old_store: Path) -> None:
    connection = _open(old_store)
    assert migrate(connection, "campaign.sqlite", (*STEPS, _add_mood)) == 1
    assert version_of(connection) == len(STEPS) + 1
    moods = connection.execute("SELECT kind, mood FROM event ORDER BY id").fetchall()
    assert ("answer", "glad") in moods and ("queries", "calm") in moods
    assert migrate(connection, "campaign.sqlite", (*STEPS, _add_mood)) == len(STEPS) + 1  # nothing is done twice
    assert connection.execute("SELECT kind, mood FROM event ORDER BY id").fetchall() == moods


def test_an_empty_file_takes_all_steps() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    assert migrate(connection, "campaign.sqlite", (*STEPS, _add_mood)) == 0
    assert version_of(connection) == len(STEPS) + 1


def test_a_step_that_fails_leaves_the_file_as_it_was(old_store: Path) -> None:
    before = list(_open(old_store).iterdump())
    connection = _open(old_store)
    with pytest.raises(RuntimeError, match="power"):
        migrate(connection, "campaign.sqlite", (STEPS[0], _fail_half_way))
    assert version_of(connection) == 1 and not connection.in_transaction
    assert list(connection.iterdump()) == before


def test_a_newer_file_is_refused_by_name() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, "campaign.sqlite", (*STEPS, _add_mood))
    with pytest.raises(CampaignError, match=r"campaign\.sqlite: the store has version 3 .* only those up to 2\."):
        migrate(connection, "campaign.sqlite")
    assert version_of(connection) == 3


def test_a_reader_of_an_older_file_says_that_it_has_to_be_written_to_once(
    old_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "STEPS", (*STEPS, _add_mood))
    with pytest.raises(CampaignError, match="version 1 of the schema; open it once for writing .* version 3"):
        Store.open(old_store, read_only=True)


def test_statements_of_triggers_stay_whole() -> None:
    script = "CREATE TABLE a (b TEXT);\nCREATE TRIGGER c BEFORE DELETE ON a\nBEGIN SELECT 1; SELECT 2; END;\n"
    assert statements(script) == [
        "CREATE TABLE a (b TEXT);",
        "CREATE TRIGGER c BEFORE DELETE ON a\nBEGIN SELECT 1; SELECT 2; END;",
    ]
