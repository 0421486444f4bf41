"""Deciding satisfiability by asking the exact engine about the network of the reduction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from counter_attack.hardness._formula import Assignment, Formula
from counter_attack.hardness._reduction import CENTRE, Reduction, reduce_formula
from mipverify_py import LinfBall, Objective, Options, Query, Result, Verdict, verify
from mipverify_py._result import Bracket
from onnx_models.errors import MipverifyError


class ContradictionError(MipverifyError, RuntimeError):
    """Two answers about one formula contradict each other, so that one of those who gave them is wrong."""


@dataclass(frozen=True, slots=True, eq=False)
class Satisfiability:
    """What the engine's answer says of the formula.

    Attributes:
        reduction: the network and its input.
        satisfiable: True with an assignment, False with a proof that the network is robust, None if the search stopped.
        assignment: read off the adversarial example, and checked on the formula itself; None unless satisfiable.
        result: the engine's answer. Where `satisfiable` is False, `result.evidence` and `result.evidence_detail` tell
            what that rests on; where it is True it rests on the assignment alone.
    """

    reduction: Reduction
    satisfiable: bool | None
    assignment: Assignment | None
    result: Result


def query_of(reduction: Reduction, objective: Objective = Objective.FEASIBILITY) -> Query:
    """The question whether x0, of class 0, can be moved by at most 1/2 so that class 1 reaches class 0.

    Class 0 is given as the label: without clauses x0 itself has class 1, and the answer is yes.
    """
    return Query(reduction.network, reduction.x0, perturbation=LinfBall(CENTRE), objective=objective, label=0)


def solve(
    formula: Formula,
    *,
    mu: float = 0.5,
    objective: Objective = Objective.FEASIBILITY,
    options: Options | None = None,
    on_progress: Callable[[Bracket], None] | None = None,
) -> Satisfiability:
    """Whether the formula is satisfiable, by way of an untargeted attack on the network of the reduction.

    Anytime as `verify`: after a limit or Ctrl-C `satisfiable` is None unless an example had been found.

    Args:
        formula: with clauses of any length.
        mu: the width of a step, see `reduce_formula`.
        objective: feasibility; or closest, to bracket the distance to the boundary as well.
        options: limits, engine and backend.
        on_progress: see `verify`.

    Raises:
        InputError: mu or the formula cannot be used.
        BackendMissingError, BackendLimitError: see `verify`.
        ContradictionError: an adversarial example stands for an assignment that does not satisfy the formula.
    """
    reduction = reduce_formula(formula, mu=mu)
    result = verify(query_of(reduction, objective), options, on_progress=on_progress)
    if result.witness is not None:
        assignment = reduction.assignment(result.witness.point)
        if not formula.holds(assignment):
            raise ContradictionError(
                f"The adversarial example of {formula!r} stands for an assignment that does not satisfy it. "
                "This is a bug; please report the formula."
            )
        return Satisfiability(reduction, True, assignment, result)
    return Satisfiability(reduction, False if result.verdict is Verdict.ROBUST else None, None, result)
