"""The two questions: `verify` a query, and the `distance` of an input to the decision boundary."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from bounds import Bounds
from mipverify_py._arguments import instance
from mipverify_py._enums import Objective, StopReason
from mipverify_py._options import Options
from mipverify_py._query import Query, Targets
from mipverify_py._result import Bracket, Result
from mipverify_py._search import Search
from mipverify_py._witness import NotAdversarialError, Witness
from mipverify_py.engines import run_engine
from onnx_models import ReluNetwork
from onnx_models.errors import BackendError, BackendLimitError, BackendMissingError


def verify(
    query: Query, options: Options | None = None, *, on_progress: Callable[[Bracket], None] | None = None
) -> Result:
    """The answer to `query`: what is true, the bracket, the witness, and what it rests on.

    Anytime: on a time or node limit, on Ctrl-C (KeyboardInterrupt) and when the solver fails or its process dies, the
    best bracket and witness so far are returned and `stop_reason` says why.

    Args:
        query: the question.
        options: limits and choice of solver; None means `Options()`.
        on_progress: called with the bracket whenever an end improves, in this thread.

    Raises:
        BackendMissingError, BackendLimitError: the solver is not installed, or its licence is too small.
        InvalidBoundsError: bounds contradict each other, which is a bug or a solver failure.
    """
    instance(Query, query, "The query")
    chosen = Options() if options is None else options
    instance(Options, chosen, "The options argument")
    search = Search(query, chosen, on_progress)
    try:
        _run(search)
    except KeyboardInterrupt:
        search.stop(StopReason.INTERRUPTED)
    except (BackendMissingError, BackendLimitError):
        raise
    except BackendError as error:
        search.stop(StopReason.SOLVER_FAILED, str(error))
    return search.result()


def distance(
    network: ReluNetwork,
    x: ArrayLike,
    *,
    label: int | None = None,
    targets: Targets | None = None,
    domain: Bounds | None = None,
    options: Options | None = None,
    on_progress: Callable[[Bracket], None] | None = None,
) -> Result:
    """The L-infinity distance of `x` to the nearest adversarial example, as a bracket lower <= d* <= upper.

    `x` has the model's input shape or is flat, in the model's own range; the other arguments are those of `Query` and
    `verify`. For a margin or another perturbation set, pass a `Query` to `verify`.
    """
    instance(ReluNetwork, network, "The network")
    query = Query(
        network,
        network.flatten_input(x),
        objective=Objective.CLOSEST,
        label=label,
        targets=Targets() if targets is None else targets,
        domain=domain,
    )
    return verify(query, options, on_progress=on_progress)


def _run(search: Search) -> None:
    query = search.query
    if query.objective is not Objective.WORST and _adversarial_already(search):
        return
    began = time.monotonic()
    try:
        _attack(search)
    finally:
        search.attack_seconds = time.monotonic() - began
    if query.objective is Objective.FEASIBILITY and search.witness is not None:
        return
    run_engine(search)


def _adversarial_already(search: Search) -> bool:
    """Whether x0 itself is adversarial: its distance is then 0."""
    try:
        search.witness = Witness(search.query, search.query.x0)
    except NotAdversarialError:
        return False
    search.prove(0.0)
    return True


def _attack(search: Search) -> None:
    query, attack = search.query, search.attack
    if query.objective is Objective.WORST:
        search.offer_margin(attack.largest_margin(query.box, search.deadline))
        return
    if query.objective is Objective.CLOSEST:
        point = attack.nearest(search.deadline)
    else:
        point = attack.within(query.box, search.deadline)
    if point is not None:
        search.offer(point)
    assert search.witness is None or np.isfinite(search.witness.distance)
