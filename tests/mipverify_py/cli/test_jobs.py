"""Several images at a time: the same answers in the same order, whatever happens to the processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mipverify_py import Options, Query
from mipverify_py.cli import ExitCode, _crew, _verify_images, run
from mipverify_py.cli._search_image import Found, search_image

MIP = ["--engine", "mip"]
HARD = ["hard.onnx", "hard.npy", *MIP, "--tightening", "interval", "--json"]

Records = list[dict[str, Any]]


def answers(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Records, str]:
    """Exit code, objects and messages of `verify ... --json --quiet`."""
    code = run([*words, "--json", "--quiet"])
    out, err = capsys.readouterr()
    return code, [json.loads(line) for line in out.splitlines()], err


def timeless(value: Any) -> Any:
    """The value without what may differ from run to run."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if "seconds" not in k and k not in ("jobs", "file")}
    return value


@pytest.fixture
def behave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has workers run some code, which knows `_search_image` and `real`, its own `verify`, before they serve."""

    def replace_workers(code: str) -> None:
        script = tmp_path / "worker.py"
        head = "import os, signal\nfrom mipverify_py.cli import _search_image, _worker\nreal = _search_image.verify\n"
        script.write_text(f"{head}{textwrap.dedent(code)}\n_worker.main()\n")
        monkeypatch.setattr(_crew, "worker_command", lambda number: [sys.executable, str(script), str(number)])

    return replace_workers


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["2", "3", "7"])
def test_the_answers_do_not_depend_on_the_number_of_jobs(
    inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], jobs: str
) -> None:
    found = {}
    for n in ("1", jobs):
        (tmp_path / n).mkdir()
        words = ["model.onnx", "batch.npy", "--index", "2,0,1", "--save-witness", str(tmp_path / n / "w.npz")]
        code, records, err = answers(capsys, *words, "--jobs", n)
        assert (code, err, [record["index"] for record in records]) == (ExitCode.ANSWERED, "", [2, 0, 1])
        assert {record["options"]["jobs"] for record in records} == {int(n)}
        found[n] = timeless({str(k): record for k, record in enumerate(records)})
    assert found["1"] == found[jobs]
    assert found["1"]["0"]["witness"] is not None
    files = sorted((tmp_path / "1").iterdir())
    assert [file.name for file in files] == ["w-0000.npz", "w-0001.npz", "w-0002.npz"]
    for file in files:
        assert file.read_bytes() == (tmp_path / jobs / file.name).read_bytes()


def test_the_table_is_the_same_but_for_times(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for n in ("1", "2"):
        assert run(["model.onnx", "batch.npy", *MIP, "--quiet", "--jobs", n]) == ExitCode.ANSWERED
        lines = capsys.readouterr().out.splitlines()
        head = next(line.partition("evidence")[0] for line in lines if "evidence" in line)
        shown.append([line[: len(head)] for line in lines if " images in " not in line])
    assert len(shown[0]) > 6
    assert shown[0] == shown[1]


def test_one_image_has_its_targets_searched_at_the_same_time(
    inside: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def spy(query: Query, options: Options, *rest: Any, **keywords: Any) -> Found:
        seen.append(options.jobs)
        return search_image(query, options, *rest, **keywords)

    monkeypatch.setattr(_verify_images, "search_image", spy)
    assert answers(capsys, "model.onnx", "x.npy", *MIP, "--jobs", "3")[0] == ExitCode.ANSWERED
    assert answers(capsys, "model.onnx", "x.npy", *MIP)[0] == ExitCode.ANSWERED
    assert seen == [3, 1]


@pytest.mark.parametrize(("jobs", "workers", "each"), [(2, 2, 1), (3, 3, 1), (5, 3, 1), (7, 3, 2)])
def test_jobs_are_shared_between_images_and_targets(
    inside: Path, monkeypatch: pytest.MonkeyPatch, jobs: int, workers: int, each: int
) -> None:
    seen: list[tuple[int, int]] = []

    def spy(
        questions: Any, indices: list[int], options: Options, progress: Any, *, workers: int
    ) -> Generator[tuple[int, Query, Found], None, None]:
        seen.append((workers, options.jobs))
        yield from ()

    monkeypatch.setattr(_verify_images, "answer_in_workers", spy)
    run(["model.onnx", "batch.npy", "--quiet", "--jobs", str(jobs)])
    assert seen == [(workers, each)]


def test_a_run_that_stops_early_was_interrupted(
    inside: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C may come when the images under way are about to be solved: what is missing says so."""
    real = _crew.answer_in_workers

    def one(*rest: Any, **keywords: Any) -> Generator[tuple[int, Query, Found], None, None]:
        with closing(real(*rest, **keywords)) as images:
            yield next(images)

    monkeypatch.setattr(_verify_images, "answer_in_workers", one)
    code, [record], _ = answers(capsys, "model.onnx", "batch.npy", *MIP, "--jobs", "2")
    assert (code, record["index"], record["stop_reason"]) == (ExitCode.INTERRUPTED, 0, "solved")


