"""Signs of life of processes, read from /proc: whether one is stopped or starved, and how much memory it holds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

STOPPED = ("T", "t")
"""States of a process that was stopped by a signal, or by a debugger."""

PAGE = os.sysconf("SC_PAGE_SIZE")


def is_stopped(pid: int) -> bool:
    """Whether the process stands still (SIGSTOP); False if it is no more."""
    fields = _stat(pid)
    return bool(fields) and fields[0] in STOPPED


def parents() -> dict[int, int]:
    """Each process of this machine and its parent; takes milliseconds."""
    numbers = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    return {pid: int(fields[1]) for pid in numbers if (fields := _stat(pid))}


def family(pid: int, parents: Mapping[int, int]) -> list[int]:
    """The process and its descendants."""
    found = [pid]
    for member in found:  # grows on the way
        found += [child for child, parent in parents.items() if parent == member]
    return found


def held_bytes(pids: Iterable[int]) -> int:
    """Memory that these processes hold, in bytes, without what is mapped from files or shared."""
    return sum(_private(pid) for pid in pids)


def starved_seconds(pids: Iterable[int]) -> dict[int, float]:
    """How long each thread of these processes has been ready to run while others had the processors, by thread id.

    Empty where the kernel does not count it.
    """
    found = {}
    for pid in pids:
        for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                _, waited, _ = file.read_text("ascii").split()
            except (OSError, ValueError):
                continue
            found[int(file.parent.name)] = int(waited) * 1e-9
    return found


def _stat(pid: int) -> list[str]:
    """The fields after the name: state, parent, ...; empty if the process is no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return []


def _private(pid: int) -> int:
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text("ascii").split()
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * PAGE
