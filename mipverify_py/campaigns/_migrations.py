"""From the schema that a file has to the one that this version of the package reads and writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

from mipverify_py.campaigns._errors import CampaignError
from mipverify_py.campaigns._schema import LEVELS_1, LEVELS_2, version_1, version_2

Step = Callable[[sqlite3.Connection], None]
"""Takes a store from one version to the next; runs inside a transaction, so it must not begin or end one."""


def statements(script: str) -> list[str]:
    """The statements of a script, one by one: `executescript` would end the transaction that it runs in."""
    found, pending = [], ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            if pending.strip():
                found.append(pending.strip())
            pending = ""
    assert not pending.strip(), f"the script ends inside a statement: {pending!r}"
    return found


def _create(connection: sqlite3.Connection) -> None:
    for statement in statements(version_1()):
        connection.execute(statement)


def _add_certificates(connection: sqlite3.Connection) -> None:
    """A check of a column is changed in the schema itself, which leaves all rows where they are.

    See https://www.sqlite.org/lang_altertable.html#otheralter
    """
    connection.execute("PRAGMA writable_schema = ON")
    changed = connection.execute(
        "UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE type = 'table' AND name = 'attempt'",
        (LEVELS_1, LEVELS_2),
    )
    assert changed.rowcount == 1
    connection.execute("PRAGMA writable_schema = RESET")
    for statement in statements(version_2()):
        connection.execute(statement)


STEPS: Final[tuple[Step, ...]] = (_create, _add_certificates)
"""Step i leads from version i to i + 1; an empty file has version 0. A step, once published, is never changed: the next
change of the schema is a further step. One that rewrites rows drops their triggers first and makes them again."""


def version_of(connection: sqlite3.Connection) -> int:
    """Version of the schema of a file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def check_not_newer(version: int, name: str, steps: Sequence[Step] = STEPS) -> None:
    """Raises CampaignError if the file called `name` has a version of the schema that only a later package knows."""
    if version > len(steps):
        raise CampaignError(
            f"{name}: the store has version {version} of the schema, and this version of mipverify-py knows only "
            f"those up to {len(steps)}. Use the newer mipverify-py that wrote it; the file has not been touched."
        )


def migrate(connection: sqlite3.Connection, name: str, steps: Sequence[Step] = STEPS) -> int:
    """Brings a file up to the last version and returns the one it had; each step is one transaction.

    Raises:
        CampaignError: the file, called `name`, is newer than the last step.
    """
    before = version_of(connection)
    check_not_newer(before, name, steps)
    for version in range(before, len(steps)):
        connection.execute("BEGIN IMMEDIATE")
        try:
            steps[version](connection)
            connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
    return before