KILLED_ONCE = """
def verify(query, *rest, **keywords):
    if query.x0[0] == {value!r}:
        try:
            os.mkdir({mark!r})
        except FileExistsError:
            return real(query, *rest, **keywords)
        os.kill(os.getpid(), signal.SIGKILL)
    return real(query, *rest, **keywords)
_search_image.verify = verify
"""


def test_a_worker_that_is_killed_loses_nothing(
    inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], behave: Callable[[str], None]
) -> None:
    _, expected, _ = answers(capsys, "model.onnx", "batch.npy", *MIP)
    first = float(np.load("batch.npy")[0].reshape(-1)[0])
    behave(KILLED_ONCE.format(value=first, mark=str(tmp_path / "mark")))
    code, records, err = answers(capsys, "model.onnx", "batch.npy", *MIP, "--jobs", "2")
    assert (tmp_path / "mark").is_dir()  # it was killed indeed
    assert (code, err) == (ExitCode.ANSWERED, "")
    assert [{**timeless(r), "options": None} for r in records] == [{**timeless(r), "options": None} for r in expected]


KILLED_ALWAYS = """
def verify(query, *rest, **keywords):
    if query.x0[0] == {value!r}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(query, *rest, **keywords)
_search_image.verify = verify
"""


def test_an_image_whose_workers_are_killed_is_reported(
    inside: Path, capsys: pytest.CaptureFixture[str], behave: Callable[[str], None]
) -> None:
    second = float(np.load("batch.npy")[1].reshape(-1)[0])
    behave(KILLED_ALWAYS.format(value=second))
    code, records, err = answers(capsys, "model.onnx", "batch.npy", *MIP, "--jobs", "2")
    assert (code, err) == (ExitCode.UNKNOWN, "")
    assert [record["stop_reason"] for record in records] == ["solved", "solver_failed", "solved"]
    lost = records[1]
    assert lost["lower"] is lost["upper"] is lost["evidence"] is None
    assert lost["stop_detail"] == "the process that worked on it was ended by SIGKILL (often: out of memory), 2 times"


def test_workers_that_never_start_fail_every_image(
    inside: Path, capsys: pytest.CaptureFixture[str], behave: Callable[[str], None]
) -> None:
    behave("os._exit(9)")
    code, records, _ = answers(capsys, "model.onnx", "batch.npy", "--jobs", "2")
    assert code == ExitCode.UNKNOWN
    assert {record["stop_detail"] for record in records} == {
        "the process that worked on it ended with exit code 9, 2 times"
    }
    assert len(records) == 3


FAILING = """
from onnx_models.errors import *
def verify(query, *rest, **keywords):
    if query.x0[0] == {value!r}:
        raise {error}
    return real(query, *rest, **keywords)
_search_image.verify = verify
"""


def failing(error: str) -> str:
    """Workers in which the second image of the batch ends with this exception."""
    return FAILING.format(value=float(np.load("batch.npy")[1].reshape(-1)[0]), error=error)


def test_a_backend_that_fails_costs_one_image(
    inside: Path, capsys: pytest.CaptureFixture[str], behave: Callable[[str], None]
) -> None:
    behave(failing('BackendLimitError("The licence allows 2,000.")'))
    code, records, err = answers(capsys, "model.onnx", "batch.npy", *MIP, "--jobs", "2")
    assert (code, err) == (ExitCode.UNKNOWN, "")
    assert [record["stop_reason"] for record in records] == ["solved", "solver_failed", "solved"]
    assert records[1]["stop_detail"] == "The licence allows 2,000."


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        ('BackendMissingError("HiGHS is gone.")', ExitCode.USAGE, "verify: HiGHS is gone.\n"),
        ('InputError("No such thing.")', ExitCode.USAGE, "verify: No such thing.\n"),
        ("ZeroDivisionError", ExitCode.INTERNAL, "ZeroDivisionError"),
    ],
)
def test_what_ends_a_run_ends_it_after_the_images_before(
    inside: Path,
    capsys: pytest.CaptureFixture[str],
    behave: Callable[[str], None],
    error: str,
    code: ExitCode,
    message: str,
) -> None:
    behave(failing(error))
    ended, records, err = answers(capsys, "model.onnx", "batch.npy", *MIP, "--jobs", "3")
    assert ended == code
    assert [record["index"] for record in records] == [0]
    assert message in err
    assert ("Traceback" in err) == (code is ExitCode.INTERNAL)


@contextmanager
def started(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`verify` in a process of its own, which ends with the block; it is patient with slow workers."""
    patient = "import sys; from mipverify_py.cli import _crew, run; _crew.LAST_WORDS_SECONDS = 30.0; "
    command = [sys.executable, "-c", f"{patient} sys.exit(run(sys.argv[1:]))", *words]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        try:
            yield program
        finally:
            program.kill()


def children(parent: int) -> list[int]:
    """Processes that this one has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[1]) == parent:
            found.append(int(path.parent.name))
    return found


