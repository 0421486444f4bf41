"""Where a campaign's tasks are attempted: in this process, in worker processes, on a Dask cluster.

Names are imported on first use: importing this package loads neither Dask nor a solver.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mipverify_py.campaigns.executors._base import Executor, ExecutorError, Running
    from mipverify_py.campaigns.executors._dask import DaskExecutor
    from mipverify_py.campaigns.executors._dask_client import TlsFiles
    from mipverify_py.campaigns.executors._inline import InlineExecutor
    from mipverify_py.campaigns.executors._processes import ProcessExecutor

_HOMES = {
    "DaskExecutor": "_dask",
    "Executor": "_base",
    "ExecutorError": "_base",
    "InlineExecutor": "_inline",
    "ProcessExecutor": "_processes",
    "Running": "_base",
    "TlsFiles": "_dask_client",
}

__all__ = [
    "DaskExecutor",
    "Executor",
    "ExecutorError",
    "InlineExecutor",
    "ProcessExecutor",
    "Running",
    "TlsFiles",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
