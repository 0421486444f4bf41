"""How the effort grows with the size of random formulas, for the engine on the reduction and for CP-SAT."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from counter_attack.hardness._cp_sat import CpSat
from counter_attack.hardness._formula import random_formula
from counter_attack.hardness._solve import ContradictionError, solve
from mipverify_py import Options, StopReason
from mipverify_py._arguments import real_number, whole_number
from onnx_models.errors import InputError

TRANSITION = 4.26
"""Clauses per variable at which half of the large random formulas with three literals are satisfiable."""


@dataclass(frozen=True, slots=True)
class GrowthRow:
    """One random formula, decided twice.

    Attributes:
        variables, clauses, ratio, seed: the formula is `random_formula(variables, clauses, seed=seed)`.
        relus: units of the network.
        satisfiable: the engine's answer; None if it stopped.
        evidence: what that rests on: "assignment" (checked on the formula), or the value of the engine's `Evidence`
            that there is none; None if open.
        nodes: of the engine's trees, or of the MIP; 0 where bounds or the attack were enough.
        seconds: the engine's wall-clock time.
        cp_sat: CP-SAT's answer; None if it stopped, or was not asked.
        cp_sat_seconds, cp_sat_conflicts: its effort; None if it was not asked.
    """

    variables: int
    clauses: int
    ratio: float
    seed: int
    relus: int
    satisfiable: bool | None
    evidence: str | None
    nodes: int
    seconds: float
    cp_sat: bool | None
    cp_sat_seconds: float | None
    cp_sat_conflicts: int | None

    def record(self) -> dict[str, Any]:
        """The row as plain values by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class GrowthSummary:
    """The formulas of one size.

    Attributes:
        variables, clauses, ratio: the size.
        formulas: how many were put to the engine.
        satisfiable, unsatisfiable, unknown: its answers; they add up to `formulas`.
        share: satisfiable ones among those decided, None if there are none.
        nodes, seconds: medians over all formulas; of an open one they tell only what was spent.
        cp_sat_seconds, cp_sat_conflicts: medians; None if CP-SAT was not asked.
        agreed: formulas that both decided, all with the same answer.
    """

    variables: int
    clauses: int
    ratio: float
    formulas: int
    satisfiable: int
    unsatisfiable: int
    unknown: int
    share: float | None
    nodes: float
    seconds: float
    cp_sat_seconds: float | None
    cp_sat_conflicts: float | None
    agreed: int

    def record(self) -> dict[str, Any]:
        """The summary as plain values by name."""
        return asdict(self)


def growth(
    variables: Sequence[int],
    *,
    ratios: Sequence[float] = (TRANSITION,),
    formulas: int = 10,
    seed: int = 0,
    options: Options | None = None,
    cp_sat: bool = True,
) -> Iterator[GrowthRow]:
    """Random formulas of three literals, one after another as they are decided, by size, then ratio, then number.

    Ctrl-C ends the row at hand with KeyboardInterrupt; the rows before are out already, and so they are where an error
    ends them.

    Args:
        variables: how many, each at least 3.
        ratios: clauses per variable, each >= 0; the number of clauses is rounded.
        formulas: of each size and ratio, >= 1.
        seed: the formulas and the engine's attack are drawn from it, >= 0.
        options: of the engine; its time limit holds for CP-SAT, too.
        cp_sat: whether to ask CP-SAT as well.

    Raises:
        InputError: a number out of range, or a size or ratio named twice.
        ContradictionError: both decided a formula and disagree.
        BackendMissingError, BackendCrashError: see `CpSat`.
    """
    chosen = options or Options()
    sizes = [whole_number(count, "The number of variables") for count in variables]
    clauses_per_variable = [real_number(ratio, "The ratio") for ratio in ratios]
    if not sizes or min(sizes) < 3:
        raise InputError(f"The numbers of variables are {sizes}; at least one is needed, and none below 3.")
    if len(set(sizes)) < len(sizes) or len(set(clauses_per_variable)) < len(clauses_per_variable):
        raise InputError(f"A size or a ratio is named twice: {sizes}, {clauses_per_variable}; name each once.")
    if not clauses_per_variable or not all(0 <= ratio < np.inf for ratio in clauses_per_variable):
        raise InputError(f"The ratios are {clauses_per_variable}; at least one is needed, finite and not negative.")
    if whole_number(formulas, "The number of formulas") < 1 or whole_number(seed, "The seed") < 0:
        raise InputError(f"There must be at least one formula, and the seed must not be negative: {formulas}, {seed}.")
    with CpSat(time_limit=chosen.time_limit) if cp_sat else nullcontext() as other:
        for count in sizes:
            for ratio in clauses_per_variable:
                for number in range(formulas):
                    yield _row(count, ratio, seed + number, chosen, other)


def _row(variables: int, ratio: float, seed: int, options: Options, cp_sat: CpSat | None) -> GrowthRow:
    formula = random_formula(variables, round(ratio * variables), seed=seed)
    started = time.monotonic()
    found = solve(formula, options=replace(options, seed=seed % 2**31))
    seconds, result = time.monotonic() - started, found.result
    if found.satisfiable is None and result.stop_reason is StopReason.INTERRUPTED:
        raise KeyboardInterrupt
    other = None if cp_sat is None else cp_sat.solve(formula, seed=seed % 2**31)
    answer = None if other is None else other.satisfiable
    if None not in (found.satisfiable, answer) and found.satisfiable is not answer:
        raise ContradictionError(
            f"About random_formula({variables}, {len(formula.clauses)}, seed={seed}) the engine says "
            f"satisfiable={found.satisfiable}, CP-SAT says {answer}; one is wrong."
        )
    evidence = "assignment" if found.satisfiable else (result.evidence and result.evidence.value)
    return GrowthRow(
        variables=variables,
        clauses=len(formula.clauses),
        ratio=ratio,
        seed=seed,
        relus=found.reduction.network.relu_count,
        satisfiable=found.satisfiable,
        evidence=None if found.satisfiable is None else evidence,
        nodes=result.statistics.nodes,
        seconds=seconds,
        cp_sat=answer,
        cp_sat_seconds=None if other is None else other.seconds,
        cp_sat_conflicts=None if other is None else other.conflicts,
    )


def summarise_growth(rows: Sequence[GrowthRow]) -> list[GrowthSummary]:
    """One summary per size and ratio, in the order in which they first occur."""
    groups: dict[tuple[int, int, float], list[GrowthRow]] = {}
    for row in rows:
        groups.setdefault((row.variables, row.clauses, row.ratio), []).append(row)
    return [_summary(size, group) for size, group in groups.items()]


def _summary(size: tuple[int, int, float], rows: list[GrowthRow]) -> GrowthSummary:
    yes, no = (sum(row.satisfiable is answer for row in rows) for answer in (True, False))
    seconds = [row.cp_sat_seconds for row in rows if row.cp_sat_seconds is not None]
    conflicts = [row.cp_sat_conflicts for row in rows if row.cp_sat_conflicts is not None]
    return GrowthSummary(
        *size,
        formulas=len(rows),
        satisfiable=yes,
        unsatisfiable=no,
        unknown=len(rows) - yes - no,
        share=yes / (yes + no) if yes + no else None,
        nodes=median(row.nodes for row in rows),
        seconds=median(row.seconds for row in rows),
        cp_sat_seconds=median(seconds) if seconds else None,
        cp_sat_conflicts=median(conflicts) if conflicts else None,
        agreed=sum(row.satisfiable is not None and row.satisfiable is row.cp_sat for row in rows),
    )
