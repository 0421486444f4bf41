"""Several adversarial examples per image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mipverify_py._enums import StopReason
from mipverify_py._query import Query
from mipverify_py._witnesses import WitnessList, witnesses
from mipverify_py.cli._answer import worst
from mipverify_py.cli._arguments import Arguments
from mipverify_py.cli._exit import ExitCode
from mipverify_py.cli._image_loop import ImageLoop
from mipverify_py.cli._json import write_line
from mipverify_py.cli._numbers import rounded_up, seconds
from mipverify_py.cli._output import Output
from mipverify_py.cli._printable import printable
from mipverify_py.cli._questions import options_of
from mipverify_py.cli._witness_file import WitnessFile


def find_several(a: Arguments) -> ExitCode:
    """Writes up to K adversarial examples of each image, and whether there is room for another."""
    assert a.witnesses is not None
    assert a.min_distance is not None
    loop, codes = ImageLoop.of(a), []
    file = None if a.save_witness is None else WitnessFile(Path(a.save_witness), loop.indices)
    output = None if a.json else Output()
    for index in loop.indices:
        query = loop.questions[index]
        found = witnesses(query, a.witnesses, a.min_distance, options_of(a, jobs=1))
        saved = None if file is None or not found.witnesses else file.write(index, _arrays(query, found))
        if output is None:
            write_line({**loop.record("witnesses", index, query), **_record(found, a.witnesses, saved)})
        else:
            _show(found, index, saved, output)
        codes.append(_code(found))
        if found.stop_reason is StopReason.INTERRUPTED:
            break
    return worst(codes)


def _code(found: WitnessList) -> ExitCode:
    if found.stop_reason is StopReason.INTERRUPTED:
        return ExitCode.INTERRUPTED
    if found.stop_reason is not StopReason.SOLVED:
        return ExitCode.UNKNOWN
    return ExitCode.ADVERSARIAL if found.witnesses else ExitCode.ANSWERED


def _arrays(query: Query, found: WitnessList) -> dict[str, Any]:
    """What the .npz holds: as for one witness, each array with a first dimension for the examples."""
    shape = query.network.input_shape
    return {
        "x0": query.x0.reshape(shape),
        "witnesses": np.stack([w.point.reshape(shape) for w in found.witnesses]),
        "distances": np.array([w.distance for w in found.witnesses]),
        "min_distance": np.float64(found.min_distance),
        "norm": np.str_(query.norm.value),
        "reference": np.int64(query.reference),
        "targets": np.array([w.target for w in found.witnesses]),
        "predicted": np.array([w.predicted for w in found.witnesses]),
        "logits": np.stack([w.logits for w in found.witnesses]),
        "digest": np.str_(query.network.digest),
    }


def _record(found: WitnessList, count: int, saved: Path | None) -> dict[str, Any]:
    return {
        "count": count,
        "min_distance": found.min_distance,
        "witnesses": [{"distance": w.distance, "target": w.target, "predicted": w.predicted} for w in found.witnesses],
        "exhausted": found.exhausted,
        "evidence": None if found.evidence is None else found.evidence.value,
        "evidence_detail": found.evidence_detail,
        "stop_reason": found.stop_reason.value,
        "stop_detail": found.stop_detail,
        "seconds": found.seconds,
        "file": None if saved is None else str(saved),
    }


def _show(found: WitnessList, index: int, saved: Path | None, output: Output) -> None:
    apart = f"at least {found.min_distance:g} apart"
    output.line(f"index {index}: {len(found.witnesses)} adversarial examples {apart}, {seconds(found.seconds)}")
    for witness in found.witnesses:
        output.fact("witness", f"class {witness.target} at distance {rounded_up(witness.distance)}")
    if found.exhausted:
        left = "every other lies nearer than that to one of these" if found.witnesses else "there is none"
        output.fact("no more", f"{left} ({found.evidence_detail})")
    elif found.stop_reason is not StopReason.SOLVED:
        output.fact("stopped", f"{found.stop_reason.value.replace('_', ' ')} {printable(found.stop_detail)}".rstrip())
    if saved is not None:
        output.fact("saved", printable(str(saved)))
    output.flush()
