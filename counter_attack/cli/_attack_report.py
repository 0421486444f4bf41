"""What `counter-attack attack` shows and saves: a row per input as its batch is done, a summary, JSON, and arrays."""

from __future__ import annotations

import io
import statistics
from abc import ABC, abstractmethod
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from counter_attack.attacks import AttackResult
from counter_attack.cli._inputs import Opened
from counter_attack.cli._pool_run import Batch, joined
from counter_attack.cli._tables import TableWriter
from counter_attack.pool import ranking
from counter_attack.training._files import write_whole
from counter_attack.ug100 import Column, Table
from mipverify_py.cli._json import SCHEMA, write_line
from mipverify_py.cli._numbers import rounded_up, seconds
from mipverify_py.cli._output import Output
from mipverify_py.cli._printable import printable

NORMS = {"linf": "L-infinity", "l1": "L1", "l2": "L2"}


class Report(ABC):
    """Tells what was found, batch by batch.

    Args:
        opened: model and inputs.
        norm: how distances are measured, "linf", "l1" or "l2".
        eps: the radius of interest, or None.
    """

    def __init__(self, opened: Opened, norm: str, eps: float | None) -> None:
        self.opened, self.norm, self.eps = opened, norm, eps
        self.batches: list[Batch] = []

    def add(self, batch: Batch) -> None:
        """Shows the inputs of a batch."""
        self.batches.append(batch)
        for record in records(self.opened, batch, self.eps):
            self.show(record)

    @abstractmethod
    def show(self, record: dict[str, Any]) -> None:
        """Shows one input."""

    @abstractmethod
    def end(self) -> None:
        """Shows the summary."""

    @property
    def distances(self) -> list[float]:
        """Of all inputs with an example, in their order."""
        return [float(d) for batch in self.batches for d in batch.found.distance if not np.isnan(d)]

    @property
    def within(self) -> int:
        """Inputs whose closest example lies within eps; 0 without eps."""
        return 0 if self.eps is None else sum(distance <= self.eps for distance in self.distances)

    @property
    def inputs(self) -> int:
        """Inputs shown."""
        return sum(len(batch.rows) for batch in self.batches)

    @property
    def interrupted(self) -> bool:
        """Whether some of the inputs, or some attacks on them, are missing."""
        return self.inputs < len(self.opened.x) or not all(batch.is_complete for batch in self.batches)


def records(opened: Opened, batch: Batch, eps: float | None) -> list[dict[str, Any]]:
    """Everything about each input of a batch; null where there is nothing."""
    found, closest = batch.found, batch.found.table.closest()
    predicted = opened.network.forward_batch(opened.x[batch.rows.start : batch.rows.stop]).argmax(axis=1)
    rows = []
    for k, row in enumerate(batch.rows):
        name = found.winner[k]
        best = None if name is None else _by_one(found.results[name], k)
        rows.append(
            {
                "index": opened.indices[row],
                "label": None if opened.labels is None else int(opened.labels[row]),
                "predicted": int(predicted[k]),
                "norm": found.norm.value,
                "success": name is not None,
                "distance": None if best is None else best["distance"],
                "attack": name,
                "sharing": int(closest.ties[k]),
                "found": None if best is None else best["found"],
                "tie": None if best is None else best["tie"],
                "within_eps": None if eps is None else bool(found.distance[k] <= eps),
                "failed": [other for other, one in found.results.items() if not one.success[k]],
                "not_run": [other for other in batch.names if other not in found.results],
                "attacks": {other: _by_one(one, k) for other, one in found.results.items()},
            }
        )
    return rows


def _by_one(result: AttackResult, row: int) -> dict[str, Any]:
    """What one attack found for one input."""
    success = bool(result.success[row])
    return {
        "success": success,
        "distance": float(result.distance[row]) if success else None,
        "found": int(result.found[row]) if success else None,
        "tie": bool(result.tie[row]),
        "calls": int(result.calls[row]),
        "stop_reason": result.stop_reason.value,
    }


class JsonReport(Report):
    """One object per input, then one with the summary."""

    def show(self, record: dict[str, Any]) -> None:
        write_line({"schema": SCHEMA, "kind": "attack", "version": version("mipverify-py"), **record})

    def end(self) -> None:
        table, distances, opened = joined(self.batches), self.distances, self.opened
        write_line(
            {
                "schema": SCHEMA,
                "kind": "attack-summary",
                "version": version("mipverify-py"),
                "model": opened.model,
                "digest": opened.network.digest,
                "input": opened.source,
                "norm": self.norm,
                "eps": self.eps,
                "inputs": self.inputs,
                "asked": len(opened.x),
                "interrupted": self.interrupted,
                "successes": len(distances),
                "within_eps": None if self.eps is None else self.within,
                "smallest": min(distances, default=None),
                "median": statistics.median(distances) if distances else None,
                "largest": max(distances, default=None),
                "attacks": [] if table is None else [dict(row) for row in _attacks(self.batches).rows],
            }
        )


