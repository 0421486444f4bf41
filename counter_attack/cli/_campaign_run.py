"""What `counter-attack campaign run` and `resume` do."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from counter_attack.campaigns import read_spec, resume, run_spec
from counter_attack.cli._app import PROGRAM
from counter_attack.cli._campaign_options import RunOptions
from counter_attack.cli._campaign_progress import CampaignProgress
from counter_attack.cli._campaign_status import exit_code, show_counts, status_record
from mipverify_py.campaigns._policies import Policy
from mipverify_py.campaigns._records import Limits
from mipverify_py.campaigns._run import RunReport
from mipverify_py.campaigns._spec import RunSettings, settings_of
from mipverify_py.campaigns._store import Store
from mipverify_py.cli import ExitCode
from mipverify_py.cli._complain import complain
from mipverify_py.cli._json import write_line
from mipverify_py.cli._numbers import seconds
from mipverify_py.cli._output import Output
from mipverify_py.cli._printable import printable


def run_spec_file(options: RunOptions, spec_path: Path, store_path: Path) -> int:
    """Runs a spec; returns the exit code."""
    spec = read_spec(spec_path)
    limits, settings = _changed(options, spec.limits, spec.run)
    spec = replace(spec, limits=limits, run=settings)
    return _go(options, store_path, lambda **rest: run_spec(spec, store_path, **rest))


def resume_store(options: RunOptions, path: Path) -> int:
    """Goes on with a store; returns the exit code."""
    with Store.open(path, read_only=True) as store:
        limits, settings = _changed(options, *settings_of(store.spec() or {}))
    return _go(options, path, lambda **rest: resume(path, limits=limits, settings=settings, **rest))


def _changed(options: RunOptions, limits: Limits, settings: RunSettings) -> tuple[Limits, RunSettings]:
    """Limits and settings with what the command line says otherwise."""
    if options.time_limit is not None:
        limits = replace(limits, time_limit=options.time_limit)
    if options.gap is not None:
        limits = replace(limits, gap_relative=options.gap)
    given: dict[str, Any] = {
        name: getattr(options, name)
        for name in ("executor", "workers", "scheduler", "max_failures")
        if getattr(options, name) is not None
    }
    if options.tls is not None:
        given["tls"] = options.tls.values
    if options.scheduler is not None:
        given = {"executor": "dask", "workers": None, **given}
    if given.get("executor", settings.executor) != settings.executor:  # what was said about another one is of no use
        inline = given["executor"] == "inline"
        plain = {"workers": None, "memory_limit": None} if inline else {}
        given = {"scheduler": None, "tls": None, **plain, **given}
    return limits, replace(settings, **given)


def _go(options: RunOptions, path: Path, run: Callable[..., RunReport]) -> int:
    overrides = {name: value for name in ("engine", "backend") if (value := getattr(options, name)) is not None}
    with CampaignProgress(quiet=options.quiet) as progress, stopped_by_sigterm() as stop:
        report = run(policy=Policy(options.policy), overrides=overrides, watch=progress, stop=stop)
    if report.stopped:
        complain(
            f"interrupted; {report.decided} of {report.total} queries are decided, and all that is known is in {path}. "
            f"`{PROGRAM} campaign resume {path}` goes on.",
            PROGRAM,
        )
        return ExitCode.INTERRUPTED
    with Store.open(path, read_only=True) as store:
        record = status_record(store, events=0)
    if options.json:
        write_line({**record, "kind": "campaign-run", "run": _record(report)})
    else:
        show_counts(record)
        _advise(record, report, path)
    return exit_code(record)


def _record(report: RunReport) -> dict[str, Any]:
    names = ("total", "decided", "open", "failed", "attempts", "failures", "seconds")
    return {name: getattr(report, name) for name in names}


def _advise(record: dict[str, Any], report: RunReport, path: Path) -> None:
    """What this run did, and what to do about what is left."""
    out = Output()
    if report.total:
        attempts = f"{report.attempts:,} {'attempt' if report.attempts == 1 else 'attempts'}"
        queries = f"{report.total:,} {'query' if report.total == 1 else 'queries'}"
        out.line(f"{attempts} at {queries} in {seconds(report.seconds)}")
    else:
        out.line("nothing to do: every query of this policy has had its attempts")
    if record["open"] or record["failed"]:
        more = " --time-limit SECONDS" if record["open"] else ""
        out.line(printable(f"to try what is left again: {PROGRAM} campaign resume {path} --policy retry{more}"))


@contextmanager
def stopped_by_sigterm() -> Iterator[threading.Event]:
    """Yields an event that SIGTERM sets: what batch systems send before they kill. Ctrl-C is seen to by the run."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
