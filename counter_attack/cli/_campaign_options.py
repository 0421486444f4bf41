"""The options that commands of `counter-attack campaign` share."""

# No `from __future__ import annotations` here: typer reads the annotations of these classes as objects.
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from counter_attack.cli import _options as options
from mipverify_py.cli import _parse
from mipverify_py.cli._arguments import BACKENDS, ENGINES
from mipverify_py.cli._parse import Names

RUN, LIMITS = "The run", "Limits, and what is asked again"

EXECUTORS = ("inline", "processes", "dask")
POLICIES = ("skip", "retry", "refine", "reverify")
PARTS = ("table", "findings", "attempts", "events")
EXPORTS = (".parquet", ".csv", ".jsonl")
# These repeat names of mipverify_py.campaigns, which takes too long to import for `--help`. A test compares them.

StoreName = Annotated[str, typer.Argument(metavar="STORE", help="The .sqlite file of a campaign.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What `run` and `resume` have in common; None leaves it to the spec."""

    executor: Annotated[
        str | None,
        typer.Option(
            "--executor",
            metavar="NAME",
            parser=_parse.choice(EXECUTORS),
            rich_help_panel=RUN,
            help="inline (this process), processes (on this machine) or dask. Default: the spec's.",
        ),
    ] = None
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            parser=_parse.whole("at least 1", lambda v: v >= 1),
            rich_help_panel=RUN,
            help="Queries that are worked on at a time. Default: the spec's, or one for each core.",
        ),
    ] = None
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler",
            metavar="ADDRESS",
            rich_help_panel=RUN,
            help="A Dask scheduler that is running, such as tls://10.0.0.1:8786, with its workers; without it dask "
            "starts its own here.",
        ),
    ] = None
    tls: Annotated[
        Names | None,
        typer.Option(
            "--tls",
            metavar="CA,CERT,KEY",
            parser=_parse.names,
            rich_help_panel=RUN,
            help="Files for encrypted connections of dask: the authority's certificate, our own, and its key.",
        ),
    ] = None
    max_failures: Annotated[
        int | None,
        typer.Option(
            "--max-failures",
            metavar="N",
            parser=_parse.whole("at least 1", lambda v: v >= 1),
            rich_help_panel=RUN,
            help="Give a query up after this many attempts that were killed, ran out of memory or the like.",
        ),
    ] = None

    time_limit: Annotated[
        float | None,
        typer.Option(
            "--time-limit",
            metavar="SECONDS",
            parser=_parse.number("a number of seconds above 0", lambda v: v > 0),
            rich_help_panel=LIMITS,
            help="For one query, instead of the spec's.",
        ),
    ] = None
    gap: Annotated[
        float | None,
        typer.Option(
            "--gap",
            metavar="SHARE",
            parser=_parse.number("at least 0 and below 1, such as 1e-5", lambda v: 0 <= v < 1),
            rich_help_panel=LIMITS,
            help="How narrow a bracket has to be, as a share of the distance, instead of the spec's.",
        ),
    ] = None
    policy: Annotated[
        str,
        typer.Option(
            "--policy",
            metavar="NAME",
            parser=_parse.choice(POLICIES),
            rich_help_panel=LIMITS,
            help="What is asked: skip (only what was never asked or was cut short), retry (also what is open, if the "
            "time limit is larger now, and what failed), refine (brackets wider than the gap), reverify (what is "
            "decided, once more with --engine or --backend).",
        ),
    ] = "skip"
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            metavar="NAME",
            parser=_parse.choice(ENGINES),
            rich_help_panel=LIMITS,
            help="For --policy reverify: the engine of the new attempts.",
        ),
    ] = None
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend",
            metavar="NAME",
            parser=_parse.choice(BACKENDS),
            rich_help_panel=LIMITS,
            help="For --policy reverify: the solver of the new attempts, with --engine mip.",
        ),
    ] = None
    json: options.Json = False
    quiet: options.Quiet = False

    def check(self) -> None:
        """Raises TyperException for options that do not go together."""
        if self.tls is not None and len(self.tls.values) != 3:
            raise typer.TyperException("--tls is three files: the authority's certificate, our own, and its key.")
        if self.scheduler is not None and self.executor not in (None, "dask"):
            raise typer.TyperException(f"--scheduler is for --executor dask, not for {self.executor}.")
        if self.policy == "reverify" and self.engine is None and self.backend is None:
            raise typer.TyperException("--policy reverify needs --engine or --backend: verify anew with what?")
        if self.policy != "reverify" and (self.engine is not None or self.backend is not None):
            raise typer.TyperException("--engine and --backend are for --policy reverify; the spec names the others.")
        if self.backend is not None and self.engine != "mip":
            raise typer.TyperException(f"--backend {self.backend} is for --engine mip; add that.")


def check_writable(path: Path) -> None:
    """Raises TyperException for a file that there cannot be: this has to be known before hours are spent on it."""
    if path.is_dir() or not path.parent.is_dir():
        wrong = "is a folder; name a file in it" if path.is_dir() else f"there is no folder {path.parent}"
        raise typer.TyperException(f"{path}: {wrong}.")


def existing_store(name: str) -> Path:
    """The path of a store that is there; raises TyperException otherwise. What is in the file is seen later."""
    path = Path(name)
    if path.is_dir():
        raise typer.TyperException(f"{name} is a folder; name the .sqlite file in it.")
    if not path.exists():
        raise typer.TyperException(f"{name}: there is no such store.")
    if not os.access(path, os.R_OK):
        raise typer.TyperException(f"{name}: you may not read this file.")
    return path
