"""Campaigns: thousands of queries, answered by many workers, with every answer in one file that survives anything.

    >>> from mipverify_py.campaigns import Limits, Store
    >>> with Store.create("campaign.sqlite") as store:         # doctest: +SKIP
    ...     store.add_model(model)
    ...     store.add_queries(queries)
    ...     store.record(completion)

Names are imported on first use: importing this package loads neither pandas nor Dask nor a solver.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mipverify_py.campaigns._errors import (
        CampaignError,
        StoreBusyError,
        StoreFullError,
        StoreUnreachableError,
    )
    from mipverify_py.campaigns._export import export_campaign
    from mipverify_py.campaigns._judging import Attempt
    from mipverify_py.campaigns._load import Campaign, load_campaign
    from mipverify_py.campaigns._merge import Merged, merge_campaigns
    from mipverify_py.campaigns._policies import Policy, select
    from mipverify_py.campaigns._reading import Added, Contradiction, Counts, StoredQuery
    from mipverify_py.campaigns._records import (
        Answer,
        Certificates,
        Completion,
        Failure,
        FailureReason,
        Finding,
        InputRecord,
        Limits,
        ModelRecord,
        QueryKind,
        QueryRecord,
        QueryState,
        Task,
    )
    from mipverify_py.campaigns._rounds import Rounds
    from mipverify_py.campaigns._run import Progress, RunReport, run_campaign
    from mipverify_py.campaigns._spec import CampaignSpec, Group, RunSettings
    from mipverify_py.campaigns._spec_data import DataSource, Indices
    from mipverify_py.campaigns._spec_questions import DistanceQuestion, VerifyQuestion
    from mipverify_py.campaigns._store import Store
    from mipverify_py.campaigns.executors import DaskExecutor, Executor, InlineExecutor, ProcessExecutor

_HOMES = {
    "Added": "_reading",
    "Answer": "_records",
    "Attempt": "_judging",
    "Campaign": "_load",
    "CampaignError": "_errors",
    "CampaignSpec": "_spec",
    "Certificates": "_records",
    "Completion": "_records",
    "Contradiction": "_reading",
    "Counts": "_reading",
    "DaskExecutor": "executors",
    "DataSource": "_spec_data",
    "DistanceQuestion": "_spec_questions",
    "Executor": "executors",
    "Failure": "_records",
    "FailureReason": "_records",
    "Finding": "_records",
    "Group": "_spec",
    "Indices": "_spec_data",
    "InlineExecutor": "executors",
    "InputRecord": "_records",
    "Limits": "_records",
    "Merged": "_merge",
    "ModelRecord": "_records",
    "Policy": "_policies",
    "ProcessExecutor": "executors",
    "Progress": "_run",
    "QueryKind": "_records",
    "QueryRecord": "_records",
    "QueryState": "_records",
    "Rounds": "_rounds",
    "RunReport": "_run",
    "RunSettings": "_spec",
    "Store": "_store",
    "StoreBusyError": "_errors",
    "StoreUnreachableError": "_errors",
    "StoreFullError": "_errors",
    "StoredQuery": "_reading",
    "Task": "_records",
    "VerifyQuestion": "_spec_questions",
    "export_campaign": "_export",
    "load_campaign": "_load",
    "merge_campaigns": "_merge",
    "run_campaign": "_run",
    "select": "_policies",
}

__all__ = [
    "Added",
    "Answer",
    "Attempt",
    "Campaign",
    "CampaignError",
    "CampaignSpec",
    "Certificates",
    "Completion",
    "Contradiction",
    "Counts",
    "DaskExecutor",
    "DataSource",
    "DistanceQuestion",
    "Executor",
    "Failure",
    "FailureReason",
    "Finding",
    "Group",
    "Indices",
    "InlineExecutor",
    "InputRecord",
    "Limits",
    "Merged",
    "ModelRecord",
    "Policy",
    "ProcessExecutor",
    "Progress",
    "QueryKind",
    "QueryRecord",
    "QueryState",
    "Rounds",
    "RunReport",
    "RunSettings",
    "Store",
    "StoreBusyError",
    "StoreFullError",
    "StoreUnreachableError",
    "StoredQuery",
    "Task",
    "VerifyQuestion",
    "export_campaign",
    "load_campaign",
    "merge_campaigns",
    "run_campaign",
    "select",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