class TextReport(Report):
    """A line per input, then a table of the attacks and a few sentences."""

    def __init__(self, opened: Opened, norm: str, eps: float | None) -> None:
        super().__init__(opened, norm, eps)
        self._out, network = Output(), opened.network
        self._out.line(f"{printable(opened.model)}: {network.input_size:,} inputs, {network.output_size} classes")
        self._out.line(f"{printable(opened.source)}: closest adversarial example that was found, {NORMS[norm]}")
        self._out.line("")
        ends = [] if eps is None else [f"<= {eps:g}"]
        self._out.line(
            _line("index", "label", "class", "closest", "becomes", "attack", "equals", *ends, "failed"), "bold"
        )
        self._out.flush()

    def show(self, record: dict[str, Any]) -> None:
        missing = [*record["failed"], *(f"{name} (not run)" for name in record["not_run"])]
        ends = [] if self.eps is None else ["yes" if record["within_eps"] else "no"]
        found = record["found"]
        line = _line(
            str(record["index"]),
            _or_dash(record["label"]),
            str(record["predicted"]),
            "none" if record["distance"] is None else rounded_up(record["distance"]),
            _or_dash(found) + (" (tie)" if record["tie"] else ""),
            _or_dash(record["attack"]),
            str(max(record["sharing"] - 1, 0)),
            *ends,
            ", ".join(missing) or "-",
        )
        self._out.line(printable(line))
        self._out.flush()

    def end(self) -> None:
        self._out.line("")
        if joined(self.batches) is not None:
            self._out.flush()
            TableWriter(as_json=False, folder=None).add(_attacks(self.batches))
            self._out.line("")
        for text in self._summary():
            self._out.line(text)

    def _summary(self) -> list[str]:
        distances, asked = self.distances, len(self.opened.x)
        took = sum(result.seconds for batch in self.batches for result in batch.found.results.values())
        texts = [f"{len(distances):,} of {self.inputs:,} inputs have an example, in {seconds(took)}"]
        if distances:
            texts.append(
                f"distance: smallest {rounded_up(min(distances))}, median {rounded_up(statistics.median(distances))}, "
                f"largest {rounded_up(max(distances))}"
            )
        if self.eps is not None and self.inputs:
            tenths = -(-1000 * (self.inputs - self.within) // self.inputs)  # rounded up: it is said to be an upper end
            what = "accuracy" if self.opened.labels is not None else "share of inputs that keep their class"
            within = f"within {self.eps:g}: {self.within:,} of {self.inputs:,}"
            texts.append(f"{within}; the {what} under attack is at most {tenths / 10:.1f} %")
        if self.interrupted:
            texts.append(
                f"interrupted: {self.inputs:,} of {asked:,} inputs were attacked; what was found by then is kept"
            )
        return texts


def save_examples(opened: Opened, batches: list[Batch], path: str) -> None:
    """Writes the arrays of all batches so far as .npz, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    names, shape = batches[0].names, opened.network.input_shape
    rows = [row for batch in batches for row in batch.rows]
    arrays: dict[str, Any] = {
        "index": np.array([opened.indices[row] for row in rows]),
        "x0": opened.x[rows].reshape(-1, *shape),
        "adversarial": np.concatenate([batch.found.adversarial for batch in batches]).reshape(-1, *shape),
        "distance": np.concatenate([batch.found.distance for batch in batches]),
        "reference": np.concatenate([next(iter(b.found.results.values())).reference for b in batches]),
        "attack": np.array([name or "" for batch in batches for name in batch.found.winner]),
        "attacks": np.array(names),
        "distances": np.concatenate([_columns(batch) for batch in batches]),
        "ran": np.concatenate([_ran(batch) for batch in batches]),
        "norm": np.array(batches[0].found.norm.value),
        "digest": np.array(opened.network.digest),
    }
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    write_whole(Path(path), stream.getvalue())


def _columns(batch: Batch) -> Any:
    """Distances by every attack of the pool, shape (N, k); NaN for failures and for attacks that did not run."""
    nothing, results = np.full(len(batch.rows), np.nan), batch.found.results
    return np.stack([results[name].distance if name in results else nothing for name in batch.names], axis=1)


def _ran(batch: Batch) -> Any:
    """Which attacks ran on which inputs, shape (N, k)."""
    return np.tile([name in batch.found.results for name in batch.names], (len(batch.rows), 1))


def _attacks(batches: list[Batch]) -> Table:
    """A row per attack, over the batches on which all attacks ran."""
    done = [batch for batch in batches if batch.is_complete]
    table = joined(done)
    assert table is not None
    rows = []
    for rank in ranking(table):
        results = [batch.found.results[rank.attack] for batch in done]
        found = table.only([rank.attack]).distance[:, 0]
        found = found[~np.isnan(found)]
        rows.append(
            {
                "attack": rank.attack,
                "successes": rank.successes,
                "mean": float(found.mean()) if len(found) else None,
                "closest": rank.closest,
                "alone": rank.alone,
                "mean_rank": rank.mean_rank,
                "calls": round(float(np.concatenate([result.calls for result in results]).mean())),
                "seconds": sum(result.seconds for result in results),
            }
        )
    return Table(
        name="attacks",
        title=f"Attacks on {len(table):,} {'input' if len(table) == 1 else 'inputs'}",
        columns=(
            Column("attack", "attack", "text"),
            Column("successes", "successes", "count"),
            Column("mean", "mean\ndistance", "precise"),
            Column("closest", "closest\non", "count"),
            Column("alone", "alone\non", "count"),
            Column("mean_rank", "mean\nrank", "percent"),
            Column("calls", "model calls\nper input", "count"),
            Column("seconds", "seconds", "percent"),
        ),
        rows=tuple(rows),
    )


def _line(*cells: str) -> str:
    *numbers, last = cells
    widths = (6, 7, 7, 13, 10, 11, 8, 9)
    return "".join(f"{text:>{width}}" for text, width in zip(numbers, widths, strict=False)) + f"  {last}"


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)
