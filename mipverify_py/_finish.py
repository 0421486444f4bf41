"""From any adversarial points to a checked witness that no activation cell nearby can better."""

from __future__ import annotations

from bounds import linear_bounds
from mipverify_py._cells import CellSearch
from mipverify_py._encode import encode
from mipverify_py._enums import Norm, Objective
from mipverify_py._options import Options
from mipverify_py._query import Query
from mipverify_py._search import Search
from mipverify_py._witness import Witness
from mipverify_py.engines._cell_program import nearest_in_cells
from mipverify_py.engines._mip import search_region
from onnx_models import Array
from onnx_models.errors import InputError


def finish(query: Query, points: Array, options: Options | None = None, *, kicks: bool = True) -> Witness | None:
    """The nearest checked witness that exact local search leads to from the nearest of `points`; it proves nothing.

    That point moves onto the boundary. In L-infinity, linear programs then find the nearest point of its activation
    cell, of the neighbouring cell that this leads to and so on; after that, kicks flip single units and the programs
    go on from there, until a kick of every unit has failed (see `CellSearch`). In L1 and L2 the solver finds the
    nearest point of one cell after another, without kicks.

    Args:
        query: for the closest example, in a box.
        points: shape (k, n), at or beyond the decision boundary; where there are none, our own attack looks for one.
        options: time limit and seed; the MIP solver for L1 and L2, the attack's restarts. None means `Options()`.
        kicks: whether to go on from the first local minimum.

    Returns:
        None where no point reaches the margin, not even after a push of a solver's tolerance. On a time limit, the
        nearest so far.

    Raises:
        InputError: a query of another kind, or points of another shape.
        BackendMissingError: the solver is not installed.
    """
    _check(query, points)
    search = Search(query, Options() if options is None else options, None)
    for point in points:
        search.offer(point)
    if not len(points):
        start = search.attack.nearest(search.deadline)
        if start is not None:
            search.offer(start)
    if search.witness is None or search.seconds_left == 0.0:
        return search.witness
    if query.norm is not Norm.LINF:
        bounds = linear_bounds(query.network, search_region(search))
        nearest_in_cells(search, encode(query, bounds))
        return search.witness
    cells = CellSearch(query, search.options)
    nearer = (cells.descend if kicks else cells.settle)(search.witness.point, deadline=search.deadline)
    if nearer is not None:
        search.offer(nearer)
    return search.witness


def _check(query: Query, points: Array) -> None:
    plain = query.measured is None and query.rivals == (query.reference,)
    if query.objective is not Objective.CLOSEST or not query.perturbation.is_box or not plain:
        raise InputError(
            "Exact finishing needs a query for the closest example, with a box for its perturbation set and targets "
            "that need not win."
        )
    if points.ndim != 2 or points.shape[1] != query.x0.size:
        raise InputError(f"The points have shape {points.shape}; expected (k, {query.x0.size}).")
