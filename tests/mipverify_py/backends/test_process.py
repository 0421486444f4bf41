"""Solvers that hang, crash, babble or lie cost one solve and nothing else."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from bounds import MipModel
from mipverify_py.backends import SolveLimits, SolveProgress, SolveStatus, WorkerPool, _process, solve_isolated
from onnx_models.errors import (
    BackendCrashError,
    BackendError,
    BackendLimitError,
    BackendMissingError,
    InputError,
)
from tests.helpers.mips import INF, KNAPSACK, mip

REPOSITORY = Path(__file__).resolve().parents[3]
NO_LIMIT = SolveLimits()


def command(mode: str, name: str) -> list[str]:
    """The command line of a worker that misbehaves, whatever backend it is to be."""
    return [sys.executable, "-m", "tests.helpers.hostile_worker", mode]


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], WorkerPool]]:
    """Makes pools whose workers misbehave in the given mode; a backend's name is needed but not used."""
    path = os.pathsep.join([str(REPOSITORY), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setattr(_process, "GRACE_SECONDS", 0.1)
    pools = []

    def make(mode: str) -> WorkerPool:
        pools.append(WorkerPool(partial(command, mode)))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def test_a_time_limit_of_many_years_is_a_limit_like_others() -> None:
    """poll itself takes no more than 2**31 milliseconds."""
    assert solve_isolated("highs", KNAPSACK, SolveLimits(seconds=1e12)).status is SolveStatus.OPTIMAL


@pytest.mark.parametrize("mode", ["hang", "flood"])
def test_a_solver_that_overruns_is_ended_and_its_progress_kept(hostile: Callable, mode: str) -> None:
    seen: list[SolveProgress] = []
    solution = hostile(mode).solve("highs", KNAPSACK, SolveLimits(seconds=0.2), on_progress=seen.append)
    assert solution.status is SolveStatus.TIME_LIMIT
    assert (solution.objective, solution.dual_bound) == (0.0, -30.0)
    np.testing.assert_array_equal(solution.point, np.zeros(5))
    assert len(seen) == 1  # a report that repeats the last one is none
    assert (seen[0].objective, seen[0].dual_bound) == (0.0, -30.0)


def test_a_solver_that_does_not_even_listen_is_ended(hostile: Callable) -> None:
    n = 300_000  # the request is larger than any pipe buffer
    empty = sparse.csr_array((0, n))
    big = MipModel(
        empty, np.zeros(0), np.zeros(0), np.zeros(n), np.ones(n), np.ones(n), 0.0, np.ones(n, bool), ("x",) * n
    )
    assert hostile("deaf").solve("highs", big, SolveLimits(seconds=0.2)).status is SolveStatus.TIME_LIMIT


DEATHS = {
    "crash": ["'highs'", "SIGSEGV", "about to touch bad memory"],
    "killed": ["'highs'", "SIGKILL", "out of memory"],
    "leave": ["'highs'", "exit code 7", "licence server lost"],
    "garbage": ["'highs'", "nonsense", "Solver version 1.0"],
    "dies at the start": ["'highs'", "exit code 1", "no licence key"],
}


@pytest.mark.parametrize(("mode", "words"), DEATHS.items(), ids=DEATHS.keys())
def test_a_death_is_an_error_that_tells_how(hostile: Callable, mode: str, words: list[str]) -> None:
    with pytest.raises(BackendCrashError) as caught:
        hostile(mode).solve("highs", KNAPSACK, NO_LIMIT)
    for word in words:
        assert word in str(caught.value)


def test_what_was_reported_before_a_crash_has_arrived(hostile: Callable) -> None:
    seen: list[SolveProgress] = []
    with pytest.raises(BackendCrashError):
        hostile("crash").solve("highs", KNAPSACK, NO_LIMIT, on_progress=seen.append)
    assert [p.dual_bound for p in seen] == [-30.0]


def test_the_solve_after_a_crash_has_a_new_process(hostile: Callable) -> None:
    hostile("")  # sets the path
    modes = iter(["crash", "pid"])
    pool = WorkerPool(lambda name: command(next(modes), name))
    with pytest.raises(BackendCrashError):
        pool.solve("highs", KNAPSACK, NO_LIMIT)
    first = pool.solve("highs", KNAPSACK, NO_LIMIT).nodes
    assert first == pool.solve("highs", KNAPSACK, NO_LIMIT).nodes  # and keeps it
    os.kill(first, 9)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    modes = iter(["pid"])
    assert pool.solve("highs", KNAPSACK, NO_LIMIT).nodes != first  # one that died while idle is replaced
    pool.close()


def test_a_slow_start_is_an_error(monkeypatch: pytest.MonkeyPatch, hostile: Callable) -> None:
    monkeypatch.setattr(_process, "START_SECONDS", 0.3)
    with pytest.raises(BackendCrashError, match="did not start"):
        hostile("never ready").solve("highs", KNAPSACK, NO_LIMIT)


def test_a_solver_that_does_not_load_is_missing(hostile: Callable) -> None:
    with pytest.raises(BackendMissingError, match=r"does not load: libmissing\.so"):
        hostile("does not load").solve("highs", KNAPSACK, NO_LIMIT)


def test_console_output_does_not_reach_us_or_the_messages(hostile: Callable, capfd: pytest.CaptureFixture[str]) -> None:
    solution = hostile("chatter").solve("highs", KNAPSACK, SolveLimits(gap_absolute=100))
    assert solution.status is SolveStatus.OPTIMAL
    assert capfd.readouterr() == ("", "")


def test_an_exception_of_the_vendor_names_the_backend(hostile: Callable) -> None:
    with pytest.raises(BackendError, match="'highs' failed: ValueError: the vendor says no") as caught:
        hostile("refuse").solve("highs", KNAPSACK, NO_LIMIT)
    assert type(caught.value) is BackendError


def test_a_refused_model_keeps_the_process(hostile: Callable) -> None:
    pool = hostile("too large")
    for _ in range(2):
        with pytest.raises(BackendLimitError, match="too large for this licence"):
            pool.solve("highs", KNAPSACK, NO_LIMIT)


def test_lies_are_not_passed_on(hostile: Callable) -> None:
    seen: list[SolveProgress] = []
    solution = hostile("lie").solve("highs", KNAPSACK, NO_LIMIT, on_progress=seen.append)
    assert solution.status is SolveStatus.UNKNOWN
    assert (solution.objective, solution.dual_bound, solution.point, solution.nodes) == (None, None, None, 0)
    assert all(p.point is None or not p.point.any() for p in seen)


@pytest.mark.parametrize("mode", ["hoard", "speaks late"])
def test_a_report_that_comes_after_its_solve_is_not_passed_on(hostile: Callable, mode: str) -> None:
    """It may bound another model: all of these are above -24, the optimum of the model that is being solved."""
    pool, seen = hostile(mode), list[SolveProgress]()
    solutions = [pool.solve("highs", KNAPSACK, NO_LIMIT, on_progress=seen.append) for _ in range(3)]
    assert len({solution.nodes for solution in solutions}) == 1  # one process served them all
    assert {p.dual_bound for p in seen} <= {-30.0}


def test_a_report_made_while_a_failure_is_told_is_not_passed_on(hostile: Callable) -> None:
    seen: list[SolveProgress] = []
    with pytest.raises(BackendLimitError, match="freed with Malicious"):
        hostile("last words").solve("highs", KNAPSACK, NO_LIMIT, on_progress=seen.append)
    assert [p.dual_bound for p in seen] == [-30.0]


def test_an_answer_to_another_request_is_none(hostile: Callable) -> None:
    with pytest.raises(BackendCrashError, match="'highs' sent an 'answer' to another request"):
        hostile("answers another request").solve("highs", KNAPSACK, NO_LIMIT)


def test_temporary_files_go_with_the_process(hostile: Callable) -> None:
    with pytest.raises(BackendError) as caught:
        hostile("litter").solve("highs", KNAPSACK, NO_LIMIT)
    folder = Path(str(caught.value).rpartition(" ")[2])
    assert "mipverify-" in str(folder)
    assert not folder.exists() and not folder.parent.exists()


def test_a_worker_has_its_own_session_and_one_thread_per_library(hostile: Callable) -> None:
    assert hostile("session").solve("highs", KNAPSACK, NO_LIMIT).nodes != os.getsid(0)
    assert hostile("threads").solve("highs", KNAPSACK, NO_LIMIT).nodes == 1


def test_an_exception_in_the_callback_ends_the_solve_and_passes_through(hostile: Callable) -> None:
    class EnoughError(Exception):
        pass

    def stop(progress: SolveProgress) -> None:
        raise EnoughError

    with pytest.raises(EnoughError):
        hostile("hang").solve("highs", KNAPSACK, NO_LIMIT, on_progress=stop)


def test_an_interrupt_returns_the_progress(hostile: Callable) -> None:
    def interrupt(progress: SolveProgress) -> None:
        raise KeyboardInterrupt

    solution = hostile("hang").solve("highs", KNAPSACK, NO_LIMIT, on_progress=interrupt)
    assert solution.status is SolveStatus.INTERRUPTED
    assert (solution.objective, solution.dual_bound) == (0.0, -30.0)


def test_the_model_arrives_whole(hostile: Callable) -> None:
    model = mip([[1, 0.1], [0, 3]], (0, INF), (0, 1), [1, 2], offset=1 / 3)
    solution = hostile("echo").solve("highs", model, NO_LIMIT)
    assert (solution.dual_bound, solution.nodes) == (1 / 3, 3)


def test_several_threads_may_solve_at_once() -> None:
    answers: list[float | None] = []

    def work() -> None:
        answers.append(solve_isolated("highs", KNAPSACK, NO_LIMIT).objective)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert answers == pytest.approx([-24.0] * 3)


def test_an_ignored_limit_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        solve_isolated("highs", KNAPSACK, SolveLimits(threads=2))
        assert caplog.messages == []
        solve_isolated("scip", KNAPSACK, SolveLimits(threads=2))
    assert caplog.messages == ["Backend 'scip' ignores the limit 'threads'."]


def test_bad_arguments() -> None:
    with pytest.raises(InputError, match="'cplex' is unknown; choose one of highs, scip"):
        solve_isolated("cplex", KNAPSACK, NO_LIMIT)
    with pytest.raises(InputError, match="start has 3 entries; the model has 5 columns"):
        solve_isolated("highs", KNAPSACK, SolveLimits(start=np.zeros(3)))
