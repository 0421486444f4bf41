"""The tables behind --backends and --list-zoo."""

from __future__ import annotations

import sys
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from mipverify_py.backends import backend_status
from mipverify_py.cli._exit import ExitCode
from mipverify_py.cli._json import SCHEMA, write_line


def list_backends(*, as_json: bool) -> ExitCode:
    """Writes every solver this package knows, whether it is installed, and how to install it if not."""
    rows = backend_status()
    if as_json:
        for row in rows:
            write_line({"schema": SCHEMA, "kind": "backend", **asdict(row)})
        return ExitCode.ANSWERED
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    console.print(Text(f"{'backend':<10}{'version':<12}licence", "bold"))
    for row in rows:
        if row.installed:
            console.print(Text(f"{row.name:<10}{row.version or '-':<12}{row.licence}"))
        else:
            console.print(Text(f"{row.name:<10}{'missing':<12}{row.install}", "yellow"))
    return ExitCode.ANSWERED
