"""The entry point: reads the command line, chooses what to do, and turns every outcome into an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import typer

from mipverify_py.cli._arguments import Arguments
from mipverify_py.cli._check import check
from mipverify_py.cli._complain import complain
from mipverify_py.cli._exit import ExitCode

_HELP = """The exact distance of an input to the decision boundary of a ReLU network, or whether it is robust at --eps.

verify zoo:NAME --dataset digits --index 0:10

verify model.onnx image.png --eps 0.1 --label 7 --timeout 60"""

_EPILOG = (  # one line: typer would keep a line break
    "Exit codes: 0 robust, or distance computed; 1 adversarial example at --eps; 2 unknown (a limit was reached); "
    "3 wrong usage or input; 4 a proof failed its replay (--replay) or check (--check); 5 solvers disagree "
    "(--compare-backends). With several images the largest counts."
)

_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
"""What writing to stdout can fail with, apart from a broken pipe."""


def main() -> None:
    """The command `verify`: runs on the process's arguments and exits."""
    start("verify", run)


def start(program: str, run: Callable[[Sequence[str]], int]) -> None:
    """Runs a command on the process's arguments, tells its mistakes under the name `program`, and exits."""
    if sys.stderr is None:  # the caller closed it
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - stays open to the end of the process
    if sys.stdout is None:
        complain("stdout is closed, so results have nowhere to go.", program)
        sys.exit(ExitCode.USAGE)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs `verify` with these arguments and gives its exit code; everything it says goes to stdout and stderr."""
    return guarded("verify", lambda: _run(list(arguments)))


def guarded(program: str, action: Callable[[], int]) -> int:
    """The exit code of an action, or the one that says how it failed; the message names `program`."""
    with _interruptions_noted() as interruptions:
        return _code_of(program, action, interruptions)


@contextmanager
def _interruptions_noted() -> Iterator[list[int]]:
    """Yields a list to which SIGINT is added before it becomes a KeyboardInterrupt.

    An extension module that is being loaded may turn the exception into an ImportError.
    """
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        signal.default_int_handler(number, frame)

    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield noted
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _code_of(program: str, action: Callable[[], int], interruptions: list[int]) -> int:
    try:
        code = action()
        sys.stdout.flush()  # what cannot be written must be known while the exit code is still ours to choose
        return code
    except typer.TyperException as error:
        complain(error.format_message(), program)
        return ExitCode.USAGE
    except KeyboardInterrupt:
        complain("interrupted", program)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        _give_up_stdout()
        return ExitCode.BROKEN_PIPE
    except SystemExit:  # what rich makes of a broken pipe
        return ExitCode.BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - what is left is a bug, and Python's code 1 would read "adversarial"
        if interruptions and isinstance(error, ImportError):
            complain("interrupted", program)
            return ExitCode.INTERRUPTED
        if isinstance(error, OSError) and error.errno in _CANNOT_WRITE and error.filename is None:
            _give_up_stdout()
            complain(f"the output cannot be written ({error.strerror}).", program)
            return ExitCode.USAGE
        with contextlib.suppress(OSError):
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


def _give_up_stdout() -> None:
    """Python flushes stdout once more at exit and would complain again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
