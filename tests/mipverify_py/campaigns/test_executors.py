"""What executors in this process and in worker processes do with tasks, good and bad."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from mipverify_py.campaigns import (
    Answer,
    Completion,
    Failure,
    FailureReason,
    Limits,
    ModelRecord,
    Task,
)
from mipverify_py.campaigns._host import host_class, versions
from mipverify_py.campaigns.executors import Executor, InlineExecutor, ProcessExecutor, _processes
from mipverify_py.campaigns.executors._channel import BrokenMessageError, Channel, frame
from mipverify_py.campaigns.executors._vitals import starved_seconds
from onnx_models.errors import InputError
from onnx_models.zoo import load_zoo
from tests.helpers.campaign_answerers import HERE, queries_about, zoo_model
from tests.helpers.campaign_run import is_alive, wait_for, worker_pids


@pytest.fixture(scope="module")
def model() -> ModelRecord:
    return zoo_model()


def tasks_about(model: ModelRecord, count: int, limits: Limits = Limits(10.0)) -> list[Task]:  # noqa: B008
    return [Task(i, 1, record, limits) for i, record in enumerate(queries_about(model, count))]


def all_of(executor: Executor, tasks: list[Task], seconds: float = 120.0) -> dict[int, Completion]:
    """What comes of the tasks, by query."""
    found: dict[int, Completion] = {}
    for task in tasks:
        executor.submit(task)
    deadline = time.monotonic() + seconds
    while executor.outstanding:
        assert time.monotonic() < deadline
        for completion in executor.completions(0.5):
            assert completion.task.query not in found
            found[completion.task.query] = completion
    return found


def reason_of(completion: Completion) -> FailureReason | None:
    return completion.outcome.reason if isinstance(completion.outcome, Failure) else None


def detail_of(completion: Completion) -> str:
    assert isinstance(completion.outcome, Failure)
    return completion.outcome.detail


def executor_of(kind: str, answerer: str, model: ModelRecord, **how: float) -> Executor:
    if kind == "inline":
        return InlineExecutor(f"{HERE}:{answerer}", [model])
    return ProcessExecutor(f"{HERE}:{answerer}", [model], 1, **how)


@pytest.mark.parametrize("kind", ["inline", "processes"])
def test_answers_come_with_network_host_and_versions(kind: str, model: ModelRecord) -> None:
    with executor_of(kind, "real", model) as executor:
        found = all_of(executor, tasks_about(model, 3))
    predicted = int(np.argmax(load_zoo("digits_small_standard").forward(np.zeros(64))))
    assert sorted(found) == [0, 1, 2]
    for completion in found.values():
        assert isinstance(completion.outcome, Answer)
        assert completion.outcome.predicted == predicted
        assert completion.outcome.statistics["digest"] == model.digest
        assert (completion.outcome.statistics["pid"] == os.getpid()) == (kind == "inline")
        assert dict(completion.host) == dict(host_class())
        assert dict(completion.versions) == dict(versions())
        assert completion.seconds > 0.0


def test_a_host_is_told_by_its_class_and_not_by_its_name() -> None:
    host = host_class()
    assert set(host) == {"cpu", "cores", "memory_gib", "system", "gpu"}
    assert host["cores"] >= 1 and host["memory_gib"] >= 1
    assert os.uname().nodename not in str(host)
    assert versions("highs")["highspy"] == versions("highs")["highspy"].strip() and "highspy" not in versions()


def test_workers_share_nothing_with_this_process(model: ModelRecord) -> None:
    with executor_of("processes", "surroundings", model) as executor:
        outcome = all_of(executor, tasks_about(model, 1))[0].outcome
    assert isinstance(outcome, Answer)
    assert outcome.statistics["session"] == outcome.statistics["pid"] != os.getsid(0)
    assert outcome.statistics["threads"] == "1"
    assert outcome.statistics["links"] == {"0": "/dev/null", "1": "/dev/null"}


@pytest.mark.parametrize("kind", ["inline", "processes"])
def test_an_exception_and_nonsense_are_failures_with_a_reason(kind: str, model: ModelRecord) -> None:
    with executor_of(kind, "gone", model) as executor:
        found = all_of(executor, tasks_about(model, 6)[3:])
    assert reason_of(found[3]) is FailureReason.ERROR
    assert detail_of(found[3]).endswith("ValueError: the vendor says no") and "campaign_answerers.py" in detail_of(
        found[3]
    )
    assert detail_of(found[4]) == f"{HERE}:gone returned int where an Answer was expected"
    assert isinstance(found[5].outcome, Answer)


def test_a_crash_costs_its_own_task_only(model: ModelRecord) -> None:
    with executor_of("processes", "gone", model) as executor:
        found = all_of(executor, [tasks_about(model, 6)[i] for i in (0, 2, 5)])
    assert [reason_of(found[i]) for i in (0, 2, 5)] == [FailureReason.KILLED, FailureReason.KILLED, None]
    assert detail_of(found[0]) == "its process was ended by SIGSEGV\nabout to touch bad memory"
    assert detail_of(found[2]) == "its process ended with exit code 7"
    assert len({completion.worker for completion in found.values()}) == 3, "each death is followed by a new worker"


def test_a_worker_that_takes_too_much_memory_is_ended(model: ModelRecord) -> None:
    with executor_of("processes", "hungry", model, memory_limit=600 << 20) as executor:
        found = all_of(executor, tasks_about(model, 3))
    assert [reason_of(found[i]) for i in range(3)] == [FailureReason.MEMORY, FailureReason.MEMORY, None]
    assert "the limit is 600 MiB" in detail_of(found[0])
    assert "Unable to allocate" in detail_of(found[1])


def test_nonsense_on_the_line_is_a_lost_connection(model: ModelRecord) -> None:
    with executor_of("processes", "babble", model, grace=0.5) as executor:
        found = all_of(executor, tasks_about(model, 3, Limits(1.0)))
    assert [reason_of(found[i]) for i in range(3)] == [FailureReason.LOST, FailureReason.HUNG, None]
    assert "no message" in detail_of(found[0])


@pytest.mark.parametrize("deed", ["deaf to its time limit", "stopped"])
def test_a_worker_that_hangs_is_ended(deed: str, model: ModelRecord) -> None:
    limit = 1.0 if deed == "deaf to its time limit" else 600.0
    with executor_of("processes", "deaf", model, grace=0.5) as executor:
        for task in tasks_about(model, 1, Limits(limit)):
            executor.submit(task)
        (pid,) = wait_for(lambda: executor.running() and worker_pids(os.getpid()))
        if deed == "stopped":
            os.kill(pid, signal.SIGSTOP)
        (completion,) = wait_for(lambda: executor.completions(0.5))
        assert not is_alive(pid)
    assert reason_of(completion) is FailureReason.HUNG
    assert ("time limit was 1 s" if limit == 1.0 else "stood still") in detail_of(completion)


def test_a_worker_that_waits_for_a_processor_does_not_hang(model: ModelRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it had the processor for as long as its time limit and the grace."""
    starved = {"seconds": 1000.0}
    monkeypatch.setattr(_processes, "starved_seconds", lambda pids: dict.fromkeys(pids, starved["seconds"]))
    with executor_of("processes", "deaf", model, grace=0.2) as executor:
        for task in tasks_about(model, 1, Limits(0.2)):
            executor.submit(task)
        wait_for(executor.running)
        wait_for(lambda: executor._children[0].at_hand.began)
        starved["seconds"] = 2000.0
        assert executor.completions(1.5) == []
        starved["seconds"] = 1000.0
        (completion,) = wait_for(lambda: executor.completions(0.5))
    assert reason_of(completion) is FailureReason.HUNG


