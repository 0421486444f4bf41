"""What `counter-attack amoeba box` finds, shows and saves."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from counter_attack.amoeba import AsymmetricBox, FaceState, FindSettings, FoundBox, find_boxes
from counter_attack.amoeba._optimise import checked_inputs, has_margin
from counter_attack.cli._inputs import Opened
from counter_attack.cli._tables import TableWriter
from counter_attack.training._files import write_whole
from counter_attack.ug100 import Column, Table
from mipverify_py.cli._json import SCHEMA, write_line
from mipverify_py.cli._output import Output
from mipverify_py.cli._printable import printable
from onnx_models.errors import InputError

BATCH = 50
"""Inputs whose boxes are optimised side by side."""

COLUMNS = (
    Column("index", "index", "count"),
    Column("label", "label", "text"),
    Column("class", "class", "text"),
    Column("shape", "shape", "text"),
    Column("bounds", "bounds", "text"),
    Column("size", "geometric\nmean side", "precise"),
    Column("seconds", "seconds", "distance"),
    Column("known", "what is known", "text"),
)


@dataclass(eq=False)
class BoxReport:
    """The boxes found so far.

    Attributes:
        opened: the model and its inputs.
        found: by (shape, bounds) the boxes by row of `opened.x`; rows that are not in `right` have none.
        interrupted: whether Ctrl-C left anything out.
    """

    opened: Opened
    found: dict[tuple[str, str], dict[int, FoundBox]] = field(default_factory=dict)
    interrupted: bool = False

    def __post_init__(self) -> None:
        network, labels = self.opened.network, self.opened.labels
        x, *_ = checked_inputs(network, self.opened.x, self.opened.domain)
        if labels is not None and np.any((labels < 0) | (labels >= network.output_size)):
            raise InputError(
                f"Some labels are no class of the model, which has classes 0 to {network.output_size - 1}."
            )
        self.predicted = network.forward_batch(x).argmax(axis=1)
        self.wrong = np.zeros(len(x), bool) if labels is None else labels != self.predicted
        """Which inputs the model gets wrong."""
        self.tied = ~self.wrong & ~has_margin(network, x, self.predicted)
        """Which inputs have two classes at once."""
        self.right = np.flatnonzero(~self.wrong & ~self.tied)
        """Rows of the other inputs."""

    @property
    def is_settled(self) -> bool:
        """Whether every box is certified and, where exact ones were asked for, cannot be made larger."""
        every = [one for rows in self.found.values() for one in rows.values()]
        return all(one.certified and (one.maximal is None or one.maximal.is_maximal) for one in every)

    def records(self) -> list[dict[str, Any]]:
        """One record per input and kind of box, in the order of the search."""
        return [
            {**self._input(row), "shape": shape, "bounds": bounds, **self._figures(row, rows)}
            for (shape, bounds), rows in self.found.items()
            for row in range(len(self.opened.x))
            if row in rows or row not in self.right
        ]

    def _figures(self, row: int, rows: Mapping[int, FoundBox]) -> dict[str, Any]:
        """Size, time and state of the box of an input."""
        if row not in rows:
            why = "misclassified" if self.wrong[row] else "two classes at once"
            return {"size": None, "seconds": None, "known": f"{why}: no box"}
        one = rows[row]
        size = one.box.geometric_mean if one.certified else None
        return {"size": size, "seconds": one.seconds, "known": known(one)}

    def _input(self, row: int) -> dict[str, Any]:
        labels = self.opened.labels
        return {
            "index": self.opened.indices[row],
            "label": None if labels is None else int(labels[row]),
            "class": int(self.predicted[row]),
        }

    def tables(self) -> list[Table]:
        """All boxes, then sizes and times by shape and bounds as in the paper."""
        boxes = Table("amoeba-boxes", "Certified boxes", COLUMNS, tuple(self.records()))
        shapes = list(dict.fromkeys(shape for shape, _ in self.found))
        kinds = list(dict.fromkeys(bounds for _, bounds in self.found))
        columns = [Column("bounds", "bounds", "text")]
        for name in shapes:
            columns += [
                Column(f"{name} size", f"{name}\nmean side", "precise"),
                Column(f"{name} seconds", "seconds\nper box", "distance"),
                Column(f"{name} boxes", "certified\nboxes", "text"),
            ]
        rows = tuple(self._summary(kind, shapes) for kind in kinds)
        title = f"Mean over boxes of the geometric mean of the sides: {len(self.right)} inputs"
        left_out = ((int(self.wrong.sum()), "are misclassified"), (int(self.tied.sum()), "have two classes at once"))
        notes = [f"{count} of {len(self.opened.x)} inputs {what}: no box." for count, what in left_out if count]
        return [boxes, Table("amoeba-sizes", title, tuple(columns), rows, " ".join(notes))]

    def _summary(self, kind: str, shapes: list[str]) -> Mapping[str, Any]:
        row: dict[str, Any] = {"bounds": kind}
        for shape in shapes:
            every = list(self.found.get((shape, kind), {}).values())
            good = [one for one in every if one.certified]
            row[f"{shape} size"] = float(np.mean([one.box.geometric_mean for one in good])) if good else None
            row[f"{shape} seconds"] = float(np.mean([one.seconds for one in every])) if every else None
            row[f"{shape} boxes"] = f"{len(good)} of {len(self.right)}"
        return row

    def write(self, *, as_json: bool) -> None:
        """Shows the tables; as JSON one object per box comes first, with the box itself."""
        if as_json:
            for (shape, bounds), rows in self.found.items():
                for row, one in rows.items():
                    _tell_box({**self._input(row), "shape": shape, "bounds": bounds}, one)
        else:
            Output().line(printable(f"{self.opened.model}: {self.opened.network.input_size} features"))
        writer = TableWriter(as_json=as_json, folder=None)
        for table in self.tables():
            writer.add(table)

    def save_table(self, path: Path) -> None:
        """Writes one line per box."""
        write_whole(path, self.tables()[0].csv().encode())

    def save_boxes(self, path: Path) -> None:
        """Writes arrays with one row per certified box: index, shape, bounds, class, x, e1, e2, maximal."""
        good = [
            (row, shape, bounds, one)
            for (shape, bounds), rows in self.found.items()
            for row, one in rows.items()
            if one.certified
        ]
        stream, size = io.BytesIO(), self.opened.network.input_size
        arrays: dict[str, Any] = {
            "index": np.array([self.opened.indices[row] for row, *_ in good], dtype=np.int64),
            "class": np.array([self.predicted[row] for row, *_ in good], dtype=np.int64),
            "shape": np.array([shape for _, shape, _, _ in good], dtype=str),
            "bounds": np.array([bounds for _, _, bounds, _ in good], dtype=str),
            "maximal": np.array([one.maximal is not None and one.maximal.is_maximal for *_, one in good], dtype=bool),
            "digest": np.array(self.opened.network.digest),
        }
        for name in ("x", "e1", "e2"):
            arrays[name] = np.array([getattr(one.box, name) for *_, one in good]).reshape(-1, size)
        np.savez(stream, **arrays)
        write_whole(path, stream.getvalue())

    def certify(self, path: Path, *, time_limit: float | None, as_json: bool) -> None:
        """Writes the certificate of the only box and says so.

        A grown box was proved piece by piece, so it is proved anew, for at most so many seconds.

        Raises:
            InputError: there is not just one box, or there is no certificate for it.
            KeyboardInterrupt: Ctrl-C.
        """
        from counter_attack.amoeba import certify_box
        from mipverify_py import Options, StopReason
        from mipverify_py.certificate import CertificateError

        every = [one for rows in self.found.values() for one in rows.values()]
        if len(every) != 1:
            raise InputError(
                f"--certificate is for a single box, and there are {len(every)}; choose one --index that has a box."
            )
        domain, whole = self.opened.domain, every[0].certification
        if every[0].maximal is not None:
            options = Options(time_limit=time_limit)
            whole = certify_box(
                self.opened.network, every[0].box, whole.query.reference, domain=domain, options=options
            )
            if whole.result.stop_reason is StopReason.INTERRUPTED:
                raise KeyboardInterrupt
            if not whole.certified:
                raise InputError(
                    f"--certificate {path}: the box is proved piece by piece, but not at once "
                    f"({whole.result.stop_reason.value}); give it more --timeout or a larger --step."
                )
        try:
            made = whole.certificate()
        except CertificateError as error:
            raise InputError(f"--certificate {path}: {error}") from error
        write_whole(path, made.data)
        record = {"file": str(path), "bytes": len(made.data), "leaves": made.leaves}
        if as_json:
            head = {"schema": SCHEMA, "kind": "amoeba-certificate", "version": version("mipverify-py")}
            write_line({**head, **record})
        else:
            Output().line(
                printable(
                    f"certificate {path}: {len(made.data):,} bytes, {made.leaves:,} leaves, accepted by the checker"
                )
            )


def find_all(opened: Opened, settings: FindSettings, report: BoxReport, show: Callable[[str], None]) -> bool:
    """Adds the boxes of one kind to the report; False where Ctrl-C cut that short."""
    rows = report.found.setdefault((settings.shape.value, settings.kind.value), {})
    for start in range(0, len(report.right), BATCH):
        batch = report.right[start : start + BATCH]
        kept = report.predicted[batch]
        try:
            boxes = find_boxes(
                opened.network, opened.x[batch], kept, domain=opened.domain, settings=settings, progress=show
            )
            for row, one in zip(batch, islice(boxes, len(batch)), strict=False):  # fewer after Ctrl-C
                rows[int(row)] = one
                report.interrupted |= one.stopped == "interrupted"
        except KeyboardInterrupt:
            report.interrupted = True
        if report.interrupted:
            return False
    return True


def known(one: FoundBox) -> str:
    """What is known of a box, in words."""
    result = one.certification.result
    if not one.certified:
        return f"not certified: {result.verdict.value}, {result.stop_reason.value}"
    cut = "" if one.stopped is None else f" ({one.stopped})"
    if one.maximal is None:
        return f"certified{cut}"
    states = ", ".join(
        f"{count} {words}"
        for state, words in (
            (FaceState.BLOCKED, "blocked"),
            (FaceState.DOMAIN, "at the domain's end"),
            (FaceState.OPEN, "open"),
        )
        if (count := one.maximal.count(state))
    )
    head = f"maximal to {one.maximal.step:g}" if one.maximal.is_maximal else "certified"
    return f"{head}: {states}{cut}"


def _tell_box(head: dict[str, Any], one: FoundBox) -> None:
    """One box as a JSON object."""
    box: AsymmetricBox = one.box
    result = one.certification.result
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": "amoeba-box",
        "version": version("mipverify-py"),
        **head,
        "certified": one.certified,
        "evidence": None if result.evidence is None else result.evidence.value,
        "geometric_mean": box.geometric_mean,
        "log_volume": box.log_volume if np.isfinite(box.log_volume) else None,
        "e1": box.e1.tolist(),
        "e2": box.e2.tolist(),
        "shrinks": one.certification.shrinks,
        "seconds": one.seconds,
        "stopped": one.stopped,
        "maximal": None,
    }
    if one.maximal is not None:
        grown = one.maximal
        record["maximal"] = {
            "proved": grown.is_maximal,
            "step": grown.step,
            "queries": grown.queries,
            "faces": [
                {
                    "feature": end.face.feature,
                    "side": end.face.side,
                    "state": end.state.value,
                    "gap": end.gap,
                    "detail": end.detail,
                }
                for end in grown.ends
            ],
        }
    write_line(record)
