"""What `counter-attack hardness` shows and saves."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counter_attack.cli._tables import TableWriter
from counter_attack.hardness import summarise_growth
from counter_attack.ug100 import Column, Table
from mipverify_py import StopReason
from mipverify_py.cli import ExitCode
from mipverify_py.cli._json import SCHEMA, write_line
from mipverify_py.cli._output import Output
from mipverify_py.cli._printable import printable
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from counter_attack.detection import FoolingBound
    from counter_attack.hardness import (
        Assignment,
        CpSatAnswer,
        FoolingInstance,
        GridFooling,
        GrowthRow,
        Reduction,
        Satisfiability,
    )

_WORDS = {True: "satisfiable", False: "unsatisfiable", None: "undecided"}

_COLUMNS = (
    Column("variables", "variables", "count"),
    Column("clauses", "clauses", "count"),
    Column("formulas", "formulas", "count"),
    Column("satisfiable", "satis-\nfiable", "count"),
    Column("unsatisfiable", "unsatis-\nfiable", "count"),
    Column("unknown", "open", "count"),
    Column("share", "satisfiable\nshare", "share"),
    Column("nodes", "nodes,\nmedian", "distance"),
    Column("seconds", "seconds,\nmedian", "distance"),
    Column("cp_sat_seconds", "CP-SAT\nseconds", "distance"),
    Column("cp_sat_conflicts", "CP-SAT\nconflicts", "distance"),
    Column("agreed", "same\nanswer", "count"),
)


def solved(name: str, found: Satisfiability, other: CpSatAnswer | None, *, as_json: bool) -> int:
    """Writes the answer about one formula; returns the exit code."""
    formula, network, result = found.reduction.formula, found.reduction.network, found.result
    rests = _rests(found)
    if as_json:
        _write(
            "hardness-solve",
            file=name,
            variables=formula.variables,
            clauses=len(formula.clauses),
            mu=found.reduction.mu,
            relus=network.relu_count,
            satisfiable=found.satisfiable,
            assignment=_dimacs(found.assignment),
            rests_on=rests,
            lower=result.lower,
            upper=result.upper,
            nodes=result.statistics.nodes,
            seconds=result.seconds,
            stop_reason=result.stop_reason.value,
            engine=result.engine,
            cp_sat=None if other is None else other.satisfiable,
            cp_sat_seconds=None if other is None else other.seconds,
        )
    else:
        out = Output()
        out.line(f"{printable(name)}: {_WORDS[found.satisfiable]}")
        out.fact("formula", f"{formula.variables} variables, {len(formula.clauses)} clauses")
        out.fact("network", f"{network.input_size} inputs, {network.relu_count} ReLUs, mu {found.reduction.mu:g}")
        if found.assignment is not None:
            out.fact("true", " ".join(map(str, _dimacs(found.assignment) or ())) or "no variables")
        if rests is not None:
            out.fact("rests on", rests)
        if result.lower is not None or result.upper is not None:
            low, high = ("?" if end is None else f"{end:.9g}" for end in (result.lower, result.upper))
            out.fact("distance", f"{low} to {high}")
        out.fact("search", f"{result.statistics.nodes} nodes, {result.seconds:.2f} s, {result.stop_reason.value}")
        if other is not None:
            out.fact("CP-SAT", f"{_WORDS[other.satisfiable]}, {other.seconds:.3f} s")
    if (
        None not in (found.satisfiable, other and other.satisfiable)
        and other
        and other.satisfiable != found.satisfiable
    ):
        return ExitCode.DISAGREEMENT
    if found.satisfiable is None:
        interrupted = result.stop_reason is StopReason.INTERRUPTED
        return ExitCode.INTERRUPTED if interrupted else ExitCode.UNKNOWN
    return ExitCode.ADVERSARIAL if found.satisfiable else ExitCode.ANSWERED


def _rests(found: Satisfiability) -> str | None:
    """What the answer about satisfiability rests on."""
    if found.satisfiable is None:
        return None
    return "the assignment, checked on the formula" if found.satisfiable else found.result.evidence_detail


def _dimacs(values: Assignment | None) -> list[int] | None:
    """An assignment as literals that are true."""
    return None if values is None else [k + 1 if value else -k - 1 for k, value in enumerate(values)]


def grown(rows: list[GrowthRow], total: int, *, out: str | None, as_json: bool) -> None:
    """Writes a table with a row per size, and to `out` one with a row per formula."""
    summaries = tuple(summary.record() for summary in summarise_growth(rows))
    proofs = Counter(row.evidence for row in rows if row.satisfiable is False)
    rest = ", ".join(f"{count} {evidence}" for evidence, count in proofs.items())
    note = f"{len(rows)} of {total} formulas; evidence of the unsatisfiable ones: {rest or 'there are none'}"
    table = Table("growth", "Random 3-SAT as an attack, and by CP-SAT", _COLUMNS, summaries, note)
    TableWriter(as_json=as_json, folder=None).add(table, kind="hardness-growth")
    if out is not None:
        text = Table("formulas", "", (), tuple(row.record() for row in rows)).csv()
        try:
            Path(out).write_text(text, "utf-8")
        except OSError as error:
            raise InputError(f"--out {out}: cannot be written ({error.strerror or error}).") from error


def exported(reduction: Reduction, model: str, beside: Path, *, as_json: bool) -> int:
    """Writes the names of the files; returns the exit code."""
    if as_json:
        _write("hardness-export", model=model, input=str(beside), label=0, radius=0.5, mu=reduction.mu)
    else:
        out = Output()
        out.line(f"{printable(model)}: {reduction.network.input_size} inputs, {reduction.network.relu_count} ReLUs")
        out.line(f"{printable(str(beside))}: the input, of label 0; an adversarial example within 0.5 is an assignment")
    return ExitCode.ANSWERED


def fooled(
    name: str,
    made: FoolingInstance,
    found: GridFooling,
    values: Assignment | None,
    bound: FoolingBound | None,
    *,
    as_json: bool,
) -> int:
    """Writes what the enumerations say; returns the exit code."""
    formula = made.formula
    real = None if bound is None else bound.can_be_fooled(made.eps)
    agree = found.foolable is (values is not None)
    if as_json:
        _write(
            "hardness-fool",
            file=name,
            variables=formula.variables,
            outer=made.outer,
            clauses=len(formula.clauses),
            gamma=made.gamma,
            eps=made.eps,
            mu=made.mu,
            foolable=found.foolable,
            point=None if found.point is None else found.point.tolist(),
            points=found.points,
            adversarial=found.adversarial,
            fooling=found.fooling,
            false_for_all=values is not None,
            values=_dimacs(values),
            real=real,
            lower=None if bound is None else bound.lower,
            upper=None if bound is None else bound.upper,
        )
    else:
        out = Output()
        out.line(f"{printable(name)}: the detector {'can' if found.foolable else 'cannot'} be fooled")
        others = formula.variables - made.outer
        out.fact("formula", f"{made.outer} + {others} variables, {len(formula.clauses)} clauses")
        out.fact("radii", f"attack {made.gamma:g}, detector {made.eps:g}; grid of multiples of {made.mu:g}")
        out.fact("grid", f"{found.points:,} points, {found.adversarial:,} of another class, {found.fooling:,} pass")
        if found.point is not None:
            out.fact("point", " ".join(f"{value:g}" for value in found.point))
        told = "no values make it false for all others" if values is None else _literals(values)
        out.fact("values", told)
        if bound is not None:
            said = {True: "can be fooled", False: "cannot be fooled", None: "open"}[real]
            out.fact(
                "real", f"largest distance {bound.lower:.6g} to {bound.upper:.6g}, {bound.stop_reason.value}: {said}"
            )
    if not agree or (real is not None and real is not found.foolable):
        return ExitCode.DISAGREEMENT
    if bound is not None and real is None:
        return ExitCode.UNKNOWN
    return ExitCode.ADVERSARIAL if found.foolable else ExitCode.ANSWERED


def _literals(values: Assignment) -> str:
    return f"false for all others with {' '.join(map(str, _dimacs(values) or ()))}"


def _write(kind: str, **fields: Any) -> None:
    write_line({"schema": SCHEMA, "kind": kind, "version": version("mipverify-py"), **fields})