def test_waiting_for_a_processor_is_counted() -> None:
    """Three processes that share one processor wait for most of the time."""
    program = "import os, time; os.sched_setaffinity(0, {PLACE}); print(flush=True)\nwhile True: pass"
    command = [sys.executable, "-c", program.replace("PLACE", str(min(os.sched_getaffinity(0))))]
    with ExitStack() as stack:
        busy = [stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE)) for _ in range(3)]
        for process in busy:
            stack.callback(process.kill)
            assert process.stdout is not None and process.stdout.readline()
        if not starved_seconds([os.getpid()]):
            pytest.skip("this kernel does not count it")
        wait_for(lambda: all(starved_seconds([process.pid])[process.pid] > 0.2 for process in busy))
    assert starved_seconds([busy[0].pid]) == {}


def test_ctrl_c_before_anything_was_found_is_no_failure(model: ModelRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    with executor_of("inline", "instant", model) as executor:
        prepare = executor._answering.prepare

        def interrupted(task: Task) -> Failure | None:
            signal.raise_signal(signal.SIGINT)
            return prepare(task)

        monkeypatch.setattr(executor._answering, "prepare", interrupted)
        heard: list[int] = []
        before = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
        try:
            executor.submit(tasks_about(model, 1)[0])
            assert executor.completions(0.1) == []
        finally:
            signal.signal(signal.SIGINT, before)
    assert heard == [signal.SIGINT] and executor.outstanding == 0


def test_brackets_are_told_while_a_task_runs_and_asked_for_at_the_end(model: ModelRecord) -> None:
    with executor_of("processes", "patient", model) as executor:
        for task in tasks_about(model, 4, Limits(600.0)):
            executor.submit(task)
        wait_for(lambda: [running for running in executor.running() if running.lower == 0.0])
        executor.interrupt()
        over = wait_for(lambda: executor.completions(0.5))
        assert executor.outstanding == 0, "tasks that were not begun are dropped"
    assert [completion.outcome.stop_reason for completion in over] == ["interrupted"]
    assert over[0].outcome.lower == 0.0


def test_a_failed_task_goes_to_another_worker(model: ModelRecord) -> None:
    with ProcessExecutor(f"{HERE}:gone", [model], 2) as executor:
        first = all_of(executor, tasks_about(model, 4)[3:])[3]
        second = all_of(executor, tasks_about(model, 4)[3:])[3]
    assert first.worker != second.worker


def test_closing_ends_all_workers_at_once(model: ModelRecord) -> None:
    with ProcessExecutor(f"{HERE}:deaf", [model], 2) as executor:
        for task in tasks_about(model, 2, Limits(600.0)):
            executor.submit(task)
        pids = wait_for(lambda: len(found := worker_pids(os.getpid())) == 2 and found)
    assert not any(is_alive(pid) for pid in pids)


@pytest.mark.parametrize(
    "answerer", ["instant", "tests.helpers.campaign_answerers", "no.such.module:answer", "os:not a name", ":x"]
)
@pytest.mark.parametrize("kind", [InlineExecutor, lambda answerer, models: ProcessExecutor(answerer, models, 1)])
def test_an_answerer_that_cannot_be_is_refused(kind: type[Executor], answerer: str) -> None:
    with pytest.raises(InputError, match="cannot be found"):
        kind(answerer, [])


def test_bad_numbers_and_unknown_models_are_refused(model: ModelRecord) -> None:
    with pytest.raises(InputError, match="workers is 0"):
        ProcessExecutor(f"{HERE}:instant", [], 0)
    with pytest.raises(InputError, match="memory_limit is -1"):
        ProcessExecutor(f"{HERE}:instant", [], 1, memory_limit=-1)
    with InlineExecutor(f"{HERE}:instant", []) as executor, pytest.raises(InputError, match="was not given"):
        executor.submit(tasks_about(model, 1)[0])


def test_a_model_with_a_wrong_digest_is_a_failure(model: ModelRecord) -> None:
    wrong = ModelRecord("0" * 64, "impostor", model.onnx)
    with InlineExecutor(f"{HERE}:instant", [wrong]) as executor:
        task = Task(0, 1, queries_about(wrong, 1)[0], Limits(1.0))
        (completion,) = all_of(executor, [task]).values()
    assert reason_of(completion) is FailureReason.ERROR
    assert "Model impostor has digest" in detail_of(completion)


class TestChannel:
    @pytest.fixture
    def pair(self) -> Iterator[tuple[Channel, Channel]]:
        ends = [Channel(end) for end in socket.socketpair()]
        yield ends[0], ends[1]
        for end in ends:
            end.close()

    def test_what_nobody_reads_waits_without_blocking(self, pair: tuple[Channel, Channel]) -> None:
        one, other = pair
        big = b"x" * (8 << 20)
        one.send(frame(big))
        assert one.has_more_to_send
        found: list[object] = []
        while not found:
            found = other.receive()
            one.flush()
        assert found == [big] and not one.has_more_to_send

    def test_the_last_words_come_before_the_end(self, pair: tuple[Channel, Channel]) -> None:
        one, other = pair
        one.send(frame("first") + frame("last"))
        one.close()
        assert other.receive() == ["first", "last"]
        with pytest.raises(EOFError):
            other.receive()

    @pytest.mark.parametrize("data", [b"nonsense", b"MVC1" + b"\xff" * 8 + b"x", frame("good")[:-2] + b"??"])
    def test_nonsense_is_refused(self, pair: tuple[Channel, Channel], data: bytes) -> None:
        one, other = pair
        one.send(data)
        with pytest.raises(BrokenMessageError):
            other.receive()
