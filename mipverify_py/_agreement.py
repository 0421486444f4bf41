"""The same program given to several solvers, and what they say about it held against each other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from bounds import MipModel
from mipverify_py._arguments import instance
from mipverify_py._encode import Encoding, encode
from mipverify_py._enums import Objective
from mipverify_py._options import Options
from mipverify_py._parameter_query import searched
from mipverify_py._query import Query
from mipverify_py._search import Search
from mipverify_py._tighten import tighten
from mipverify_py._tolerances import SOLVER_FEASIBILITY
from mipverify_py.backends import MipSolution, SolveLimits, SolveStatus, get_backend, solve_isolated, write_mps
from mipverify_py.engines._mip import search_region
from mipverify_py.engines._mixed import check_engine
from onnx_models import Array
from onnx_models.errors import BackendError, BackendLimitError, BackendMissingError, InputError

CONCLUSIVE = (SolveStatus.OPTIMAL, SolveStatus.INFEASIBLE, SolveStatus.UNBOUNDED)
"""What counts as an answer to the model; the others leave it open."""


@dataclass(frozen=True, slots=True, eq=False)
class BackendAnswer:
    """What one solver said about the model.

    Attributes:
        backend, version: who said it.
        solution: status, objective, bound and point; None if it failed.
        error: why it failed, else empty.
        objective: the cost of its point in exact arithmetic, rounded to the nearest float; None without a point.
        violation: by how much its point misses a row, a bound or a whole number at most, in exact arithmetic; None
            without a point.
    """

    backend: str
    version: str | None
    solution: MipSolution | None
    error: str
    objective: float | None
    violation: float | None

    @property
    def conclusive(self) -> bool:
        """Whether it answered, rather than stopped or failed."""
        return self.solution is not None and self.solution.status in CONCLUSIVE


@dataclass(frozen=True, slots=True, eq=False)
class AgreementReport:
    """What several solvers said about one model.

    Attributes:
        model: the model.
        answers: one per solver, in the order asked for.
        disagreements: one sentence per contradiction between two of them.
        file: the MPS file that the model was written to, or None.
    """

    model: MipModel
    answers: tuple[BackendAnswer, ...]
    disagreements: tuple[str, ...]
    file: Path | None

    @property
    def compared(self) -> bool:
        """Whether at least two solvers answered, so that there was something to compare."""
        return sum(answer.conclusive for answer in self.answers) >= 2


def compare_backends(
    query: Query, backends: Sequence[str], options: Options | None = None, *, save_model: str | Path | None = None
) -> AgreementReport:
    """Gives the MIP of `query` (as engine `mip` would build it) to each solver and compares what they say.

    Two solvers disagree if one calls the model infeasible and the other has a point; if the bound that one claims lies
    above the cost of the other's point by more than the gap asked for; or if only one of them calls it unbounded.
    Points are checked against the model, and their cost is computed, in exact rational arithmetic.

    Args:
        query: the question.
        backends: names of solvers, at least two, none twice.
        options: seed, threads, gap and tightening; the time limit and the node limit hold for each solver.
        save_model: file to write the model to, in MPS format.

    Raises:
        InputError: fewer than two solvers, one twice or unknown, or the file cannot be written (a program with squares,
            as of a distance in L2, never can).
        BackendAbilityError: a solver does not take such a program.
        BackendMissingError: a solver is not installed.
    """
    instance(Query, query, "The query")
    chosen = Options() if options is None else options
    instance(Options, chosen, "The options argument")
    names = list(backends)
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise InputError(f"Solvers to compare are {', '.join(names) or 'none'}; name at least two, each once.")
    over = searched(query)
    for name in names:
        get_backend(name)
        check_engine(over, replace(chosen, engine="mip", backend=name))
    encoding = _encoding(over, chosen)
    model = encoding.model
    if save_model is not None and not model.is_linear:
        raise InputError("A program with squares cannot be written as an MPS file; leave out the file.")
    absolute, relative = encoding.gaps(0.5 * chosen.gap_absolute, 0.5 * chosen.gap_relative)
    limits = SolveLimits(
        seconds=chosen.time_limit,
        nodes=chosen.node_limit,
        gap_absolute=absolute,
        gap_relative=relative,
        threads=chosen.threads,
        seed=chosen.seed,
    )
    answers = tuple(_answer(name, model, limits) for name in names)
    pairs = itertools.combinations(answers, 2)
    found = tuple(sentence for pair in pairs if (sentence := _contradiction(*pair, limits)))
    return AgreementReport(model, answers, found, None if save_model is None else save_mps(model, save_model))


def save_mps(model: MipModel, path: str | Path) -> Path:
    """Writes the model and returns the file; raises InputError if that cannot be."""
    try:
        write_mps(model, path)
    except OSError as error:
        raise InputError(f"{path}: the model cannot be written ({error.strerror or error}).") from error
    return Path(path)


def _encoding(query: Query, options: Options) -> Encoding:
    """The MIP over what the attack leaves of the query's box."""
    search = Search(query, options, None)
    point = search.attack.nearest(search.deadline) if query.objective is Objective.CLOSEST and query.is_native else None
    if point is not None:
        search.offer(point)
    tightened = tighten(query.network, search_region(search), options, deadline=search.deadline)
    return encode(query, tightened.bounds)


