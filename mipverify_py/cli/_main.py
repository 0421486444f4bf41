"""The entry point: reads the command line, chooses what to do, and turns every outcome into an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer

from mipverify_py.cli._arguments import Arguments
from mipverify_py.cli._check import check
from mipverify_py.cli._exit import ExitCode
from mipverify_py.cli._printable import printable

_HELP = """The exact distance of an input to the decision boundary of a ReLU network, or whether it is robust at --eps.

verify zoo:NAME --dataset digits --index 0:10

verify model.onnx image.png --eps 0.1 --label 7 --timeout 60"""

_EPILOG = """Exit codes: 0 robust, or distance computed; 1 adversarial example at --eps; 2 unknown (a limit was
reached); 3 wrong usage or input. With several images 2 outweighs 1, and 1 outweighs 0."""


def main() -> None:
    """The command `verify`: runs on the process's arguments and exits."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs `verify` with these arguments and gives its exit code; everything it says goes to stdout and stderr."""
    try:
        return _run(list(arguments))
    except typer.TyperException as error:
        _complain(error.format_message())
        return ExitCode.USAGE
    except KeyboardInterrupt:
        _complain("interrupted")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more at exit and would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.BROKEN_PIPE
    except SystemExit:  # what rich makes of a broken pipe
        return ExitCode.BROKEN_PIPE
    except Exception:  # noqa: BLE001 - whatever is left is a bug, and Python's code 1 for it would read "adversarial"
        traceback.print_exc()
        return ExitCode.INTERNAL


def _run(words: list[str]) -> int:
    outcome = command().main(args=words or ["--help"], prog_name="verify", standalone_mode=False)
    if not isinstance(outcome, Arguments):  # --help
        return int(outcome or 0)
    arguments = outcome
    check(arguments)
    if arguments.version:
        from importlib.metadata import version

        sys.stdout.write(f"verify {version('mipverify-py')}\n")
        return ExitCode.ANSWERED
    from mipverify_py.cli import _work  # numpy and scipy: not before the command line is known to be sound

    return _work.run(arguments)


def command() -> Any:
    """The parser: called with words, it gives `Arguments`."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    app.command(help=_HELP, epilog=_EPILOG, context_settings={"help_option_names": ["--help", "-h"]})(Arguments)
    return typer.main.get_command(app)


def _complain(message: str) -> None:
    sys.stderr.write(f"verify: {printable(message)}\n")
