"""One answer per target class instead of one over all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Unpack

from numpy.typing import ArrayLike

from mipverify_py._arguments import instance
from mipverify_py._enums import StopReason
from mipverify_py._options import Options
from mipverify_py._query import Query, Targets
from mipverify_py._result import Result
from mipverify_py._verify import Asked, closest_query, verify
from onnx_models import ReluNetwork

LEAST_SECONDS = 1e-6
"""What a class gets where no time is left: enough to say so."""


def verify_per_target(
    query: Query, options: Options | None = None, *, on_result: Callable[[int, Result], None] | None = None
) -> dict[int, Result]:
    """The answer to `query` for each of its target classes alone, in ascending order of class.

    `options.time_limit` holds for all classes together: each gets an equal share of what is left when its turn comes.
    After Ctrl-C the classes answered so far are returned, the last one with stop reason INTERRUPTED.

    Args:
        query: the question; its targets are the classes to ask about.
        options: as for `verify`.
        on_result: called with each class and its answer as soon as it is there.

    Raises:
        As `verify`.
    """
    instance(Query, query, "The query")
    chosen = Options() if options is None else options
    instance(Options, chosen, "The options argument")
    began = time.monotonic()
    results: dict[int, Result] = {}
    for target in query.target_classes:
        left = len(query.target_classes) - len(results)
        limit = chosen.time_limit
        if limit is not None:
            limit = max((limit - (time.monotonic() - began)) / left, LEAST_SECONDS)
        only = Targets.only(target, winning=query.targets.winning)
        result = verify(replace(query, targets=only), replace(chosen, time_limit=limit))
        results[target] = result
        if on_result is not None:
            on_result(target, result)
        if result.stop_reason is StopReason.INTERRUPTED:
            break
    return results


def distance_per_target(
    network: ReluNetwork,
    x: ArrayLike,
    *,
    options: Options | None = None,
    on_result: Callable[[int, Result], None] | None = None,
    **asked: Unpack[Asked],
) -> dict[int, Result]:
    """The distance of `x` to the nearest input of each target class; the smallest is what `distance` gives.

    `x`, `label`, `targets`, `domain` and `norm` are as for `distance`; limits and Ctrl-C as for `verify_per_target`.
    """
    return verify_per_target(closest_query(network, x, asked), options, on_result=on_result)
