"""`verify --instances FILE.csv`: a list of models and properties, each answered in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from mipverify_py.cli._arguments import Arguments
from mipverify_py.cli._complain import complain
from mipverify_py.cli._exit import ExitCode
from mipverify_py.cli._instance_files import AnswerFile, Instance, Row, read_instances
from mipverify_py.cli._numbers import seconds
from mipverify_py.cli._output import Output
from mipverify_py.cli._printable import printable
from mipverify_py.cli._verify_images import check_device, check_solvers

GRACE_SECONDS = 30.0
"""How long after its limit a process is ended: it may still check what it found."""

WAIT_SECONDS = 0.2
"""How often the run looks whether Ctrl-C was pressed."""

_CODES = {"unsat": ExitCode.ANSWERED, "sat": ExitCode.ADVERSARIAL}


def run_instances(a: Arguments) -> ExitCode:
    """Answers the instances that the output file does not answer yet; returns the largest exit code of all.

    A process that crashes, or is killed for want of memory, costs its own instance, whose verdict is then `error`.
    """
    check_solvers(a)
    check_device(a)
    assert a.instances is not None
    instances = read_instances(Path(a.instances), a.timeout)
    answers = AnswerFile(None if a.out is None else Path(a.out))
    known = answers.match(instances)
    open_ones = [k for k in range(len(instances)) if k not in known]
    output = Output()
    if known:
        output.line(f"{len(known)} of {len(instances)} instances are answered in {printable(str(a.out))}")
    children = _Children(a, answers.folder)
    began, interrupted = time.monotonic(), False
    with ThreadPoolExecutor(a.jobs) as pool:
        waiting = {pool.submit(children.answer, instances[k], k): k for k in open_ones}
        try:
            while waiting:
                done, _ = wait(waiting, timeout=WAIT_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    _take(future, waiting.pop(future), known, answers, output)
        except BaseException as error:
            children.stop()
            pool.shutdown(wait=True, cancel_futures=True)
            if not isinstance(error, KeyboardInterrupt):
                raise
            interrupted = True
    _summary(output, list(known.values()), len(instances), time.monotonic() - began)
    if interrupted:
        complain("interrupted")
        return ExitCode.INTERRUPTED
    return max((_CODES.get(row.verdict, ExitCode.UNKNOWN) for row in known.values()), default=ExitCode.ANSWERED)


def _take(future: Future[Row | None], place: int, known: dict[int, Row], answers: AnswerFile, output: Output) -> None:
    row = future.result()
    if row is None:
        return
    known[place] = row
    answers.add(row)
    remark = f"  {printable(row.detail)}" if row.verdict in ("error", "unknown") else ""
    output.line(f"{place:>5}  {row.verdict:<8}{seconds(row.seconds):>9}  {row.onnx}  {row.vnnlib}{remark}")
    output.flush()


def _summary(output: Output, rows: list[Row], total: int, elapsed: float) -> None:
    counts = Counter(row.verdict for row in rows)
    tally = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()) or "none"
    output.line(f"{len(rows)} of {total} instances answered ({seconds(elapsed)} in this run): {tally}")


@dataclass(eq=False)
class _Children:
    """Runs `verify MODEL --vnnlib FILE` in processes and can end all of them.

    Attributes:
        arguments: the command line, whose options about the search go to each process.
        folder: where counterexamples are kept, None for nowhere.
    """

    arguments: Arguments
    folder: Path | None
    _running: set[subprocess.Popen[str]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def answer(self, instance: Instance, place: int) -> Row | None:
        """The answer to one instance, None if the run was stopped."""
        with tempfile.TemporaryDirectory() as scratch:
            results, began = Path(scratch, "results.txt"), time.monotonic()
            code, said = self._run(instance, results)
            took = time.monotonic() - began
            if code is None:
                return None
            text = results.read_text("utf-8") if results.is_file() else ""
        word, detail = text.partition("\n")[0], said.strip().rpartition("\n")[2].removeprefix("verify: ")
        if not word:
            word = "error"
            if code < 0:
                late = instance.seconds is not None and took > instance.seconds
                word, detail = "timeout" if late else "error", f"the process was ended by signal {-code}"
        if word == "sat" and self.folder is not None:
            self.folder.mkdir(exist_ok=True)
            (self.folder / f"{place:05d}.txt").write_text(text, "utf-8")
        return Row(instance.onnx, instance.vnnlib, instance.timeout, word, took, detail)

    def stop(self) -> None:
        """Ends all processes and starts no other."""
        with self._lock:
            self._stopped.set()
            for process in self._running:
                _kill(process)

    def _run(self, instance: Instance, results: Path) -> tuple[int | None, str]:
        """Exit code (negative for a signal) and stderr; the code is None if the run was stopped."""
        with self._lock:
            if self._stopped.is_set():
                return None, ""
            process = subprocess.Popen(  # noqa: S603 - our own command, no shell
                self._command(instance, results),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C reaches this process alone, which then ends the others
            )
            self._running.add(process)
        try:
            limit = None if instance.seconds is None else instance.seconds + GRACE_SECONDS
            _, said = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            _kill(process)
            _, said = process.communicate()
        with self._lock:
            self._running.discard(process)
            return (None if self._stopped.is_set() else process.returncode), said

    def _command(self, instance: Instance, results: Path) -> list[str]:
        a = self.arguments
        options = {
            "--engine": a.engine,
            "--backend": a.backend,
            "--tightening": a.tightening,
            "--device": a.device,
            "--threads": str(a.threads),
            "--seed": str(a.seed),
        }
        if a.engine != "mip":
            del options["--backend"], options["--tightening"]
        if instance.seconds is not None:
            options["--timeout"] = repr(instance.seconds)
        words = [word for pair in options.items() for word in pair]
        program = [sys.executable, "-m", "mipverify_py.cli", str(instance.model)]
        return [*program, "--vnnlib", str(instance.property), "--results", str(results), *words]


def _kill(process: subprocess.Popen[str]) -> None:
    """Ends a process and those that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
