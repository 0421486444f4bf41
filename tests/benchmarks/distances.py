"""Exact distances of MNIST digits, one network per process: `python -m tests.benchmarks.distances`.

The distance of each image to the decision boundary, closed to a relative gap of 1e-5, attack included; loading is not.
An image that is not closed within the limit counts as the limit. Memory is the largest resident set of the process that
answers all images of a network, libraries included, without the processes of MIP solvers.

    python -m tests.benchmarks.distances [--networks A-standard] [--images 0:50] [--seconds 120] [--out FILE]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tests.benchmarks.common import (
    argument_parser,
    cell,
    charged,
    counts,
    engine_options,
    facts,
    failed,
    geometric_mean,
    in_time,
    new_table,
    parsed,
    quantile,
    report,
    show,
    to_gap,
)
from tests.benchmarks.measurements import Measurements
from tests.benchmarks.questions import Figures, Question
from tests.benchmarks.workers import measured, question_task

GAP = 1e-5
LEFT = ("network", "rests on", "failed")
HEADINGS = ("network", "closed in time", "mean", "median", "95 %", "max", "peak MB", "rests on", "replays", "failed")


def row(network: str, answers: Sequence[Figures], limit: float) -> tuple[str, ...]:
    """One line of the table; the mean is geometric."""
    seconds = [charged(answer, limit) for answer in answers]
    proofs = [answer["replays"] for answer in answers if answer.get("replays") is not None]
    return (
        network,
        f"{sum(in_time(answer, limit) for answer in answers)} of {len(answers)}",
        cell(geometric_mean(seconds), limit),
        *(cell(quantile(seconds, share), limit) for share in (0.5, 0.95, 1.0)),
        f"{max(answer.get('megabytes', 0.0) for answer in answers):.0f}",
        counts([answer.get("evidence") for answer in answers]),
        f"{sum(proofs)} of {len(proofs)}" if proofs else "-",
        counts([reason for reason in map(failed, answers) if reason]),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns 1 if two answers contradict each other or a proof does not replay."""
    chosen = parsed(argument_parser("Exact distances of MNIST digits."), arguments)
    options, measurements = engine_options(chosen, **to_gap(GAP)), Measurements(chosen.out)
    title = f"Seconds per exact distance, engine {options.engine}, relative gap {GAP:g}, limit {chosen.seconds:g} s"
    table = new_table(title, HEADINGS, left=LEFT, caption=facts(chosen.threads))
    for network in chosen.networks:
        tasks = [question_task(Question(network, index), options) for index in chosen.images]
        table.add_row(*row(network, measured(tasks, measurements, threads=chosen.threads), chosen.seconds))
    show(table, measurements.note())
    return report(measurements.contradictions())


if __name__ == "__main__":
    sys.exit(main())
