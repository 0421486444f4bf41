"""The distance by bisection around a verifier that answers yes or no within a ball."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from mipverify_py._arguments import instance, real_number
from mipverify_py._balls import L1Ball, L2Ball
from mipverify_py._enums import Evidence, Norm, Objective, StopReason, Verdict
from mipverify_py._options import Options
from mipverify_py._over_parameters import in_images
from mipverify_py._parameter_query import searched
from mipverify_py._perturbation import LinfBall, Unrestricted
from mipverify_py._query import Query
from mipverify_py._reprove import reproved
from mipverify_py._result import Bracket, Result, Statistics
from mipverify_py._search import Search
from mipverify_py._verify import adversarial_already, verify
from mipverify_py._witness import Witness
from mipverify_py.engines._mixed import check_engine
from onnx_models import Array
from onnx_models.errors import InputError

TOLERANCE = 1e-3
"""Width of the bracket that ends the bisection, in units of the distance, as in the paper."""

Number = TypeVar("Number", int, float)

BALLS: dict[Norm, type[LinfBall | L1Ball | L2Ball]] = {Norm.LINF: LinfBall, Norm.L1: L1Ball, Norm.L2: L2Ball}
"""The perturbation set that a step asks about, by norm."""


def bisect(
    query: Query,
    options: Options | None = None,
    *,
    tolerance: float = TOLERANCE,
    on_progress: Callable[[Bracket], None] | None = None,
) -> Result:
    """The distance that `query` asks for, to within `tolerance`, by Algorithm 1 of Carlini, Katz, Barrett and Dill
    (2017), "Provably minimally-distorted adversarial examples".

    The upper end begins at an attack's example. Every step asks `verify` whether the ball with half the bracket's
    radius, lower + (upper - lower) / 2, holds an adversarial example. If not, that radius is the new lower end; if so,
    the distance of the example found, moved onto the boundary, is the new upper end. The result has the same meaning
    as that of a direct search, but for the gap at which it ends.

    Args:
        query: a distance in all of the domain; any targets, margin and norm.
        options: as for `verify`, for every step; the time limit is for all of them together, `node_limit` for each, and
            the gaps do not count. A step that stays unknown ends the bisection, for that step's reason.
        tolerance: when upper - lower is at most this, the bracket is closed; finite and above 0.
        on_progress: called with the bracket whenever an end improves.

    Raises:
        InputError: another kind of query, a tolerance out of range; otherwise as `verify`.
    """
    instance(Query, query, "The query")
    chosen = Options() if options is None else options
    instance(Options, chosen, "The options argument")
    width = _checked(query, tolerance)
    over = searched(query)
    check_engine(_within(over, 1.0), chosen)
    search = Search(over, chosen, on_progress)
    try:
        _run(search, width)
    except KeyboardInterrupt:
        search.stop(StopReason.INTERRUPTED)
    result = search.result()
    return _shown(query, result, chosen, width) if over is query else in_images(query, over, result)


def _shown(query: Query, result: Result, options: Options, tolerance: float) -> Result:
    """The answer with a certificate where the options ask for one, unless that would leave the bracket open again."""
    shown = reproved(query, result, options)
    was_closed = result.gap is not None and result.gap <= tolerance
    reopened = was_closed and shown.gap is not None and shown.gap > tolerance
    return result if reopened else shown


def _checked(query: Query, tolerance: float) -> float:
    if query.objective is not Objective.CLOSEST or query.measured is not None:
        raise InputError("Bisection searches a distance; ask for the closest example.")
    if not isinstance(query.perturbation, Unrestricted):
        raise InputError(
            f"Bisection looks in balls around the input, so it cannot search a {type(query.perturbation).__name__}; "
            "leave the perturbation set out, or search directly."
        )
    width = real_number(tolerance, "The tolerance of a bisection")
    if not 0 < width < float("inf"):
        raise InputError(f"The tolerance of a bisection is {tolerance!r}; it must be a finite number above 0.")
    return width


def _within(query: Query, radius: float) -> Query:
    """Is there an adversarial example within `radius`, in the query's norm?"""
    return replace(query, objective=Objective.FEASIBILITY, perturbation=BALLS[query.norm](radius))


