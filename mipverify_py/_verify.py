"""The two questions: `verify` a query, and the `distance` of an input to the decision boundary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike

from bounds import Bounds, NetworkBounds
from mipverify_py._arguments import instance
from mipverify_py._assumed import AssumedBounds
from mipverify_py._enums import Norm, Objective, StopReason
from mipverify_py._options import Options
from mipverify_py._over_parameters import in_images, over_parameters
from mipverify_py._parameter_query import relaxed, searched
from mipverify_py._query import Query, Targets
from mipverify_py._reprove import reproved
from mipverify_py._result import Bracket, Result
from mipverify_py._search import Search
from mipverify_py._set_attack import candidates, suits_boxes
from mipverify_py._witness import NotAdversarialError, Witness
from mipverify_py.engines import run_engine
from mipverify_py.engines._mixed import check_engine
from mipverify_py.engines._plain import prove_plainly
from onnx_models import ReluNetwork
from onnx_models.errors import BackendError, BackendLimitError, BackendMissingError, InputError


def verify(
    query: Query,
    options: Options | None = None,
    *,
    bounds: NetworkBounds | None = None,
    on_progress: Callable[[Bracket], None] | None = None,
) -> Result:
    """The answer to `query`: what is true, the bracket, the witness, and what it rests on.

    Anytime: on a time or node limit, on Ctrl-C (KeyboardInterrupt) and when the solver fails or its process dies, the
    best bracket and witness so far are returned and `stop_reason` says why.

    Args:
        query: the question.
        options: limits and choice of solver; None means `Options()`.
        bounds: what every node can be over the box `bounds.nodes[0]`, which must contain what the engine searches: the
            query's box, or for a distance the part of it within reach of the nearest example that the attack found.
            Only for engine `mip`. They are taken on trust, so what they lead to is a claim, never re-proved, and
            `Result.evidence_detail` says so.
        on_progress: called with the bracket whenever an end improves, in this thread.

    Raises:
        BackendMissingError, BackendLimitError: the solver is not installed, or its licence is too small.
        BackendAbilityError: engine `mip` with a backend that does not solve the program that the query becomes.
        InputError: a native engine for a perturbation set or a norm that it does not handle; `bounds` with another
            engine, for another network, or for too small a box.
        InvalidBoundsError: bounds contradict each other, which is a bug or a solver failure; or `bounds` contradict our
            own, or a point that was evaluated.
    """
    instance(Query, query, "The query")
    chosen = Options() if options is None else options
    instance(Options, chosen, "The options argument")
    over = searched(query)
    if bounds is not None and over is not query:
        raise InputError(
            "Bounds can be supplied for the network itself only: not for images given by parameters, nor for targets "
            "that have to win."
        )
    assumed = None if bounds is None else _assumed(over, chosen, bounds)
    check_engine(over, chosen)
    if over is not query:
        chosen, on_progress = over_parameters(query, over, chosen, on_progress)
    search = Search(over, chosen, on_progress, assumed=assumed, relaxed=relaxed(query, over))
    try:
        _run(search)
    except KeyboardInterrupt:
        search.stop(StopReason.INTERRUPTED)
    except (BackendMissingError, BackendLimitError):
        raise
    except BackendError as error:
        search.stop(StopReason.SOLVER_FAILED, str(error))
    result = search.result()
    return reproved(query, result, chosen) if over is query else in_images(query, over, result)


class Asked(TypedDict, total=False):
    """What `distance` may be told about the question; None stands for the default, as in `Query`."""

    label: int | None
    targets: Targets | None
    domain: Bounds | None
    norm: Norm | None


def distance(
    network: ReluNetwork,
    x: ArrayLike,
    *,
    options: Options | None = None,
    on_progress: Callable[[Bracket], None] | None = None,
    method: str = "direct",
    tolerance: float | None = None,
    **asked: Unpack[Asked],
) -> Result:
    """The distance of `x` to the nearest adversarial example, as a bracket lower <= d* <= upper.

    `x` has the model's input shape or is flat, in the model's own range. `label`, `targets`, `domain` and `norm` (the
    default is L-infinity) are those of `Query`, the other arguments those of `verify`. For a margin or another
    perturbation set, pass a `Query` to `verify`.

    `method` is "direct", one search that closes the bracket to the gap of the options, or "bisect": the bracket is
    halved by questions about fixed radii until it is at most `tolerance` wide, 1e-3 by default (Carlini, Katz, Barrett
    and Dill 2017, algorithm 1), and the gap of the options does not count.
    """
    query = closest_query(network, x, asked)
    if method == "bisect":
        from mipverify_py._bisect import TOLERANCE, bisect

        width = TOLERANCE if tolerance is None else tolerance
        return bisect(query, options, tolerance=width, on_progress=on_progress)
    if method != "direct":
        raise InputError(f"The method is {method!r}; it must be 'direct' or 'bisect'.")
    if tolerance is not None:
        raise InputError("A tolerance is for method 'bisect'; a direct search ends at the gap of the options.")
    return verify(query, options, on_progress=on_progress)


def closest_query(network: ReluNetwork, x: ArrayLike, asked: Asked) -> Query:
    """The query that `distance` is about."""
    instance(ReluNetwork, network, "The network")
    unknown = asked.keys() - Asked.__annotations__.keys()
    if unknown:
        raise TypeError(f"distance() got an unexpected keyword argument {min(unknown)!r}")
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    return Query(network, network.flatten_input(x), objective=Objective.CLOSEST, **given)


def _assumed(query: Query, options: Options, bounds: NetworkBounds) -> AssumedBounds:
    instance(NetworkBounds, bounds, "The bounds argument")
    if options.engine != "mip":
        raise InputError(f"Engine {options.engine!r} proves everything itself; supplied bounds need engine 'mip'.")
    return AssumedBounds(query.network, bounds)


def _run(search: Search) -> None:
    query = search.query
    if query.objective is not Objective.WORST and adversarial_already(search):
        return
    if search.options.engine != "mip":
        with search.clock.during("engine"), search.clock.during("bounds"):
            if prove_plainly(search):
                return
    with search.clock.during("attack"):
        _attack(search)
    if query.objective is Objective.FEASIBILITY and search.witness is not None:
        return
    with search.clock.during("engine"):
        run_engine(search)


def adversarial_already(search: Search) -> bool:
    """Whether x0 itself is adversarial: its distance is then 0."""
    try:
        search.witness = Witness(search.query, search.query.x0)
    except NotAdversarialError:
        return False
    search.prove(0.0)
    return True


def _attack(search: Search) -> None:
    query, attack = search.query, search.attack
    if not suits_boxes(query):
        _attack_set(search)
        return
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


def _attack_set(search: Search) -> None:
    """The attack where the search is not about a box, or not about distances of the points themselves."""
    query = search.query
    for point in candidates(query, search.options, search.deadline):
        if query.objective is Objective.WORST:
            search.offer_margin(point)
        elif search.offer(point) and query.objective is Objective.FEASIBILITY:
            return
