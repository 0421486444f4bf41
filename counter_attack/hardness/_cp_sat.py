"""The same question put to OR-Tools CP-SAT, in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from types import TracebackType
from typing import Self

from counter_attack.hardness._formula import Assignment, Formula
from mipverify_py._arguments import instance, real_number, whole_number
from mipverify_py._children import ending, thread_limits
from onnx_models.errors import BackendCrashError, BackendMissingError, InputError

GRACE_SECONDS = 60.0
"""How long an answer may take beyond the solver's own limit: the process has to start, and to build the model."""

COMMAND = (sys.executable, "-P", "-m", "counter_attack.hardness._cp_sat_worker")
"""What starts the process; -P keeps the current folder's files from shadowing modules."""


@dataclass(frozen=True, slots=True)
class CpSatAnswer:
    """What CP-SAT says of a formula.

    Attributes:
        satisfiable: True with an assignment that we have checked; False on the solver's word; None if it stopped.
        assignment: None unless satisfiable.
        status: the solver's own.
        seconds: the solver's wall-clock time, without the start of its process.
        branches, conflicts: of its search.
    """

    satisfiable: bool | None
    assignment: Assignment | None
    status: str
    seconds: float
    branches: int
    conflicts: int


class CpSat:
    """CP-SAT on one thread in a process that answers one formula after another; a context manager, which ends it.

    Args:
        time_limit: seconds that the solver may take for a formula, > 0, or None.

    Raises:
        InputError: a time limit out of range.
        BackendMissingError: OR-Tools is not installed.
    """

    def __init__(self, *, time_limit: float | None = None) -> None:
        if time_limit is not None and not real_number(time_limit, "The time limit") > 0:
            raise InputError(f"The time limit is {time_limit}; it must be above 0, or None.")
        if find_spec("ortools") is None:
            raise BackendMissingError(
                "CP-SAT needs OR-Tools, which is not installed; pip install 'mipverify-py[ortools]'."
            )
        self._limit = time_limit
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(  # noqa: S603 - our own command, no shell
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env={**os.environ, **thread_limits(1)},
            start_new_session=True,  # Ctrl-C at the terminal reaches only us
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(BrokenPipeError):  # what a dead process has not read stays in the buffer
            self._process.stdin.close()
        self._process.stdout.close()
        self._complaints.close()

    def solve(self, formula: Formula, *, seed: int = 0) -> CpSatAnswer:
        """The answer about a formula with clauses of any length.

        Args:
            formula: the formula.
            seed: of the search, 0 <= seed < 2**31.

        Raises:
            InputError: a seed out of range.
            BackendCrashError: the process died, answered nonsense, or did not keep to the limit; it is of no more use.
        """
        instance(Formula, formula, "The formula")
        if not 0 <= whole_number(seed, "The seed") < 2**31:
            raise InputError(f"The seed is {seed}; it must be at least 0 and below 2**31.")
        record = {"variables": formula.variables, "clauses": formula.clauses, "seconds": self._limit, "seed": seed}
        return _checked(formula, self._exchange(json.dumps(record).encode() + b"\n"))

    def _exchange(self, request: bytes) -> bytes:
        """Sends a line and returns the next one."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise BackendCrashError(self._obituary()) from None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            patience = None if self._limit is None else self._limit + GRACE_SECONDS
            if not selector.select(patience):
                raise BackendCrashError(f"CP-SAT did not stop at its limit of {self._limit} s.")
        line = self._process.stdout.readline()
        if not line:
            raise BackendCrashError(self._obituary())
        return line

    def _obituary(self) -> str:
        code = self._process.wait()
        self._complaints.seek(0)
        last = self._complaints.read().decode(errors="replace").strip().splitlines()[-1:]
        return f"The process of CP-SAT {ending(code)}{''.join(f': {line}' for line in last)}"


def solve_cp_sat(formula: Formula, *, time_limit: float | None = None, seed: int = 0) -> CpSatAnswer:
    """CP-SAT's answer about one formula, by a process that is started for it; arguments and errors as of `CpSat`."""
    with CpSat(time_limit=time_limit) as solver:
        return solver.solve(formula, seed=seed)


def _checked(formula: Formula, line: bytes) -> CpSatAnswer:
    """The worker's answer; an assignment counts only if it satisfies the formula."""
    try:
        said = json.loads(line)
        status, given = said["status"], said["assignment"]
        assignment = None if given is None else tuple(bool(value) for value in given)
        numbers = float(said["seconds"]), int(said["branches"]), int(said["conflicts"])
    except (ValueError, TypeError, KeyError) as error:
        raise BackendCrashError(f"The process of CP-SAT answered nonsense: {line[:80]!r}") from error
    if assignment is not None and not (len(assignment) == formula.variables and formula.holds(assignment)):
        raise BackendCrashError("CP-SAT returned an assignment that does not satisfy the formula.")
    satisfiable = True if assignment is not None else (False if status == "INFEASIBLE" else None)
    return CpSatAnswer(satisfiable, assignment, status, *numbers)
