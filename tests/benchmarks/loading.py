"""Load time, bound time and peak memory on models of other people: `python tests/benchmarks/loading.py`.

Needs the files in ../shared/data. Each model is loaded in a fresh process, cross-check with onnxruntime included; then
every node is bounded over a box of the given radius around one input, first by intervals and then by linear bounds.
Memory is the largest resident set of that process, libraries included, as the operating system counts it; the first
row is a process that does nothing but import them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


class Case(NamedTuple):
    """A model file below ../shared/data, the radius of the box, and the value of every entry of the box's centre."""

    name: str
    path: str
    radius: float
    centre: float


CASES = (
    Case("WK17a", "models/wk17a_linf0.1.onnx", 0.1, 0.5),
    Case("mnistfc 256x6", "vnncomp/mnistfc/mnist-net_256x6.onnx", 0.03, 0.5),
    Case("ACAS Xu 1_1", "vnncomp/acasxu/ACASXU_run2a_1_1_batch_2000.onnx", 0.05, 0.0),
)

_MEASURE = """
import json, resource, sys, time
import numpy as np
import onnx, onnxruntime, scipy.sparse
from bounds import Bounds, interval_bounds, linear_bounds
from onnx_models import load_onnx

def timed(action):
    began = time.perf_counter()
    return action(), time.perf_counter() - began

path, radius, centre = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
row = {}
if path:
    network, row["load"] = timed(lambda: load_onnx(path))
    middle = np.full(network.input_size, centre)
    box = Bounds(middle - radius, middle + radius)
    interval, row["interval"] = timed(lambda: interval_bounds(network, box))
    linear, row["linear"] = timed(lambda: linear_bounds(network, box))
    row["relus"] = network.relu_count
    row["unstable"] = [sum(b.unstable_counts(network)) for b in (interval, linear)]
row["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps(row))
"""


def measure(case: Case | None) -> dict[str, object]:
    """The figures of one model, or of the imports alone, from a fresh single-threaded process."""
    arguments = ["", "0", "0"] if case is None else [str(DATA / case.path), str(case.radius), str(case.centre)]
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    row: dict[str, object] = json.loads(done.stdout)
    return row


def main() -> int:
    """Prints the table; returns the exit code."""
    from rich.console import Console
    from rich.table import Table

    missing = [case.path for case in CASES if not (DATA / case.path).is_file()]
    if missing:
        print(f"loading.py needs {', '.join(missing)} below {DATA}; nothing was measured.", file=sys.stderr)
        return 1
    table = Table(title="Loading and bounding, one thread")
    for heading in ("model", "ReLUs", "radius", "load s", "interval s", "linear s", "unstable", "peak MB"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    table.add_row("(imports alone)", *[""] * 6, f"{measure(None)['megabytes']:.0f}")
    for case in CASES:
        row = measure(case)
        seconds = [f"{row[key]:.2f}" for key in ("load", "interval", "linear")]
        interval, linear = row["unstable"]  # type: ignore[misc]
        table.add_row(
            case.name,
            str(row["relus"]),
            f"{case.radius:g}",
            *seconds,
            f"{interval} -> {linear}",
            f"{row['megabytes']:.0f}",
        )
    Console(width=120).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
