"""How far attacks are from exact distances, without and with exact finishing: `python -m tests.benchmarks.finishing`.

Each image is attacked; what the attack found goes through the LPs of activation cells, without and with kicks
(`ExactFinish`). The yardstick is the exact distance in L-infinity; an image whose bracket does not close in time is
left out, and so is one on which an attack has no success, from that attack's rows. Difference is
(mean(a) - mean(t)) / mean(t) with a the attack's distances and t the exact ones. Seconds are wall-clock seconds per
image, each stage's own; attacks see all images as one batch.

    python -m tests.benchmarks.finishing [--networks A-standard,zoo:digits_conv_standard] [--attacks pgd,fab]
        [--images 0:10] [--seconds 60]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from counter_attack.attacks import Attack, ExactFinish, make_attack
from counter_attack.pool._finish import Found
from mipverify_py import Options, StopReason, distance
from onnx_models import Array
from tests.benchmarks.common import facts, new_table, report, rows, show, words
from tests.benchmarks.mnist_networks import Subject, subject

NETWORKS = tuple(
    f"zoo:digits_{shape}_{training}" for shape in ("dense", "conv") for training in ("standard", "adversarial")
)
ATTACKS = ("pgd", "deepfool", "fmn", "apgd-ce", "fab")
STAGES = ("attack", "+ cell LPs", "+ kicks")
CLOSE = 1e-5
"""A share of the distance that counts as no difference: the default relative gap of an exact distance."""
ROUNDING = 1e-9
"""Share of a proven lower end by which a distance may fall short of it: the attacks' float64 is not exact."""


class Truth(NamedTuple):
    """Images with a closed bracket, their brackets' ends, and how many images were asked about."""

    images: Array
    lower: Array
    upper: Array
    asked: int


class Stage(NamedTuple):
    """Distances of all images after one stage, NaN without success, and its seconds per image."""

    distance: Array
    seconds: float


def truth(about: Subject, images: Sequence[int], seconds: float) -> Truth:
    """Exact distances."""
    found = []
    for index in images:
        x = about.data.image(index).reshape(-1)
        answer = distance(about.network, x, options=Options(time_limit=seconds, certify="never"))
        if answer.stop_reason is StopReason.SOLVED and answer.upper is not None and answer.lower is not None:
            found.append((x, answer.lower, answer.upper))
    parts = [np.array([entry[k] for entry in found]) for k in range(3)]
    return Truth(*parts, len(images))


def stages(about: Subject, attack: Attack, images: Array) -> list[Stage]:
    """The attack itself, then its finishing without and with kicks."""
    first = attack(about.network, images)
    found = [Stage(first.distance, first.seconds / len(images))]
    for kicks in (False, True):
        result = ExactFinish(inner=Found(points=first.adversarial), kicks=kicks)(about.network, images)
        found.append(Stage(result.distance, result.seconds / len(images)))
    return found


def lines(network: str, attack: str, measured: list[Stage], known: Truth) -> list[tuple[str, ...]]:
    """One line of the table per stage, over the images on which the attack succeeded; none where it never did."""
    met = np.isfinite(measured[0].distance)
    table = []
    for name, stage in zip(STAGES, measured, strict=True) if met.any() else ():
        a, t = stage.distance[met], known.upper[met]
        table.append(
            (
                network,
                attack,
                name,
                f"{met.sum()} of {known.asked}",
                f"{round(100 * (a.mean() - t.mean()) / t.mean(), 4) + 0.0:.4f} %",  # + 0.0: no negative zero
                f"{100 * np.max(a / t - 1, initial=0.0, where=t > 0):.3f} %",
                f"{np.sum(a <= t * (1 + CLOSE))}",
                f"{stage.seconds:.3f}",
            )
        )
    return table


def contradictions(network: str, attack: str, measured: list[Stage], known: Truth) -> list[str]:
    """Distances below a proven lower end, and stages that went further away than the one before them."""
    found = []
    for k, (name, stage) in enumerate(zip(STAGES, measured, strict=True)):
        below = stage.distance < known.lower * (1 - ROUNDING)
        further = stage.distance > measured[max(k - 1, 0)].distance * (1 + ROUNDING)
        found += [
            f"{network}, {attack}, {name}: {stage.distance[row]!r}, exact {known.lower[row]!r} to {known.upper[row]!r}"
            for row in np.flatnonzero(below | further)
        ]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns 1 if a distance contradicts a proof, or finishing went further away."""
    parser = argparse.ArgumentParser(description="Attacks against exact distances, without and with exact finishing.")
    parser.add_argument("--networks", type=words, default=NETWORKS, help=f"default {','.join(NETWORKS)}")
    parser.add_argument("--attacks", type=words, default=ATTACKS, help=f"default {','.join(ATTACKS)}")
    parser.add_argument("--images", type=rows, default=rows("0:10"), help="A:B or A,B,..., default 0:10")
    parser.add_argument("--seconds", type=float, default=60.0, help="limit per exact distance, default 60")
    chosen = parser.parse_args(arguments)
    table = new_table(
        "Attacks against exact distances, without and with exact finishing",
        ("network", "attack", "stage", "images", "difference", "largest", f"within {CLOSE:g}", "seconds"),
        left=("network", "attack", "stage"),
        caption=facts(1),
    )
    problems: list[str] = []
    for name in chosen.networks:
        about = subject(name)
        known = truth(about, chosen.images, chosen.seconds)
        for attack in chosen.attacks if len(known.images) else ():
            measured = stages(about, make_attack(attack), known.images)
            for line in lines(name, attack, measured, known):
                table.add_row(*line)
            problems += contradictions(name, attack, measured, known)
    show(table)
    return report(problems)


if __name__ == "__main__":
    sys.exit(main())
