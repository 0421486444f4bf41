"""How near the first witness is to the nearest one, and what it costs: `python -m tests.benchmarks.incumbents`.

Each image is attacked; the point goes through the LPs of activation cells, without and with kicks. The yardstick is the
nearest point that this or any of several further attacks with other seeds, each followed by the whole cell search, has
found; it is an upper bound of the distance, so the excess is a lower bound of the true one. Processor seconds of one
thread, loading left out; a stage's seconds are its own, its excess is that of all stages up to it.

    python -m tests.benchmarks.incumbents [--networks A-standard,zoo:digits_conv_standard] [--images 0:50] [--seeds 8]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mipverify_py import Options, Query
from mipverify_py._attack import GradientAttack
from mipverify_py._cells import CellSearch
from onnx_models import Array
from tests.benchmarks.common import facts, new_table, rows, show, words
from tests.benchmarks.mnist_networks import NAMES, Subject, subject

STAGES = ("attack", "+ cell LPs", "+ kicks")
HEADINGS = ("network", "stage", "images", "seconds, mean", "max", "excess, mean", "max", f"within {1e-5:g}")
CLOSE = 1e-5
"""An excess of at most this counts as none: the default relative gap of an exact distance."""


class Stage(NamedTuple):
    """What one stage gave on one image."""

    seconds: float
    distance: float


def timed(step: Callable[[], Array | None]) -> tuple[float, Array | None]:
    """Processor seconds of the call, and its result."""
    began = time.process_time()
    result = step()
    return time.process_time() - began, result


def stages(query: Query, seed: int) -> list[Stage]:
    """One entry per stage; an attack that meets no adversarial input at all ends the list at once."""
    options = Options(seed=seed)
    seconds, point = timed(lambda: GradientAttack(query, options).nearest(None))
    if point is None:
        return []
    found = [Stage(seconds, distance(query, point))]
    for search in (CellSearch(query, options).settle, CellSearch(query, options).descend):
        before = point
        seconds, nearer = timed(lambda start=before, search=search: search(start))  # type: ignore[misc]
        point = before if nearer is None else nearer
        found.append(Stage(seconds, distance(query, point)))
    return found


def distance(query: Query, point: Array) -> float:
    """Of the point from x0 in the L-infinity norm; the point must be adversarial, to rounding."""
    reached = query.margin_at(query.network.forward_batch(point[None]))[0]
    assert query.box.contains(point) and reached >= query.margin - 1e-12
    return float(np.abs(point - query.x0).max())


def measure(about: Subject, index: int, seeds: int) -> tuple[list[Stage], float]:
    """The stages with seed 0, and the nearest distance met with any of the seeds."""
    query = Query(about.network, about.data.image(index).reshape(-1))
    every = [stages(query, seed) for seed in range(seeds)]
    return every[0], min((stage.distance for found in every for stage in found), default=np.inf)


def lines(name: str, measured: Sequence[tuple[list[Stage], float]]) -> list[tuple[str, ...]]:
    """One line of the table per stage, over the images of a network whose attack met an adversarial input."""
    met = [(found, best) for found, best in measured if found]
    table = []
    for k, stage in enumerate(STAGES if met else ()):
        seconds = [found[k].seconds for found, _ in met]
        excess = np.array([found[k].distance / best - 1.0 if best > 0 else 0.0 for found, best in met])
        table.append(
            (
                name,
                stage,
                f"{len(met)} of {len(measured)}",
                f"{np.mean(seconds):.3f}",
                f"{np.max(seconds):.3f}",
                f"{100 * excess.mean():.4f} %",
                f"{100 * excess.max():.3f} %",
                f"{int(np.sum(excess <= CLOSE))}",
            )
        )
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns 1 if some stage went further away than the one before it."""
    parser = argparse.ArgumentParser(description="Excess of the first witness over the nearest one known.")
    parser.add_argument("--networks", type=words, default=NAMES, help=f"default {','.join(NAMES)}")
    parser.add_argument("--images", type=rows, default=rows("0:50"), help="A:B or A,B,..., default 0:50")
    parser.add_argument("--seeds", type=int, default=8, help="attacks behind the nearest distance known, default 8")
    chosen = parser.parse_args(arguments)
    table = new_table(
        f"Excess over the nearest point of {chosen.seeds} attacks",
        HEADINGS,
        left=("network", "stage"),
        caption=facts(1),
    )
    failed = 0
    for name in chosen.networks:
        measured = [measure(subject(name), index, chosen.seeds) for index in chosen.images]
        for line in lines(name, measured):
            table.add_row(*line)
        for index, (found, _) in zip(chosen.images, measured, strict=True):
            for earlier, later in pairwise(found):
                if later.distance > earlier.distance:
                    print(f"CONTRADICTION: {name}, image {index}: {later.distance!r} after {earlier.distance!r}")
                    failed = 1
    show(table)
    return failed


if __name__ == "__main__":
    sys.exit(main())
