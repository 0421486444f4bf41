"""The engine against the prototype script: `python -m tests.benchmarks.against_prototype`.

The prototype (one file, floats trusted, one hidden layer only) is run as it is on the same images, on two threads,
which it sets itself, with each of its methods; so is the engine, to the same relative gap. Both are timed by image,
attack included, loading not. "Its better method" on a network is the one with the smaller geometric mean. A ratio is
that method's seconds by the engine's, for one image; what is not closed within the limit counts as the limit. Two
threads wait for each other where cores are busy, and that costs far more than it seems: run this on an idle machine.

    python -m tests.benchmarks.against_prototype [--prototype FILE] [--images 0:50] [--seconds 120] [--out FILE]
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

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
    report,
    show,
    to_gap,
    words,
)
from tests.benchmarks.measurements import Measurements, contradiction
from tests.benchmarks.mnist_networks import MNIST, subject
from tests.benchmarks.questions import Figures, Question
from tests.benchmarks.workers import measured, question_task, thread_limits

PROTOTYPE = MNIST.parents[1] / "prototype" / "exact_distance.py"
METHODS = ("hull", "lp")
GAP = 1e-4
SLACK = 1e-5
"""The prototype reads the weights off float32 evaluations, divides pixels in float64 and prints six decimals."""
LINE = re.compile(
    r"(?P<index>\d+) class (?P<predicted>\d+) d\* in \[(?P<lower>open|[\d.]+), (?P<upper>[\d.]+)\] .*"
    r"total (?P<seconds>[\d.]+) s"
)
THREADS = 2
LEFT = ("network", "better method")
HEADINGS = ("network", "images", "better method", "its s", "engine s", "ratio", "least", "its open", "engine open")


def run_prototype(script: Path, network: str, method: str, images: Sequence[int], seconds: float) -> Iterator[tuple]:
    """Index and figures per image, as the script prints them; an image that ends the script early has an `error`.

    Its first image includes what torch does on its first use.
    """
    left = sorted(images)
    while left:
        last = left[0]
        while last + 1 in left:
            last += 1
        span = [str(MNIST), "--index", f"{left[0]}:{last + 1}", "--method", method, "--gap", str(GAP)]
        command = [sys.executable, str(script), str(subject(network).path), *span, "--timeout", str(seconds)]
        problem = "it ended without a word"
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    problem = line.strip() or problem
                    if left and (found := LINE.match(line)) is not None and int(found["index"]) == left[0]:
                        yield left.pop(0), _figures(found)
            finally:
                process.kill()
        if left and left[0] <= last:
            yield left.pop(0), {"error": "prototype failed", "detail": problem}


def _figures(found: re.Match[str]) -> Figures:
    closed = found["lower"] != "open"
    return {
        "verdict": "adversarial",
        "objective": "closest",
        "lower": float(found["lower"]) if closed else None,
        "upper": float(found["upper"]),
        "settled": closed,
        "seconds": float(found["seconds"]),
        "evidence": None,
    }


def prototype_answers(
    script: Path, network: str, method: str, images: Sequence[int], seconds: float, measurements: Measurements
) -> list[Figures]:
    """The script's figures per image: remembered ones, and the others from a run of it."""
    code = hashlib.sha256(script.read_bytes()).hexdigest()[:12]
    keys = {
        index: {
            "what": "prototype",
            **Question(network, index).about,
            "options": {"method": method, "gap": GAP, "time_limit": seconds, "script": code},
        }
        for index in images
    }
    missing = [index for index in images if measurements.get(keys[index]) is None]
    with thread_limits(THREADS):
        for index, found in run_prototype(script, network, method, missing, seconds):
            measurements.add(keys[index], f"{network} {index} by {method}", found)
            told = found.get("detail") or f"{found['seconds']:.2f} s"
            print(f"prototype, {method}, {network} {index}: {told}", file=sys.stderr, flush=True)
    answers = [measurements.get(keys[index]) for index in images]
    return [answer for answer in answers if answer is not None]


def row(ours: Sequence[Figures], theirs: dict[str, list[Figures]], limit: float) -> tuple[str, ...]:
    """Means and ratios of one network against the prototype's better method on it."""
    means = {name: geometric_mean([charged(a, limit) for a in answers]) for name, answers in theirs.items()}
    better = min(means, key=lambda name: means[name])
    ratios = [charged(b, limit) / charged(a, limit) for a, b in zip(ours, theirs[better], strict=True)]
    late = sum(not in_time(answer, limit) for answer in theirs[better])
    return (
        str(len(ours)),
        f"{better} ({', '.join(f'{name} {cell(mean, limit)}' for name, mean in means.items())})",
        cell(means[better], limit),
        cell(geometric_mean([charged(answer, limit) for answer in ours]), limit),
        f"{'>= ' if late else ''}{geometric_mean(ratios):.2f}",
        f"{min(ratios, default=float('nan')):.2f}",
        str(late),
        str(sum(not in_time(answer, limit) for answer in ours)),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns 1 if engine and prototype contradict each other, 0 where there is no prototype."""
    parser = argument_parser("The engine against the prototype script.")
    parser.add_argument("--prototype", type=Path, default=PROTOTYPE, help="the script, default in ../shared/prototype")
    parser.add_argument("--methods", type=words, default=METHODS, help=f"default {','.join(METHODS)}")
    parser.set_defaults(threads=THREADS)
    chosen = parsed(parser, arguments)
    if not chosen.prototype.is_file():
        print(f"Skipped: there is no prototype at {chosen.prototype}.", file=sys.stderr)
        return 0
    measurements, options, problems = Measurements(chosen.out), engine_options(chosen, **to_gap(GAP)), []
    title = f"Engine {options.engine} and the prototype, relative gap {GAP:g}, limit {chosen.seconds:g} s"
    table = new_table(title, HEADINGS, left=LEFT, caption=facts(chosen.threads))
    for network in chosen.networks:
        tasks = [question_task(Question(network, index), options) for index in chosen.images]
        ours = measured(tasks, measurements, threads=chosen.threads)
        theirs = {
            method: prototype_answers(chosen.prototype, network, method, chosen.images, chosen.seconds, measurements)
            for method in chosen.methods
        }
        table.add_row(network, *row(ours, theirs, chosen.seconds))
        for method, answers in theirs.items():
            for index, one, other in zip(chosen.images, ours, answers, strict=True):
                problem = contradiction(one, other, slack=SLACK)
                problems += [f"{network} {index}, {method}: {problem}"] if problem else []
    show(table, measurements.note())
    return report([*problems, *measurements.contradictions()])


if __name__ == "__main__":
    sys.exit(main())
