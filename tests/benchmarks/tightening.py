"""Exact distances by the last stage of bound tightening: `python tests/benchmarks/tightening.py`.

The same images and the same backend for every stage, in one run; the attack is included. The last column is the time
relative to `interval`, so below 1 the stage pays for itself. A distance that differs between stages is an error.

    python tests/benchmarks/tightening.py [--backend highs] [--seconds 60] [--model NAME ...]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NamedTuple

from mipverify_py import Options, Result, StopReason, Tightening, distance
from mipverify_py.data import read_digits
from onnx_models.zoo import load_zoo

MODELS = ("digits_small_standard", "digits_dense_standard", "digits_dense_adversarial", "digits_conv_standard")
IMAGES = (1, 3, 4, 5, 6, 9)


class Row(NamedTuple):
    """One model under one stage.

    Attributes:
        seconds: sum over the images.
        bound_seconds: the part of it spent on bounds.
        binaries: sum over the images.
        open_images: images whose bracket stayed open.
        brackets: both ends for every image.
    """

    seconds: float
    bound_seconds: float
    binaries: int
    open_images: int
    brackets: tuple[tuple[float, float], ...]


def measure(model: str, stage: Tightening, backend: str, seconds: float, images: Sequence[int] = IMAGES) -> Row:
    """Exact distances of the images with one stage."""
    network, digits = load_zoo(model), read_digits()
    options = Options(backend=backend, tightening=stage, time_limit=seconds)
    results: list[Result] = [distance(network, digits.image(k), options=options) for k in images]
    return Row(
        seconds=sum(r.seconds for r in results),
        bound_seconds=sum(s for r in results for _, s in r.statistics.bound_seconds),
        binaries=sum(r.statistics.binaries for r in results),
        open_images=sum(r.stop_reason is not StopReason.SOLVED for r in results),
        brackets=tuple((r.lower or 0.0, float("inf") if r.upper is None else r.upper) for r in results),
    )


def contradictions(rows: Sequence[Row]) -> int:
    """Images on which two stages give brackets that do not meet (allowing for solver tolerances)."""
    images = zip(*(row.brackets for row in rows), strict=True)
    return sum(max(low for low, _ in ends) > min(high for _, high in ends) + 2e-5 for ends in images)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns 1 if two stages contradict each other."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description="Exact distances by tightening stage.")
    parser.add_argument("--backend", default="highs")
    parser.add_argument("--seconds", type=float, default=60.0, help="time limit per image, default 60")
    parser.add_argument("--model", nargs="*", default=MODELS)
    options = parser.parse_args(arguments)
    table = Table(
        title=f"{len(IMAGES)} exact distances, {options.backend}, one thread, limit {options.seconds:g} s each"
    )
    for heading in ("model", "stage", "binaries", "bounds s", "total s", "open", "/ interval"):
        table.add_column(heading, justify="left" if heading in ("model", "stage") else "right")
    distance(load_zoo(MODELS[0]), read_digits().image(0), options=Options(backend=options.backend))  # imports, start-up
    wrong = 0
    for model in options.model:
        rows = [measure(model, stage, options.backend, options.seconds) for stage in Tightening]
        wrong += contradictions(rows)
        for stage, row in zip(Tightening, rows, strict=True):
            figures = (f"{row.bound_seconds:.2f}", f"{row.seconds:.1f}", str(row.open_images))
            share = f"{row.seconds / rows[0].seconds:.2f}"
            table.add_row(model, stage.value, str(row.binaries), *figures, share)
        table.add_section()
    Console(width=120).print(table)
    if wrong:
        print(f"{wrong} images on which two stages contradict each other.", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