def _run(search: Search, tolerance: float) -> None:
    if adversarial_already(search):
        return
    with search.clock.during("attack"):
        start = search.attack.nearest(search.deadline)
        if start is not None:
            search.offer(start)
    if search.witness is None and not _step(search, None):
        return
    search.prove(0.0)
    going = True
    while going:
        radius = _middle(search, tolerance)
        going = radius is not None and _step(search, radius)


def _middle(search: Search, tolerance: float) -> float | None:
    """The radius to ask about next; None where the bracket is closed, or too narrow for float64."""
    low, high = search.bracket.lower, search.bracket.upper
    assert low is not None and high is not None
    if high - low <= tolerance:
        return None
    radius = low + (high - low) / 2
    if not low < radius < high:
        search.stop(StopReason.NUMERICAL, f"there is no number between {low!r} and {high!r}; ask for a wider tolerance")
        return None
    return radius


def _step(search: Search, radius: float | None) -> bool:
    """Asks about a ball, None being all of the domain, and takes over the answer; whether to go on."""
    left = search.seconds_left
    if left == 0.0:
        search.stop(StopReason.TIME_LIMIT)
        return False
    query = search.query
    asked = replace(query, objective=Objective.FEASIBILITY) if radius is None else _within(query, radius)
    with search.clock.during("engine"):
        answer = verify(asked, replace(search.options, time_limit=left, certify="never"))
    search.statistics = _added(search.statistics, answer.statistics)
    search.backend = answer.backend or search.backend
    if answer.verdict is Verdict.UNKNOWN:
        where = "in all of the domain" if radius is None else f"within {radius:.9g}"
        told = f": {answer.stop_detail}" if answer.stop_detail else ""
        search.stop(answer.stop_reason, f"whether there is an example {where} stayed unknown{told}")
        return False
    if answer.verdict is Verdict.ADVERSARIAL:
        assert answer.witness is not None
        going = _take(search, answer.witness.point)
    else:
        going = _exclude(search, radius, answer)
    if going and answer.stop_reason is StopReason.INTERRUPTED:  # Ctrl-C met a step that had its answer
        search.stop(StopReason.INTERRUPTED)
        going = False
    return going


def _take(search: Search, point: Array) -> bool:
    """The example of a step lowers the upper end; whether to go on."""
    before = search.bracket.upper
    search.offer(point)
    search.take(Witness(search.query, point))
    search.statistics = replace(search.statistics, rounds=search.statistics.rounds + 1)
    after = search.bracket.upper
    if search.refuted:
        search.stop(StopReason.NUMERICAL, search.refuted)
    elif before is not None and after == before:
        search.stop(StopReason.NUMERICAL, f"a step's example is not nearer than {before!r}; ask for a wider tolerance")
    else:
        return True
    return False


def _exclude(search: Search, radius: float | None, answer: Result) -> bool:
    """A ball without an example raises the lower end, a whole domain without one ends the search."""
    search.proof, search.bounds = answer.proof, answer.bounds
    if radius is None:
        search.robust, search.claim_detail = answer.evidence, answer.evidence_detail
        return False
    if answer.evidence is Evidence.SOLVER_CLAIM:
        search.claim(radius, answer.evidence_detail)
    else:
        search.prove(radius)
    return True


def _added(total: Statistics, step: Statistics) -> Statistics:
    """What all steps took; sizes and units are those of the last one. Rounds are counted by the bisection itself."""
    return replace(
        step,
        nodes=total.nodes + step.nodes,
        iterations=total.iterations + step.iterations,
        trees=total.trees + step.trees,
        rounds=total.rounds,
        cuts=total.cuts + step.cuts,
        bound_solves=_summed(total.bound_solves, step.bound_solves),
        bound_skips=_summed(total.bound_skips, step.bound_skips),
        bound_seconds=_summed(total.bound_seconds, step.bound_seconds),
        solve_seconds=total.solve_seconds + step.solve_seconds,
    )


def _summed(
    first: tuple[tuple[str, Number], ...], second: tuple[tuple[str, Number], ...]
) -> tuple[tuple[str, Number], ...]:
    """The counts of both by name."""
    total = dict(first)
    for name, value in second:
        total[name] = total[name] + value if name in total else value
    return tuple(total.items())
