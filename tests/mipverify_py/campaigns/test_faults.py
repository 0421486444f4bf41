"""Kills, stops and full disks in the middle of a run, with real processes: every answer once, none lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mipverify_py.campaigns import Limits, QueryState, Store
from mipverify_py.campaigns._rounds import Rounds
from mipverify_py.campaigns.executors import InlineExecutor, ProcessExecutor
from tests.helpers.campaign_answerers import HERE, new_store
from tests.helpers.campaign_run import (
    LIMITS,
    Background,
    answers_per_query,
    distances,
    is_alive,
    models_of,
    run,
    wait_for,
    worker_pids,
)

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def started(path: Path, answerer: str, workers: int, *more: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A run in a process of its own, which is killed at the end if it still is."""
    command = [sys.executable, "-m", "tests.helpers.campaign_run", str(path), f"{HERE}:{answerer}", str(workers), *more]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def answered(path: Path) -> int:
    with Store.open(path, read_only=True) as store:
        return sum(bool(query.answers) for query in store.queries(LIMITS, with_inputs=False))


@pytest.mark.parametrize("deed", [signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP])
def test_a_worker_is_hit_in_the_middle_of_a_solve(tmp_path: Path, deed: signal.Signals) -> None:
    reason = {signal.SIGKILL: "killed", signal.SIGSEGV: "killed", signal.SIGSTOP: "hung"}[deed]
    with new_store(tmp_path / "campaign.sqlite", 2) as store:
        with ProcessExecutor(f"{HERE}:stuck_once", models_of(store), 1, grace=0.5) as executor:
            going = Background(lambda: run(store, executor, Rounds(Limits(None))))
            for _ in range(2):
                hit = {running.worker for running in wait_for(lambda: told(executor))}
                (pid,) = worker_pids(os.getpid())
                os.kill(pid, deed)
                wait_for(lambda hit=hit: not hit & {running.worker for running in executor.running()})
            report = going.result()
        assert (report.decided, report.failures) == (2, 2)
        for query in store.queries(LIMITS):
            assert [attempt.failure for attempt in query.history] == [reason, None]


def told(executor: ProcessExecutor) -> list[object]:
    return [running for running in executor.running() if running.lower == 0.125]


def test_a_memory_blow_up_costs_its_own_query_only(tmp_path: Path) -> None:
    with new_store(tmp_path / "campaign.sqlite", 4) as store:
        with ProcessExecutor(f"{HERE}:hungry", models_of(store), 1, memory_limit=600 << 20) as executor:
            report = run(store, executor, Rounds(LIMITS, max_failures=1))
        assert (report.decided, report.failed) == (2, 2)
        assert [query.history[0].failure for query in store.queries(LIMITS)] == ["memory", "memory", None, None]


def test_the_run_itself_is_killed_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, log = tmp_path / "campaign.sqlite", tmp_path / "log"
    new_store(path, 200).close()
    monkeypatch.setenv("CAMPAIGN_LOG", str(log))
    with started(path, "logged", 2) as process:
        wait_for(lambda: answered(path) >= 20)
        workers = worker_pids(process.pid)
        process.kill()
        process.wait()
        assert len(workers) == 2
        wait_for(lambda: not any(is_alive(pid) for pid in workers))
    with Store.open(path) as store:
        before = {query.row for query in store.queries(LIMITS) if query.state is QueryState.DECIDED}
        asked = len(log.read_text().splitlines())
        with InlineExecutor(f"{HERE}:logged", models_of(store)) as executor:
            assert run(store, executor).decided == 200 - len(before)
        again = [json.loads(line)[0] for line in log.read_text().splitlines()[asked:]]
        assert not before & set(again), "nothing that was decided is computed again"
        assert answers_per_query(store) == {1: 200}
        assert distances(store) == {i: (i / 1000, i / 1000) for i in range(200)}


def test_a_worker_that_stands_still_does_not_outlive_the_run(tmp_path: Path) -> None:
    path = tmp_path / "campaign.sqlite"
    new_store(path, 2).close()
    with started(path, "patient", 1, CAMPAIGN_LOG=str(tmp_path / "told")) as process:
        wait_for((tmp_path / "told").exists)
        (worker,) = worker_pids(process.pid)
        os.kill(worker, signal.SIGSTOP)
        process.kill()
        process.wait()
        wait_for(lambda: not is_alive(worker))


def test_ctrl_c_in_a_terminal_ends_the_run_with_its_brackets(tmp_path: Path) -> None:
    path = tmp_path / "campaign.sqlite"
    new_store(path, 2).close()
    with started(path, "patient", 2, CAMPAIGN_LOG=str(tmp_path / "told")) as process:
        wait_for(lambda: answered(path) == 1 and (tmp_path / "told").exists())
        workers = worker_pids(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert "stopped=True" in out
    assert not any(is_alive(pid) for pid in workers)
    with Store.open(path, read_only=True) as store:
        assert [(query.lower, query.stop_reason) for query in store.queries(LIMITS)] == [
            (0.0, "interrupted"),
            (0.001, "solved"),
        ]


def test_a_full_disk_stops_the_run_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "campaign.sqlite"
    new_store(path, 400).close()
    size = path.stat().st_size
    with started(path, "instant", 1, str(size + (200 << 10))) as process:
        _, err = process.communicate(timeout=200)
        assert process.returncode == 1 and "full: " in err, err
    there = answered(path)
    assert 0 < there < 400
    with Store.open(path) as store, InlineExecutor(f"{HERE}:instant", models_of(store)) as executor:
        assert run(store, executor).decided == 400 - there
        assert answers_per_query(store) == {1: 400}


@pytest.mark.parametrize(
    ("count", "kills", "workers"), [(500, 4, 2), pytest.param(10_000, 60, 3, marks=pytest.mark.slow)]
)
def test_random_kills_lose_nothing_and_double_nothing(tmp_path: Path, count: int, kills: int, workers: int) -> None:
    rng = random.Random(count)
    over = threading.Event()

    def kill_some() -> int:
        done = 0
        while done < kills and not over.wait(rng.random() * 0.4):
            if pids := worker_pids(os.getpid()):
                os.kill(rng.choice(pids), rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGABRT]))
                done += 1
        return done

    with new_store(tmp_path / "campaign.sqlite", count) as store:
        with ProcessExecutor(f"{HERE}:nap", models_of(store), workers) as executor:
            killing = Background(kill_some)
            report = run(store, executor, Rounds(LIMITS, max_failures=kills + 1))
            over.set()
            assert killing.result() > 0
        assert report.decided == report.total == count
        assert answers_per_query(store) == {1: count}
        assert distances(store) == {i: (i / 1000, i / 1000) for i in range(count)}
        failures = Counter(a.failure for query in store.queries(LIMITS) for a in query.history) - Counter({None: count})
        assert failures.total() == report.failures and set(failures) <= {"killed", "lost"}
