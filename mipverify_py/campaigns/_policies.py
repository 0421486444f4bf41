"""Which queries of a store a run takes up again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from mipverify_py.campaigns._judging import Attempt
from mipverify_py.campaigns._reading import StoredQuery
from mipverify_py.campaigns._records import Limits, QueryKind, QueryState
from onnx_models.errors import InputError


class Policy(Enum):
    """What a run does with queries that earlier runs have worked on."""

    SKIP = "skip"
    """Finish what was begun: queries without an answer, and open ones whose planned attempts have not all been made."""
    RETRY = "retry"
    """Also those that failed, and open ones if there is more time now than any attempt had."""
    REFINE = "refine"
    """Also every distance whose bracket is wider than asked for now, whatever time it had."""
    REVERIFY = "reverify"
    """Only what is decided, once more with another engine or backend."""


def select(
    queries: Sequence[StoredQuery], policy: Policy, limits: Limits, overrides: Mapping[str, Any] | None = None
) -> list[StoredQuery]:
    """Those of the queries that a run has to work on, in their order.

    Args:
        queries: from `Store.queries`, called with the same limits.
        policy: what to do with queries that were worked on before.
        limits: of the run; its time limit is that of the last round.
        overrides: "engine", "backend" or both, for `Policy.REVERIFY` alone, which needs them.

    Raises:
        InputError: overrides are given for another policy, or are missing or of another kind for `REVERIFY`.
    """
    given = dict(overrides or {})
    if policy is not Policy.REVERIFY:
        if given:
            raise InputError(f"Policy {policy.value} takes no other engine or backend; reverify does.")
        return [query for query in queries if _is_wanted(query, policy, limits)]
    if not given or set(given) - {"engine", "backend"}:
        names = ", ".join(sorted(given)) or "nothing"
        raise InputError(f"Policy reverify needs another engine or backend; {names} is given.")
    return [query for query in queries if _is_unconfirmed(query, limits, given)]


def _is_wanted(query: StoredQuery, policy: Policy, limits: Limits) -> bool:
    if query.state is QueryState.NEW:
        return True
    if query.state is QueryState.FAILED:
        return policy is Policy.RETRY
    if query.state is QueryState.DECIDED:
        return False
    last = query.answers[-1]
    if not (last.is_complete and (last.final or last.decided)):
        return True
    if policy is Policy.RETRY:
        return all(_has_less_time(attempt.limits, limits) for attempt in query.answers if attempt.is_complete)
    return policy is Policy.REFINE and query.record.kind is QueryKind.DISTANCE


def _is_unconfirmed(query: StoredQuery, limits: Limits, overrides: Mapping[str, Any]) -> bool:
    """Whether the query is decided, and these options neither have decided it nor had as much time as there is now."""
    if query.state is not QueryState.DECIDED or query.record.kind is QueryKind.ATTACK:
        return False
    return not any(
        attempt.decided or not _has_less_time(attempt.limits, limits)
        for attempt in query.history
        if attempt.is_complete and _was_asked_of(attempt, query, overrides)
    )


def _was_asked_of(attempt: Attempt, query: StoredQuery, overrides: Mapping[str, Any]) -> bool:
    options = {**query.record.options, **attempt.overrides}
    return all(options.get(name) == value for name, value in overrides.items())


def _has_less_time(earlier: Limits, now: Limits) -> bool:
    if earlier.time_limit is None:
        return False
    return now.time_limit is None or earlier.time_limit < now.time_limit