def searching(program: subprocess.Popen[str], count: int) -> list[int]:
    """Its workers, once so many of them have started a solver: then they have brackets."""
    patience = time.monotonic() + 60
    while len(workers := children(program.pid)) < count or not all(children(worker) for worker in workers):
        assert time.monotonic() < patience
        time.sleep(0.05)
    return workers


def test_an_interrupted_run_writes_what_every_worker_knows(workplace: Path) -> None:
    with started(workplace, *HARD, "--jobs", "2") as program:
        searching(program, 2)
        program.send_signal(signal.SIGINT)
        out, errors = program.communicate(timeout=60)
    assert program.returncode == 130
    assert "Traceback" not in errors
    records = [json.loads(line) for line in out.splitlines()]
    assert [(record["index"], record["stop_reason"]) for record in records] == [(0, "interrupted"), (1, "interrupted")]
    for record in records:
        assert record["stop_detail"] == ""
        assert record["upper"] is not None
        assert record["lower"] is None or record["lower"] < record["upper"]


@pytest.mark.parametrize("delay", [0.0, 0.3, 1.0])
def test_an_interruption_while_workers_start_is_no_traceback(workplace: Path, delay: float) -> None:
    words = [word for word in HARD if word != "--json"]
    with started(workplace, *words, "--jobs", "2", "--quiet") as program:
        assert program.stdout is not None
        program.stdout.readline()  # the head of the table comes before the first worker
        time.sleep(delay)
        program.send_signal(signal.SIGINT)
        out, errors = program.communicate(timeout=60)
    assert program.returncode == 130, errors
    assert errors in ("", "verify: interrupted\n")  # the second where it came before the run listens
    if not errors:
        assert "of 2 images" in out
        assert "interrupted" in out


def test_an_interruption_before_the_first_worker_is_said(
    inside: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_crew, "_interruptions", lambda: nullcontext(SimpleNamespace(asked=True)))
    code = run(["model.onnx", "batch.npy", *MIP, "--jobs", "2", "--quiet"])
    out, err = capsys.readouterr()
    assert (code, err) == (ExitCode.INTERRUPTED, "")
    assert "0 of 3 images" in out
    assert out.endswith(": interrupted\n")


def test_a_finished_image_is_written_when_the_run_is_interrupted(
    inside: Path,
    capsys: pytest.CaptureFixture[str],
    behave: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first image hangs and ignores Ctrl-C; the second is done, and waits for its turn."""
    monkeypatch.setattr(_crew, "LAST_WORDS_SECONDS", 1.0)
    first = float(np.load("batch.npy")[0].reshape(-1)[0])
    behave(f"""
        import pathlib, time
        def verify(query, *rest, **keywords):
            if query.x0[0] == {first!r}:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                time.sleep(600)
            pathlib.Path({str(tmp_path / "second")!r}).touch()
            return real(query, *rest, **keywords)
        _search_image.verify = verify
    """)

    def interrupt() -> None:
        while not (tmp_path / "second").exists():
            time.sleep(0.05)
        time.sleep(2.0)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    words = ["model.onnx", "batch.npy", *MIP, "--index", "0:2", "--jobs", "2"]
    code, records, _ = answers(capsys, *words, "--save-witness", str(tmp_path / "w.npz"))
    thread.join()
    assert code == ExitCode.INTERRUPTED
    assert [(r["index"], r["stop_reason"]) for r in records] == [(0, "interrupted"), (1, "solved")]
    assert records[0]["stop_detail"] == "not finished: there was no answer within 1 s"
    assert [path.name for path in tmp_path.glob("*.npz")] == ["w-0001.npz"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_workers_do_not_outlive_a_run_that_is_killed(workplace: Path) -> None:
    with started(workplace, *HARD, "--jobs", "2") as program:
        workers = searching(program, 2)
        solvers = [solver for worker in workers for solver in children(worker)]
    patience = time.monotonic() + 30
    while any(Path(f"/proc/{number}").exists() for number in (*workers, *solvers)):
        assert time.monotonic() < patience
        time.sleep(0.05)


@pytest.mark.slow
def test_a_terminal_sees_a_line_per_image(workplace: Path) -> None:
    reader, terminal = os.openpty()
    command = [sys.executable, "-m", "mipverify_py.cli", *HARD, "--timeout", "2", "--jobs", "2"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        command, cwd=workplace, stdin=terminal, stdout=subprocess.PIPE, stderr=terminal, env=environment
    ) as program:
        os.close(terminal)
        shown = b""
        try:
            while part := os.read(reader, 65_536):
                shown += part
        except OSError:  # how a terminal says that the other side is closed
            pass
        finally:
            os.close(reader)
        assert program.stdout is not None
        records = [json.loads(line) for line in program.stdout]
    assert [(record["index"], record["stop_reason"]) for record in records] == [(0, "time_limit"), (1, "time_limit")]
    assert b"index 0 (1 of 2): " in shown
    assert b"index 1 (2 of 2): " in shown
    assert b"\x1b[1A" in shown  # two lines are kept up to date
