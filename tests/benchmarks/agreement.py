"""Random questions that four methods answer: `python -m tests.benchmarks.agreement`.

Small random networks of every family, with random targets, margins, boxes, domains, labels and objectives. The engine,
`engine="mip"` on two backends, and brute force over all activation patterns must agree; every witness is checked again
in exact rational arithmetic, and every proof is replayed.

Brute force solves linear programs whose rows are kept to 1e-7, so it is asked with a margin a little smaller and a
little larger than the question's: the truth lies between. Where the two differ in kind (something adversarial exists
only with the smaller one) the question is borderline, and no verdict is called wrong.

    python -m tests.benchmarks.agreement [--cases 500] [--seed 0] [--backends highs,scip] [--jobs 1] [--out FILE]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np

from bounds import Bounds
from mipverify_py import (
    Box,
    LinfBall,
    Objective,
    Options,
    PerturbationSet,
    Query,
    Result,
    Targets,
    Unrestricted,
    Verdict,
)
from onnx_models import Array, ReluNetwork, exact_logits
from tests.benchmarks.common import argument_parser, engine_options, facts, mip_options, new_table, report, show, words
from tests.benchmarks.measurements import Measurements, contradiction, flaw, option_values
from tests.benchmarks.questions import Figures, measure
from tests.benchmarks.workers import Task, measured
from tests.helpers.networks import FAMILIES, random_inputs
from tests.helpers.oracles import largest_margin, nearest_adversarial

MARGIN_SLACK = 1e-6
"""By how much, in logit units, brute force is asked for less and for more than the margin: ten times its tolerance."""
SLACK = 1e-6
"""What its distances and largest margins may be off beyond that."""
MOST_RELUS = 7
HEADINGS = ("method", "objective", "cases", "agree", "borderline", "open", "wrong", "witnesses", "proofs")

Case = tuple[int, int, tuple[str, ...]]
"""Seed, number, and the families of networks drawn from."""


@cache
def random_query(case: Case) -> Query:
    """The question of that case: a seed is a question."""
    seed, number, families = case
    rng = np.random.default_rng([seed, number])
    outputs = int(rng.integers(2, 5))
    relus = int(rng.integers(2, MOST_RELUS + 1))
    network = FAMILIES[families[int(rng.integers(len(families)))]](rng, max_relus=relus, outputs=outputs)
    x0 = _input_near_boundary(rng, network)
    domain = None
    if rng.random() < 0.3:
        domain = Bounds(x0 - rng.random(x0.size), x0 + rng.random(x0.size) * (rng.random(x0.size) < 0.8))
    label = int(rng.integers(outputs)) if rng.random() < 0.2 else None
    query = Query(
        network,
        x0,
        _perturbation(rng, x0, domain),
        objective=tuple(Objective)[int(rng.integers(len(Objective)))],
        label=label,
        targets=_targets(rng, network, x0, label),
        domain=domain,
    )
    return query if rng.random() < 0.5 else replace(query, margin=_margin(rng, query))


def _input_near_boundary(rng: np.random.Generator, network: ReluNetwork) -> Array:
    """Of thirty random inputs the one whose two largest logits differ least: an arbitrary one is rarely in reach."""
    inputs = random_inputs(rng, network, 30).reshape(30, -1)
    best = np.sort(network.forward_batch(inputs), axis=1)
    return inputs[int((best[:, -1] - best[:, -2]).argmin())]


def _margin(rng: np.random.Generator, query: Query) -> float:
    """Between the margin at x0 and the largest of a few hundred points in the box, or a little beyond."""
    points = query.box.lower + (query.box.upper - query.box.lower) * rng.random((300, query.x0.size))
    here, there = (float(query.margin_at(query.network.forward_batch(x)).max()) for x in (query.x0[None], points))
    return round(here + (there - here) * rng.uniform(0.0, 1.3), 3)


def _perturbation(rng: np.random.Generator, x0: Array, domain: Bounds | None) -> PerturbationSet:
    """The whole domain, a ball, or a box that x0 need not be in."""
    kind = rng.random()
    if kind < 0.3:
        return Unrestricted()
    if kind < 0.7:
        return LinfBall(float(np.exp(rng.uniform(np.log(0.01), 0.0))))
    low, high = (np.zeros_like(x0), np.ones_like(x0)) if domain is None else (domain.lower, domain.upper)
    ends = low + (high - low) * np.sort(rng.random((2, x0.size)), axis=0)
    return Box.of(ends[0], ends[1])


def _targets(rng: np.random.Generator, network: ReluNetwork, x0: Array, label: int | None) -> Targets:
    """All classes, one, or all but one."""
    reference = int(network.forward(x0).argmax()) if label is None else label
    others = [j for j in range(network.output_size) if j != reference]
    chosen, kind = others[int(rng.integers(len(others)))], rng.random()
    if kind < 0.5 or len(others) == 1:
        return Targets()
    return Targets.only(chosen) if kind < 0.75 else Targets.excluding(chosen)


def answer(case: Case, options: Options) -> Figures:
    """What one method says, its witness checked again."""
    return measure(random_query(case), options, check=lambda result: {"witness": sound_witness(result)})


def sound_witness(result: Result) -> bool | None:
    """Whether the witness is one, by exact rational arithmetic alone; None without a witness.

    It reaches the margin, lies in domain and perturbation set, and is no further away than it says.
    """
    if result.witness is None:
        return None
    query, point = result.witness.query, result.witness.point
    logits = exact_logits(query.network, point)
    reached = max(logits[j] for j in query.target_classes) - logits[query.reference] >= Fraction(query.margin)
    steps = [abs(Fraction(a) - Fraction(b)) for a, b in zip(point.tolist(), query.x0.tolist(), strict=True)]
    inside = query.input_domain.contains(point)
    if isinstance(query.perturbation, LinfBall):
        inside &= max(steps) <= Fraction(query.perturbation.radius)
    elif isinstance(query.perturbation, Box):
        inside &= query.perturbation.bounds.contains(point)
    return reached and inside and max(steps) <= Fraction(result.witness.distance)


def truth(case: Case) -> Figures:
    """What brute force says: the largest margin, or distances with a margin a little smaller and a little larger."""
    query = random_query(case)
    box = {"lower": query.box.lower, "upper": query.box.upper}
    if query.objective is not Objective.CLOSEST:
        return {"top": largest_margin(query.network, query.target_classes, query.reference, **box)}
    near, far = (
        nearest_adversarial(
            query.network, query.x0, query.target_classes, query.reference, **box, margin=query.margin + change
        )
        for change in (-MARGIN_SLACK, MARGIN_SLACK)
    )
    return {"near": near, "far": far}


def judge(margin: float, found: Figures, brute: Figures) -> str:
    """Whether the answer agrees with brute force: "agree", "borderline", "open", or what is wrong with it."""
    problem = flaw(found)
    if problem or "error" in found:
        return problem or f"{found['error']}: {found['detail']}"
    if found["witness"] is False:
        return "the witness is none"
    if found["objective"] == Objective.CLOSEST.value:
        lowest, highest = (np.inf if brute[name] is None else brute[name] for name in ("near", "far"))
        exists, surely = brute["near"] is not None, brute["far"] is not None
    else:
        lowest = highest = brute["top"]
        exists, surely = lowest >= margin - MARGIN_SLACK, lowest >= margin + MARGIN_SLACK
    verdict = found["verdict"]
    if (verdict == Verdict.ADVERSARIAL.value and not exists) or (verdict == Verdict.ROBUST.value and surely):
        return f"{verdict}, but brute force finds {dict(brute)} for margin {margin}"
    low, high = found["lower"], found["upper"]
    if (low is not None and low > highest + SLACK) or (high is not None and high < lowest - SLACK):
        return f"bracket [{low}, {high}], but brute force finds {dict(brute)}"
    if not found["settled"]:
        return "open"
    return "agree" if exists == surely else "borderline"


def tasks(cases: Sequence[Case], methods: Mapping[str, Options]) -> dict[str, list[Task]]:
    """Per method, and for brute force under "", one task per case."""
    found: dict[str, list[Task]] = {name: [] for name in ("", *methods)}
    for case in cases:
        key = {"what": "agreement", "case": case, "network": random_query(case).network.digest}
        name = f"case {case[1]}"
        found[""].append(Task({**key, "what": "brute force"}, name, truth, (case,), 600.0))
        for method, options in methods.items():
            assert options.time_limit is not None
            asked = {**key, "options": option_values(options)}
            found[method].append(Task(asked, f"{name}, {method}", answer, (case, options), options.time_limit))
    return found


def rows(method: str, answers: Sequence[Figures], verdicts: Sequence[str]) -> list[tuple[str, ...]]:
    """Counts per objective."""
    found = []
    for objective in (o.value for o in Objective):
        chosen = [(a, v) for a, v in zip(answers, verdicts, strict=True) if a.get("objective", objective) == objective]
        kinds = [verdict if verdict in ("agree", "borderline", "open") else "wrong" for _, verdict in chosen]
        witnesses = [a["witness"] for a, _ in chosen if a.get("witness") is not None]
        proofs = [a["replays"] for a, _ in chosen if a.get("replays") is not None]
        counted = (str(kinds.count(kind)) for kind in ("agree", "borderline", "open", "wrong"))
        checked = (f"{sum(flags)} of {len(flags)}" if flags else "-" for flags in (witnesses, proofs))
        found.append((method, objective, str(len(chosen)), *counted, *checked))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the counts; returns 1 if any two methods disagree, a witness is none, or a proof does not replay."""
    parser = argument_parser("Random questions that several methods answer.", networks=tuple(FAMILIES), seconds=60.0)
    parser.add_argument("--cases", type=int, default=500, help="how many questions, default 500")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other questions")
    parser.add_argument("--backends", type=words, default=("highs", "scip"), help="of the MIP, default highs,scip")
    parser.add_argument("--jobs", type=int, default=1, help="questions answered at the same time, default 1")
    chosen = parser.parse_args(arguments)
    methods = {f"engine {chosen.engine}": engine_options(chosen)}
    methods |= {f"mip, {name}": mip_options(chosen, name) for name in chosen.backends}
    cases = [(chosen.seed, number, chosen.networks) for number in range(chosen.cases)]
    caption = facts(chosen.threads, chosen.jobs)
    measurements = Measurements(chosen.out)
    answers = {
        name: measured(part, measurements, threads=chosen.threads, jobs=chosen.jobs)
        for name, part in tasks(cases, methods).items()
    }
    brute = answers.pop("")
    table = new_table(f"{len(cases)} random questions", HEADINGS, left=HEADINGS[:2], caption=caption)
    problems = []
    for name, found in answers.items():
        margins = [random_query(case).margin for case in cases]
        verdicts = [judge(*each) for each in zip(margins, found, brute, strict=True)]
        for row in rows(name, found, verdicts):
            table.add_row(*row)
        table.add_section()
        agreeing = ("agree", "borderline", "open")
        problems += [f"case {k}, {name}: {v}" for k, v in enumerate(verdicts) if v not in agreeing]
    first, *others = answers.values()
    for other in others:
        found = [contradiction(a, b) for a, b in zip(first, other, strict=True)]
        problems += [f"case {k}: {problem}" for k, problem in enumerate(found) if problem]
    show(table, measurements.note())
    return report(problems)


if __name__ == "__main__":
    sys.exit(main())
