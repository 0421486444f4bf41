"""One writer at a time: an advisory lock on a file beside the store."""

from __future__ import annotations

import contextlib
import fcntl
import os
import weakref
from pathlib import Path

from mipverify_py.campaigns._errors import CampaignError, StoreBusyError


class WriterLock:
    """The right to write to a store, held from construction to `release`.

    The kernel holds the lock (`flock`) and drops it when the process ends, however it ends: nothing is stale after
    kill -9. The file `NAME.lock` beside the store says who holds it, for the message that a second writer gets.
    Processes forked from this one do not keep the lock alive.

    Args:
        store: path of the store; a path that leads through symbolic links gives the same lock as the store's own.
        since: time of now, for people.

    Raises:
        StoreBusyError: somebody holds the lock.
        CampaignError: the file cannot be made, as in a folder that is read-only.
    """

    def __init__(self, store: Path, since: str) -> None:
        self._path = store.resolve().with_name(f"{store.resolve().name}.lock")
        self._file = self._acquire(store.name)
        with contextlib.suppress(OSError):  # on a full disk the lock holds all the same; only its message says less
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()} {since}\n".encode(), 0)
        _HELD.add(self)

    def _acquire(self, name: str) -> int:
        while True:
            try:
                file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise CampaignError(
                    f"{name}: the store cannot be locked for writing ({error.strerror}). Writing needs a folder that "
                    "this user may write to; read_only=True reads the store where it is."
                ) from error
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.pread(file, 200, 0).decode("utf-8", "replace").split(maxsplit=1)
                os.close(file)
                if not isinstance(error, BlockingIOError):
                    raise CampaignError(f"{name}: the file system has no locks ({error.strerror}).") from error
                who = f"process {holder[0]} since {holder[1].strip()}" if len(holder) > 1 else "another process"
                raise StoreBusyError(
                    f"{name}: {who} is writing to this store, and only one may. Wait for it or stop it; read_only=True "
                    "reads the store meanwhile."
                ) from error
            if self._is_in_place(file):
                return file
            os.close(file)  # the last writer removed the file between our opening and our locking it

    def _is_in_place(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), self._path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Gives the lock back and removes its file; does nothing the second time."""
        if self._file < 0:
            return
        if self._is_in_place(self._file):
            self._path.unlink(missing_ok=True)
        self.forget()

    def forget(self) -> None:
        """Closes the file without unlocking for others that share it: what a forked process does with its copy."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


_HELD: weakref.WeakSet[WriterLock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_HELD):
        lock.forget()


os.register_at_fork(after_in_child=_forget_all)
