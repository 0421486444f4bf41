"""Solvers that lie: wrong duals, bounds, points and statuses may cost an answer; no false one is ever reproved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import cycle
from typing import Any

import numpy as np
import pytest

from bounds import MipModel
from mipverify_py import Evidence, Options, Query, Result, Tightening, Verdict, _verify, verify
from mipverify_py import _tighten as tighten
from mipverify_py.backends import MipSolution, SolveStatus, solve_isolated
from mipverify_py.certificate import check
from mipverify_py.engines import _cell_program as cell_program
from mipverify_py.engines import _mip as mip
from mipverify_py.engines._node_lp import LpOutcome, NodeLp
from onnx_models import Array
from tests.helpers.certificates import assert_true
from tests.helpers.networks import FAMILIES
from tests.helpers.queries import OWN
from tests.helpers.rationals import Question, exact_nearest

Lie = Callable[[MipSolution, np.random.Generator], MipSolution]


def _somewhere(told: MipSolution, rng: np.random.Generator) -> MipSolution:
    size = 1 if told.point is None else len(told.point)
    return replace(told, status=SolveStatus.OPTIMAL, point=rng.normal(size=size) if told.point is not None else None)


LIES: dict[str, Lie] = {
    "infeasible": lambda told, _: replace(
        told, status=SolveStatus.INFEASIBLE, point=None, objective=None, dual_bound=None
    ),
    "bound above the optimum": lambda told, rng: replace(
        told, dual_bound=None if told.dual_bound is None else told.dual_bound + abs(told.dual_bound) + rng.random()
    ),
    "everything twice as far": lambda told, _: replace(
        told,
        objective=None if told.objective is None else 2.0 * told.objective,
        dual_bound=None if told.dual_bound is None else 2.0 * told.dual_bound,
        point=None,
    ),
    "another point": _somewhere,
    "noise for duals": lambda told, rng: replace(
        told, row_duals=None if told.row_duals is None else rng.normal(size=len(told.row_duals)) * 100.0
    ),
    "duals of the wrong sign": lambda told, _: replace(
        told, row_duals=None if told.row_duals is None else -told.row_duals
    ),
}
"""What is made of a solver's honest answer."""


def _lying(lie: Lie, rng: np.random.Generator) -> Callable[..., MipSolution]:
    def solve(backend: str, model: MipModel, *rest: Any, **more: Any) -> MipSolution:
        return lie(solve_isolated(backend, model, *rest, **more), rng)

    return solve


@cache
def _questions(count: int) -> list[tuple[Query, Fraction | None]]:
    """Random distances that are above 0 and finite, with their exact values."""
    asked = list[tuple[Query, Fraction | None]]()
    for seed, family in enumerate(cycle(FAMILIES.values())):
        rng = np.random.default_rng(seed)
        network = family(rng, max_relus=4)
        query = Query(network, rng.random(network.input_size))
        truth = exact_nearest(Question.of(query))
        if truth:
            asked.append((query, truth))
        if len(asked) == count:
            return asked
    raise AssertionError("cycle has no end")


def _is_false(result: Result, truth: Fraction | None) -> bool:
    """Whether the answer says more than the truth allows."""
    if truth is None:
        return result.verdict is Verdict.ADVERSARIAL
    beyond = result.lower is not None and Fraction(result.lower) > truth
    short = result.upper is not None and Fraction(result.upper) < truth
    return beyond or short or result.verdict is Verdict.ROBUST


def _assert_honest(result: Result, truth: Fraction | None) -> None:
    """Only an answer that rests on a solver may be false; a certificate proves what is true."""
    assert (result.evidence is Evidence.REPROVED) == (result.certificate is not None)
    if result.certificate is not None:
        assert_true(check(result.certificate.data), truth)
    if result.evidence in OWN:
        assert not _is_false(result, truth)


def _blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an attack nothing but the solver speaks of examples, so that it can lie about them."""
    monkeypatch.setattr(_verify, "_attack", lambda _: None)


@pytest.mark.parametrize("certify", [pytest.param("cheap", marks=pytest.mark.slow), "always"])
@pytest.mark.parametrize("lie", LIES)
def test_a_lying_mip_solver(lie: str, certify: str, monkeypatch: pytest.MonkeyPatch) -> None:
    solve, levels = _lying(LIES[lie], np.random.default_rng(0)), list[Evidence | None]()
    _blind(monkeypatch)
    for module in (mip, tighten, cell_program):
        monkeypatch.setattr(module, "solve_isolated", solve)
    for query, truth in _questions(5):
        result = verify(query, Options(engine="mip", tightening=Tightening.LP, certify=certify))
        _assert_honest(result, truth)
        levels.append(result.evidence)
    if certify == "always":
        assert Evidence.REPROVED in levels  # the native engines prove anew what of it is true


def test_the_lies_are_believed_where_a_solver_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the tests here would show nothing: answers labelled as a solver's claim are false."""
    _blind(monkeypatch)
    monkeypatch.setattr(mip, "solve_isolated", _lying(LIES["infeasible"], np.random.default_rng(0)))
    false = [
        result
        for query, truth in _questions(5)
        if _is_false(result := verify(query, Options(engine="mip", certify="never")), truth)
    ]
    assert false and all(result.evidence is Evidence.SOLVER_CLAIM for result in false)


def _noise(rows: Array, rng: np.random.Generator) -> Array:
    return rows + rng.normal(size=rows.shape) * 10.0


def _negated(rows: Array, _: np.random.Generator) -> Array:
    return -rows


@pytest.mark.parametrize("spoil", [_noise, _negated])
def test_a_lying_lp_solver_below_the_native_engine(
    spoil: Callable[[Array, np.random.Generator], Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, rng = NodeLp._duals, np.random.default_rng(1)
    monkeypatch.setattr(NodeLp, "_duals", lambda self, rows: honest(self, spoil(rows, rng)))
    for query, truth in _questions(5):
        result = verify(query, Options(engine="cuts", time_limit=5.0, node_limit=200, certify="always"))
        assert result.evidence is not Evidence.SOLVER_CLAIM
        _assert_honest(result, truth)


def test_an_lp_solver_that_returns_points_from_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    honest, rng = NodeLp.solve, np.random.default_rng(2)

    def solve(self: NodeLp, *rest: Any, **more: Any) -> LpOutcome:
        told = honest(self, *rest, **more)
        columns = None if told.columns is None else told.columns + rng.normal(size=told.columns.shape)
        return replace(told, columns=columns, optimum=None if told.optimum is None else told.optimum - 1.0)

    monkeypatch.setattr(NodeLp, "solve", solve)
    for query, truth in _questions(5):
        result = verify(query, Options(engine="cuts", time_limit=5.0, node_limit=200, certify="always"))
        _assert_honest(result, truth)
