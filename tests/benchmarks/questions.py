"""Questions about images of networks, and what is kept of the answers."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import mipverify_py
from mipverify_py import LinfBall, Objective, Options, Query, Result, Unrestricted, Verdict, verify
from mipverify_py.data import read_digits
from onnx_models import Array
from onnx_models.errors import BackendLimitError, BackendMissingError, InvalidBoundsError
from onnx_models.zoo import load_zoo
from tests.benchmarks.mnist_networks import subject

Figures = Mapping[str, Any]
"""What one measurement gave, as plain JSON values; `figures` makes them."""

Check = Callable[[Result], Figures]
WARM_UP = "digits_small_standard"


class Question(NamedTuple):
    """One image of one network, and what is asked about it.

    Attributes:
        network: a name that `mnist_networks.subject` knows.
        radius: of the ball that is searched; None for the whole domain.
    """

    network: str
    index: int
    objective: Objective = Objective.CLOSEST
    radius: float | None = None
    label: int | None = None

    @property
    def image(self) -> Array:
        """The image, shape (n,)."""
        return subject(self.network).data.image(self.index).reshape(-1)

    @property
    def about(self) -> dict[str, object]:
        """What the answer depends on, beside the options."""
        return {
            "network": subject(self.network).network.digest,
            "image": hashlib.sha256(self.image.tobytes()).hexdigest()[:16],
            "objective": self.objective.value,
            "radius": self.radius,
            "label": self.label,
        }

    def query(self) -> Query:
        """The question as the library takes it."""
        ball = Unrestricted() if self.radius is None else LinfBall(self.radius)
        return Query(subject(self.network).network, self.image, ball, self.objective, label=self.label)


def ask(question: Question, options: Options) -> Figures:
    """The figures of one question, asked in this process."""
    return measure(question.query(), options)


def measure(query: Query, options: Options, check: Check | None = None) -> Figures:
    """The figures of one query, with those that `check` makes of the result, untimed.

    A solver that is missing or whose licence is too small is an answer too, and so are bounds that contradict a checked
    point: `flaw` finds them.
    """
    warm_up(options.engine, options.backend, options.threads)
    began, busy = time.perf_counter(), cpu_seconds()
    try:
        result = verify(query, options)
    except (BackendLimitError, BackendMissingError, InvalidBoundsError) as error:
        return {"error": type(error).__name__, "detail": str(error)}
    times = {"seconds": time.perf_counter() - began, "cpu_seconds": cpu_seconds() - busy}
    return {**figures(result, options, times["seconds"]), **times, **({} if check is None else check(result))}


def cpu_seconds() -> float:
    """What this process has computed so far, with the child processes that have ended; waiting does not count."""
    children = os.times()
    return time.process_time() + children.children_user + children.children_system


def figures(result: Result, options: Options, seconds: float) -> Figures:
    """What is kept of a result; `settled` says whether it answers the question to the gap asked for."""
    lower, upper = result.lower, result.upper
    if result.objective is Objective.FEASIBILITY or result.verdict is Verdict.ROBUST:
        settled = result.verdict is not Verdict.UNKNOWN
    else:
        settled = lower is not None and upper is not None and options.closes(lower, upper)
    statistics = asdict(result.statistics)
    return {
        "verdict": result.verdict.value,
        "objective": result.objective.value,
        "lower": lower,
        "upper": upper,
        "settled": settled,
        "seconds": seconds,
        "attack_seconds": result.attack_seconds,
        "stop": result.stop_reason.value,
        "detail": result.stop_detail,
        "evidence": None if result.evidence is None else result.evidence.value,
        "backend": result.backend,
        "statistics": statistics,
        "replays": replays(result),
        "megabytes": peak_megabytes(),
    }


def replays(result: Result) -> bool | None:
    """Whether the proof that the result carries replays; None if it carries none, or nothing here could replay it."""
    proof, replay = getattr(result, "proof", None), getattr(mipverify_py, "replay", None)
    return None if proof is None or replay is None else bool(replay(proof))


@cache
def warm_up(engine: str, backend: str, threads: int) -> None:
    """Imports, solver start-up and torch's own preparations happen on a question that is not counted."""
    options = Options(engine=engine, backend=backend, threads=threads, time_limit=30.0, certify="never")
    with suppress(BackendLimitError, BackendMissingError):  # the question that is counted will say so
        verify(Query(load_zoo(WARM_UP), read_digits().image(0)), options)


def peak_megabytes() -> float:
    """The largest resident set of this process so far.

    Linux's own figure for the present program: getrusage would also count what the parent had when it started us.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (2**20 if sys.platform == "darwin" else 1024)
