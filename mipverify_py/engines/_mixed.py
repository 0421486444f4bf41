"""Queries that the native engines answer in part: distances in L1 and L2, and balls of these norms."""

from __future__ import annotations

from dataclasses import replace

from mipverify_py._balls import NormBall
from mipverify_py._encode import squares_in
from mipverify_py._enums import Evidence, Norm, Objective
from mipverify_py._options import Options
from mipverify_py._perturbation import Box
from mipverify_py._query import Query
from mipverify_py._search import Search
from mipverify_py.backends import available_backends, check_ability
from mipverify_py.engines._run_native import run_native
from onnx_models.errors import BackendAbilityError, InputError

BOX_SHARE = 0.25
"""Share of the time left that the proof over the bounding box may take."""

BOX_SECONDS = 30.0
"""... and the longest that it may take, with a time limit or without."""


def check_engine(query: Query, options: Options) -> None:
    """Returns if the engine and, for engine `mip`, the backend can answer the query.

    Raises:
        InputError: a native engine is named for a query that it does not answer.
        BackendAbilityError: the backend does not solve the program that the query becomes; names those that do.
    """
    if options.engine == "mip":
        _check_backend(query, options.backend)
    elif options.engine != "auto" and not query.is_native:
        raise InputError(
            f"Engine {options.engine!r} searches boxes and measures distances in the L-infinity norm only; "
            "it cannot search this perturbation set or use this norm. Choose engine 'auto' or 'mip'."
        )


def has_useful_box(query: Query) -> bool:
    """Whether `prove_in_box` is for this query: its norm, or the norm of the ball that is its set, is L1 or L2."""
    other = query.objective is Objective.CLOSEST and query.norm is not Norm.LINF
    return query.measured is None and (other or isinstance(query.perturbation, NormBall))


def prove_in_box(search: Search) -> bool:
    """Takes over what a native engine proves within its share of the time; whether that answers the query.

    The bounding box contains the set, so no adversarial example in the box means none in the set. And
    |v|_inf <= |v|_2 <= |v|_1, so none within r of x0 in L-infinity means none within r in L1 or L2: that end of the
    bracket is re-proved.
    """
    query, left = search.query, search.seconds_left
    seconds = BOX_SECONDS if left is None else min(BOX_SHARE * left, BOX_SECONDS)
    if query.objective is Objective.WORST or seconds == 0.0:
        return False
    relaxed = replace(query, perturbation=Box(query.box), norm=Norm.LINF)
    box = Search(relaxed, replace(search.options, time_limit=seconds), None)
    try:
        _answer(box)
    finally:
        if box.witness is not None and (search.witness is None or query.objective is Objective.CLOSEST):
            search.offer(box.witness.point)
        if box.robust is Evidence.REPLAYED:
            search.robust, search.proof, search.statistics = box.robust, box.proof, box.statistics
        elif query.objective is Objective.CLOSEST and box.proven is not None:
            search.proof = box.proof
            search.prove(box.proven)
    return search.closed or search.robust is not None


def _answer(box: Search) -> None:
    """Attack and native engine; an example in the box is the end of the question whether there is one."""
    distance = box.query.objective is Objective.CLOSEST
    point = box.attack.nearest(box.deadline) if distance else box.attack.within(box.query.box, box.deadline)
    if point is not None:
        box.offer(point)
    if distance or box.witness is None:
        run_native(box)


def able_backend(search: Search) -> str:
    """The backend that the options name if it can solve the program, else the first installed one that can.

    Raises:
        BackendAbilityError: none that is installed can.
    """
    asked = search.options.backend
    for name in (asked, *available_backends()):
        try:
            _check_backend(search.query, name)
        except BackendAbilityError:
            continue
        return name
    _check_backend(search.query, asked)
    raise AssertionError("the check above raises")


def _check_backend(query: Query, name: str) -> None:
    objective, rows = squares_in(query)
    check_ability(name, objective=objective, integral=True, rows=rows)
