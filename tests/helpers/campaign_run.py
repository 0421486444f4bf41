"""Runs of campaigns for tests, in this process or in one that can be killed:
`python -m tests.helpers.campaign_run STORE ANSWERER WORKERS [LARGEST_FILE]` runs what a store still has to do.
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mipverify_py.campaigns import Limits, ModelRecord, QueryState, Store, StoreFullError
from mipverify_py.campaigns._rounds import Rounds
from mipverify_py.campaigns._run import RunReport, run_campaign
from mipverify_py.campaigns.executors import Executor, ProcessExecutor

LIMITS = Limits(10.0)


def models_of(store: Store) -> list[ModelRecord]:
    return list(store.models().values())


def run(store: Store, executor: Executor, rounds: Rounds | None = None, **how: Any) -> RunReport:
    """Attempts everything that is neither decided nor failed."""
    rounds = rounds or Rounds(LIMITS)
    done = (QueryState.DECIDED, QueryState.FAILED)
    left = [query for query in store.queries(rounds.limits, with_inputs=False) if query.state not in done]
    return run_campaign(store, left, executor, rounds, **how)


def answers_per_query(store: Store) -> Counter[int]:
    """How many queries have 0, 1, ... answers."""
    return Counter(len(query.answers) for query in store.queries(LIMITS, with_inputs=False))


def distances(store: Store) -> dict[int, tuple[float | None, float | None]]:
    """The bracket of every query, by index."""
    return {query.record.input.index: (query.lower, query.upper) for query in store.queries(LIMITS, with_inputs=False)}


def wait_for(what: Callable[[], Any], seconds: float = 120.0) -> Any:
    """Waits until it is true, and returns it."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


def is_alive(pid: int) -> bool:
    """Whether the process is there, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def worker_pids(parent: int) -> list[int]:
    """Our worker processes among the children of a process."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if (
                folder.name.isdigit()
                and int(_stat(folder)[1]) == parent
                and b"mipverify_py.campaigns.executors._worker" in _command(folder)
            ):
                found.append(int(folder.name))
        except OSError:
            continue  # it is no more
    return found


def _stat(folder: Path) -> list[str]:
    return (folder / "stat").read_text("ascii", "replace").rpartition(")")[2].split()


def _command(folder: Path) -> bytes:
    return (folder / "cmdline").read_bytes()


class Background:
    """A call in a thread; `result()` waits for it and returns or raises what it did."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call, self._result, self._error = call, None, None
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        try:
            self._result = self._call()
        except BaseException as error:  # noqa: BLE001 - `result` raises it
            self._error = error

    def result(self) -> Any:
        self._thread.join(200)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error
        return self._result


def main() -> None:
    path, answerer, workers, *largest = sys.argv[1:]
    with Store.open(path) as store, ProcessExecutor(answerer, models_of(store), int(workers)) as executor:
        if largest:
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest[0]), resource.RLIM_INFINITY))
        try:
            report = run(store, executor, Rounds(Limits(None)))
        except StoreFullError as error:
            sys.exit(f"full: {error}")
    sys.stdout.write(f"{report}\n")


if __name__ == "__main__":
    main()
