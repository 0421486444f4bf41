"""Ctrl-C keeps the bracket; no solver outlives the process that asked for it. Each case is a program of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mipverify_py.backends import available_backends, get_backend

REPOSITORY = Path(__file__).resolve().parents[3]
PATIENCE = 30.0
"""Seconds after which a process that should have ended counts as left over."""

SOLVING = """
import json, sys
from mipverify_py.backends import SolveLimits, solve_isolated
from tests.helpers.mips import planted

model, _ = planted()
tell = lambda progress: print("progress", flush=True)
print("started", flush=True)
solution = solve_isolated({backend!r}, model, SolveLimits(seconds=300), on_progress=tell)
print(json.dumps([solution.status.name, solution.objective, solution.dual_bound]), flush=True)
"""


@contextmanager
def program(code: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program in a process group of its own, as at a terminal."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def descendants(pid: int) -> set[int]:
    """Every process below one, by /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
    found, frontier = set[int](), {pid}
    while frontier:
        frontier = {child for child, parent in parents.items() if parent in frontier}
        found |= frontier
    return found


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def assert_all_end(pids: set[int]) -> None:
    assert pids
    deadline = time.monotonic() + PATIENCE
    while any(running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in pids if running(pid)]


pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads process tables from /proc")


def test_ctrl_c_returns_the_bracket_so_far() -> None:
    with program(SOLVING.format(backend="highs")) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "progress\n":
            assert process.poll() is None
        solvers = descendants(process.pid)
        os.killpg(process.pid, signal.SIGINT)  # what a terminal does: the whole foreground group gets it
        output, errors = process.communicate(timeout=PATIENCE)
    status, objective, bound = json.loads(output.splitlines()[-1])
    assert status == "INTERRUPTED" and process.returncode == 0 and errors == ""
    assert objective is not None and (bound is None or bound <= objective)
    assert_all_end(solvers)


@pytest.mark.parametrize("backend", available_backends())
def test_a_solver_ends_when_its_user_is_killed(backend: str) -> None:
    """Its input closes, and it sees that in the middle of its work: the solver has let the interpreter go."""
    with program(SOLVING.format(backend=backend)) as process:
        assert process.stdout is not None and process.stdout.readline() == "started\n"
        if get_backend(backend).capabilities.progress:
            assert process.stdout.readline() == "progress\n"
        else:
            while not descendants(process.pid):
                time.sleep(0.02)
            time.sleep(1.0)  # it does not tell when it is at work
        solvers = descendants(process.pid)
        assert len(solvers) == (2 if backend == "cbc" else 1)  # the worker, and the binary that CBC's runs
        process.kill()
        assert_all_end(solvers)


def test_workers_end_with_the_program_and_leave_nothing_behind() -> None:
    code = """
    import tempfile, os, sys
    from mipverify_py.backends import SolveLimits, available_backends, solve_isolated
    from tests.helpers.mips import KNAPSACK
    from tests.mipverify_py.backends.test_interrupt import descendants

    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        for name in available_backends():
            assert solve_isolated(name, KNAPSACK, SolveLimits()).objective < -23
        print(*descendants(os.getpid()), flush=True)
        from mipverify_py.backends import _process
        _process._POOL.close()
        print(os.listdir(folder))
    """
    with program(code) as process:
        output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and errors == ""
    pids, left = output.splitlines()
    assert len(pids.split()) >= len(available_backends()) and left == "[]"
    assert_all_end({int(pid) for pid in pids.split()})


def test_a_fork_has_workers_of_its_own() -> None:
    code = """
    import os, sys
    from mipverify_py.backends import SolveLimits, solve_isolated
    from tests.helpers.mips import KNAPSACK

    def answer():
        return round(solve_isolated("highs", KNAPSACK, SolveLimits()).objective)

    answer()
    child = os.fork()
    for _ in range(5):
        assert answer() == -24
    if child == 0:
        from mipverify_py.backends import _process
        _process._POOL.close()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert answer() == -24
    """
    with program(code) as process:
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
