"""A large campaign on 1 to 10,000 workers, by simulation: `python -m tests.benchmarks.campaign_scale --out FILE`.

The costs of its cases are drawn from those that `campaign_costs` measured, the same number from each configuration, and
attempted in random order: in rounds (1/50, 1/8 and all of the limit, at least 1 s), or at once. See `simulation` for
what is replayed. Of several seeds, the one with the median makespan is shown. Efficiency is core-seconds of use by
those of all workers to the end; "paid" are the latter, and "leaving" what is paid if each worker leaves after its last
attempt. The tail is the time from when 95 and 99 % of the cases are settled to the end. "Estimated" is the makespan
without a simulation, "bound by" its largest part: computing, the hardest case, the leader, or the start.

    python -m tests.benchmarks.campaign_scale [--out FILE] [--images 0:30] [--seconds 60] [--workers 1,64,10000]
        [--limit 60] [--lifetimes never,1] [--stretch 1] [--commit 0.002] ...

`--networks`, `--images`, `--seconds` and `--out` are those of `campaign_costs`; what the file lacks is measured.
Lifetimes are mean hours until a worker is lost. `--stretch` multiplies the costs and the limit.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mipverify_py.campaigns import Limits, Rounds
from onnx_models import Array
from tests.benchmarks.campaign_costs import answers, cost_parser, costs
from tests.benchmarks.common import new_table, parsed, report, show, words
from tests.benchmarks.measurements import Measurements
from tests.benchmarks.simulation import Cluster, Outcome, Work, estimate, simulate

if TYPE_CHECKING:
    from rich.table import Table

WORKERS = ("1", "2", "4", "8", "16", "64", "256", "1000", "4000", "10000")
HEADINGS = (
    "workers",
    "makespan s",
    "estimated s",
    "bound by",
    "efficiency",
    "paid h",
    "leaving h",
    "tail 95 %",
    "tail 99 %",
    "repeated h",
    "lost h",
    "leader busy",
    "open",
    "failed",
)
CLUSTER = {
    "start": (5.0, "seconds until a worker takes its first task"),
    "transfer": (0.008, "seconds of the leader's connection per worker, for the models"),
    "send": (0.004, "seconds of the leader per task"),
    "record": (0.0003, "seconds of the leader per result"),
    "commit": (0.005, "seconds of the leader per transaction"),
    "notice": (10.0, "seconds until a loss is known"),
    "away": (60.0, "seconds until a lost worker is replaced"),
    "slow_share": (0.0, "share of slow workers"),
    "slow_factor": (3.0, "how many times as long they take"),
}
"""Settings of a simulated cluster, with defaults: `campaign_store` measured what the leader does with Dask (on 2 cores,
with other work beside it); the models of nine configurations are 1 MB, at 1 Gbit/s; the last four are assumed."""


def drawn(measured: Sequence[Array], cases: int, seed: int) -> Array:
    """Costs of that many cases: from each configuration the same number, give or take one, in random order."""
    generator = np.random.default_rng(seed)
    counts = [cases // len(measured) + (k < cases % len(measured)) for k in range(len(measured))]
    return generator.permutation(
        np.concatenate([generator.choice(c, n) for c, n in zip(measured, counts, strict=True)])
    )


def budgets(limit: float) -> tuple[float, ...]:
    """Those of a campaign with that time limit."""
    return tuple(budget for budget in Rounds(Limits(limit)).budgets if budget is not None)


def median_course(work: Work, cluster: Cluster, seeds: int) -> Outcome:
    """The course with the median makespan (the lower one of two in the middle)."""
    courses = sorted((simulate(work, cluster, seed) for seed in range(seeds)), key=lambda course: course.makespan)
    return courses[(seeds - 1) // 2]


def row(work: Work, cluster: Cluster, seeds: int) -> tuple[str, ...]:
    """One line of a table."""
    found, expected = median_course(work, cluster, seeds), estimate(work, cluster)
    return (
        f"{cluster.workers:,}",
        f"{found.makespan:,.0f}",
        f"{expected.makespan:,.0f}",
        expected.largest,
        f"{100 * found.efficiency(cluster.workers):.1f} %",
        *(f"{seconds / 3600:,.2f}" for seconds in (cluster.workers * found.makespan, found.present)),
        *(f"{found.tail(share):,.0f}" for share in (0.95, 0.99)),
        *(f"{seconds / 3600:,.2f}" for seconds in (found.repeated, found.lost)),
        f"{100 * found.leading:.0f} %",
        *(f"{count:,}" for count in (found.still_open, found.failed)),
    )


def lifetimes(text: str) -> tuple[float | None, ...]:
    """`never,1.5` as (None, 5400.0), in seconds."""
    return tuple(None if word == "never" else 3600 * float(word) for word in words(text))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table for each lifetime, with rounds and without; returns 1 if measurements contradict each other."""
    parser = cost_parser("A large campaign on many workers, simulated.")
    parser.add_argument("--workers", type=words, default=WORKERS, help=f"default {','.join(WORKERS)}")
    parser.add_argument("--limit", type=float, default=60.0, help="of a case in the campaign, default 60")
    parser.add_argument("--lifetimes", type=lifetimes, default=(None, 3600.0), help="hours, default never,1")
    parser.add_argument("--stretch", type=float, default=1.0, help="factor of all costs and of the limit, default 1")
    parser.add_argument("--seeds", type=int, default=3, help="courses per line, default 3")
    for name, (default, meaning) in CLUSTER.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=float, default=default, help=f"{meaning}, default {default:g}")
    chosen = parsed(parser, arguments)
    measurements = Measurements(chosen.out)
    found = answers(chosen, measurements)
    measured = [np.array([case.core for case in costs(group, chosen.seconds)]) for group in found.values()]
    limit = chosen.limit * chosen.stretch
    sample = chosen.stretch * drawn(measured, chosen.cases, seed=0)
    for lifetime in chosen.lifetimes:
        for plan in (budgets(limit), (limit,)):
            show(_table(chosen, Work(sample, plan), lifetime))
    print(f"{sample.sum() / 3600:,.2f} core-hours; the hardest case takes {sample.max():,.1f} s. {measurements.note()}")
    return report(measurements.contradictions())


def _table(chosen: argparse.Namespace, work: Work, lifetime: float | None) -> Table:
    losses = "no losses" if lifetime is None else f"each worker is lost after {lifetime / 3600:g} h on average"
    plan = ", ".join(f"{budget:g}" for budget in work.budgets)
    title = f"{len(work.costs):,} cases, attempts of {plan} s, {losses}"
    settings = {name: getattr(chosen, name) for name in CLUSTER}
    caption = ", ".join(f"{name} {value:g}" for name, value in settings.items())
    table = new_table(title, HEADINGS, left=("bound by",), caption=caption)
    for workers in chosen.workers:
        table.add_row(*row(work, Cluster(int(workers), lifetime=lifetime, **settings), chosen.seeds))
    return table


if __name__ == "__main__":
    sys.exit(main())
