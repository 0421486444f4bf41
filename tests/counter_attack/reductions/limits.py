"""An engine that a time limit stops at once, whatever the machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from counter_attack.reductions import _ask
from mipverify_py import Options, Query, Result, StopReason, Verdict, verify


def stop_searches(
    monkeypatch: pytest.MonkeyPatch,
    *,
    after: int = 0,
    only: int | None = None,
    lower: float | None = 0.01,
    reason: StopReason = StopReason.TIME_LIMIT,
) -> None:
    """Searches end for this reason, without an example and with this proven end.

    The first `after` searches are left alone, and with `only` all that come after so many stopped ones.
    """
    calls = 0

    def stopped(query: Query, options: Options) -> Result:
        nonlocal calls
        calls += 1
        found = verify(query, options)
        if calls <= after or (only is not None and calls > after + only):
            return found
        nothing = {"witness": None, "point": None, "upper": None, "evidence": None}
        return replace(found, verdict=Verdict.UNKNOWN, lower=lower, stop_reason=reason, **nothing)

    monkeypatch.setattr(_ask, "verify", stopped)
