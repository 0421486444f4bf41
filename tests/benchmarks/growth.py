"""How time grows with unstable units and with the radius: `python -m tests.benchmarks.growth`.

Two tables. The first sorts exact distances (relative gap 1e-5) by the number of units that linear bounds leave unstable
at the final distance, the size of the search. The second asks for proofs at fixed radii, as shares of the proven
distance: nothing adversarial lies within, and the nearer to 1 the share the harder it is to show. What is not answered
within the limit counts as the limit. With the same --out the distances of `distances.py` are used.

    python -m tests.benchmarks.growth [--networks A-standard] [--images 0:50] [--seconds 120] [--out FILE]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise

from bounds import linear_bounds
from mipverify_py import Objective, Options, Verdict
from tests.benchmarks.common import (
    argument_parser,
    cell,
    charged,
    engine_options,
    facts,
    geometric_mean,
    in_time,
    new_table,
    parsed,
    quantile,
    report,
    show,
    to_gap,
    words,
)
from tests.benchmarks.measurements import Measurements
from tests.benchmarks.questions import Figures, Question
from tests.benchmarks.workers import measured, question_task

GAP = 1e-5
EDGES = (0, 10, 20, 30, 40, 60, 80, 120, 160, 240, 320, 10**9)
"""Numbers of unstable units at which the rows of the first table begin."""
SHARES = (0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
FIGURES = ("images", "in time", "mean s", "median", "95 %", "max")


def unstable(question: Question, radius: float) -> int:
    """Units that linear bounds leave unstable in the ball of that radius around the question's image."""
    query = question._replace(radius=radius).query()
    return sum(linear_bounds(query.network, query.box).unstable_counts(query.network))


def cells(answers: Sequence[Figures], limit: float) -> tuple[str, ...]:
    """Counts and seconds; the mean is geometric."""
    seconds = [charged(answer, limit) for answer in answers]
    return (
        str(len(answers)),
        str(sum(in_time(answer, limit) for answer in answers)),
        cell(geometric_mean(seconds), limit),
        *(cell(quantile(seconds, share), limit) for share in (0.5, 0.95, 1.0)),
    )


def by_units(counted: Sequence[tuple[int, Figures]], limit: float) -> list[tuple[str, ...]]:
    """One row per range of unstable units that has an image."""
    found = []
    for first, after in pairwise(EDGES):
        answers = [answer for units, answer in counted if first <= units < after]
        name = f"{first} to {after - 1}" if after < EDGES[-1] else f"{first} and more"
        found += [(name, *cells(answers, limit))] if answers else []
    return found


def proofs(
    questions: Sequence[Question], lowers: Sequence[float], share: float, options: Options, measurements: Measurements
) -> tuple[list[Figures], list[str]]:
    """The answers at that share of each proven distance, and those among them that contradict it."""
    asked = [
        question._replace(objective=Objective.FEASIBILITY, radius=share * lower)
        for question, lower in zip(questions, lowers, strict=True)
    ]
    answers = measured([question_task(q, options) for q in asked], measurements, threads=options.threads)
    problems = [
        f"{question.network} {question.index}: adversarial within {question.radius}, below its proven distance"
        for question, answer in zip(asked, answers, strict=True)
        if answer.get("verdict") == Verdict.ADVERSARIAL.value
    ]
    return answers, problems


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints both tables; returns 1 if an adversarial example lies within a proven distance."""
    parser = argument_parser("How time grows with unstable units and radius.")
    parser.add_argument(
        "--shares", type=lambda text: tuple(map(float, words(text))), default=SHARES, help="of the distance, below 1"
    )
    chosen = parsed(parser, arguments)
    measurements, options, problems = Measurements(chosen.out), engine_options(chosen, **to_gap(GAP)), []
    limit, caption = f"limit {chosen.seconds:g} s", facts(chosen.threads)
    units = new_table(
        f"Exact distances by unstable units, engine {options.engine}, {limit}",
        ("network", "unstable units", *FIGURES),
        left=("network",),
        caption=caption,
    )
    radii = new_table(
        f"Proofs at a share of the distance, engine {options.engine}, {limit}",
        ("network", "share", *FIGURES),
        left=("network",),
        caption=caption,
    )
    for network in chosen.networks:
        questions = [Question(network, index) for index in chosen.images]
        answers = measured([question_task(q, options) for q in questions], measurements, threads=chosen.threads)
        known = [(q, a) for q, a in zip(questions, answers, strict=True) if a.get("upper") is not None]
        for row in by_units([(unstable(q, a["upper"]), a) for q, a in known], chosen.seconds):
            units.add_row(network, *row)
        proven = [(q, a["lower"]) for q, a in known if a["lower"]]
        for share in chosen.shares:
            found, wrong = proofs([q for q, _ in proven], [d for _, d in proven], share, options, measurements)
            radii.add_row(network, f"{share:g}", *cells(found, chosen.seconds))
            problems += wrong
        units.add_section()
        radii.add_section()
    show(units)
    show(radii, measurements.note())
    return report([*problems, *measurements.contradictions()])


if __name__ == "__main__":
    sys.exit(main())
