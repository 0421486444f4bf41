"""Campaigns on Dask clusters, and what becomes of them when parts of a cluster die; all on this machine."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from mipverify_py.campaigns import Limits, Store, load_campaign
from mipverify_py.campaigns._rounds import Rounds
from mipverify_py.campaigns.executors import DaskExecutor, ExecutorError, InlineExecutor, TlsFiles, _dask
from onnx_models.errors import InputError
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
from tests.helpers.campaigns import start

ROOT = Path(__file__).resolve().parents[3]

pytest.importorskip("distributed", reason="Dask is not installed")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path / "campaign.sqlite", 6) as store:
        yield store


def local(store: Store, answerer: str, workers: int, **how: Any) -> DaskExecutor:
    return DaskExecutor(f"{HERE}:{answerer}", models_of(store), workers=workers, **how)


def dask_pids(executor: DaskExecutor) -> list[int]:
    """The processes of the Dask workers."""
    return sorted(executor._client.run(os.getpid).values())


def listening(pids: list[int]) -> set[str]:
    """Hexadecimal addresses that these processes listen on."""
    sockets = {
        link.readlink().name
        for pid in pids
        for link in Path(f"/proc/{pid}/fd").iterdir()
        if link.is_symlink() and "socket:" in str(link.readlink())
    }
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.add(fields[1].partition(":")[0])
    return found


def test_a_local_cluster_answers_survives_a_kill_and_stops_at_once(store: Store) -> None:
    loopback = "0100007F"
    with local(store, "stuck_once", 1) as executor:
        (pid,) = dask_pids(executor)
        assert listening([pid]) | listening([os.getpid()]) == {loopback}
        going = Background(lambda: run(store, executor, Rounds(Limits(None))))
        wait_for(lambda: [running for running in executor.running() if running.lower == 0.125])
        (ours,) = worker_pids(pid)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not is_alive(ours))  # nothing of ours outlives its Dask worker
        for count in range(1, 6):  # each of the other queries is stuck once, too
            wait_for(lambda count=count: failures(store).total() == count)
            kill_ours(executor)
        report = going.result()
    assert (report.decided, report.failed) == (6, 0)
    assert failures(store) == {"lost": 1, "killed": 5}
    assert all(query.attempts == 2 for query in store.queries(LIMITS))


def failures(store: Store) -> Counter[str]:
    """How many attempts have failed, by reason."""
    return Counter(a.failure for query in store.queries(LIMITS) for a in query.history if a.failure is not None)


def kill_ours(executor: DaskExecutor) -> None:
    """Kills our worker process beside the only Dask worker once it has begun to search."""
    wait_for(lambda: [running for running in executor.running() if running.lower == 0.125])
    for pid in dask_pids(executor):
        for ours in worker_pids(pid):
            os.kill(ours, signal.SIGKILL)


@pytest.mark.slow
def test_attacks_go_together_and_a_poisonous_one_takes_others_with_it_once(tmp_path: Path) -> None:
    with new_store(tmp_path / "campaign.sqlite", 0, attacks=6) as store:
        with local(store, "poisoned", 1) as executor:
            report = run(store, executor, Rounds(LIMITS, max_failures=2))
        assert (report.decided, report.failed, report.failures) == (5, 1, 7)
        for query in store.queries(LIMITS, 2):
            fates = [attempt.failure for attempt in query.history]
            assert fates == (["killed", "killed"] if query.record.input.index == 3 else ["killed", None])


def test_what_cannot_be_is_refused(store: Store) -> None:
    for wrong in ({}, {"workers": 2, "scheduler": "tcp://127.0.0.1:1"}):
        with pytest.raises(InputError, match="either the number of workers"):
            DaskExecutor(f"{HERE}:instant", [], **wrong)
    with pytest.raises(InputError, match="tls://127.0.0.1:1 needs certificates"):
        DaskExecutor(f"{HERE}:instant", [], scheduler="tls://127.0.0.1:1")
    with pytest.raises(ExecutorError, match="No Dask scheduler can be reached at tls://127.0.0.1:1"):
        DaskExecutor(f"{HERE}:instant", [], scheduler="tls://127.0.0.1:1", tls=TlsFiles("no.pem", "no.pem", "no.pem"))
    with pytest.raises(InputError, match="workers is 0"):
        DaskExecutor(f"{HERE}:instant", [], workers=0)


@pytest.mark.slow
def test_a_stopped_run_hands_over_brackets(store: Store) -> None:
    stop = threading.Event()
    with local(store, "patient", 2) as executor:
        going = Background(lambda: run(store, executor, Rounds(Limits(None)), stop=stop))
        wait_for(lambda: len([running for running in executor.running() if running.lower == 0.0]) == 2)
        stop.set()
        report = going.result()
    assert report.stopped and report.failures == 0
    brackets = [query.lower for query in store.queries(LIMITS) if query.stop_reason == "interrupted"]
    assert brackets == [0.0, 0.0]


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_reaches_dasks_workers_too_and_they_let_the_run_see_to_it(tmp_path: Path) -> None:
    path = tmp_path / "campaign.sqlite"
    new_store(path, 2).close()
    program = f"""
        import sys
        from mipverify_py.campaigns import Limits, Store, load_campaign
        from mipverify_py.campaigns._rounds import Rounds
        from mipverify_py.campaigns.executors import DaskExecutor
        from tests.helpers.campaign_run import models_of, run
        with Store.open(sys.argv[1]) as store:
            with DaskExecutor("{HERE}:patient", models_of(store), workers=2) as executor:
                print(run(store, executor, Rounds(Limits(None))))
    """
    environment = {**os.environ, "CAMPAIGN_LOG": str(tmp_path / "told")}
    with start(program, path, stderr=subprocess.PIPE, env=environment, start_new_session=True) as process:
        wait_for(lambda: answered(path) == 1 and (tmp_path / "told").exists())
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=100)
    assert process.returncode == 0 and "stopped=True" in out, err
    with Store.open(path, read_only=True) as store:
        found = [(query.lower, query.stop_reason, query.failures) for query in store.queries(LIMITS)]
    assert found == [(0.0, "interrupted", 0), (0.001, "solved", 0)]


@pytest.mark.slow
def test_a_script_that_its_own_workers_import_is_told_what_to_do(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from mipverify_py.campaigns.executors import DaskExecutor, ExecutorError\n"
        "try:\n"
        f"    DaskExecutor('{HERE}:instant', [], workers=1)\n"
        "except ExecutorError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=200,
        check=True,
    )
    assert "No Dask workers can be started here" in done.stdout and 'below `if __name__ == "__main__":`' in done.stdout


def answered(path: Path) -> int:
    with Store.open(path, read_only=True) as store:
        return sum(bool(query.answers) for query in store.queries(LIMITS, with_inputs=False))


@pytest.mark.slow
def test_what_a_worker_fails_at_is_tried_on_another(tmp_path: Path) -> None:
    with new_store(tmp_path / "campaign.sqlite", 5) as store:
        with local(store, "gone", 2) as executor:
            run(store, executor, Rounds(LIMITS, max_failures=2))
        rows = [query.row for query in store.queries(LIMITS) if query.record.input.index in (0, 3)]
        attempts = load_campaign(tmp_path / "campaign.sqlite").attempts
    for row in rows:  # one crashes our worker process, the other raises an error in it
        first, second = (name.split("-")[1] for name in attempts[attempts["row"] == row]["worker"])
        assert first != second


@pytest.mark.slow
def test_a_scheduler_that_stands_still_ends_the_run(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_dask, "ANSWER_SECONDS", 2.0)
    with (
        cluster(tmp_path) as (address, scheduler, _),
        DaskExecutor(f"{HERE}:patient", models_of(store), scheduler=address) as executor,
    ):
        going = Background(lambda: run(store, executor, Rounds(Limits(None))))
        wait_for(executor.running)
        scheduler.send_signal(signal.SIGSTOP)
        with pytest.raises(ExecutorError, match="does not answer; what was recorded is in the store"):
            going.result()


@pytest.mark.slow
def test_a_dask_worker_that_stands_still_is_restarted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_dask, "SILENCE_SECONDS", 6.0)
    with local(store, "stuck_once", 1) as executor:
        going = Background(lambda: run(store, executor, Rounds(Limits(None), max_failures=1)))
        wait_for(lambda: [running for running in executor.running() if running.lower == 0.125])
        (pid,) = dask_pids(executor)
        os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: not is_alive(pid))
        wait_for(lambda: [query for query in store.queries(LIMITS) if query.history])
        executor.interrupt()
        del going
    (failed,) = [query for query in store.queries(LIMITS) if query.history]
    assert [attempt.failure for attempt in failed.history] == ["lost"]


@pytest.mark.slow
def test_random_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    rng, kills, over = random.Random(4), 6, threading.Event()
    with new_store(tmp_path / "campaign.sqlite", 150) as store:
        with local(store, "nap", 2) as executor:

            def kill_some() -> int:
                done = 0
                while done < kills and not over.wait(rng.random() * 2.0):
                    dask = [pid for nanny in executor._client.cluster.workers.values() if (pid := nanny.pid)]
                    everybody = dask + [ours for pid in dask for ours in worker_pids(pid)]
                    if everybody:
                        os.kill(rng.choice(everybody), signal.SIGKILL)
                        done += 1
                return done

            killing = Background(kill_some)
            report = run(store, executor, Rounds(LIMITS, max_failures=kills + 1))
            over.set()
            assert killing.result() > 0
        assert report.decided == report.total == 150
        assert answers_per_query(store) == {1: 150}
        assert distances(store) == {i: (i / 1000, i / 1000) for i in range(150)}


@contextmanager
def cluster(tmp_path: Path, *more: str) -> Iterator[tuple[str, subprocess.Popen[bytes], subprocess.Popen[bytes]]]:
    """A scheduler and a worker as separate programs, as on a cluster; yields the address and both processes."""
    file = tmp_path / "scheduler.json"
    protocol = "tls" if more else "tcp"
    common = ["--host", "127.0.0.1", "--protocol", protocol, *more]
    with ExitStack() as stack:

        def start(name: str, *arguments: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{name}", *common, *arguments],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            stack.callback(end, process)
            return process

        scheduler = start("scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
        wait_for(lambda: file.exists() and file.stat().st_size)
        worker = start("worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard")
        yield json.loads(file.read_text())["address"], scheduler, worker


def end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_the_scheduler_is_killed_and_the_run_resumed_elsewhere(tmp_path: Path) -> None:
    with new_store(tmp_path / "campaign.sqlite", 300) as store:
        with (
            cluster(tmp_path) as (address, scheduler, _),
            DaskExecutor(f"{HERE}:nap", models_of(store), scheduler=address) as executor,
        ):
            going = Background(lambda: run(store, executor))
            wait_for(lambda: answers_per_query(store)[1] >= 5)
            scheduler.kill()
            with pytest.raises(ExecutorError, match="connection to the Dask scheduler at tcp://127.0.0.1"):
                going.result()
        there = answers_per_query(store)[1]
        assert 5 <= there < 300
        with InlineExecutor(f"{HERE}:instant", models_of(store)) as executor:
            assert run(store, executor).attempts == 300 - there
        assert answers_per_query(store) == {1: 300}


@pytest.mark.slow
def test_a_scheduler_that_repeats_lost_tasks_is_noticed(store: Store, tmp_path: Path) -> None:
    """One that we did not start gives a lost task to another worker up to three times without a word."""
    with (
        cluster(tmp_path) as (address, _, _),
        DaskExecutor(f"{HERE}:stuck_once", models_of(store), scheduler=address) as executor,
    ):
        going = Background(lambda: run(store, executor, Rounds(Limits(None))))
        wait_for(lambda: [running for running in executor.running() if running.lower == 0.125])
        (pid,) = dask_pids(executor)
        os.kill(pid, signal.SIGKILL)
        for count in range(1, 6):
            wait_for(lambda count=count: failures(store).total() == count)
            kill_ours(executor)
        report = going.result()
    assert report.decided == 6
    assert failures(store) == {"lost": 1, "killed": 5}


@pytest.mark.slow
def test_certificates_are_asked_for(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl to make certificates")
    tls = make_certificates(tmp_path)
    more = ("--tls-ca-file", tls.ca, "--tls-cert", tls.certificate, "--tls-key", tls.key)
    with new_store(tmp_path / "campaign.sqlite", 5) as store, cluster(tmp_path, *more) as (address, _, _):
        assert address.startswith("tls://")
        with DaskExecutor(f"{HERE}:instant", models_of(store), scheduler=address, tls=tls) as executor:
            assert run(store, executor).decided == 5
        (tmp_path / "other").mkdir()
        with pytest.raises(ExecutorError, match="No Dask scheduler can be reached"):
            DaskExecutor(
                f"{HERE}:instant", models_of(store), scheduler=address, tls=make_certificates(tmp_path / "other")
            )


def make_certificates(folder: Path) -> TlsFiles:
    """A certificate that is its own authority."""
    tls = TlsFiles(*(str(folder / name) for name in ("cert.pem", "cert.pem", "key.pem")))
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=campaign"]
    subprocess.run([*command, "-keyout", tls.key, "-out", tls.certificate], check=True, capture_output=True)
    return tls
