"""What `counter-attack unified` shows beside the rows of `attack`: the papers' table, and changes of outputs."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from counter_attack.attacks import AttackResult, AttackStop
from counter_attack.cli._inputs import Opened
from counter_attack.cli._pool_run import Batch
from counter_attack.cli._tables import TableWriter
from counter_attack.training._files import write_whole
from counter_attack.ug100 import Column, Table
from counter_attack.unified import change_outputs, robustness_rows, robustness_table
from mipverify_py import Norm
from mipverify_py.cli._output import Output

if TYPE_CHECKING:
    from counter_attack.cli._unified import UnifiedArguments
    from counter_attack.detection import ExactResult


def show_table(
    arguments: UnifiedArguments,
    opened: Opened,
    batches: list[Batch],
    show: Callable[[str], None],
    clear: Callable[[], None],
) -> ExactResult | None:
    """Shows the table of the complete batches; returns the exact distances, if they are asked for."""
    if not batches:
        return None
    results = {name: _joined([batch.found.results[name] for batch in batches]) for name in batches[0].names}
    x = opened.x[: sum(len(batch.rows) for batch in batches)]
    exact: ExactResult | None = None
    if arguments.exact:
        show(f"exact distances of {len(x)} inputs")
        exact = _exact(arguments, opened, x)
        clear()
    name = opened.model.removeprefix("zoo:").removesuffix(".onnx")
    rows = robustness_rows(Path(name).name, x, results, exact, arguments.eps)
    writer = TableWriter(as_json=arguments.json, folder=None if arguments.out is None else Path(arguments.out))
    if not arguments.json:
        Output().line("")
    writer.add(robustness_table(rows, Norm(arguments.norm), arguments.eps))
    return exact


def _exact(arguments: UnifiedArguments, opened: Opened, x: Any) -> ExactResult:
    from counter_attack.detection import ExactAttack
    from mipverify_py import Options

    search = ExactAttack(norm=Norm(arguments.norm), options=Options(time_limit=arguments.timeout))
    return search(
        opened.network,
        x,
        None if opened.labels is None else opened.labels[: len(x)],
        None if arguments.targets is None else list(arguments.targets.values),
        domain=opened.domain,
        seed=arguments.seed,
    )


def _joined(parts: list[AttackResult]) -> AttackResult:
    """The results of an attack on several batches as one."""
    first = parts[0]
    arrays = {
        field: np.concatenate([getattr(part, field) for part in parts])
        for field in ("success", "tie", "distance", "adversarial", "reference", "found", "calls")
    }
    seconds = sum(part.seconds for part in parts)
    return AttackResult(attack=first.attack, norm=first.norm, seconds=seconds, stop_reason=first.stop_reason, **arrays)


def show_changes(arguments: UnifiedArguments, opened: Opened, *, iterations: int) -> AttackStop:
    """Shows, and saves if asked to, how far the outputs of each input can be moved; returns why the steps ended."""
    assert arguments.eps is not None
    q = Norm(arguments.output_norm or "l2")
    found = change_outputs(
        opened.classifier(arguments.device),
        opened.x,
        eps=arguments.eps,
        norms=(Norm(arguments.norm), q),
        steps=iterations,
        domain=opened.domain,
        seconds=arguments.timeout,
    )
    if arguments.save is not None:
        stream = io.BytesIO()
        shape = (-1, *opened.network.input_shape)
        np.savez(
            stream,
            index=np.array(opened.indices),
            x0=opened.x.reshape(shape),
            points=found.points.reshape(shape),
            change=found.change,
            linearised=found.linearised,
            digest=np.array(opened.network.digest),
        )
        write_whole(Path(arguments.save), stream.getvalue())
    what = "is its maximum" if found.solved else "is a lower bound on its maximum"
    rows = [
        {"index": index, "change": float(c), "linearised": None if np.isnan(p) else float(p), "size": float(s)}
        for index, c, p, s in zip(opened.indices, found.change, found.linearised, found.size, strict=True)
    ]
    writer = TableWriter(as_json=arguments.json, folder=None if arguments.out is None else Path(arguments.out))
    writer.add(
        Table(
            name="changes",
            title=f"Change of the outputs in {q.value} within {arguments.eps:g} in {arguments.norm}",
            columns=(
                Column("index", "index", "count"),
                Column("change", "change", "precise"),
                Column("linearised", "linearised\nat x", "precise"),
                Column("size", "size", "precise"),
            ),
            rows=tuple(rows),
            note=f"change: reached, so at most the largest; linearised at x: this {what}, whatever the domain"
            + _STOPPED.get(found.stop, ""),
        )
    )
    return found.stop


_STOPPED = {
    AttackStop.TIME: "; the time was used up: these are the changes by then",
    AttackStop.INTERRUPTED: "; interrupted: these are the changes by then",
}
