"""Campaigns with attacks: specs, and running them from end to end.

    >>> from counter_attack.campaigns import read_spec, run_spec
    >>> report = run_spec(read_spec("campaign.toml"), "campaign.sqlite")     # doctest: +SKIP

Stores, exact questions and executors are in `mipverify_py.campaigns`. Names are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from counter_attack.campaigns._run import ANSWERER, executor_for, resume, run_spec
    from counter_attack.campaigns._spec import AttackQuestion, read_spec

_HOMES = {
    "ANSWERER": "_run",
    "AttackQuestion": "_spec",
    "executor_for": "_run",
    "read_spec": "_spec",
    "resume": "_run",
    "run_spec": "_run",
}

__all__ = ["ANSWERER", "AttackQuestion", "executor_for", "read_spec", "resume", "run_spec"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
