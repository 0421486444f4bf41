"""How to search: limits, gap, backend. None of it changes what is true."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mipverify_py._arguments import choice, instance, real_number, whole_number
from mipverify_py._enums import Tightening
from mipverify_py._tolerances import GAP_ABSOLUTE, GAP_RELATIVE
from onnx_models.errors import InputError

ENGINES = ("auto", "cuts", "duals", "boxes", "mip")
"""Names of the engines: the native `cuts` (LP branch and cut), `duals` (batched duals with hull planes) and `boxes`
(cuts of the input's box), `auto`, which chooses among these, and `mip`, one mixed-integer program on a solver."""

CERTIFY = ("never", "cheap", "always")
"""When an answer is to be shown again in exact arithmetic, by a certificate: where that takes little beside the search
(`mipverify_py._reprove.CHEAP`), or always, solvers' claims included."""


@dataclass(frozen=True, slots=True)
class Options:
    """Limits and choices of a search.

    Attributes:
        engine: one of `ENGINES`.
        backend: name of the MIP solver (`mipverify_py.backends.available_backends()` lists the installed ones).
        time_limit: wall-clock seconds for the whole query, > 0 and finite, or None.
        node_limit: branch-and-bound nodes of the MIP, >= 1, or None.
        gap_absolute, gap_relative: a distance is closed when upper - lower <= max(gap_absolute, gap_relative * upper).
        threads: threads of a MIP solver, >= 1; the native engines use them like `jobs`.
        jobs: threads in which the native engines work on different targets, or on different nodes of one, >= 1. They do
            not change the answer.
        device: where the engines `duals` and `boxes` compute, "cpu" or "cuda" (or "cuda:1", ...).
        seed: seed of the attack and of the solver, 0 <= seed < 2**31.
        tightening: last stage of bound tightening.
        restarts: random starts of the attack per target class, >= 1.
        certify: one of `CERTIFY`. It changes what the answer rests on, and its lower end by a share of at most 1e-6.

    Raises:
        InputError: a value outside its range, naming it.
    """

    engine: str = "auto"
    backend: str = "highs"
    time_limit: float | None = None
    node_limit: int | None = None
    gap_absolute: float = GAP_ABSOLUTE
    gap_relative: float = GAP_RELATIVE
    threads: int = 1
    jobs: int = 1
    device: str = "cpu"
    seed: int = 0
    tightening: Tightening = Tightening.LP
    restarts: int = 4
    certify: str = "cheap"

    def __post_init__(self) -> None:
        self._make_plain()
        checks = {
            "engine": (self.engine in ENGINES, f"one of {', '.join(ENGINES)}"),
            "time_limit": (
                self.time_limit is None or 0 < self.time_limit < float("inf"),
                "a finite number of seconds above 0, or None",
            ),
            "node_limit": (self.node_limit is None or self.node_limit >= 1, "at least 1, or None"),
            "gap_absolute": (0 <= self.gap_absolute < float("inf"), "a finite number that is at least 0"),
            "gap_relative": (0 <= self.gap_relative < 1, "at least 0 and below 1"),
            "threads": (self.threads >= 1, "at least 1"),
            "jobs": (self.jobs >= 1, "at least 1"),
            "device": (
                re.fullmatch(r"cpu|cuda(:\d+)?", self.device) is not None,
                '"cpu", "cuda" or "cuda:" and a number',
            ),
            "seed": (0 <= self.seed < 2**31, "at least 0 and below 2**31"),
            "restarts": (self.restarts >= 1, "at least 1"),
            "certify": (self.certify in CERTIFY, f"one of {', '.join(CERTIFY)}"),
        }
        for name, (fine, expected) in checks.items():
            if not fine:
                raise InputError(f"Option {name} is {getattr(self, name)!r}; it must be {expected}.")

    def _make_plain(self) -> None:
        """Replaces every value by a plain Python one of its type; raises InputError where that cannot be."""
        instance(str, self.backend, "Option backend")
        instance(str, self.device, "Option device")
        plain: dict[str, object] = {"tightening": choice(Tightening, self.tightening, "Option tightening")}
        for name in ("gap_absolute", "gap_relative"):
            plain[name] = real_number(getattr(self, name), f"Option {name}")
        for name in ("threads", "jobs", "seed", "restarts"):
            plain[name] = whole_number(getattr(self, name), f"Option {name}")
        if self.time_limit is not None:
            plain["time_limit"] = real_number(self.time_limit, "Option time_limit")
        if self.node_limit is not None:
            plain["node_limit"] = whole_number(self.node_limit, "Option node_limit")
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    def closes(self, lower: float, upper: float) -> bool:
        """Whether the bracket is as narrow as asked for."""
        return upper - lower <= max(self.gap_absolute, self.gap_relative * abs(upper))
