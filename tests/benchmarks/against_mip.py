"""The engine against one mixed-integer program per image: `python -m tests.benchmarks.against_mip`.

First the engine's own distance, closed to a relative gap of 1e-5, attack included. Its final upper end is then given to
`engine="mip"` as the radius of the ball that is searched, so that the program has the best box there is from the
start; finding that radius costs it nothing. A ratio is the program's seconds by the engine's, for one image; the table
has the geometric mean and the least. Every doubt is settled in the program's favour: what reaches the limit counts as
the limit, so a ratio with time-outs of the program is a lower bound; a solver that ends by itself with a bracket wider
than asked for (loose) counts as done; one that has no answer for another reason, such as its licence, is counted and
not timed. Whatever keeps the engine from an answer counts as the limit.

With --proof both are asked the same: that there is no adversarial example within the distance less its gap; and of both
times the attack is left out, which such a proof does not need.

    python -m tests.benchmarks.against_mip [--backends highs,scip,gurobi] [--images 0:50] [--seconds 300] [--proof]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mipverify_py import Objective, Options, StopReason
from mipverify_py._tolerances import RADIUS_SLACK
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
    mip_options,
    new_table,
    parsed,
    report,
    show,
    to_gap,
    words,
)
from tests.benchmarks.measurements import Measurements, contradiction
from tests.benchmarks.questions import Figures, Question
from tests.benchmarks.workers import measured, question_task

GAP = 1e-5
LOOSE = StopReason.NUMERICAL.value
LEFT = ("network", "backend", "failed")
COUNTS = ("engine open", "MIP open", "MIP loose", "failed")
HEADINGS = ("network", "backend", "images", "engine s", "MIP s", "ratio", "least", *COUNTS)


def row(pairs: Sequence[tuple[Figures, Figures]], limit: float) -> tuple[str, ...]:
    """Means, ratios and counts of one network and backend; each pair is the engine's answer and the program's."""
    reasons = [failed(theirs) for _, theirs in pairs]
    timed = [pair for pair, reason in zip(pairs, reasons, strict=True) if reason in ("", LOOSE)]
    ours = [charged(pair[0], limit) for pair in timed]
    theirs = [min(pair[1]["seconds"], limit) for pair in timed]
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    late = sum(seconds >= limit for seconds in theirs)
    return (
        f"{len(timed)} of {len(pairs)}",
        *(cell(geometric_mean(seconds), limit) for seconds in (ours, theirs)),
        f"{'>= ' if late else ''}{geometric_mean(ratios):.2f}",
        f"{min(ratios, default=float('nan')):.2f}",
        *map(str, (sum(not in_time(pair[0], limit) for pair in pairs), late, reasons.count(LOOSE))),
        counts([reason for reason in reasons if reason not in ("", LOOSE)]),
    )


def without_attack(found: Figures) -> Figures:
    """The same with the seconds of bounds and search alone."""
    return {**found, "seconds": found["seconds"] - found["attack_seconds"]} if "seconds" in found else found


def compare_proofs(
    network: str, images: Sequence[int], methods: Sequence[Options], measurements: Measurements
) -> list[list[tuple[Figures, Figures]]]:
    """As `compare`, of the proofs at the gap's other end; images whose distance was not found are left out."""
    threads = methods[0].threads
    found = measured([question_task(Question(network, k), methods[0]) for k in images], measurements, threads=threads)
    questions = [
        Question(network, k, Objective.FEASIBILITY, answer["upper"] * (1.0 - GAP))
        for k, answer in zip(images, found, strict=True)
        if answer.get("upper")
    ]
    answers = [
        [without_attack(f) for f in measured([question_task(q, m) for q in questions], measurements, threads=threads)]
        for m in methods
    ]
    return [list(zip(answers[0], theirs, strict=True)) for theirs in answers[1:]]


def compare(
    network: str, images: Sequence[int], methods: Sequence[Options], measurements: Measurements
) -> list[list[tuple[Figures, Figures]]]:
    """Per method after the first, pairs of the first method's answer and its own, one per image.

    The radius is a little larger than the distance, as inside `engine="mip"`: at the very distance a solver's
    tolerances would decide what it says. Without a distance the program searches the whole domain.
    """
    first, threads = methods[0], methods[0].threads
    ours = measured([question_task(Question(network, k), first) for k in images], measurements, threads=threads)
    questions = []
    for index, answer in zip(images, ours, strict=True):
        upper = answer.get("upper")
        questions.append(Question(network, index, radius=None if upper is None else upper + RADIUS_SLACK))
    pairs = []
    for method in methods[1:]:
        theirs = measured([question_task(q, method) for q in questions], measurements, threads=threads)
        pairs.append(list(zip(ours, theirs, strict=True)))
    return pairs


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns 1 if engine and program contradict each other."""
    parser = argument_parser("The engine against mixed-integer programs.", seconds=300.0)
    parser.add_argument("--backends", type=words, default=("highs", "scip", "gurobi"), help="default highs,scip,gurobi")
    parser.add_argument("--proof", action="store_true", help="compare proofs at a radius given to both")
    chosen = parsed(parser, arguments)
    measurements, problems = Measurements(chosen.out), []
    methods = [engine_options(chosen, **to_gap(GAP))]
    methods += [mip_options(chosen, backend, **to_gap(GAP)) for backend in chosen.backends]
    what = "proofs at the same radius" if chosen.proof else "the MIP given the distance as radius"
    title = f"Engine {chosen.engine} and mixed-integer programs, {what}, limit {chosen.seconds:g} s each"
    table = new_table(title, HEADINGS, left=LEFT, caption=facts(chosen.threads))
    for network in chosen.networks:
        found = (compare_proofs if chosen.proof else compare)(network, chosen.images, methods, measurements)
        for backend, pairs in zip(chosen.backends, found, strict=True):
            table.add_row(network, backend, *row(pairs, chosen.seconds))
            for ours, theirs in pairs:
                problem = contradiction(ours, theirs)
                problems += [f"{network}, {backend}: {problem}"] if problem else []
        table.add_section()
    show(table, measurements.note())
    return report([*problems, *measurements.contradictions()])


if __name__ == "__main__":
    sys.exit(main())
