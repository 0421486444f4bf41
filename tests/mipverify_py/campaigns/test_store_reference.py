"""The reference page of the store says what the store is: tables, columns, numbers, and an example that runs."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from mipverify_py.campaigns import Policy, QueryState, Store, load_campaign
from mipverify_py.campaigns._schema import APPLICATION_ID, TABLES
from tests.helpers.campaigns import REPOSITORY, answer, completion, filled_store

PAGE = (REPOSITORY / "docs/reference/campaign-store.md").read_text("utf-8")


def _section(title: str) -> str:
    """The text of a section, up to the next heading."""
    return re.split(r"^#+ ", PAGE.split(f" {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def _first_cells(text: str) -> list[str]:
    """Names in backticks in the first column of the tables of a text."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "campaign.sqlite"
    with filled_store(made, 3, decided=1) as store:
        store.record(completion(store.queries()[0], replace(answer(), certificate=b"a proof")))
        store.record(completion(store.queries()[1], answer(0.125, 0.5)))
        store.record(completion(store.queries()[1], answer(0.0625, 0.25)))
    return made


@pytest.mark.parametrize("table", TABLES)
def test_every_column_is_there_in_order(path: Path, table: str) -> None:
    connection = sqlite3.connect(path)
    columns = [name for (name,) in connection.execute(f"SELECT name FROM pragma_table_info('{table}')")]
    connection.close()
    assert columns and _first_cells(_section(table)) == columns


def test_all_tables_are_there(path: Path) -> None:
    connection = sqlite3.connect(path)
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    number, version = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    connection.close()
    assert sorted(names) == sorted(TABLES) and all(f"\n### {name}\n" in PAGE for name in names)
    assert f"`PRAGMA application_id` is {number}" in PAGE and number == APPLICATION_ID
    assert re.search(rf"version of the schema, {version}\.", PAGE)


def test_states_and_policies_are_all_explained() -> None:
    assert _first_cells(_section("How attempts make an answer")) == [
        *(state.value for state in QueryState),
        *(policy.value for policy in Policy),
    ]


def test_columns_in_python(path: Path) -> None:
    campaign, text = load_campaign(path), _section("Columns in Python")
    assert sorted(_first_cells(text)) == sorted(campaign.table.columns)
    for part in ("findings", "events"):
        sentence = re.search(rf"`{part}`, one row per \w+: ([^.]*)\.", text)
        assert sentence is not None and re.findall(r"`(\w+)`", sentence[1]) == list(getattr(campaign, part).columns)
    own = {"attempt", "row", "host", "versions", "certificate", "certificate_bytes"}
    assert set(campaign.attempts.columns) - own == set(_first_cells(_section("attempt"))) - {
        "id",
        "query",
        "provenance",
    }


def test_the_sql_example_says_what_python_says(path: Path) -> None:
    example = re.search(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    assert example is not None
    connection = sqlite3.connect(path)
    rows = connection.execute(example[1]).fetchall()
    connection.close()
    with Store.open(path, read_only=True) as store:
        expected = [
            (
                query.record.configuration,
                query.record.input.dataset,
                query.record.input.index,
                query.lower,
                query.upper,
                query.attempts,
                query.seconds or None,
            )
            for query in store.queries()
        ]
    assert rows == expected and rows[1][3:6] == (0.125, 0.25, 2)


def test_the_python_example_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    example = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert example is not None
    names: dict[str, object] = {}
    exec(example[1].replace("print(", "_ = ("), names)
    assert names["example"] is not None
