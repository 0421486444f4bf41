"""Campaigns from end to end: a spec into a store, workers, and the run."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from mipverify_py.backends import get_backend
from mipverify_py.campaigns._policies import Policy, select
from mipverify_py.campaigns._reading import StoredQuery
from mipverify_py.campaigns._records import Certificates, Limits, ModelRecord
from mipverify_py.campaigns._rounds import Rounds
from mipverify_py.campaigns._run import Progress, RunReport, run_campaign
from mipverify_py.campaigns._spec import CampaignSpec, RunSettings, settings_of
from mipverify_py.campaigns._spec_store import add_spec
from mipverify_py.campaigns._store import Store
from mipverify_py.campaigns.executors import Executor, InlineExecutor, ProcessExecutor

ANSWERER: Final = "counter_attack.campaigns._answer:answer"
"""What a worker runs: it knows attacks and exact queries."""

Watch = Callable[[Progress], None]


def run_spec(
    spec: CampaignSpec,
    path: str | Path,
    *,
    policy: Policy = Policy.SKIP,
    overrides: Mapping[str, Any] | None = None,
    watch: Watch | None = None,
    stop: threading.Event | None = None,
) -> RunReport:
    """Runs a campaign: what the spec asks goes into the store at `path`, which is made if it is not there.

    Nothing decided is computed again. On Ctrl-C what is known by then is recorded, and the report says so.

    Args:
        spec: what to ask; for a store that is there, all that it holds and maybe more.
        path: the store.
        policy: what to do with queries that were worked on before.
        overrides: "engine", "backend" or both, for `Policy.REVERIFY`.
        watch: called with the progress now and then.
        stop: ends the run when set.

    Raises:
        MipverifyError: the spec makes no sense, does not go with the store, or nothing can be run here.
    """
    spec.queries()  # a spec that makes no sense leaves no file behind
    with Store.open(path) if Path(path).exists() else Store.create(path) as store:
        add_spec(store, spec)
        return _run(store, (spec.limits, spec.run, spec.seed), policy, overrides or {}, watch, stop)


def resume(
    path: str | Path,
    *,
    limits: Limits | None = None,
    settings: RunSettings | None = None,
    policy: Policy = Policy.SKIP,
    overrides: Mapping[str, Any] | None = None,
    watch: Watch | None = None,
    stop: threading.Event | None = None,
) -> RunReport:
    """Goes on with the campaign in the store at `path`, which knows what was asked.

    `limits` and `settings` stand in for those that the store keeps from the spec; new limits are kept from then on. The
    other arguments are those of `run_spec`.

    Raises:
        MipverifyError: the file is no store, or nothing can be run here.
    """
    with Store.open(path) as store:
        record = store.spec() or {}
        kept, usual = settings_of(record)
        if limits is not None and limits != kept:
            store.add_queries([], {**record, "limits": asdict(limits)})
        chosen = (limits or kept, settings or usual, int(record.get("seed", 0)))
        return _run(store, chosen, policy, overrides or {}, watch, stop)


def _run(
    store: Store,
    chosen: tuple[Limits, RunSettings, int],
    policy: Policy,
    overrides: Mapping[str, Any],
    watch: Watch | None,
    stop: threading.Event | None,
) -> RunReport:
    limits, settings, seed = chosen
    rounds = Rounds(
        limits,
        settings.rounds,
        max_failures=settings.max_failures,
        seed=seed,
        overrides=dict(overrides),
        certificates=Certificates(settings.certificates),
    )
    everything = store.queries(limits, settings.max_failures, with_inputs=False)
    wanted = select(everything, policy, limits, overrides)
    if not wanted:
        return RunReport(0, 0, 0, 0, 0, 0, False, 0.0)
    if settings.scheduler is None:
        _check_here(wanted, overrides)
    with executor_for(settings, list(store.models().values())) as executor:
        return run_campaign(store, wanted, executor, rounds, watch=watch, stop=stop)


def executor_for(settings: RunSettings, models: Sequence[ModelRecord]) -> Executor:
    """The workers that the settings name, for tasks about these models."""
    workers = settings.workers or len(os.sched_getaffinity(0))
    if settings.executor == "inline":
        return InlineExecutor(ANSWERER, models)
    if settings.executor == "processes":
        return ProcessExecutor(ANSWERER, models, workers, memory_limit=settings.memory_limit)
    from mipverify_py.campaigns.executors import DaskExecutor, TlsFiles

    return DaskExecutor(
        ANSWERER,
        models,
        workers=workers if settings.scheduler is None else None,
        scheduler=settings.scheduler,
        tls=None if settings.tls is None else TlsFiles(*settings.tls),
        memory_limit=settings.memory_limit,
    )


def _check_here(queries: Sequence[StoredQuery], overrides: Mapping[str, Any]) -> None:
    """Raises BackendMissingError if this machine lacks a solver: all attempts would fail, one after the other."""
    options = [{**query.record.options, **overrides} for query in queries]
    for backend in {one["backend"] for one in options if one.get("engine") == "mip"}:
        get_backend(backend)
