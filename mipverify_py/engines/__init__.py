"""The engines: native branch and bound (`cuts`, `duals`, `auto`), and one mixed-integer program on a solver (`mip`)."""

from __future__ import annotations

from dataclasses import replace

from mipverify_py._enums import Objective, StopReason
from mipverify_py._search import Search
from mipverify_py.engines._mixed import able_backend, has_useful_box, prove_in_box
from mipverify_py.engines._run_native import run_native
from onnx_models.errors import BackendLimitError

RELAXED_NODES, RELAXED_SECONDS, RELAXED_SHARE = 64, 5.0, 0.1
"""What a native engine may spend on a box around a set that is none: nodes, seconds, share of the time left."""


def run_engine(search: Search) -> None:
    """Answers the search's query after the attack has had its turn, with the engine that its options name."""
    if not search.query.is_native and search.options.engine != "mip":
        if prove_in_box(search) if has_useful_box(search.query) else _excluded_in_box(search):
            return
        _hand_on(search)
        return
    if search.options.engine == "mip":
        from mipverify_py.engines._mip import run_mip

        run_mip(search)
    else:
        run_native(search)


def _hand_on(search: Search) -> None:
    """Leaves the rest to engine `mip`, on a backend that can; where its licence is too small the bracket stays open."""
    from mipverify_py.engines._mip import run_mip

    search.options = replace(search.options, engine="mip", backend=able_backend(search))
    try:
        run_mip(search)
    except BackendLimitError as error:
        search.stop(StopReason.SOLVER_FAILED, str(error))


def _excluded_in_box(search: Search) -> bool:
    """Gives a native engine a few nodes to show that even a box around the set holds no adversarial example."""
    if search.relaxed is None or search.witness is not None or search.query.objective is Objective.WORST:
        return False
    left, limit = search.seconds_left, search.options.node_limit
    seconds = RELAXED_SECONDS if left is None else min(RELAXED_SECONDS, RELAXED_SHARE * left)
    if not seconds > 0:
        return False
    nodes = RELAXED_NODES if limit is None else min(limit, RELAXED_NODES)
    options = replace(search.options, time_limit=seconds, node_limit=nodes)
    boxed = Search(replace(search.relaxed, objective=Objective.FEASIBILITY), options, None)
    run_native(boxed)
    if boxed.robust is None:
        return False
    search.robust, search.proof = boxed.robust, boxed.proof
    if boxed.query.network is search.query.network:  # otherwise its nodes have other numbers
        search.statistics = boxed.statistics
    return True
