"""`counter-attack campaign`: runs, resumes, shows, exports and merges campaigns."""

# No `from __future__ import annotations` here: typer reads the annotations of these classes as objects.
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from counter_attack.cli import _campaign_options as own
from counter_attack.cli import _options as options
from counter_attack.cli._app import new_app
from mipverify_py.cli import ExitCode, _parse

_HELP = (  # one line per paragraph: typer would keep line breaks
    "Thousands of queries, answered by many workers; every answer is in one file, the store, from the moment it is "
    "known.\n\n"
    "run SPEC.toml starts a campaign, or goes on with it; resume STORE goes on without the spec; status, export, "
    "certificates, merge and report look at a store, also while it is being written."
)

app = new_app(help=_HELP)


@app.callback(invoke_without_command=True)
def _choose(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        raise typer.TyperException(
            "campaign needs a command: run, resume, status, export, certificates, merge or report."
        )


@app.command(
    "run",
    help="Asks what SPEC.toml says and puts the answers into a store. With a store that is there already, nothing "
    "decided is computed again.",
)
@dataclass(frozen=True, slots=True)
class RunArguments(own.RunOptions):
    """The options of `campaign run`."""

    spec: Annotated[str, typer.Argument(metavar="SPEC.toml", help="Models, data, queries and limits; see the how-to.")]
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="FILE",
            rich_help_panel=own.RUN,
            help="Where the answers go. Default: SPEC.sqlite, beside the spec.",
        ),
    ] = None

    def run(self) -> int:
        """Runs the campaign; returns the exit code."""
        self.check()
        spec = Path(self.spec)
        if spec.is_dir():
            raise typer.TyperException(f"{spec} is a folder; name the .toml file in it.")
        if not spec.exists():
            raise typer.TyperException(f"{spec}: there is no such file.")
        if spec.suffix != ".toml":
            raise typer.TyperException(f"{spec}: a spec is a .toml file; to go on with a store, use resume.")
        store = spec.with_suffix(".sqlite") if self.store is None else Path(self.store)
        own.check_writable(store)
        from counter_attack.cli._campaign_run import run_spec_file

        return run_spec_file(self, spec, store)


@app.command("resume", help="Goes on with a campaign after an interruption or a crash; the store knows what was asked.")
@dataclass(frozen=True, slots=True)
class ResumeArguments(own.RunOptions):
    """The options of `campaign resume`."""

    store: own.StoreName

    def run(self) -> int:
        """Goes on; returns the exit code."""
        self.check()
        path = own.existing_store(self.store)
        from counter_attack.cli._campaign_run import resume_store

        return resume_store(self, path)


@app.command(
    "status", help="How far a campaign is, also while it runs: states, brackets, times, contradictions, events."
)
@dataclass(frozen=True, slots=True)
class StatusArguments:
    """The options of `campaign status`."""

    store: own.StoreName
    events: Annotated[
        int,
        typer.Option(
            "--events",
            metavar="N",
            parser=_parse.whole("at least 0", lambda v: v >= 0),
            rich_help_panel=options.OUTPUT,
            help="Show this many of the last events.",
        ),
    ] = 5
    json: options.Json = False

    def run(self) -> int:
        """Shows it; returns the exit code."""
        path = own.existing_store(self.store)
        from counter_attack.cli._campaign_status import show_status

        return show_status(path, events=self.events, as_json=self.json)


@app.command("export", help="Writes what the store holds, one row per query, as .parquet, .csv or .jsonl.")
@dataclass(frozen=True, slots=True)
class ExportArguments:
    """The options of `campaign export`."""

    store: own.StoreName
    out: Annotated[str, typer.Argument(metavar="OUT", help="A file that ends in .parquet, .csv or .jsonl.")]
    part: Annotated[
        str,
        typer.Option(
            "--part",
            metavar="NAME",
            parser=_parse.choice(own.PARTS),
            rich_help_panel=options.OUTPUT,
            help="table (one row per query), findings (one per example), attempts or events.",
        ),
    ] = "table"
    quiet: options.Quiet = False

    def run(self) -> int:
        """Writes the file."""
        path, out = own.existing_store(self.store), Path(self.out)
        if out.suffix not in own.EXPORTS:
            raise typer.TyperException(f"{out}: must end in {', '.join(own.EXPORTS)}.")
        own.check_writable(out)
        from mipverify_py.campaigns._export import export_campaign
        from mipverify_py.cli._output import Output

        export_campaign(path, out, cast("Any", self.part))
        if not self.quiet:
            Output().line(str(out))
        return ExitCode.ANSWERED


@app.command("certificates", help="Writes the certificates in the store into a folder, for `verify --check`.")
@dataclass(frozen=True, slots=True)
class CertificatesArguments:
    """The options of `campaign certificates`."""

    store: own.StoreName
    out: Annotated[str, typer.Argument(metavar="DIR", help="The folder; made if it is not there.")]
    quiet: options.Quiet = False

    def run(self) -> int:
        """Writes CONFIGURATION-DATASET-INDEX-ROW.cert for every query whose certificate was kept."""
        path, out = own.existing_store(self.store), Path(self.out)
        if out.exists() and not out.is_dir():
            raise typer.TyperException(f"{out} is a file; name a folder.")
        from mipverify_py.campaigns._export import export_certificates
        from mipverify_py.cli._output import Output

        written, hashes = export_certificates(path, out)
        if not self.quiet:
            Output().line(f"{out}: {len(written):,} certificates")
            if hashes:
                Output().line(
                    f"of {hashes:,} others the store has only the SHA-256: certificates = 'store' keeps files"
                )
        return ExitCode.ANSWERED


@app.command("merge", help="Puts the contents of stores into one: every query once, with all attempts at it.")
@dataclass(frozen=True, slots=True)
class MergeArguments:
    """The options of `campaign merge`."""

    out: Annotated[str, typer.Argument(metavar="OUT", help="The store to put them into; made if it is not there.")]
    stores: Annotated[list[str], typer.Argument(metavar="STORE...", help="Stores; they are only read.")]
    quiet: options.Quiet = False

    def run(self) -> int:
        """Merges."""
        sources, out = [own.existing_store(name) for name in self.stores], Path(self.out)
        own.check_writable(out)
        for source in sources:
            if out.exists() and os.path.samefile(source, out):  # noqa: PTH121 - of two paths
                raise typer.TyperException(f"{out} is itself one of the stores to merge; name another file first.")
        from mipverify_py.campaigns._merge import merge_campaigns
        from mipverify_py.cli._output import Output

        merged = merge_campaigns(sources, out)
        if not self.quiet:
            Output().line(f"{out}: {merged.queries:,} queries and {merged.attempts:,} attempts added")
            if merged.contradictions:
                Output().line(f"{merged.contradictions:,} contradictions; `campaign status {out}` lists them")
        return ExitCode.ANSWERED


@app.command("report", help="Writes the report on a store: one HTML page that opens from disk, without a network.")
@dataclass(frozen=True, slots=True)
class ReportArguments:
    """The options of `campaign report`."""

    store: own.StoreName
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="DIR", rich_help_panel=options.OUTPUT, help="Where the page goes.")
    ]
    quiet: options.Quiet = False

    def run(self) -> int:
        """Writes the page."""
        path = own.existing_store(self.store)
        if Path(self.out).exists() and not Path(self.out).is_dir():
            raise typer.TyperException(f"-o {self.out} is a file; name a folder.")
        from counter_attack.report import write_report
        from mipverify_py.cli._output import Output

        page = write_report(path, Path(self.out))
        if not self.quiet:
            Output().line(str(page))
        return ExitCode.ANSWERED