def _answer(name: str, model: MipModel, limits: SolveLimits) -> BackendAnswer:
    version = get_backend(name).version()
    try:
        solution = solve_isolated(name, model, limits)
    except BackendMissingError:
        raise
    except (BackendError, BackendLimitError) as error:
        return BackendAnswer(name, version, None, str(error), None, None)
    if solution.status is SolveStatus.INTERRUPTED:
        raise KeyboardInterrupt
    if solution.point is None:
        return BackendAnswer(name, version, solution, "", None, None)
    cost, violation = exact_figures(model, solution.point)
    return BackendAnswer(name, version, solution, "", float(cost), float(violation))


def exact_figures(model: MipModel, point: Array) -> tuple[Fraction, Fraction]:
    """Cost of a point and its largest violation of the model, both exact; `point` has finite entries."""
    values = [Fraction(v) for v in point.tolist()]
    cost = sum((Fraction(c) * v for c, v in zip(model.cost.tolist(), values, strict=True) if c), Fraction(model.offset))
    if model.quadratic is not None:
        squared = zip(model.quadratic.tolist(), values, strict=True)
        cost += sum((Fraction(c) * v * v for c, v in squared if c), Fraction())
    worst = Fraction()
    matrix = model.matrix
    starts, columns, data = matrix.indptr.tolist(), matrix.indices.tolist(), matrix.data.tolist()
    for row, (low, high) in enumerate(zip(model.row_lower.tolist(), model.row_upper.tolist(), strict=True)):
        terms = range(starts[row], starts[row + 1])
        worst = max(worst, _missed(sum((Fraction(data[k]) * values[columns[k]] for k in terms), Fraction()), low, high))
    for quadratic in model.quadratic_rows:
        pairs = zip(quadratic.weights.tolist(), quadratic.columns.tolist(), strict=True)
        squares = sum((Fraction(q) * values[j] ** 2 for q, j in pairs), Fraction())
        worst = max(worst, _missed(squares, -np.inf, quadratic.upper))
    ends = zip(values, model.column_lower.tolist(), model.column_upper.tolist(), model.integer.tolist(), strict=True)
    for value, low, high, whole in ends:
        worst = max(worst, _missed(value, low, high), abs(value - round(value)) if whole else Fraction())
    return cost, worst


def _missed(value: Fraction, low: float, high: float) -> Fraction:
    below = Fraction(low) - value if np.isfinite(low) else Fraction()
    above = value - Fraction(high) if np.isfinite(high) else Fraction()
    return max(below, above, Fraction())


def _contradiction(first: BackendAnswer, second: BackendAnswer, limits: SolveLimits) -> str:
    """How two answers contradict each other, in a sentence; empty if they do not."""
    for one, other in ((first, second), (second, first)):
        if one.solution is None or other.solution is None:
            continue
        status = one.solution.status
        if status is SolveStatus.INFEASIBLE and other.objective is not None:
            return (
                f"{one.backend} calls the model infeasible, {other.backend} has a point of cost {other.objective:.9g} "
                f"that misses it by {other.violation:.2g}."
            )
        if status is SolveStatus.INFEASIBLE and other.solution.status is SolveStatus.UNBOUNDED:
            return f"{one.backend} calls the model infeasible, {other.backend} unbounded."
        if status is SolveStatus.UNBOUNDED and other.solution.status is SolveStatus.OPTIMAL:
            return f"{one.backend} calls the model unbounded, {other.backend} has an optimum of {other.objective:.9g}."
        bound = one.solution.dual_bound
        if bound is None or other.objective is None or bound <= other.objective:
            continue
        # Each may stop a gap of `limits` away from the optimum, and measures it in roundings of its own.
        if bound - other.objective > 2 * limits.allowed_gap(bound) + SOLVER_FEASIBILITY * (1 + abs(bound)):
            return (
                f"{one.backend} claims that the optimum is at least {bound:.9g}, {other.backend} has a point of cost "
                f"{other.objective:.9g} that misses the model by {other.violation:.2g}."
            )
    return ""
