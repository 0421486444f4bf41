"""How well a pool of attacks stands for exact distances: `python -m tests.benchmarks.pool`.

The pool is a published parameter set, without and with exact finishing; the yardstick is the exact distance in
L-infinity. Columns are those of the UG100 tables, with a the pool's least distances and t the exact ones: difference is
(mean(a) - mean(t)) / mean(t), < 1/255 the share of images with |t - a| < 1/255, R2 the squared Pearson correlation. An
image whose bracket does not close in time is left out. Seconds are wall-clock seconds per image, the finishing's own in
its row; attacks see all images as one batch.

    python -m tests.benchmarks.pool [--networks zoo:digits_dense_standard,A-standard] [--images 0:10] [--seconds 60]
        [--parameters balanced-mnist] [--attacks pgd,deepfool]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

from counter_attack.attacks import Attack
from counter_attack.cli._inputs import named_attacks
from counter_attack.pool import FINISH, Pool, PoolResult, quality
from mipverify_py.cli._parse import Names
from onnx_models import Array
from onnx_models.errors import MipverifyError
from tests.benchmarks.common import facts, new_table, report, rows, show, words
from tests.benchmarks.finishing import ROUNDING, Truth, truth
from tests.benchmarks.mnist_networks import subject

NETWORKS = tuple(
    f"zoo:digits_{shape}_{training}" for shape in ("small", "dense", "conv") for training in ("standard", "adversarial")
)
PARAMETERS = "balanced-mnist"
HEADINGS = ("network", "pool", "images", "success %", "difference %", "< 1/255 %", "R2", "seconds")


def lines(network: str, found: PoolResult, known: Truth) -> list[tuple[str, ...]]:
    """The pool without finishing, then with it."""
    attacks = [name for name in found.results if name != FINISH]
    times = {name: result.seconds / len(known.images) for name, result in found.results.items()}
    without = found.table.only(attacks).closest().distance
    return [
        _line(network, f"{len(attacks)} attacks", without, known, sum(times[name] for name in attacks)),
        _line(network, "+ finish", found.distance, known, times[FINISH]),
    ]


def _line(network: str, name: str, distance: Array, known: Truth, seconds: float) -> tuple[str, ...]:
    measured = quality(distance, known.upper)
    percent = [None if v is None else 100 * v for v in (measured.success, measured.difference, measured.below)]
    figures = ["-" if value is None else f"{round(value, 4) + 0.0:.4f}" for value in (*percent, measured.r2)]
    return (network, name, f"{measured.inputs} of {known.asked}", *figures, f"{seconds:.3f}")


def contradictions(network: str, found: PoolResult, known: Truth) -> list[str]:
    """Distances below a proven lower end."""
    return [
        f"{network}, {name}: {distance!r}, exact at least {low!r}"
        for name, result in found.results.items()
        for distance, low in zip(result.distance.tolist(), known.lower.tolist(), strict=True)
        if distance < low * (1 - ROUNDING)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns 1 if a distance contradicts a proof."""
    parser = argparse.ArgumentParser(description="A pool of attacks against exact distances.")
    parser.add_argument("--networks", type=words, default=NETWORKS, help=f"default {','.join(NETWORKS)}")
    parser.add_argument("--parameters", default=PARAMETERS, help=f"a set or a .toml file, default {PARAMETERS}")
    parser.add_argument("--attacks", type=words, help="some of these attacks, default all")
    parser.add_argument("--images", type=rows, default=rows("0:10"), help="A:B or A,B,..., default 0:10")
    parser.add_argument("--seconds", type=float, default=60.0, help="limit per exact distance, default 60")
    chosen = parser.parse_args(arguments)
    try:
        named: Mapping[str, Attack] = named_attacks(
            None if chosen.attacks is None else Names(chosen.attacks), chosen.parameters, None
        )
        subjects = [subject(name) for name in chosen.networks]
    except MipverifyError as error:
        parser.error(str(error))
    table = new_table(
        f"Pool against exact distances: {chosen.parameters}", HEADINGS, left=HEADINGS[:2], caption=facts(1)
    )
    problems: list[str] = []
    for about in subjects:
        known = truth(about, chosen.images, chosen.seconds)
        print(f"{about.name}: {len(known.images)} of {known.asked} brackets closed", file=sys.stderr, flush=True)
        if len(known.images):
            found = Pool(named, finish=True)(about.network, known.images)
            for line in lines(about.name, found, known):
                table.add_row(*line)
            problems += contradictions(about.name, found, known)
    show(table)
    return report(problems)


if __name__ == "__main__":
    sys.exit(main())
