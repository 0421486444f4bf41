"""What `counter-attack reductions` shows: a table, sentences below it, and the same as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from counter_attack.cli._inputs import Opened
from counter_attack.cli._tables import TableWriter
from counter_attack.reductions import (
    Answer,
    Claim,
    Decoded,
    Decoding,
    Detection,
    Nearest,
    Rate,
    RejectNetwork,
    RiskRow,
    compare_claim,
    constructed_risk,
)
from counter_attack.ug100 import Column, Table
from mipverify_py.cli._json import SCHEMA, write_line
from mipverify_py.cli._numbers import rounded_down, rounded_up, seconds
from mipverify_py.cli._output import Output
from mipverify_py.cli._printable import printable
from onnx_models.errors import InputError

_NORMS = {"linf": "L-infinity", "l1": "L1", "l2": "L2"}


@dataclass(frozen=True, slots=True)
class Shown:
    """What is asked about, and how it is shown.

    Attributes:
        opened: model and inputs.
        norm: "linf", "l1" or "l2".
        as_json: objects instead of text.
        out: where the table goes as CSV; None: nowhere.
    """

    opened: Opened
    norm: str
    as_json: bool
    out: str | None

    def table(self, table: Table, title: str, summary: dict[str, Any], sentences: Sequence[str]) -> None:
        """Shows a table with its summary, as JSON or as text, and saves it."""
        opened = self.opened
        if not self.as_json:
            out = Output()
            shape = f"{opened.network.input_size:,} inputs, {opened.network.output_size} outputs"
            out.line(f"{printable(opened.model)}: {shape}; {printable(opened.source)}")
            out.line(title)
            out.line("")
            out.flush()
        model = {"model": opened.model, "digest": opened.network.digest, "input": opened.source, "norm": self.norm}
        _show(table, as_json=self.as_json, summary={**model, **summary}, sentences=sentences)
        _save(table, self.out)


def show_detection(shown: Shown, found: Detection) -> None:
    """A row per input, what the detector says, and its risk where labels are there."""
    opened = shown.opened
    rows = []
    for row, one in enumerate(found.answers):
        rows.append(
            {
                "index": opened.indices[row],
                "label": _label(opened, row),
                "predicted": one.predicted,
                "lower": _finite(one.lower),
                "upper": _finite(one.upper),
                "answer": one.answer.value,
                "proved": one.proved,
                "basis": one.basis.value,
                "stopped": one.stopped or None,
                **_ends(one.lower, one.upper),
            }
        )
    counts = {answer.value: found.count(answer) for answer in Answer}
    words = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    sentences = [f"{words or 'nothing'} of {len(opened.indices)} inputs, in {seconds(found.seconds)}"]
    sentences += _why_open({one.stopped for one in found.answers if one.answer is Answer.OPEN})
    summary: dict[str, Any] = {"eps": found.eps, **counts, "interrupted": found.interrupted, "seconds": found.seconds}
    exact = {one.basis.value for one in found.answers} == {"exact"}
    if opened.labels is not None and exact:
        rate = constructed_risk(found, [int(label) for label in opened.labels])
        sentences.append(f"risk with detection at eps {found.eps:g}: {_percent(rate)} %, which is the model's at eps/2")
        summary["risk"] = _rate(rate)
    columns = (
        Column("index", "index", "count"),
        Column("label", "label", "count"),
        Column("predicted", "class", "count"),
        Column("from", "distance from", "text"),
        Column("to", "to", "text"),
        Column("answer", "answer", "text"),
        Column("proof", "proved", "text"),
    )
    for entry in rows:
        entry["proof"] = "yes" if entry["proved"] else "no"
    title = f"rejected where another class is reached within eps/2 = {found.eps / 2:g}, {_NORMS[shown.norm]}"
    table = Table("detector", f"The detector for attacks within {found.eps:g}", columns, tuple(rows))
    shown.table(table, title, summary, sentences)


def show_decoding(shown: Shown, found: Decoding, g: RejectNetwork) -> None:
    """A row per input: what the detector says, and the class of the nearest accepted input."""
    opened = shown.opened
    said = g(opened.x[: len(found.answers)])
    rows = []
    for row, one in enumerate(found.answers):
        label = _label(opened, row)
        rejected = bool(np.ma.getmaskarray(said)[row])
        rows.append(
            {
                "index": opened.indices[row],
                "label": label,
                "detector": "rejected" if rejected else str(said[row]),
                "class": one.label,
                "status": one.status.value,
                "candidates": " ".join(map(str, one.candidates)),
                "lower": _finite(one.lower),
                "upper": _finite(one.upper),
                "right": _right(one, label),
                "stopped": one.stopped or None,
                **_ends(one.lower, one.upper),
            }
        )
    counts = {status.value: found.count(status) for status in Nearest}
    words = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    sentences = [f"{words or 'nothing'} of {len(opened.indices)} inputs, in {seconds(found.seconds)}"]
    sentences += _why_open({one.stopped for one in found.answers if one.status is Nearest.OPEN})
    rejected_count = sum(row["detector"] == "rejected" for row in rows)
    rescued = sum(row["detector"] == "rejected" and row["right"] == "yes" for row in rows)
    sentences.append(f"{rejected_count} rejected by the detector; {rescued} of these get the right class")
    columns = (
        Column("index", "index", "count"),
        Column("label", "label", "count"),
        Column("detector", "detector", "text"),
        Column("class", "class", "count"),
        Column("status", "status", "text"),
        Column("from", "distance from", "text"),
        Column("to", "to", "text"),
        Column("right", "right?", "text"),
    )
    summary = {"eps": found.eps, **counts, "interrupted": found.interrupted, "seconds": found.seconds}
    title = f"the nearest accepted input within eps/2 = {found.eps / 2:g}, {_NORMS[shown.norm]}, and its class"
    table = Table("classifier", f"The classifier for attacks within {found.eps / 2:g}", columns, tuple(rows))
    shown.table(table, title, summary, sentences)


def show_risks(shown: Shown, found: Sequence[RiskRow]) -> None:
    """A row per radius, brackets where something is open."""
    rows: list[dict[str, Any]] = []
    for row in found:
        known: dict[str, Rate | None] = {
            "standard_risk": row.detection.standard_risk,
            "false_positives": row.detection.false_positives,
            "false_negatives": row.detection.false_negatives,
            "bound": row.detection.bound,
            "detection_risk": row.detection.risk,
            "decoder_risk": row.decoder,
            "model_risk": row.classifier,
        }
        entry: dict[str, Any] = {"eps": row.eps, "inputs": row.detection.risk.count}
        for name, rate in known.items():
            entry[f"{name}_lower"] = None if rate is None else float(rate.lower)
            entry[f"{name}_upper"] = None if rate is None else float(rate.upper)
            entry[name] = None if rate is None else _percent(rate)
        rows.append(entry)
    headings = {
        "standard_risk": "R %",
        "false_positives": "FPR %",
        "false_negatives": "FNR %",
        "bound": "sum %",
        "detection_risk": "detector\neps %",
        "decoder_risk": "classifier\neps/2 %",
        "model_risk": "model\neps/2 %",
    }
    columns = (Column("eps", "eps", "distance"), *(Column(k, v, "text") for k, v in headings.items()))
    note = "sum: R + FPR + FNR, at least the detector's risk; that is at least the classifier's. a..b: not closed."
    count = len(shown.opened.indices)
    table = Table("risk", f"Risks of {count} inputs in percent", columns, tuple(rows), note)
    reasons = {why for row in found for why in row.detection.stopped if why}
    summary = {"inputs": count, "interrupted": any(row.interrupted for row in found)}
    shown.table(table, f"attacks in {_NORMS[shown.norm]}", summary, _why_open(reasons))


def show_claim(claim: Claim, *, as_json: bool, out: str | None) -> None:
    """The implied classifier in sentences, and known results beside it."""
    rows: list[dict[str, Any]] = []
    for one in compare_claim(claim):
        known = one.known
        rows.append(
            {
                "name": known.name,
                "eps": str(known.eps),
                "clean": float(100 * known.clean),
                "robust": float(100 * known.robust),
                "excess": None if one.excess is None else float(100 * one.excess),
                "verdict": {True: "beyond it", False: "not beyond it", None: "no comparison: eps/2 is smaller"}[
                    one.is_beyond
                ],
                "paper": known.paper,
                "source": known.source,
            }
        )
    columns = (
        Column("name", "known classifier", "text"),
        Column("eps", "eps", "text"),
        Column("clean", "clean %", "percent"),
        Column("robust", "robust %", "percent"),
        Column("excess", "implied - robust", "percent"),
        Column("verdict", "the claim goes", "text"),
        Column("paper", "paper", "text"),
    )
    title = f"Known robust classifiers for {claim.data_set}, {_NORMS[claim.norm.value]}"
    note = "" if rows else "None is known here for this data set and norm."
    table = Table("claim", title if claim.data_set else "No data set to compare on", columns, tuple(rows), note)
    implied = {
        "norm": claim.norm.value,
        "eps": float(claim.eps),
        "detection_risk": float(claim.detection_risk),
        "implied_eps": float(claim.implied_eps),
        "implied_accuracy": float(claim.implied_accuracy),
        "data_set": claim.data_set,
    }
    if not as_json:
        writer = Output()
        writer.line(f"claimed: a detector for attacks within {claim.eps}, {_NORMS[claim.norm.value]}")
        writer.line(f"  FPR + FNR + R      at most {math.ceil(claim.detection_risk * 10**4) / 100:.2f} %")
        writer.line(f"implied: a classifier for attacks within {claim.implied_eps}")
        writer.line(f"  robust accuracy    at least {math.floor(claim.implied_accuracy * 10**4) / 100:.2f} %")
        writer.line("")
        writer.flush()
    _show(table, as_json=as_json, summary=implied, sentences=())
    _save(table, out)


def _show(table: Table, *, as_json: bool, summary: dict[str, Any], sentences: Sequence[str]) -> None:
    TableWriter(as_json=as_json, folder=None).add(table)
    if as_json:
        kind = f"reductions-{table.name}"
        write_line({"schema": SCHEMA, "kind": kind, "version": version("mipverify-py"), **summary})
    elif sentences:
        out = Output()
        out.line("")
        for text in sentences:
            out.line(text)


def _save(table: Table, out: str | None) -> None:
    if out is None:
        return
    try:
        Path(out).write_text(table.csv(), "utf-8")
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error}).") from error


def _ends(lower: float, upper: float) -> dict[str, str]:
    shown_lower = rounded_down(lower) if math.isfinite(lower) else "-"
    return {"from": shown_lower, "to": rounded_up(upper) if math.isfinite(upper) else "-"}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _label(opened: Opened, row: int) -> int | None:
    return None if opened.labels is None else int(opened.labels[row])


def _right(one: Decoded, label: int | None) -> str | None:
    if label is None or one.status in {Nearest.OPEN, Nearest.TIED}:
        return None
    return "yes" if one.label == label else "no"


def _percent(rate: Rate) -> str:
    ends = (_share(rate.lower), _share(rate.upper))
    return ends[0] if rate.is_exact else f"{ends[0]}..{ends[1]}"


def _share(value: Fraction) -> str:
    return f"{float(100 * value):.2f}"


def _rate(rate: Rate) -> dict[str, int]:
    return {"least": rate.least, "most": rate.most, "count": rate.count}


def _why_open(reasons: set[str]) -> list[str]:
    return [f"open: {', '.join(sorted(reasons))}"] if reasons else []
