"""What `counter-attack ground-truth` shows and saves."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from counter_attack._figure import save_figure
from counter_attack.cli._attack_report import NORMS
from counter_attack.cli._compare_report import configuration
from counter_attack.cli._inputs import Opened
from counter_attack.cli._tables import TableWriter
from counter_attack.ground_truth import Point, comparison, phase_counts, picture, points_frame, summaries
from counter_attack.ground_truth._frame import point_record
from counter_attack.training._files import write_whole
from counter_attack.ug100 import Column, Table
from mipverify_py import Norm
from mipverify_py.cli._json import SCHEMA, write_line
from mipverify_py.cli._output import Output
from mipverify_py.cli._printable import printable
from onnx_models.errors import InputError


def network_name(model: str) -> str:
    """A network's name from its file's."""
    return configuration(model)


@dataclass(eq=False)
class Findings:
    """What has been found so far.

    Attributes:
        models: names and models with their inputs; the first is what the others are compared with.
        points: in the order in which they were found.
        interrupted: whether Ctrl-C left anything out.
    """

    models: list[tuple[str, Opened]]
    points: list[Point] = field(default_factory=list)
    interrupted: bool = False

    def wrong(self, opened: Opened) -> int:
        """Inputs that a model gets wrong, which have no points."""
        if opened.labels is None:
            return 0
        return int((opened.network.forward_batch(opened.x).argmax(axis=1) != opened.labels).sum())


def save(findings: Findings, path: Path) -> None:
    """Writes a row per point as .csv or .parquet; raises InputError where that cannot be."""
    frame = points_frame(findings.points)
    if path.suffix.lower() == ".csv":
        write_whole(path, frame.to_csv(index=False).encode())
        return
    stream = io.BytesIO()
    try:
        frame.to_parquet(stream, engine="pyarrow", index=False)
    except ImportError:
        raise InputError(f"{path}: writing .parquet needs the package pyarrow; install it, or save as .csv.") from None
    write_whole(path, stream.getvalue())


def draw(findings: Findings, path: Path) -> None:
    """Draws the points; raises InputError where there is nothing to draw or the file cannot be written."""
    save_figure(picture(findings.points), path)


def write(findings: Findings, norms: Sequence[str], *, as_json: bool) -> None:
    """The tables, then what else there is to know; as JSON the points come first."""
    out = Output()
    if as_json:
        for point in findings.points:
            head = {"schema": SCHEMA, "kind": "ground-truth-point", "version": version("mipverify-py")}
            write_line(head | point_record(point))
    else:
        for name, opened in findings.models:
            units = f"{opened.network.relu_count:,} ReLU units"
            out.line(f"{printable(name)}: {opened.network.input_size:,} inputs, {units}; {printable(opened.source)}")
        out.line("")
        out.flush()
    writer = TableWriter(as_json=as_json, folder=None)
    for table in _tables(findings, norms):
        writer.add(table)
    counts = _counts(findings)
    if as_json:
        head = {"schema": SCHEMA, "kind": "ground-truth-summary", "version": version("mipverify-py")}
        write_line(head | counts | {"interrupted": findings.interrupted})
        return
    out.line("")
    for text in _sentences(findings, counts):
        out.line(text)


def _counts(findings: Findings) -> dict[str, Any]:
    points = findings.points
    return {
        "points": len(points),
        "terminated": sum(p.terminated for p in points),
        "open": sum(not p.terminated for p in points),
        "without_example": sum(p.terminated and p.upper is None for p in points),
        "solver_claims": sum(p.evidence is not None and not p.evidence.is_own for p in points),
        "misclassified": {name: findings.wrong(opened) for name, opened in findings.models},
    }


def _sentences(findings: Findings, counts: dict[str, Any]) -> Iterator[str]:
    yield f"{counts['terminated']:,} of {counts['points']:,} exact searches ended by themselves"
    if counts["without_example"]:
        yield f"{counts['without_example']:,} of them: no input of the domain reaches the target; these are in no mean"
    for p in findings.points:
        if not p.terminated:
            low = "nothing is proved" if p.lower is None else f"at least {p.lower:.6g}"
            high = "no example" if p.upper is None else f"at most {p.upper:.6g}"
            reason = p.stop_reason.value.replace("_", " ")
            yield (
                f"open: {printable(p.network)}, {NORMS[p.norm.value]}, index {p.index} to class {p.target}: "
                f"{low}, {high} ({reason})"
            )
    if counts["solver_claims"]:
        yield f"{counts['solver_claims']:,} answers rest on a solver's word"
    for name, wrong in counts["misclassified"].items():
        if wrong:
            yield f"{printable(name)} gets {wrong:,} inputs wrong; they have no points"
    if findings.interrupted:
        yield "interrupted: what was found by then is shown"


def _tables(findings: Findings, norms: Sequence[str]) -> Iterator[Table]:
    yield _truths(findings)
    if len(findings.models) > 1:
        yield _comparisons(findings, norms)
    yield _phases(findings, norms)


def _truths(findings: Findings) -> Table:
    rows = []
    for one in summaries(findings.points):
        row: dict[str, Any] = {
            "network": one.network,
            "norm": NORMS[one.norm.value],
            "points": one.points,
            "terminated": one.terminated,
            "without_example": one.without_example,
            "attack_failed": one.attack_failed,
        }
        for key, means in (("all", one.over_all), ("terminated", one.over_terminated)):
            row |= {
                f"attack_{key}": means.attack,
                f"truth_{key}": means.truth,
                f"improvement_{key}": means.improvement,
                f"counted_{key}": means.points,
            }
        rows.append(row)
    shown = [
        (f"{name}_{key}", f"{heading}\n{word}", style)
        for key, word in (("all", "all"), ("terminated", "ended"))
        for name, heading, style in (
            ("attack", "attack", "distance"),
            ("truth", "truth", "distance"),
            ("improvement", "improved %", "percent"),
        )
    ]
    return Table(
        name="ground-truth",
        title="Mean distance of the attack's and of the nearest examples, over all points and those that ended",
        columns=(
            Column("network", "network", "text"),
            Column("norm", "norm", "text"),
            Column("points", "points", "count"),
            Column("terminated", "ended", "count"),
            Column("attack_failed", "attack\nfailed", "count"),
            *(Column(key, heading, style) for key, heading, style in shown),  # type: ignore[arg-type]
        ),
        rows=tuple(rows),
        note="An open point counts with the nearest example known. One without an example of the attack is in no mean.",
    )


def _comparisons(findings: Findings, norms: Sequence[str]) -> Table:
    first, *others = (name for name, _ in findings.models)
    rows = []
    for norm in norms:
        for other in others:
            found = comparison(findings.points, first, other, Norm(norm))
            losses = 100 * np.array(found.losses)
            rows.append(
                asdict(found)
                | {
                    "norm": NORMS[norm],
                    "ratio": found.ratio,
                    "losses": list(found.losses),
                    "mean_loss": float(losses.mean()) if len(losses) else None,
                    "largest_loss": float(losses.max()) if len(losses) else None,
                }
            )
    return Table(
        name="comparison",
        title=f"Least distances in {first} and in the others, over the points that ended in both",
        columns=(
            Column("hardened", "network", "text"),
            Column("norm", "norm", "text"),
            Column("points", "points", "count"),
            Column("standard_mean", "mean\nbefore", "distance"),
            Column("hardened_mean", "mean\nafter", "distance"),
            Column("ratio", "ratio", "share"),
            Column("better", "better", "count"),
            Column("worse", "worse", "count"),
            Column("mean_loss", "mean\nloss %", "percent"),
            Column("largest_loss", "largest\nloss %", "percent"),
        ),
        rows=tuple(rows),
        note="Better and worse: the brackets do not overlap. Losses are those of the points that got worse.",
    )


def _phases(findings: Findings, norms: Sequence[str]) -> Table:
    rows = []
    for name, opened in findings.models:
        network = opened.network
        units = [network.nodes[index].size for index in network.relu_indices]
        for norm in norms:
            for one in phase_counts(findings.points, name, Norm(norm), units):
                share = None if one.mean is None or not one.units else 100 * one.mean / one.units
                layer = "all" if one.layer is None else str(one.layer + 1)
                rows.append(asdict(one) | {"norm": NORMS[norm], "layer": layer, "share": share})
    return Table(
        name="phases",
        title="ReLU units whose phase changes between the input and the nearest example",
        columns=(
            Column("network", "network", "text"),
            Column("norm", "norm", "text"),
            Column("layer", "layer", "text"),
            Column("units", "units", "count"),
            Column("points", "points", "count"),
            Column("mean", "mean", "distance"),
            Column("largest", "largest", "count"),
            Column("share", "mean\nshare %", "percent"),
        ),
        rows=tuple(rows),
        note="A unit within 1e-7 of its kink has not changed.",
    )
