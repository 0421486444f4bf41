"""What `counter-attack detect` shows: a row per input, a summary, JSON, and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np

from counter_attack.cli._fit_buffer import kind_words, line_words
from counter_attack.cli._inputs import Opened
from counter_attack.cli._tables import TableWriter
from counter_attack.detection import Detection, LineBuffer, f1_curve, plot_f1, plot_roc, roc_curve, write_pairs
from counter_attack.ug100 import Column, Table
from mipverify_py.cli._json import SCHEMA, write_line
from mipverify_py.cli._numbers import seconds
from mipverify_py.cli._output import Output
from mipverify_py.cli._printable import printable
from onnx_models import Array
from onnx_models.errors import InputError


@dataclass(frozen=True)
class Run:
    """What was asked and what came out.

    Attributes:
        eps: the radius.
        buffer: the buffer.
        opened: model and inputs.
        found: the detector's answers.
        truth: exact distances, shape (N,): infinite where there is no example, NaN where unknown; None: not asked for.
        is_exact: whether the attack is the exact search.
    """

    eps: float
    buffer: LineBuffer
    opened: Opened
    found: Detection
    truth: Array | None
    is_exact: bool

    @cached_property
    def compared(self) -> Comparison | None:
        """How the answers compare with the truth, where that is known; None without it."""
        if self.truth is None:
            return None
        known = ~np.isnan(self.truth)
        marked, positive = self.found.non_robust[known], self.truth[known] <= self.eps
        return Comparison(
            true_positives=int(np.sum(marked & positive)),
            false_positives=int(np.sum(marked & ~positive)),
            false_negatives=int(np.sum(~marked & positive)),
            true_negatives=int(np.sum(~marked & ~positive)),
            unknown=int(np.sum(~known)),
        )

    def known(self) -> tuple[Array, Array]:
        """Estimates and exact distances of the inputs whose exact distance is known.

        Raises:
            InputError: there is none.
        """
        assert self.truth is not None
        known = ~np.isnan(self.truth)
        if not known.any():
            raise InputError("Of none of these inputs is the exact distance known, so there is nothing to draw.")
        return self.found.estimate[known], self.truth[known]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Answers against the truth; a positive is an input that is marked.

    Attributes:
        true_positives: non-robust inputs that are marked.
        false_positives: robust inputs that are marked.
        false_negatives: non-robust inputs that are not marked.
        true_negatives: robust inputs that are not marked.
        unknown: inputs whose exact distance is not known; in none of the others.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    unknown: int

    @property
    def f1(self) -> float | None:
        """F1; None where no input is marked or non-robust."""
        either = 2 * self.true_positives + self.false_positives + self.false_negatives
        return 2 * self.true_positives / either if either else None


def answer(run: Run, row: int) -> str:
    """The answer about one input in a word or two."""
    found = run.found
    if run.is_exact and found.undecided[row]:
        return "undecided"
    if found.non_robust[row]:
        return "non-robust"
    return "robust (attack failed)" if found.failed[row] and not run.is_exact else "robust"


def write_text(run: Run) -> None:
    """A table with a row per input, then a summary."""
    out, network = Output(), run.opened.network
    out.line(
        f"{printable(run.opened.model)}: {network.input_size:,} inputs, {network.output_size} classes; "
        f"{printable(run.opened.source)}"
    )
    out.line(f"non-robust at eps {run.eps:g} if estimate <= eps, with estimate = {_estimate_words(run)}")
    out.line("")
    out.flush()
    TableWriter(as_json=False, folder=None).add(_table(run))
    out.line("")
    for text in _summary(run):
        out.line(text)


def write_json(run: Run) -> None:
    """One object per input, then one with the summary."""
    for row in range(len(run.opened.indices)):
        write_line({"schema": SCHEMA, "kind": "detection", "version": version("mipverify-py"), **_row(run, row)})
    found, compared = run.found, run.compared
    write_line(
        {
            "schema": SCHEMA,
            "kind": "detection-summary",
            "version": version("mipverify-py"),
            "model": run.opened.model,
            "digest": run.opened.network.digest,
            "input": run.opened.source,
            "eps": run.eps,
            "buffer": {
                "kind": run.buffer.kind.name,
                "parameters": run.buffer.kind.parameters,
                "slope": run.buffer.slope,
                "intercept": run.buffer.intercept,
            },
            "inputs": len(found.non_robust),
            "non_robust": int(found.non_robust.sum()),
            "failed": int(found.failed.sum()),
            "proved_non_robust": int(found.proved_non_robust.sum()),
            "proved_robust": int(found.proved_robust.sum()),
            "interrupted": found.interrupted,
            "seconds": found.seconds,
            "compared": None
            if compared is None
            else {
                "true_positives": compared.true_positives,
                "false_positives": compared.false_positives,
                "false_negatives": compared.false_negatives,
                "true_negatives": compared.true_negatives,
                "unknown": compared.unknown,
                "f1": compared.f1,
            },
        }
    )


def draw_roc(run: Run, path: str) -> None:
    """The ROC curve at the detector's eps."""
    estimate, truth = run.known()
    plot_roc(roc_curve(estimate, truth, run.eps), path)


