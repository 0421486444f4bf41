"""Encoding and solve time per backend on twenty fixed questions to zoo models: `python tests/benchmarks/backends.py`.

Every question is the distance of one digit to the decision boundary of one model inside a fixed radius. Bounds are
linear ones over that radius, computed once and not counted; then `encode` and each installed solver are timed,
single-threaded, on the same model. Solvers are started beforehand. A cell shows seconds, `>` the time limit where it
was reached, or why there is no answer; a distance that differs between solvers by more than the gap is an error.

    python tests/benchmarks/backends.py [--backends highs,scip] [--seconds 60] [--questions 20]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from bounds import ModelBuilder, linear_bounds
from mipverify_py import Encoding, LinfBall, Query, encode
from mipverify_py.backends import MipSolution, SolveLimits, SolveStatus, available_backends, solve_isolated
from mipverify_py.data import DataSet, read_digits
from onnx_models.errors import BackendError
from onnx_models.zoo import load_zoo


class Question(NamedTuple):
    """A model of the zoo, a test image of `digits`, and the radius searched."""

    model: str
    index: int
    radius: float


QUESTIONS = tuple(
    Question(model, index, radius)
    for model, radius, indices in (
        ("digits_small_standard", 0.15, (0, 1, 2, 3)),
        ("digits_small_adversarial", 0.2, (0, 1, 2)),
        ("digits_dense_standard", 0.15, (0, 1, 2)),
        ("digits_dense_adversarial", 0.18, (0, 1)),
        ("digits_conv_standard", 0.12, (0, 1)),
        ("digits_conv_adversarial", 0.15, (0, 1)),
        ("digits_pool_standard", 0.06, (0, 1)),
        ("digits_residual_standard", 0.1, (0, 1)),
    )
    for index in indices
)
DISAGREEMENT = 2e-5
"""Larger than the gap asked for (1e-5 of a distance below 1, at either end), so that only a wrong answer exceeds it."""


class Answer(NamedTuple):
    """What one solver made of one question."""

    seconds: float
    solution: MipSolution | None
    problem: str

    def cell(self, limit: float) -> str:
        """The table's entry."""
        if self.solution is None:
            return self.problem
        if self.solution.status is SolveStatus.TIME_LIMIT:
            return f"> {limit:g}"
        settled = self.solution.status in (SolveStatus.OPTIMAL, SolveStatus.INFEASIBLE)
        return f"{self.seconds:.2f}" if settled else self.solution.status.name.lower()


def prepare(question: Question, digits: DataSet) -> tuple[Encoding, float]:
    """The MIP of a question, and how long `encode` took."""
    query = Query(load_zoo(question.model), digits.image(question.index), LinfBall(question.radius))
    bounds = linear_bounds(query.network, query.box)
    began = time.perf_counter()
    encoding = encode(query, bounds)
    return encoding, time.perf_counter() - began


def ask(backend: str, encoding: Encoding, seconds: float) -> Answer:
    """One timed solve."""
    began = time.perf_counter()
    try:
        solution = solve_isolated(backend, encoding.model, SolveLimits(seconds=seconds))
    except BackendError as error:
        return Answer(time.perf_counter() - began, None, type(error).__name__)
    return Answer(time.perf_counter() - began, solution, "")


def distances(answers: Sequence[Answer], radius: float) -> list[float]:
    """What the solvers that settled the question claim; `radius` where it is that nothing lies within."""
    solutions = [a.solution for a in answers if a.solution is not None]
    optima = [s.objective for s in solutions if s.status is SolveStatus.OPTIMAL and s.objective is not None]
    return optima + [radius for s in solutions if s.status is SolveStatus.INFEASIBLE]


def warm_up(backends: Sequence[str]) -> None:
    """Starts every solver's process on a model of one column."""
    builder = ModelBuilder()
    builder.add_columns(0.0, 1.0, ["v"], integer=True)
    for backend in backends:
        solve_isolated(backend, builder.build(), SolveLimits(seconds=60.0))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns 1 if two solvers disagree."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description="Encoding and solve time per backend.")
    parser.add_argument("--backends", default=",".join(available_backends()), help="comma list, default all installed")
    parser.add_argument("--seconds", type=float, default=60.0, help="time limit of one solve, default 60")
    parser.add_argument("--questions", type=int, default=len(QUESTIONS), help="only the first so many")
    options = parser.parse_args(arguments)
    backends, digits, wrong = options.backends.split(","), read_digits(), 0
    table = Table(title=f"Seconds to encode and to solve, one thread, limit {options.seconds:g} s")
    for heading in ("question", "radius", "columns", "rows", "binaries", "distance", "encode", *backends):
        table.add_column(heading, justify="left" if heading == "question" else "right")
    warm_up(backends)
    totals = dict.fromkeys(backends, 0.0)
    for question in QUESTIONS[: options.questions]:
        encoding, encode_seconds = prepare(question, digits)
        answers = {backend: ask(backend, encoding, options.seconds) for backend in backends}
        found = distances(list(answers.values()), question.radius)
        wrong += bool(found) and max(found) - min(found) > DISAGREEMENT
        for backend, answer in answers.items():
            totals[backend] += answer.seconds
        model = encoding.model
        table.add_row(
            f"{question.model} {question.index}",
            f"{question.radius:g}",
            *map(str, (model.columns, model.rows, model.binaries)),
            "?" if not found else "beyond" if min(found) == question.radius else f"{min(found):.5f}",
            f"{encode_seconds:.3f}",
            *(answers[backend].cell(options.seconds) for backend in backends),
        )
    table.add_row("sum", *[""] * 6, *(f"{totals[backend]:.1f}" for backend in backends), style="bold")
    Console(width=160).print(table)
    if wrong:
        print(f"{wrong} questions on which solvers disagree by more than {DISAGREEMENT:g}.", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
