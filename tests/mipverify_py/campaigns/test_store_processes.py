"""Several processes and one store: one writer, any number of readers, and kill -9 at any moment."""

from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from mipverify_py.campaigns import CampaignError, Store, StoreBusyError, load_campaign
from tests.helpers.campaigns import answer, completion, filled_store, start

HOLD = """
import sys, time
from mipverify_py.campaigns import Store
store = Store.open(sys.argv[1])
print("open", flush=True)
time.sleep(600)
"""

WRITE = """
import sys
from mipverify_py.campaigns import Store
from tests.helpers.campaigns import answer, completion
with Store.open(sys.argv[1]) as store:
    stored, number = store.queries(), int(sys.argv[2])
    while True:
        number += 1
        store.record(completion(stored[number % len(stored)], answer(), number=number))
        print(number, flush=True)
"""

COMPETE = """
import sys
from mipverify_py.campaigns import CampaignError, Store, StoreBusyError
print("ready", flush=True)
sys.stdin.readline()
try:
    store = getattr(Store, sys.argv[2])(sys.argv[1])
    print("won", flush=True)
except StoreBusyError:
    print("busy", flush=True)
except CampaignError as error:
    print("refused", error, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "campaign.sqlite"
    filled_store(made, 3, decided=1).close()
    return made


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_second_writer_is_refused_at_once_and_told_who_writes(path: Path) -> None:
    with start(HOLD, path) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "open\n"
        link = path.with_name("link.sqlite")
        link.symlink_to(path)
        for name in (path, link, path.parent / "." / path.name):
            with pytest.raises(StoreBusyError, match=rf"process {holder.pid} since 2\d\d\d-\d\d-\d\dT.*Z is writing"):
                Store.open(name)
        with Store.open(path, read_only=True) as reader:
            assert reader.summary().decided == 1
        _end(holder)
    with Store.open(link) as store:  # the kernel has dropped the lock
        assert store.summary().decided == 1


def test_a_second_writer_of_the_same_process_is_refused(path: Path) -> None:
    with Store.open(path), pytest.raises(StoreBusyError, match=f"process {os.getpid()} since"):
        Store.open(path)


def test_a_forked_process_does_not_keep_the_lock(path: Path) -> None:
    program = """
import os, sys, time
from mipverify_py.campaigns import Store
store = Store.open(sys.argv[1])
if os.fork() == 0:
    time.sleep(600)
print("open", flush=True)
time.sleep(600)
"""
    process = start(program, path, start_new_session=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "open\n"
        process.kill()
        process.wait()
        with Store.open(path) as store:
            assert store.summary().decided == 1
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()


@pytest.mark.parametrize("how", ["create", "open"])
def test_of_processes_that_begin_at_once_exactly_one_wins(path: Path, how: str) -> None:
    if how == "create":
        path.unlink()
    processes = [start(COMPETE, path, how, stdin=subprocess.PIPE) for _ in range(4)]
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = sorted(process.stdout.readline().split()[0] for process in processes)
        assert answers == ["busy", "busy", "busy", "won"]
    finally:
        for process in processes:
            _end(process)


def _kill_while_writing(path: Path, begin: int, delay: float) -> int:
    """Starts a writer, kills it some time after its first record, and returns the last number that it had recorded."""
    with start(WRITE, path, begin) as process:
        process.stdout.readline()
        time.sleep(delay)
        process.kill()
        said, _ = process.communicate()
    numbers = re.findall(r"^(\d+)\n", said, re.MULTILINE)
    return int(numbers[-1]) if numbers else begin + 1


def _check_kills(path: Path, times: int) -> None:
    moments, said = random.Random(7), 0
    for _ in range(times):
        said = _kill_while_writing(path, said, moments.uniform(0, 0.2))
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        numbers = [n for (n,) in connection.execute("SELECT number FROM attempt WHERE worker = 'worker-1' ORDER BY id")]
        parts = connection.execute(
            "SELECT count(*), count(DISTINCT attempt) FROM finding UNION ALL "
            "SELECT count(*), count(DISTINCT query) FROM event WHERE kind = 'answer'"
        ).fetchall()
        connection.close()
        # Everything whose record() had returned is there, and at most the one after it, as a whole.
        assert numbers[1:] == list(range(1, len(numbers))) and len(numbers) - 1 in (said, said + 1)
        assert parts[0][0] == parts[0][1] == parts[1][0] == len(numbers)
        said = len(numbers) - 1
    assert said > times


def test_kill_at_random_moments_loses_nothing(path: Path) -> None:
    _check_kills(path, 3)


@pytest.mark.slow
def test_many_kills_at_random_moments_lose_nothing(path: Path) -> None:
    _check_kills(path, 40)


def test_readers_see_whole_steps_while_a_writer_works(path: Path) -> None:
    with start(WRITE, path, 0) as process:
        process.stdout.readline()
        before = 0
        for _ in range(10):
            campaign = load_campaign(path)
            assert len(campaign.attempts) == len(campaign.findings) == campaign.table.attempts.sum()
            assert len(campaign.attempts) >= before
            before = len(campaign.attempts)
        _end(process)
    assert before > 1


def test_a_reader_that_stays_does_not_hold_the_writer_up(path: Path) -> None:
    with Store.open(path, read_only=True) as reader, Store.open(path) as writer:
        with reader.database.reading():
            before = reader.summary()
            writer.record(completion(writer.queries()[2], answer()))
            assert reader.summary() == before  # one transaction, one moment
        assert reader.summary().decided == before.decided + 1


def test_ctrl_c_between_the_rows_of_a_step_takes_the_step_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(path) as store:
        stored = store.queries()

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("mipverify_py.campaigns._store.insert_event", interrupt)
            with pytest.raises(KeyboardInterrupt):
                store.record(completion(stored[1], answer()))
        assert [each.attempts for each in store.queries()] == [1, 0, 0]
        store.record(completion(stored[1], answer()))
        assert [each.attempts for each in store.queries()] == [1, 1, 0]


def test_a_store_locked_by_another_program_is_an_error_for_people(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mipverify_py.campaigns._database.PATIENCE", 0.05)
    other = sqlite3.connect(path, isolation_level=None)
    with Store.open(path) as store:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CampaignError, match="another program holds"):
            store.note("run", "begins")
        other.execute("ROLLBACK")
        store.note("run", "begins")
    other.close()


READ = """
import sys
from mipverify_py.campaigns import Store
with Store.open(sys.argv[1], read_only=True) as store:
    print(len(store.queries()[0].history))
"""


def test_reading_in_the_process_that_writes_costs_it_no_lock(path: Path) -> None:
    """POSIX: whoever closes a file loses all locks on it, and a reader elsewhere then removes the log under the writer.

    In a process of its own: what the writer has recorded has to be there for others, also after kill -9.
    """
    script = f"""
        import os, signal, subprocess, sys
        from mipverify_py.campaigns import Store, load_campaign
        from tests.helpers.campaigns import answer, completion
        path = sys.argv[1]
        store = Store.open(path)
        store.record(completion(store.queries()[0], answer(), number=1))
        load_campaign(path).input(1)
        Store.open(path, read_only=True).close()
        for number in (1, 2):
            subprocess.run([sys.executable, "-c", {READ!r}, path], check=True)
            store.record(completion(store.queries()[0], answer(), number=number + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    with start(script, path) as process:
        out, err = process.communicate(timeout=100)
    assert process.returncode == -signal.SIGKILL, err
    assert out.split() == ["2", "3"]
    with Store.open(path, read_only=True) as store:
        assert len(store.queries()[0].history) == 4