def draw_f1(run: Run, path: str) -> None:
    """F1 against eps, with the detector's marked."""
    estimate, truth = run.known()
    plot_f1(f1_curve(estimate, truth), path, mark=run.eps)


def save_pairs(run: Run, path: str) -> None:
    """The attack's distances beside the exact ones."""
    assert run.truth is not None
    write_pairs(path, run.opened.indices, run.found.distance, run.truth)


def _row(run: Run, row: int) -> dict[str, Any]:
    """Everything about one input; null where there is nothing: no label, no example, no exact distance known."""
    found, opened = run.found, run.opened
    return {
        "index": opened.indices[row],
        "label": None if opened.labels is None else int(opened.labels[row]),
        "predicted": int(found.predicted[row]),
        "distance": _finite(found.distance[row]),
        "estimate": _finite(found.estimate[row]),
        "non_robust": bool(found.non_robust[row]),
        "failed": bool(found.failed[row]),
        "proved_non_robust": bool(found.proved_non_robust[row]),
        "proved_robust": bool(found.proved_robust[row]),
        "exact": None if run.truth is None else _finite(run.truth[row]),
        "exact_known": run.truth is not None and not bool(np.isnan(run.truth[row])),
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _table(run: Run) -> Table:
    columns = [
        Column("index", "index", "text"),
        Column("label", "label", "text"),
        Column("predicted", "class", "text"),
        Column("distance", "distance", "precise"),
        Column("estimate", "estimate", "precise"),
        Column("answer", "answer", "text"),
    ]
    if run.truth is not None:
        columns += [Column("exact", "exact", "precise"), Column("right", "right?", "text")]
    rows = []
    for row in range(len(run.opened.indices)):
        record = _row(run, row) | {"answer": answer(run, row)}
        if run.truth is not None:
            truth = float(run.truth[row])
            record["exact"] = "none" if np.isposinf(truth) else (None if np.isnan(truth) else truth)
            right = bool(run.found.non_robust[row]) == (truth <= run.eps)
            record["right"] = None if np.isnan(truth) else ("yes" if right else "no")
        rows.append(record)
    count = len(rows)
    return Table("detection", f"{count:,} {'input' if count == 1 else 'inputs'}", tuple(columns), tuple(rows))


def _estimate_words(run: Run) -> str:
    if run.buffer.kind.name == "zero":
        return "distance"
    return f"{line_words(run.buffer)} ({kind_words(run.buffer.kind)}, {run.buffer.pairs:,} pairs)"


def _summary(run: Run) -> list[str]:
    found, compared = run.found, run.compared
    count, marked, failed = len(found.non_robust), int(found.non_robust.sum()), int(found.failed.sum())
    texts = [f"{marked:,} of {count:,} inputs non-robust at eps {run.eps:g}, in {seconds(found.seconds)}"]
    if run.is_exact and (left := int(found.undecided.sum())):
        texts.append(f"undecided: {left:,}, whose search was cut short or has eps within its gap")
    if failed and not run.is_exact:
        texts.append(f"on {failed:,} the attack found nothing; they count as robust")
    proved = f"proved: {int(found.proved_non_robust.sum()):,} non-robust, by an example within eps"
    texts.append(proved + (f"; {int(found.proved_robust.sum()):,} robust, by the search" if run.is_exact else ""))
    if found.interrupted:
        texts.append("interrupted: what the attacks had found by then counts")
    if compared is not None:
        known = count - compared.unknown
        score = "" if compared.f1 is None else f"; F1 {compared.f1:.4f}"
        texts.append(
            f"against {known:,} exact distances: {compared.true_positives:,} rightly marked, "
            f"{compared.false_positives:,} wrongly, {compared.false_negatives:,} missed, "
            f"{compared.true_negatives:,} rightly passed{score}"
        )
        if compared.unknown:
            texts.append(f"of {compared.unknown:,} inputs the exact distance is not known")
    return texts
