"""An engine that a time limit stops at once, whatever the machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from counter_attack.reductions import _ask
from mipverify_py import Options, Query, Result, StopReason, Verdict, verify


def stop_searches(monkeypatch: pytest.MonkeyPatch, *, after: int = 0, lower: float | None = 0.01) -> None:
    """All searches but the first `after` end at the time limit, without an example and with this proven end."""
    calls = 0

    def stopped(query: Query, options: Options) -> Result:
        nonlocal calls
        calls += 1
        found = verify(query, options)
        if calls <= after:
            return found
        nothing = {"witness": None, "point": None, "upper": None, "evidence": None}
        return replace(found, verdict=Verdict.UNKNOWN, lower=lower, stop_reason=StopReason.TIME_LIMIT, **nothing)

    monkeypatch.setattr(_ask, "verify", stopped)
