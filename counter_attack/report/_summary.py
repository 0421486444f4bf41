"""The summary: how far the campaign is, and one table for each kind of query."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from counter_attack.report._cases import Cases
from counter_attack.report._render import duration
from counter_attack.ug100 import Column, Table

if TYPE_CHECKING:
    import pandas as pd

_STATES: Final = ("decided", "open", "new", "failed")

_WHICH: Final = (Column("configuration", "configuration", "text"), Column("norm", "norm", "text"))


def figures(found: Cases) -> list[tuple[str, str]]:
    """What to say first, with its numbers."""
    table = found.table
    states = table["state"].value_counts()
    shown = [
        ("queries", f"{len(table):,}"),
        *((name, f"{states.get(name, 0):,}") for name in _STATES),
        ("configurations", f"{table['configuration'].nunique():,}"),
        ("inputs", f"{len(table.drop_duplicates(['dataset', 'index'])):,}"),
        ("time of all attempts", duration(float(table["seconds"].sum()))),
    ]
    return [(name, value) for name, value in shown if value != "0" or name in ("queries", "decided", "failed")]


def statements(found: Cases) -> Iterator[str]:
    """What a reader has to know before reading on, in sentences."""
    table = found.table
    if table.empty:
        yield "This campaign holds no queries yet, so there is nothing to show."
        return
    kinds = set(table["kind"])
    if "attack" in kinds and "distance" not in kinds:
        yield "No exact distance was asked for, so attacks are compared with nothing."
    if "distance" in kinds and "attack" not in kinds:
        yield "No attack was run, so exact distances stand alone."
    if kinds == {"verify"}:
        yield "All queries ask whether there is an adversarial example within a radius; there are no distances to draw."
    if wrong := int(table["contradiction"].notna().sum()):
        yield f"{wrong:,} {'query takes' if wrong == 1 else 'queries take'} part in contradictions, listed below."
    states = table["state"].value_counts()
    for state, meaning in (
        ("new", "have not been answered yet"),
        ("open", "are answered with less than was asked: a wide bracket, or an unknown verdict"),
        ("failed", "were tried as often as allowed without an answer"),
    ):
        if states.get(state, 0):
            yield f"{states[state]:,} of {len(table):,} queries {meaning}."
    levels = _evidence(table)
    if any(levels.values()):
        yield (
            f"{levels['reproved']:,} answers are reproved, by a certificate that was checked in exact arithmetic; "
            f"{levels['replayed']:,} are replayed, in our own outward-rounded floats; "
            f"{levels['solver_claim']:,} rest on a solver's claim, within its tolerances."
        )


def summary_tables(found: Cases) -> Iterator[Table]:
    """How far each configuration is, then its distances, attacks and verdicts, as far as there are any."""
    yield _progress(found.table)
    for kind, make in (("distance", _distances), ("attack", _attacks), ("verify", _verdicts)):
        rows = found.of_kind(kind)
        if len(rows):
            yield make(rows)


def _progress(table: pd.DataFrame) -> Table:
    rows = [
        {
            "configuration": name,
            "kind": kind,
            "norm": norm,
            "queries": len(members),
            **{state: int((members["state"] == state).sum()) for state in _STATES},
            "attempts": int(members["attempts"].sum()),
            "failures": int(members["failures"].sum()),
            "seconds": float(members["seconds"].sum()),
        }
        for (name, kind, norm), members in table.groupby(["configuration", "kind", "norm"], sort=True)
    ]
    counts = ("queries", *_STATES, "attempts", "failures")
    return Table(
        name="progress",
        title="Queries by configuration and kind",
        columns=(
            _WHICH[0],
            Column("kind", "kind", "text"),
            _WHICH[1],
            *(Column(name, name, "count") for name in counts),
            Column("seconds", "seconds\nin all", "distance"),
        ),
        rows=tuple(rows),
        note="Attempts: those that came back with an answer or a failure; failures: those without an answer.",
    )


def _distances(table: pd.DataFrame) -> Table:
    rows = []
    for (name, norm), members in table.groupby(["configuration", "norm"], sort=True):
        gap = members["upper"] - members["lower"]
        rows.append(
            {
                "configuration": name,
                "norm": norm,
                "inputs": len(members),
                "decided": int((members["state"] == "decided").sum()),
                **_evidence(members),
                "lower": _number(members["lower"].mean()),
                "upper": _number(members["upper"].mean()),
                "median": _number(members["upper"].median()),
                "gap": _number(gap.max()),
                **_seconds(members),
            }
        )
    return Table(
        name="distances",
        title="Exact distances to the decision boundary",
        columns=(
            *_WHICH,
            Column("inputs", "inputs", "count"),
            Column("decided", "decided", "count"),
            *_EVIDENCE,
            Column("lower", "mean\nlower end", "distance"),
            Column("upper", "mean\nupper end", "distance"),
            Column("median", "median\nupper end", "distance"),
            Column("gap", "largest\ngap", "distance"),
            *_SECONDS,
        ),
        rows=tuple(rows),
        note="Means and medians are over the inputs that have that end, open brackets included.",
    )


def _attacks(table: pd.DataFrame) -> Table:
    rows = [
        {
            "configuration": name,
            "norm": norm,
            "set": attack_set,
            "inputs": len(members),
            "successes": int(members["upper"].notna().sum()),
            "mean": _number(members["upper"].mean()),
            "median": _number(members["upper"].median()),
            **_seconds(members),
        }
        for (name, norm, attack_set), members in table.groupby(
            ["configuration", "norm", table["set"].fillna("not run yet")], sort=True
        )
    ]
    return Table(
        name="attack-sets",
        title="Distances by sets of attacks",
        columns=(
            *_WHICH,
            Column("set", "set", "text"),
            Column("inputs", "inputs", "count"),
            Column("successes", "with an\nexample", "count"),
            Column("mean", "mean\ndistance", "distance"),
            Column("median", "median\ndistance", "distance"),
            *_SECONDS,
        ),
        rows=tuple(rows),
        note="The least distance that any attack of the set found, over the inputs where one did.",
    )


def _verdicts(table: pd.DataFrame) -> Table:
    rows = [
        {
            "configuration": name,
            "norm": norm,
            "eps": float(eps),
            "inputs": len(members),
            **{verdict: int((members["verdict"] == verdict).sum()) for verdict in ("robust", "adversarial", "unknown")},
            "unanswered": int(members["verdict"].isna().sum()),
            **_evidence(members),
            **_seconds(members),
        }
        for (name, norm, eps), members in table.groupby(["configuration", "norm", "eps"], sort=True)
    ]
    return Table(
        name="verdicts",
        title="Is there an adversarial example within the radius?",
        columns=(
            *_WHICH,
            Column("eps", "radius", "distance"),
            Column("inputs", "inputs", "count"),
            *(Column(name, name, "count") for name in ("robust", "adversarial", "unknown", "unanswered")),
            *_EVIDENCE,
            *_SECONDS,
        ),
        rows=tuple(rows),
    )


_EVIDENCE: Final = (
    Column("reproved", "reproved", "count"),
    Column("replayed", "replayed", "count"),
    Column("solver_claim", "solver's\nclaim", "count"),
)
_SECONDS: Final = (
    Column("seconds_median", "median\nseconds", "distance"),
    Column("seconds_total", "seconds\nin all", "distance"),
)


def _evidence(members: pd.DataFrame) -> dict[str, Any]:
    return {name: int((members["evidence"] == name).sum()) for name in ("reproved", "replayed", "solver_claim")}


def _seconds(members: pd.DataFrame) -> dict[str, Any]:
    answered = members.loc[members["attempts"] > 0, "seconds"]
    return {"seconds_median": _number(answered.median()), "seconds_total": float(members["seconds"].sum())}


def _number(value: float) -> float | None:
    """None for what pandas makes of a mean of nothing."""
    return None if math.isnan(value) else float(value)
