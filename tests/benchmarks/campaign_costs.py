"""What a campaign costs per case, and what 40,590 cases would cost: `python -m tests.benchmarks.campaign_costs`.

Nine configurations: networks A, B and C with standard, adversarial and ReLU training, and the first images of MNIST.
Each case is an exact L-infinity distance, closed to a relative gap of 1e-5, attack and re-proof included, loading not.
Beside it each set of attacks, with exact finishing, attacks all images of a configuration in batches. Core-seconds are
what the process computed, with one thread; seconds are wall-clock. A case that is not closed counts with what it took,
and with the limit if it has no time: its process died.

The projection gives each configuration the same share of the cases; its 95 % interval is a bootstrap within
configurations. It knows no cases that are harder than any measured: how many of those there may be is said below it.

    python -m tests.benchmarks.campaign_costs [--networks A-standard] [--images 0:30] [--seconds 60] [--jobs 2]
        [--sets balanced-mnist] [--batch 30] [--cases 40590] [--out FILE]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mipverify_py import Options
from onnx_models import Array
from onnx_models.errors import MipverifyError
from onnx_models.zoo import digits_test, load_zoo
from tests.benchmarks.common import (
    argument_parser,
    engine_options,
    facts,
    failed,
    in_time,
    new_table,
    parsed,
    quantile,
    report,
    show,
    to_gap,
    words,
)
from tests.benchmarks.distances import GAP
from tests.benchmarks.measurements import Measurements
from tests.benchmarks.mnist_networks import NAMES, RELU_NAMES, subject
from tests.benchmarks.projection import Interval, mean_cost, share_at_most
from tests.benchmarks.questions import WARM_UP, Figures, Question, cpu_seconds
from tests.benchmarks.workers import Task, measured, question_task

if TYPE_CHECKING:
    from rich.table import Table

NETWORKS = tuple(sorted(NAMES + RELU_NAMES))
CASES = 40_590
"""Of UG100: 9 configurations of 2,241 MNIST images and 9 of 2,269 CIFAR-10 images (Marro and Lombardi, 2023)."""
PUBLISHED = 45_000
"""Core-hours that UG100 took."""
BATCH_LIMIT = 1800.0
"""Seconds that a batch of attacks may take before its process is ended."""
COLUMNS = ("closed", "core-s mean", "median", "95 %", "max", "seconds mean", "max", "peak MB", "failed")


class Case(NamedTuple):
    """What one exact distance cost.

    Attributes:
        core: core-seconds.
        seconds: wall-clock seconds.
        closed: whether the bracket closed within the limit.
    """

    core: float
    seconds: float
    closed: bool


def cost_parser(description: str) -> argparse.ArgumentParser:
    """The options that say which costs are measured, or read from the file of measurements."""
    parser = argument_parser(description, networks=NETWORKS, images="0:30", seconds=60.0)
    parser.add_argument("--jobs", type=int, default=1, help="measurements at a time, default 1")
    parser.add_argument("--cases", type=int, default=CASES, help=f"size of the campaign, default {CASES}")
    return parser


def answers(chosen: argparse.Namespace, measurements: Measurements) -> dict[str, list[Figures]]:
    """The figures of every exact distance, by configuration."""
    options = engine_options(chosen, **to_gap(GAP))
    questions = {name: [Question(name, index) for index in chosen.images] for name in chosen.networks}
    tasks = [_core_task(question, options) for group in questions.values() for question in group]
    found = iter(measured(tasks, measurements, threads=chosen.threads, jobs=chosen.jobs))
    return {name: [next(found) for _ in group] for name, group in questions.items()}


def _core_task(question: Question, options: Options) -> Task:
    """The task of asking one question; under another key than where core-seconds are not kept."""
    task = question_task(question, options)
    return task._replace(key={**task.key, "what": "query with core-seconds"})


def costs(found: Sequence[Figures], limit: float) -> list[Case]:
    """What the cases cost."""
    return [
        Case(answer.get("cpu_seconds", limit), answer.get("seconds", limit), in_time(answer, limit)) for answer in found
    ]


def pool_task(network: str, images: Sequence[int], parameters: str) -> Task:
    """The task of attacking some images, as one batch, with all attacks of a set and exact finishing."""
    key = {"what": "pool", "network": subject(network).network.digest, "images": list(images), "set": parameters}
    name = f"{network.rpartition('/')[2]} {parameters} x {len(images)}"
    return Task({**key, "options": None}, name, attack, (network, tuple(images), parameters), BATCH_LIMIT)


def attack(network: str, images: Sequence[int], parameters: str) -> Figures:
    """Core-seconds and seconds of one batch in this process, and the seconds of each attack."""
    from counter_attack.attacks import make_attack
    from counter_attack.cli._inputs import named_attacks
    from counter_attack.pool import Pool

    about = subject(network)
    inputs = np.stack([about.data.image(index).reshape(-1) for index in images])
    Pool({"pgd": make_attack("pgd", steps=2)}, finish=True)(load_zoo(WARM_UP), digits_test().images[:1].reshape(1, -1))
    pool = Pool(named_attacks(None, parameters, None), finish=True)
    began, busy = time.perf_counter(), cpu_seconds()
    found = pool(about.network, inputs)
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": cpu_seconds() - busy,
        "attacks": {name: result.seconds for name, result in found.results.items()},
        "success": int(found.success.sum()),
    }


def pool_costs(
    chosen: argparse.Namespace, parameters: str, measurements: Measurements
) -> dict[str, tuple[float, float]]:
    """Core-seconds and seconds per image of a set of attacks, by configuration."""
    batches = [chosen.images[k : k + chosen.batch] for k in range(0, len(chosen.images), chosen.batch)]
    tasks = [pool_task(name, batch, parameters) for name in chosen.networks for batch in batches]
    found = iter(measured(tasks, measurements, threads=chosen.threads, jobs=chosen.jobs))
    per_image = {}
    for name in chosen.networks:
        rows = [next(found) for _ in batches]
        broken = [row["error"] for row in rows if "error" in row]
        if broken:
            raise MipverifyError(f"{name}, {parameters}: {broken[0]}")
        times = [sum(row[key] for row in rows) for key in ("cpu_seconds", "seconds")]
        per_image[name] = (times[0] / len(chosen.images), times[1] / len(chosen.images))
    return per_image


def row(name: str, found: Sequence[Figures], limit: float) -> tuple[str, ...]:
    """One line of the table of exact distances."""
    cases = costs(found, limit)
    core, seconds = ([case[k] for case in cases] for k in (0, 1))
    reasons = sorted({reason for reason in map(failed, found) if reason})
    return (
        name,
        f"{sum(case.closed for case in cases)} of {len(found)}",
        *(f"{value:.2f}" for value in (np.mean(core), quantile(core, 0.5), quantile(core, 0.95), max(core))),
        *(f"{value:.2f}" for value in (np.mean(seconds), max(seconds))),
        f"{max(answer.get('megabytes', 0.0) for answer in found):.0f}",
        ", ".join(reasons) or "-",
    )


def projections(
    found: Mapping[str, Sequence[Case]], pools: Mapping[str, Mapping[str, tuple[float, float]]], cases: int
) -> list[tuple[str, Interval]]:
    """Core-hours of a whole campaign: exact distances alone, then with each set of attacks.

    What an attack costs hardly depends on the image, so its mean per configuration counts as known.
    """
    core: list[Array] = [np.array([case.core for case in group]) for group in found.values()]
    seconds: list[Array] = [np.array([case.seconds for case in group]) for group in found.values()]
    hours = cases / 3600
    lines = [
        ("exact distances, core-seconds", mean_cost(core) * hours),
        ("exact distances, wall-clock seconds", mean_cost(seconds) * hours),
    ]
    for name, by_network in pools.items():
        extra = [by_network[network][0] for network in found]
        lines.append((f"{name} alone, core-seconds", Interval(*[float(np.mean(extra))] * 3) * hours))
        both = [group + more for group, more in zip(core, extra, strict=True)]
        lines.append((f"exact distances and {name}, core-seconds", mean_cost(both) * hours))
    return lines


def unseen(found: Mapping[str, Sequence[Case]], limit: float, cases: int) -> str:
    """What cases that run into the limit may add to the projection."""
    asked = sum(map(len, found.values()))
    still_open = sum(not case.closed for group in found.values() for case in group)
    share = share_at_most(still_open, asked)
    return (
        f"{still_open} of {asked} cases were open after {limit:g} s. With 95 % confidence that is at most "
        f"{100 * share:.2f} % of all: {share * cases:,.0f} cases of {cases:,}, or {share * cases * limit / 3600:.1f} "
        f"core-hours with that limit."
    )


def _exact_table(found: Mapping[str, Sequence[Figures]], chosen: argparse.Namespace) -> Table:
    table = new_table(
        f"Exact distances, relative gap {GAP:g}, limit {chosen.seconds:g} s",
        ("configuration", *COLUMNS),
        left=("configuration", "failed"),
        caption=facts(chosen.threads, chosen.jobs),
    )
    for name, group in found.items():
        table.add_row(*row(name, group, chosen.seconds))
    return table


def _pool_table(pools: Mapping[str, Mapping[str, tuple[float, float]]], chosen: argparse.Namespace) -> Table:
    title = f"Attacks with finishing, {chosen.batch} images at a time: core-seconds (seconds) per image"
    table = new_table(title, ("configuration", *pools), left=("configuration",), caption="")
    for name in chosen.networks:
        times = [by_network[name] for by_network in pools.values()]
        table.add_row(name, *(f"{core:.2f} ({seconds:.2f})" for core, seconds in times))
    return table


def _total_table(lines: Sequence[tuple[str, Interval]], cases: int, caption: str) -> Table:
    title = f"Core-hours of {cases:,} cases (UG100 took {PUBLISHED:,})"
    headings = ("what", "core-hours", "95 % interval", "core-s per case", "of the published")
    table = new_table(title, headings, left=headings[:1], caption=caption)
    for what, hours in lines:
        cells = (f"{hours.estimate:.2f}", f"{hours.low:.2f} to {hours.high:.2f}")
        table.add_row(what, *cells, f"{hours.estimate * 3600 / cases:.2f}", f"1 / {PUBLISHED / hours.estimate:,.0f}")
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables; returns 1 if two answers contradict each other or a proof does not replay."""
    parser = cost_parser("Cost per case of a campaign, and of a large one.")
    parser.add_argument("--sets", type=words, default=("balanced-mnist",), help="of attacks, default balanced-mnist")
    parser.add_argument("--batch", type=int, default=30, help="images attacked at a time, default 30")
    chosen = parsed(parser, arguments)
    measurements = Measurements(chosen.out)
    found = answers(chosen, measurements)
    pools = {name: pool_costs(chosen, name, measurements) for name in chosen.sets}
    known = {name: costs(group, chosen.seconds) for name, group in found.items()}
    show(_exact_table(found, chosen))
    if pools:
        show(_pool_table(pools, chosen))
    lines = projections(known, pools, chosen.cases)
    show(_total_table(lines, chosen.cases, unseen(known, chosen.seconds, chosen.cases)), measurements.note())
    return report(measurements.contradictions())


if __name__ == "__main__":
    sys.exit(main())
