"""A MIP within one activation cell: the program that is left once its binaries are held."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bounds import MipModel
from mipverify_py._encode import Encoding
from mipverify_py._gradients import Gradients
from mipverify_py._query import Query
from mipverify_py._search import Search
from mipverify_py.backends import SolveLimits, SolveStatus, solve_isolated
from onnx_models import Array

CELLS = 10
"""Most cells that `nearest_in_cells` solves a program in, each that of the nearest point of the last."""


def cell_of(model: MipModel, point: Array) -> MipModel:
    """The model with its integer columns held at the whole numbers nearest to `point`, and no integer column left."""
    held = np.round(point)
    return replace(
        model,
        column_lower=np.where(model.integer, held, model.column_lower),
        column_upper=np.where(model.integer, held, model.column_upper),
        integer=np.zeros_like(model.integer),
    )


def nearest_in_cells(search: Search, encoding: Encoding) -> None:
    """Offers the nearest points of the cell of the witness in hand, of the cell that this leads to, and so on.

    A linear program for L1, a convex quadratic one for L2: the solver that is about to solve the MIP solves these, too.
    """
    model = encoding.model
    for _ in range(CELLS):
        if search.witness is None or search.seconds_left == 0.0 or search.closed:
            return
        binaries = _binaries(search.query, encoding, search.witness.point)
        if np.any(np.isnan(binaries[model.integer])):
            return
        before = search.witness.distance
        limits = SolveLimits(seconds=search.seconds_left, threads=search.options.threads, seed=search.options.seed)
        solution = solve_isolated(search.options.backend, cell_of(model, binaries), limits)
        if solution.status is SolveStatus.INTERRUPTED:
            raise KeyboardInterrupt
        if solution.point is None or not search.offer(solution.point[encoding.inputs]):
            return
        if search.options.closes(search.witness.distance, before):
            return


def _binaries(query: Query, encoding: Encoding, point: Array) -> Array:
    """The binaries of the cell of a point, shape (columns,); NaN for columns of whose meaning nothing is known here."""
    result = np.full(encoding.model.columns, np.nan)
    values = Gradients.of(query.network).values(point[:, None])
    for index, relu in encoding.relus.items():
        node = query.network.nodes[index]
        result[relu.binaries] = values[node.input][relu.units, 0] > 0  # type: ignore[union-attr]
    if len(encoding.choice):
        logits = values[-1][list(encoding.targets), 0]
        result[encoding.choice] = np.arange(len(encoding.targets)) == int(logits.argmax())
    return result
