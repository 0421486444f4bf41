"""What `counter-attack diagnose` shows and saves."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counter_attack.cli._inputs import Opened
from counter_attack.cli._subjects import heading
from counter_attack.cli._tables import TableWriter
from counter_attack.diagnostics import ExactCurve, Finding, FoolingCurve, Measures, Subject
from counter_attack.ug100 import Column, Table
from mipverify_py.cli._json import SCHEMA, write_line
from mipverify_py.cli._output import Output

if TYPE_CHECKING:
    from counter_attack.detection import ExactResult


@dataclass(slots=True, eq=False)
class Outcome:
    """What is known so far.

    Attributes:
        opened, subject, eps: what was asked about.
        findings, curves, measures: as they come.
        exact, exact_curve: None without exact distances.
        interrupted: whether Ctrl-C ended the work.
        late: whether its time limit did.
    """

    opened: Opened
    subject: Subject
    eps: float
    findings: list[Finding] = field(default_factory=list)
    curves: list[FoolingCurve] = field(default_factory=list)
    measures: tuple[Measures, ...] = ()
    exact: ExactResult | None = None
    exact_curve: ExactCurve | None = None
    interrupted: bool = False
    late: bool = False

    @property
    def warnings(self) -> int:
        """How many checks warn."""
        return sum(finding.warns for finding in self.findings)


def write(outcome: Outcome, *, as_json: bool, folder: Path | None) -> None:
    """The checks, then the tables that there are, then a sentence or the summary object."""
    out = Output()
    if not as_json:
        out.line(heading(outcome.opened, outcome.subject))
        out.line("")
        out.flush()
    writer = TableWriter(as_json=as_json, folder=folder)
    writer.add(_checks(outcome))
    if outcome.curves or outcome.exact_curve is not None:
        writer.add(_curves(outcome))
    if outcome.measures:
        writer.add(_measures(outcome))
    if as_json:
        write_line(_summary(outcome))
        return
    out.line("")
    for text in _sentences(outcome):
        out.line(text)


def _summary(outcome: Outcome) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "kind": "diagnose-summary",
        "version": version("mipverify-py"),
        "model": outcome.opened.model,
        "digest": outcome.opened.network.digest,
        "norm": outcome.subject.norm.value,
        "eps": outcome.eps,
        "inputs": len(outcome.subject),
        "asked": len(outcome.opened.x),
        "warnings": [finding.name for finding in outcome.findings if finding.warns],
        "open": None if outcome.exact is None else _open(outcome),
        "interrupted": outcome.interrupted,
        "time_used_up": outcome.late,
    }


def _sentences(outcome: Outcome) -> list[str]:
    found = outcome.warnings
    texts = [f"{found} of {len(outcome.findings)} checks warn"]
    if found and any(finding.warns and finding.name == "exact" for finding in outcome.findings):
        texts[0] += "; that the attack misses examples is proved"
    if outcome.exact is not None and _open(outcome):
        texts.append(f"{_open(outcome)} of {len(outcome.subject)} exact distances are not closed: a limit was reached")
    if outcome.interrupted:
        texts.append("interrupted: what was done by then is shown")
    if outcome.late:
        texts.append("the time was used up: what was done by then is shown")
    return texts


def _open(outcome: Outcome) -> int:
    assert outcome.exact is not None
    return int((~outcome.exact.exact).sum())


def _checks(outcome: Outcome) -> Table:
    indices = [outcome.opened.indices[row] for row in outcome.subject.kept.tolist()]
    rows = [
        {
            "check": finding.name,
            "answer": "WARNS" if finding.warns else "fine",
            "text": finding.text,
            "inputs": ", ".join(str(indices[row]) for row in finding.rows),
            **finding.numbers,
        }
        for finding in outcome.findings
    ]
    return Table(
        name="checks",
        title=f"Signs of obfuscated gradients at eps {outcome.eps:g}",
        columns=(
            Column("check", "check", "text"),
            Column("answer", "answer", "text"),
            Column("text", "what was counted", "text"),
        ),
        rows=tuple(rows),
    )


def _curves(outcome: Outcome) -> Table:
    columns = [Column("eps", "eps", "distance")]
    radii = (outcome.exact_curve or outcome.curves[0]).eps
    rows: list[dict[str, Any]] = [{"eps": float(eps)} for eps in radii]
    for curve in outcome.curves:
        columns += [
            Column(curve.name, f"{curve.name}\n%", "percent"),
            Column(f"{curve.name}_interval", "\n95 %", "text"),
        ]
        for row, share in zip(rows, curve.shares, strict=True):
            low, high = share.interval
            row[curve.name] = 100 * share.ratio
            row[f"{curve.name}_interval"] = f"{100 * low:.0f}-{100 * high:.0f}"
    if outcome.exact_curve is not None:
        columns += [Column("exact_low", "exact\n%, at least", "percent"), Column("exact_high", "\nat most", "percent")]
        for row, (low_share, high_share) in zip(rows, outcome.exact_curve.shares, strict=True):
            row["exact_low"], row["exact_high"] = 100 * low_share.ratio, 100 * high_share.ratio
    return Table("curves", f"Fooling ratio against eps: {len(outcome.subject)} inputs", tuple(columns), tuple(rows))


def _measures(outcome: Outcome) -> Table:
    rows = []
    for one in outcome.measures:
        low, high = one.exact_rho1
        rows.append(
            {
                "name": one.name,
                "found": one.found,
                "mean": _shown(one.mean),
                "rho1": _shown(one.rho1),
                "exact_rho1": _shown((low, high)),
                "rho2_half": _shown(one.rho2[0]),
                "rho2_most": _shown(one.rho2[1]),
                **_ends("mean", one.mean),
                **_ends("rho1", one.rho1),
                **_ends("exact_rho1", one.exact_rho1),
                **_ends("rho2_half", one.rho2[0]),
                **_ends("rho2_most", one.rho2[1]),
            }
        )
    return Table(
        name="measures",
        title=f"Robustness measures: {len(outcome.subject)} inputs",
        columns=(
            Column("name", "method", "text"),
            Column("found", "examples", "count"),
            Column("mean", "mean\ndistance", "text"),
            Column("rho1", "rho1", "text"),
            Column("exact_rho1", "exact rho1,\nsame inputs", "text"),
            Column("rho2_half", "rho2\n50 %", "text"),
            Column("rho2_most", "rho2\n99 %", "text"),
        ),
        rows=tuple(rows),
        note="rho1: mean of |eta| / |x| over inputs with an example; rho2: the eps that fools so many of all inputs.",
    )


def _shown(ends: tuple[float | None, float | None]) -> str | None:
    """One number, or the bracket where it does not round to one."""
    low, high = (None if end is None else f"{end:.4f}" for end in ends)
    if low is None and high is None:
        return None
    return low if low == high else f"{low or '-'} to {high or '-'}"


def _ends(key: str, ends: tuple[float | None, float | None]) -> dict[str, float | None]:
    return {f"{key}_low": ends[0], f"{key}_high": ends[1]}
