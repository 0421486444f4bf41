"""`counter-attack report`: the page of a campaign."""

# No `from __future__ import annotations` here: typer reads the annotations of this class as objects.
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from counter_attack.cli import _options as options
from counter_attack.cli._app import new_app
from mipverify_py.cli import ExitCode, _parse

_PAGE = "The page"


@dataclass(frozen=True, slots=True)
class ReportArguments:
    """Write the page of a campaign: summary, tables, charts, cases, examples, in one HTML file that needs no network.

    counter-attack report campaign.sqlite -o report/ --open
    """

    store: Annotated[str, typer.Argument(metavar="STORE", help="The campaign's store, such as campaign.sqlite.")]
    out: Annotated[
        str,
        typer.Option(
            "--out", "-o", metavar="DIR", rich_help_panel=options.OUTPUT, help="Where index.html goes; made if need be."
        ),
    ]
    title: Annotated[
        str | None,
        typer.Option("--title", metavar="TEXT", rich_help_panel=_PAGE, help="Its title. Default: the store's name."),
    ] = None
    gallery: Annotated[
        int,
        typer.Option(
            "--gallery",
            metavar="N",
            parser=_parse.whole("at least 0", lambda v: v >= 0),
            rich_help_panel=_PAGE,
            help="How many cases to show as pictures: nearest, farthest, slowest and most missed by attacks.",
        ),
    ] = 100
    force: Annotated[
        bool,
        typer.Option("--force", rich_help_panel=options.OUTPUT, help="Write over an index.html that is no report."),
    ] = False
    show: Annotated[
        bool, typer.Option("--open", rich_help_panel=options.OUTPUT, help="Open the page in the browser.")
    ] = False
    json: options.Json = False
    quiet: options.Quiet = False

    def run(self) -> int:
        """Writes the page and its name; returns the exit code."""
        from counter_attack.cli._tables import ProgressLine
        from counter_attack.report import write_report

        line = ProgressLine(quiet=self.quiet)
        path = write_report(
            Path(self.store),
            Path(self.out),
            title=self.title,
            gallery=self.gallery,
            force=self.force,
            progress=line.show,
        )
        line.clear()
        _tell(path, as_json=self.json)
        if self.show:
            _open(path)
        return ExitCode.ANSWERED


def _tell(path: Path, *, as_json: bool) -> None:
    from importlib.metadata import version

    from mipverify_py.cli._json import SCHEMA, write_line
    from mipverify_py.cli._output import Output
    from mipverify_py.cli._printable import printable

    if as_json:
        record = {"schema": SCHEMA, "kind": "report", "version": version("mipverify-py")}
        write_line({**record, "file": str(path), "bytes": path.stat().st_size})
    else:
        Output().line(printable(str(path)))


def _open(path: Path) -> None:
    """Shows the page, or says that there is no browser."""
    import webbrowser

    from onnx_models.errors import InputError

    if not webbrowser.open(path.resolve().as_uri()):
        raise InputError(f"{path}: is written, but no browser was found to open it; open it by hand.")


app = new_app()
app.command()(ReportArguments)
