"""A solver process that misbehaves: `python -m tests.helpers.hostile_worker MODE`."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np

from bounds import MipModel
from mipverify_py.backends import Answer, Backend, SolveLimits, SolveProgress, SolveStatus
from mipverify_py.backends._base import Report
from mipverify_py.backends._frames import Frame, FrameReader, answer_frame, progress_frame
from mipverify_py.backends._worker import serve
from onnx_models.errors import BackendLimitError


class HostileBackend(Backend):
    """Does what its mode says, after reporting the bound -30 and the point 0 (a feasible one in the tests' model)."""

    name: ClassVar[str] = "hostile"
    module: ClassVar[str] = "numpy"
    distribution: ClassVar[str] = "numpy"
    licence: ClassVar[str] = "none"
    statuses: ClassVar[dict[str, SolveStatus]] = {}

    def __init__(self, mode: str) -> None:
        self.mode = mode

    def load(self) -> None:
        if self.mode == "does not load":
            raise ImportError("libmissing.so: cannot open shared object file")
        if self.mode == "never ready":
            time.sleep(600)
        if self.mode == "dies at the start":
            sys.exit("no licence key")

    def solve(self, model: MipModel, limits: SolveLimits, report: Report) -> Answer:
        report(SolveProgress(-30.0, None, np.zeros(model.columns)))
        return MODES[self.mode](model, report)


def hang(model: MipModel, report: Report) -> Answer:
    time.sleep(600)
    return Answer(SolveStatus.UNKNOWN)


def flood(model: MipModel, report: Report) -> Answer:
    while True:
        report(SolveProgress(-30.0, None, np.zeros(model.columns)))


def crash(model: MipModel, report: Report) -> Answer:
    os.write(2, b"about to touch bad memory\n")
    os.kill(os.getpid(), signal.SIGSEGV)
    return Answer(SolveStatus.UNKNOWN)


def killed(model: MipModel, report: Report) -> Answer:
    os.kill(os.getpid(), signal.SIGKILL)
    return Answer(SolveStatus.UNKNOWN)


def leave(model: MipModel, report: Report) -> Answer:
    os.write(2, b"first line\nlicence server lost\n")
    os._exit(7)


def chatter(model: MipModel, report: Report) -> Answer:
    for _ in range(2000):
        os.write(1, b"iteration log on standard output " * 20 + b"\n")
        os.write(2, b"iteration log on standard error " * 20 + b"\n")
    sys.stdout.write("and from Python\n")
    sys.stdout.flush()
    return Answer(SolveStatus.OPTIMAL, np.zeros(model.columns), 0.0)


def refuse(model: MipModel, report: Report) -> Answer:
    raise ValueError("the vendor says no")


def too_large(model: MipModel, report: Report) -> Answer:
    raise BackendLimitError("too large for this licence")


def litter(model: MipModel, report: Report) -> Answer:
    raise ValueError(tempfile.mkdtemp())


def lie(model: MipModel, report: Report) -> Answer:
    report(SolveProgress(float("nan"), -1e9, np.full(model.columns, 99.0)))
    return Answer(SolveStatus.OPTIMAL, np.full(model.columns, 99.0), float("nan"), np.zeros(2), nodes=-5)


def pid(model: MipModel, report: Report) -> Answer:
    return Answer(SolveStatus.UNKNOWN, nodes=os.getpid())


def session(model: MipModel, report: Report) -> Answer:
    return Answer(SolveStatus.UNKNOWN, nodes=os.getsid(0))


def threads(model: MipModel, report: Report) -> Answer:
    return Answer(SolveStatus.UNKNOWN, nodes=int(os.environ["OMP_NUM_THREADS"]))


def echo(model: MipModel, report: Report) -> Answer:
    return Answer(SolveStatus.UNKNOWN, dual_bound=model.offset, nodes=model.nonzeros)


KEPT: list[Report] = []
"""The ways to report that earlier solves were given."""

FALSE_BOUND = SolveProgress(5.0, None, np.zeros(5))
"""Above the optimum of the tests' model; its point sees to it that it is sent whatever the clock says."""


def hoard(model: MipModel, report: Report) -> Answer:
    """Goes on reporting to the solves before this one."""
    for earlier in KEPT:
        earlier(FALSE_BOUND)
    KEPT.append(report)
    return Answer(SolveStatus.UNKNOWN, nodes=os.getpid())


class Malicious:
    """Holds a solve's way to report, and uses it when it is collected: what SCIP does with a model that it frees."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def __del__(self) -> None:
        self.report(FALSE_BOUND)


def last_words(model: MipModel, report: Report) -> Answer:
    """Fails, and reports while the failure is being told."""
    leaving = Malicious(report)
    raise BackendLimitError(f"freed with {type(leaving).__name__}")


MODES: dict[str, Callable[[MipModel, Report], Answer]] = {
    "hang": hang,
    "flood": flood,
    "crash": crash,
    "killed": killed,
    "leave": leave,
    "chatter": chatter,
    "refuse": refuse,
    "too large": too_large,
    "litter": litter,
    "lie": lie,
    "pid": pid,
    "session": session,
    "threads": threads,
    "echo": echo,
    "hoard": hoard,
    "last words": last_words,
}


def requests() -> Iterator[Frame]:
    """What the parent sends, until it hangs up."""
    reader = FrameReader()
    while data := os.read(0, 1 << 20):
        yield from reader.feed(data)


def speak_late() -> None:
    """Answers as it should, and sends a false bound for the same request in the same breath."""
    os.write(1, Frame("ready").pack())
    for request in requests():
        answer = answer_frame(Answer(SolveStatus.UNKNOWN, nodes=os.getpid())).numbered(request.number)
        os.write(1, answer.pack() + progress_frame(FALSE_BOUND).numbered(request.number).pack())


def answer_another() -> None:
    """Answers a request that was never made."""
    os.write(1, Frame("ready").pack())
    for request in requests():
        os.write(1, answer_frame(Answer(SolveStatus.UNKNOWN)).numbered(request.number + 1).pack())


def main() -> None:
    mode = sys.argv[1]
    if mode == "garbage":
        os.write(1, b"Solver version 1.0, licensed to nobody\n")
        time.sleep(600)
    if mode == "deaf":  # never reads its input, so a large request fills the pipe
        os.write(1, b"MVF1" + (17).to_bytes(8, "big") + bytes(8) + b'{"kind": "ready"}')
        time.sleep(600)
    if mode == "speaks late":
        speak_late()
    if mode == "answers another request":
        answer_another()
    serve(HostileBackend(mode))


if __name__ == "__main__":
    main()
