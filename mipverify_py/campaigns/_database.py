"""The SQLite file of a store: opening it, transactions, and what SQLite's errors mean."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from mipverify_py.campaigns._errors import CampaignError, StoreFullError, StoreUnreachableError
from mipverify_py.campaigns._migrations import STEPS, check_not_newer, migrate, version_of
from mipverify_py.campaigns._schema import APPLICATION_ID

_FULL = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR_WRITE,  # what a quota (EDQUOT) or a limit of file size (EFBIG) shows as
    sqlite3.SQLITE_IOERR_FSYNC,
    sqlite3.SQLITE_IOERR_SHMSIZE,
    sqlite3.SQLITE_IOERR_TRUNCATE,
}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
PATIENCE = 30.0
"""Seconds to wait for a lock that another program, such as an editor for SQLite files, has on the file."""

_OLDEST = (3, 37, 0)
"""Of SQLite: the first version with STRICT tables."""


class Database:
    """An open connection, for any thread; one transaction at a time.

    Args:
        path: the file, which has to exist.
        read_only: whether nothing may be written through it.

    Raises:
        CampaignError: the file is missing, is no store, is damaged, or is newer than this package.
    """

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self.name = path.name
        self.read_only = read_only
        self._path = path.resolve()
        self._turn = threading.RLock()
        self._depth = 0
        try:
            self._identity = self._path.stat()
        except OSError as error:
            raise CampaignError(f"{self.name}: no store can be opened there ({error.strerror}).") from error
        if not stat.S_ISREG(self._identity.st_mode):  # reading a pipe would wait for somebody to write
            raise CampaignError(f"{self.name}: this is no file, so no store.")
        with _OPENING:
            if not any(os.path.samestat(self._identity, other._identity) for other in _OPEN):
                self._check_header()
            _OPEN.add(self)
        try:
            with self.translated():
                self.connection = self._open()
        except BaseException:
            _OPEN.discard(self)
            raise

    def _check_header(self) -> None:
        """Refuses what is no store, or a newer one, before SQLite touches it.

        The header of an SQLite file is 100 bytes long; its big-endian numbers at 60 and 68 are the two that
        `PRAGMA user_version` and `PRAGMA application_id` show. A version in the write-ahead log is checked later.

        Never while this process has the file open: closing any descriptor of a file drops all locks that the process
        has on it (POSIX), so a reader elsewhere would take itself for the last one and remove the write-ahead log.
        """
        try:
            with self._path.open("rb") as stream:
                header = stream.read(100)
        except OSError as error:
            raise CampaignError(f"{self.name}: the store cannot be read ({error.strerror}).") from error
        if len(header) < 100 or not header.startswith(b"SQLite format 3\x00"):
            raise CampaignError(f"{self.name}: this is no store of a campaign, or a damaged one.")
        version, application = (int.from_bytes(header[start : start + 4], "big") for start in (60, 68))
        if application != APPLICATION_ID:
            raise CampaignError(f"{self.name}: this is no store of a campaign (an SQLite file of another program).")
        check_not_newer(version, self.name)

    def _open(self) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < _OLDEST:
            raise CampaignError(f"Python's SQLite is {sqlite3.sqlite_version}; campaigns need 3.37 or newer.")
        # Readers, too, open the file for writing, where they may: only then does the last to close remove SQLite's
        # files beside it. `query_only` makes sure that they write nothing into it.
        connection = _connect(self._path, "mode=rw")
        try:
            if not self.read_only:
                self._prepare_to_write(connection)
                return connection
            connection.execute("PRAGMA query_only = ON")
            try:
                self._check_version(connection)
            except sqlite3.OperationalError:
                # A folder that SQLite may not write to, where its side files are missing. Without a write-ahead log
                # everything is in the file itself, and nobody can be writing to it.
                log = self._path.with_name(f"{self._path.name}-wal")
                if os.access(self._path.parent, os.W_OK) or log.exists():
                    raise
                connection.close()
                connection = _connect(self._path, "mode=ro&immutable=1")
                self._check_version(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare_to_write(self, connection: sqlite3.Connection) -> None:
        self._check_version(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise CampaignError(f"{self.name}: SQLite cannot keep a write-ahead log there; use a local file system.")
        migrate(connection, self.name)

    def _check_version(self, connection: sqlite3.Connection) -> None:
        version = version_of(connection)
        check_not_newer(version, self.name)
        if self.read_only and version < len(STEPS):
            raise CampaignError(
                f"{self.name}: the store has version {version} of the schema; open it once for writing "
                f"(resuming the campaign does that) to bring it up to version {len(STEPS)}."
            )
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # reads a page: a short file shows here

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turns errors of SQLite that say something about the file into errors for people."""
        try:
            yield
        except (sqlite3.IntegrityError, UnicodeEncodeError, OverflowError) as error:
            raise CampaignError(f"{self.name}: a value does not belong into the store ({error}).") from error
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)
            primary = None if code is None else code & 0xFF
            if code in _FULL or primary == sqlite3.SQLITE_FULL:
                raise StoreFullError(
                    f"{self.name}: the store cannot grow ({error}): the disk is full, or a quota or a limit of file "
                    "size is reached. All that was recorded before is kept; make room and resume."
                ) from error
            if primary in _DAMAGED:
                raise StoreUnreachableError(
                    f"{self.name}: this is no store of a campaign, or it is damaged ({error})."
                ) from error
            if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
                doing = "read" if self.read_only else "written to"
                raise StoreUnreachableError(
                    f"{self.name}: the store cannot be {doing} there ({error}); file and folder have to be "
                    "readable, and writeable for writing."
                ) from error
            if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise StoreUnreachableError(
                    f"{self.name}: another program holds a lock on the file ({error}); close it and try again."
                ) from error
            if primary == sqlite3.SQLITE_IOERR:
                raise StoreUnreachableError(f"{self.name}: the file system failed ({error}).") from error
            raise

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that writes: all of the block is kept, durably, when it ends, or none of it.

        A block inside a block is part of the outer one's transaction.

        Raises:
            CampaignError: the store was opened for reading only, or has been removed or replaced.
            StoreFullError: it cannot grow.
        """
        if self.read_only:
            raise CampaignError(f"{self.name}: the store is open for reading only; open it without read_only to write.")
        with self._turn, self.translated():
            if self._depth:
                yield self.connection
                return
            self._check_in_place()
            with self._transaction("BEGIN IMMEDIATE"):
                yield self.connection
            self._check_in_place()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One transaction that reads: every statement of the block sees the store at the same moment."""
        with self._turn, self.translated():
            if self._depth:
                yield self.connection
                return
            with self._transaction("BEGIN"):
                yield self.connection

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[None]:
        self._depth += 1
        try:
            self.connection.execute(begin)
            yield
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                with suppress(sqlite3.Error):  # the error that led here says more
                    self.connection.execute("ROLLBACK")
            raise
        finally:
            self._depth -= 1

    def _check_in_place(self) -> None:
        try:
            if os.path.samestat(self._identity, self._path.stat()):
                return
        except OSError:
            pass
        raise CampaignError(
            f"{self.name}: the store has been removed or replaced while it was open, so nothing more is recorded. "
            "Put the file back, or start anew."
        )

    def close(self) -> None:
        """Closes the connection; the last one to go folds the write-ahead log into the file."""
        with self._turn:
            self.connection.close()
            _OPEN.discard(self)


_OPEN: weakref.WeakSet[Database] = weakref.WeakSet()
"""What this process has open."""

_OPENING = threading.Lock()
"""Held while a file's header is read, so that nobody opens the file meanwhile."""


def _connect(path: Path, options: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(os.fsencode(path))}?{options}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=PATIENCE,
    )


def create_file(path: Path) -> None:
    """Makes an empty store; a file of that name is always a whole store.

    Raises:
        CampaignError: there is a file already, or none can be made.
        StoreFullError: there is no room for it.
    """
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.part")
    try:
        temporary.unlink(missing_ok=True)
        connection = sqlite3.connect(temporary, isolation_level=None)
        try:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            migrate(connection, path.name)
        finally:
            connection.close()
        os.link(temporary, target)
    except FileExistsError as error:
        raise CampaignError(
            f"{path.name}: there is a file of this name already; open it, or choose another."
        ) from error
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) in _FULL:
            raise StoreFullError(f"{path.name}: there is no room for a store ({error}).") from error
        raise CampaignError(f"{path.name}: no store can be made there ({error}).") from error
    except OSError as error:
        raise CampaignError(f"{path.name}: no store can be made there ({error.strerror}).") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
