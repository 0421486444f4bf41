"""What certificates of exact distances cost, beside the search: `python -m tests.benchmarks.certificates`.

Each distance is searched for with the library's default options, its certificate written and checked with the plain
checker, in a fresh process per network. Seconds are processor seconds, means over the images with a certificate;
`write` contains the writer's own check, `check` is one by the plain checker, `fast check` one by the fast checker.
`cost` is writing divided by searching. A certificate is `whole` if it proves the answer's own lower end, up to the
share by which radii may give way, and its witness's distance.

    python -m tests.benchmarks.certificates [--networks zoo:digits_conv_standard,A-standard] [--images 0:50]
        [--seconds 120] [--eps 0.1] [--out FILE] [--files FOLDER]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from mipverify_py import Objective, Options, Result, Verdict, verify
from mipverify_py.certificate import Certificate, CertificateError, Rejected, certify, check, fast
from tests.benchmarks.common import argument_parser, counts, engine_options, facts, new_table, parsed, report, show
from tests.benchmarks.measurements import Measurements, option_values
from tests.benchmarks.questions import Figures, Question, cpu_seconds, peak_megabytes, warm_up
from tests.benchmarks.workers import Task, measured

NETWORKS = tuple(
    f"zoo:digits_{shape}_{training}"
    for shape in ("small", "dense", "conv", "pool", "residual")
    for training in ("standard", "adversarial")
)
SHRINK = Fraction(2, 10**6)
"""A certified radius may be smaller by this share; certificates may give way by a millionth."""

LEFT = ("network", "not certified")
HEADINGS = (
    "network",
    "closed",
    "whole",
    "search",
    "write",
    "check",
    "max check",
    "fast check",
    "cost",
    "kB",
    "max kB",
    "leaves",
    "B/leaf",
    "repaired",
    "shrunk",
    "MB",
    "not certified",
)


def certified(question: Question, options: Options, folder: Path | None) -> Figures:
    """The figures of one certificate; where there is none, `refused` says why."""
    query = question.query()
    warm_up(options.engine, options.backend, options.threads)
    began = cpu_seconds()
    result = verify(query, options)
    searched = cpu_seconds()
    if query.objective is Objective.FEASIBILITY:
        closed = result.verdict is not Verdict.UNKNOWN
    else:
        closed = result.lower is not None and result.upper is not None and options.closes(result.lower, result.upper)
    found = {"seconds": searched - began, "closed": closed, "stop": result.stop_reason.value}
    try:
        certificate = certify(query, result, options)
        written = cpu_seconds()
    except CertificateError as error:
        return {**found, "refused": str(error)}
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{question.network.rpartition(':')[2]}-{question.index}.cert").write_bytes(certificate.data)
    began = cpu_seconds()
    try:
        plain = check(certificate.data)
        checked = cpu_seconds()
        if fast.check(certificate.data) != plain:
            raise Rejected("The fast checker says something else.")
        fast_checked = cpu_seconds()
    except Rejected as error:
        return {**found, "refused": f"A second check rejects it: {error}"}
    return {
        **found,
        "whole": is_whole(result, certificate),
        "write_seconds": written - searched,
        "check_seconds": checked - began,
        "fast_seconds": fast_checked - checked,
        "bytes": len(certificate.data),
        "leaves": certificate.leaves,
        "repaired": certificate.repaired,
        "shrunk": certificate.shrunk,
        "megabytes": peak_megabytes(),
    }


def is_whole(result: Result, certificate: Certificate) -> bool:
    """Whether the statement is the answer's bracket; its upper end is a float that was rounded upwards."""
    said = certificate.statement
    if result.lower:
        if not said.robust:
            return False
        if said.radius is not None and said.radius < Fraction(result.lower) * (1 - SHRINK):
            return False
    return result.witness is None or (said.distance is not None and said.distance <= Fraction(result.witness.distance))


def row(network: str, answers: Sequence[Figures]) -> tuple[str, ...]:
    """One line of the table."""
    there = [answer for answer in answers if "whole" in answer]

    def mean(name: str) -> float:
        return float(np.mean([answer[name] for answer in there])) if there else float("nan")

    def most(name: str) -> float:
        return max((answer[name] for answer in there), default=float("nan"))

    leaves = sum(answer["leaves"] for answer in there)
    size = sum(answer["bytes"] for answer in there)
    return (
        network,
        f"{sum(bool(answer.get('closed')) for answer in answers)} of {len(answers)}",
        f"{sum(answer['whole'] for answer in there)} of {len(there)}",
        *(f"{mean(name):.2f}" for name in ("seconds", "write_seconds", "check_seconds")),
        f"{most('check_seconds'):.2f}",
        f"{mean('fast_seconds'):.2f}",
        f"{mean('write_seconds') / mean('seconds'):.2f}" if there else "-",
        f"{mean('bytes') / 1000:.1f}",
        f"{most('bytes') / 1000:.1f}",
        str(leaves),
        f"{size / leaves:.0f}" if leaves else "-",
        str(sum(answer["repaired"] for answer in there)),
        str(sum(answer["shrunk"] > 0 for answer in there)),
        f"{most('megabytes'):.0f}",
        counts([answer.get("refused") or answer["error"] for answer in answers if "whole" not in answer]),
    )


def task(question: Question, options: Options, folder: Path | None) -> Task:
    """The task of certifying one answer; certifying may take as long again as the search."""
    assert options.time_limit is not None
    key = {"what": "certificate", **question.about, "options": option_values(options)}
    name = f"{question.network} {question.index}"
    return Task(key, name, certified, (question, options, folder), 4 * options.time_limit)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns 1 if a certificate was refused for an answer that has something to certify."""
    parser = argument_parser("What certificates of exact distances cost.", networks=NETWORKS)
    parser.add_argument("--eps", type=float, help="ask whether images are robust within this radius, not how far")
    parser.add_argument("--files", type=Path, help="folder in which the certificates are kept")
    chosen = parsed(parser, arguments)
    options, measurements = engine_options(chosen), Measurements(chosen.out)
    what = "distances" if chosen.eps is None else f"robustness within {chosen.eps:g}"
    title = f"Certificates of {what}, engine {options.engine}, limit {chosen.seconds:g} s"
    table, refused = new_table(title, HEADINGS, left=LEFT, caption=facts(chosen.threads)), list[str]()
    for network in chosen.networks:
        kind = Objective.CLOSEST if chosen.eps is None else Objective.FEASIBILITY
        asked = [Question(network, index, kind, chosen.eps) for index in chosen.images]
        tasks = [task(question, options, chosen.files) for question in asked]
        answers = measured(tasks, measurements, threads=chosen.threads)
        table.add_row(*row(network, answers))
        refused += [
            f"{one.name}: {answer.get('refused') or answer['error']}"
            for one, answer in zip(tasks, answers, strict=True)
            if "whole" not in answer
        ]
    show(table, measurements.note())
    return report(refused)


if __name__ == "__main__":
    sys.exit(main())
