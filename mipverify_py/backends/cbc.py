"""CBC: the 2.10.3 binary inside the PuLP wheel, driven directly through files.

What this file knows about that binary, each found by experiment or in its issues (github.com/coin-or/Cbc):

- It reads decimals with an inexact routine of its own, and prints solutions with 8 digits. Models go in as FREEIEEE
  (the bits of each number), solutions come out of `-saveSolution` (binary): float64 survives both ways.
- Its default "increment" discards points that improve by less than 1e-5, and still says optimal. `-increment` sets the
  allowable gap too, so it must come before `-allowableGap`.
- Its integer preprocessing calls some feasible models infeasible (740; one in 3,000 of the random ones in our tests)
  and gives wrong optima for wrong starts (449). It stays off, which costs no time on the models of this project, and
  only complete starts that we have checked are passed.
- With preprocessing off it crashes while saving the solution of an infeasible model: then the last line of its log is
  the answer.
- Without an integer point it saves the continuous one: the check in `conclude` drops it.
- It overruns its time limit during the root relaxation and preprocessing: the watchdog ends it if need be.
- It prints no dual bound with an optimum, but says whether the search was completed or stopped within the gap.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import stat
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import ClassVar

import numpy as np

from bounds import MipModel
from mipverify_py._tolerances import POINT_FEASIBILITY, SOLVER_FEASIBILITY
from mipverify_py.backends._base import (
    Answer,
    Backend,
    Capabilities,
    Report,
    SolveLimits,
    SolveProgress,
    SolveStatus,
)
from mipverify_py.backends._cbc_log import CbcLog
from mipverify_py.backends._check import violations
from mipverify_py.backends._claims import cost_of
from mipverify_py.backends._mps import ieee_number, mps_lines
from mipverify_py.backends._one_sided import OneSidedRows
from onnx_models import Array
from onnx_models.errors import BackendCrashError

SEEDS = 2**31 - 2
"""Seed 0 means "the time of day" to CBC, so seeds are 1 to this number plus 1."""


class CbcBackend(Backend):
    """CBC: branch and cut, with CLP for the linear programs."""

    name: ClassVar[str] = "cbc"
    module: ClassVar[str] = "pulp"
    distribution: ClassVar[str] = "pulp"
    licence: ClassVar[str] = "EPL-2.0"
    capabilities: ClassVar[Capabilities] = Capabilities(
        row_duals=True, start=True, cutoff=True, node_limit=True, threads=True, progress=True
    )
    statuses: ClassVar[Mapping[str, SolveStatus]] = {
        # the summary's result line, which is the more precise where there is one
        "Optimal solution found": SolveStatus.OPTIMAL,
        "Optimal solution found (within gap tolerance)": SolveStatus.OPTIMAL,
        "Linear relaxation infeasible": SolveStatus.INFEASIBLE,
        "Problem proven infeasible": SolveStatus.INFEASIBLE,
        "Linear relaxation unbounded": SolveStatus.UNBOUNDED,
        "Stopped on node limit": SolveStatus.NODE_LIMIT,
        "Stopped on time limit": SolveStatus.TIME_LIMIT,
        "Stopped on user ctrl-c": SolveStatus.INTERRUPTED,
        "Stopped on solution limit": SolveStatus.UNKNOWN,
        "Stopped on iterations limit": SolveStatus.UNKNOWN,
        "Run abandoned": SolveStatus.UNKNOWN,
        "User ctrl-c": SolveStatus.INTERRUPTED,
        # the log's last line where the solution could not be saved
        "Problem is infeasible": SolveStatus.INFEASIBLE,
        # the solution file's first line
        "Optimal": SolveStatus.OPTIMAL,
        "Optimal (within gap tolerance)": SolveStatus.OPTIMAL,
        "Infeasible": SolveStatus.INFEASIBLE,
        "Integer infeasible": SolveStatus.INFEASIBLE,
        "Unbounded": SolveStatus.UNBOUNDED,
        "Stopped on time": SolveStatus.TIME_LIMIT,
        "Stopped on iterations": SolveStatus.UNKNOWN,
        "Stopped on difficulties": SolveStatus.UNKNOWN,
        "Stopped on ctrl-c": SolveStatus.INTERRUPTED,
        "Status unknown": SolveStatus.UNKNOWN,
    }

    @classmethod
    def is_installed(cls) -> bool:
        """Whether PuLP is there and its wheel brought CBC for this machine; imports nothing."""
        return _binary() is not None

    def load(self) -> None:
        """Makes sure that the binary may be run; raises ImportError otherwise."""
        binary = _binary()
        if binary is None:
            raise ImportError("PuLP's wheel has no CBC for this machine")
        if not os.access(binary, os.X_OK):  # some installers drop the permission; PuLP itself restores it on import
            binary.chmod(binary.stat().st_mode | stat.S_IXUSR)

    def solve(self, model: MipModel, limits: SolveLimits, report: Report) -> Answer:
        """See `Backend.solve`."""
        started = time.monotonic()
        rows = OneSidedRows.of(model)
        with tempfile.TemporaryDirectory(prefix="cbc-") as name:
            folder = Path(name)
            _write(folder / "model.mps", mps_lines(model, rows, _names(model), number=ieee_number, header="FREEIEEE"))
            arguments = _arguments(model, limits, folder)
            if limits.seconds is not None:
                left = limits.seconds - (time.monotonic() - started)
                arguments = ["-timeMode", "elapsed", "-seconds", f"{max(left, 0.0):.6f}", *arguments]
            log = _run(folder, arguments, report)
            return self._read(model, limits, rows, folder, log)

    def _read(self, model: MipModel, limits: SolveLimits, rows: OneSidedRows, folder: Path, log: CbcLog) -> Answer:
        if not _saved(folder):
            return Answer(self.translate("Problem is infeasible"))
        first = (folder / "status.txt").read_text().partition("\n")[0].partition(" - objective value")[0]
        header = first.removesuffix(" (no integer solution - continuous used)")
        status = self.translate(log.result if log.result is not None else header)
        _, duals, point, _ = read_saved_solution(folder / "solution.bin")
        bound = log.bound
        if status is SolveStatus.OPTIMAL and violations(model, point, relative=True).largest <= POINT_FEASIBILITY:
            bound = _proved(limits, log, cost_of(model, point))
        return Answer(status, point, bound, rows.collect(duals, model.rows), log.nodes, log.iterations)


def _proved(limits: SolveLimits, log: CbcLog, objective: float) -> float:
    """The bound that an optimum claims: itself if the search was completed, else below it by the gap left open."""
    if log.gap is not None:
        return objective - log.gap
    within = log.result is not None and "within gap" in log.result
    return objective - limits.allowed_gap(objective) if within else objective


def read_saved_solution(path: Path) -> tuple[Array, Array, Array, Array]:
    """Row activities, row duals, column values and reduced costs of a file written by `-saveSolution`.

    The file holds two int32 (rows, columns), the objective as float64 and the four vectors as float64; raises
    BackendCrashError if its length is another.
    """
    data = path.read_bytes()
    rows, columns = np.frombuffer(data, "<i4", count=2).tolist() if len(data) >= 8 else (0, 0)
    if len(data) != 16 + 16 * (rows + columns):
        raise BackendCrashError(f"Backend 'cbc' left a solution file of {len(data)} bytes that cannot be read.")
    values = np.frombuffer(data, "<f8", offset=16)
    activity, duals, point, reduced = np.split(values, [rows, 2 * rows, 2 * rows + columns])
    return activity, duals, point, reduced


def _binary() -> Path | None:
    """The CBC of the installed PuLP for this machine, or None."""
    spec = importlib.util.find_spec("pulp")
    if spec is None or not spec.submodule_search_locations:
        return None
    system = {"linux": "linux", "darwin": "osx"}.get(sys.platform, "")
    arm = platform.machine().lower() in ("arm64", "aarch64")
    kind = "arm64" if arm and system == "linux" else "i64"  # PuLP's macOS binary runs translated on arm
    found = Path(spec.submodule_search_locations[0], "solverdir", "cbc", system, kind, "cbc")
    return found if found.is_file() else None


def _names(model: MipModel) -> list[str]:
    return [f"c{j}" for j in range(model.columns)]


def _write(path: Path, lines: object) -> None:
    with path.open("w", encoding="ascii") as file:
        file.writelines(f"{line}\n" for line in lines)  # type: ignore[attr-defined]


def _arguments(model: MipModel, limits: SolveLimits, folder: Path) -> list[str]:
    seed = str(limits.seed % SEEDS + 1)
    # 100 + n threads: the search is repeatable, which n threads are not.
    options: dict[str, object] = {
        "randomSeed": seed,
        "randomCbcSeed": seed,
        "threads": 0 if limits.threads == 1 else 100 + limits.threads,
        "primalTolerance": SOLVER_FEASIBILITY,
        "dualTolerance": SOLVER_FEASIBILITY,
        "integerTolerance": SOLVER_FEASIBILITY,
        "preprocess": "off",
        "increment": 0.0,
        "allowableGap": limits.gap_absolute,
        "ratioGap": limits.gap_relative,
    }
    if limits.nodes is not None:
        options["maxNodes"] = min(limits.nodes, 2**31 - 1)
    if limits.cutoff is not None and model.integer.any():
        options["cutoff"] = repr(limits.cutoff)
    if _usable_start(model, limits):
        assert limits.start is not None
        values = (f"{j} c{j} {value!r}" for j, value in enumerate(limits.start.tolist()))
        _write(folder / "start.txt", ["Start", *values])
        options["mipstart"] = folder / "start.txt"
    words = [word for name, value in options.items() for word in (f"-{name}", str(value))]
    saved = ["-solution", str(folder / "status.txt"), "-saveSolution", str(folder / "solution.bin")]
    return [*words, "-solve", *saved, "-quit"]


def _usable_start(model: MipModel, limits: SolveLimits) -> bool:
    start = limits.start
    if start is None or not model.integer.any() or not np.all(np.isfinite(start)):
        return False
    return violations(model, start, relative=True).largest <= POINT_FEASIBILITY


def _run(folder: Path, arguments: list[str], report: Report) -> CbcLog:
    """Runs CBC to its end, reporting what its log tells; raises BackendCrashError if it ends without an answer."""
    log, last = CbcLog(), deque[str](maxlen=5)
    command = [str(_binary()), str(folder / "model.mps"), *arguments]
    leader, follower = os.openpty()  # a terminal, because CBC holds back its lines when it writes to a pipe
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=follower, stderr=follower)  # noqa: S603
    os.close(follower)
    with os.fdopen(leader, "rb", buffering=0) as output, process:
        for line in _lines(output):
            last.append(line)
            if log.read(line):
                report(SolveProgress(log.bound, log.objective, None))
    if not _saved(folder) and not log.infeasible:
        code = process.returncode
        said = " | ".join(line for line in last if line)
        raise BackendCrashError(f"Backend 'cbc' ended with exit code {code} and no solution; its last lines: {said}")
    return log


def _lines(output: FileIO) -> Iterator[str]:
    """The lines that arrive until the other side closes, which a terminal tells by an error on some systems."""
    pending = b""
    with contextlib.suppress(OSError):
        while data := output.read(1 << 16):
            *complete, pending = (pending + data).splitlines(keepends=True)
            if pending.endswith(b"\n"):
                complete, pending = [*complete, pending], b""
            yield from (line.decode(errors="replace").rstrip() for line in complete)


def _saved(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("status.txt", "solution.bin"))
