"""RSL18a at radius 0.1 on MNIST test images: `python -m tests.benchmarks.rsl18a`.

The network of Raghunathan, Steinhardt and Liang (2018), 784-500-10, in ../shared/data. For each image: is there an
adversarial example within L-infinity distance 0.1? The true label is given, so an image that the network gets wrong is
adversarial at once. With --out a run can be stopped and begun again; all 10,000 images are `--images 0:10000`. Images
answered side by side (--jobs) disturb each other's times.

    python -m tests.benchmarks.rsl18a [--images 0:500] [--seconds 60] [--jobs 2] [--out FILE]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mipverify_py import Objective, Verdict
from tests.benchmarks.common import (
    argument_parser,
    cell,
    charged,
    counts,
    engine_options,
    facts,
    failed,
    new_table,
    parsed,
    quantile,
    report,
    show,
)
from tests.benchmarks.measurements import Measurements
from tests.benchmarks.mnist_networks import MNIST, subject
from tests.benchmarks.questions import Figures, Question
from tests.benchmarks.workers import measured, question_task

NETWORK = str(Path(MNIST).parent / "models" / "rsl18a_linf0.1.onnx")
RADIUS = 0.1
LEFT = ("network", "rests on", "failed")
VERDICTS = tuple(verdict.value for verdict in Verdict)
HEADINGS = ("network", "images", *VERDICTS, "mean s", "median", "max", "rests on", "failed")


def row(answers: Sequence[Figures], limit: float) -> tuple[str, ...]:
    """Verdicts and seconds; the mean is arithmetic, since what matters is how long all images take together."""
    verdicts = [answer.get("verdict", Verdict.UNKNOWN.value) for answer in answers]
    seconds = [charged(answer, limit) for answer in answers]
    return (
        str(len(answers)),
        *(str(verdicts.count(verdict)) for verdict in VERDICTS),
        f"{np.mean(seconds):.2f}",
        *(cell(quantile(seconds, share), limit) for share in (0.5, 1.0)),
        counts([answer.get("evidence") for answer in answers]),
        counts([reason for reason in map(failed, answers) if reason]),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns 1 if two answers contradict each other."""
    parser = argument_parser("Fixed-radius verdicts on RSL18a.", networks=(NETWORK,), images="0:500", seconds=60.0)
    parser.add_argument("--radius", type=float, default=RADIUS, help=f"default {RADIUS:g}")
    parser.add_argument("--jobs", type=int, default=1, help="images answered at the same time, default 1")
    chosen = parsed(parser, arguments)
    options = engine_options(chosen)
    measurements = Measurements(chosen.out)
    title = f"Adversarial examples within {chosen.radius:g}, engine {options.engine}, limit {chosen.seconds:g} s"
    table = new_table(title, HEADINGS, left=LEFT, caption=facts(chosen.threads, chosen.jobs))
    for network in chosen.networks:
        labels = subject(network).data.labels
        questions = [Question(network, k, Objective.FEASIBILITY, chosen.radius, int(labels[k])) for k in chosen.images]
        tasks = [question_task(question, options) for question in questions]
        answers = measured(tasks, measurements, threads=chosen.threads, jobs=chosen.jobs)
        table.add_row(Path(network).stem, *row(answers, chosen.seconds))
    show(table, measurements.note())
    return report(measurements.contradictions())


if __name__ == "__main__":
    sys.exit(main())
