"""The entry point of `counter-attack`: finds the command asked for and turns every outcome into an exit code.

A command NAME lives in `counter_attack/cli/_NAME.py` (a hyphen becomes an underscore). That module

- imports neither numpy nor torch at its top, so that help and usage errors answer at once;
- has `app`, made with `new_app()`, in which functions or dataclasses of options are registered as usual in typer;
- returns from a command its exit code, or an object whose method `run()` does the work and gives the exit code. Thus
  a frozen dataclass whose fields are the options and that has `run` is a whole command.

`typer.TyperException(sentence)` is a wrong command line; so is every `MipverifyError` raised by the work. Both end in
one line on stderr and exit code 3.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from mipverify_py.cli import ExitCode
from mipverify_py.cli._main import guarded, start

PROGRAM = "counter-attack"

COMMANDS = {
    "amoeba": "Boxes in which the class is provably kept, with a reach of its own for every feature and direction.",
    "attack": "Look for the nearest adversarial examples with one attack or a pool of them.",
    "campaign": "Run thousands of queries, resumably: run, resume, status, export, certificates, merge, report.",
    "compare": "Compare attacks with each other and with exact distances.",
    "detect": "Mark inputs that are not robust, by an attack's distance and a buffer.",
    "diagnose": "Look for signs of obfuscated gradients; draw fooling curves, measure robustness.",
    "fit-buffer": "Fit a buffer on pairs of heuristic and exact distances.",
    "ground-truth": "Judge attacks and hardened networks by nearest examples of every target class.",
    "hardness": "Decide formulas by attacking networks, watch the effort grow, fool a detector on small grids.",
    "reductions": "Make detectors of classifiers and classifiers of detectors, and measure the risks of both.",
    "report": "Write the page of a campaign: summary, tables, charts, cases, examples.",
    "train": "Train a classifier and export it as ONNX.",
    "transfer": "Attack as a black box: make examples on substitutes and count those that fool the model.",
    "ug100": "Build data sets of exact distances like UG100, and analyse them: tables, plots, checks.",
    "unified": "Attack with one linearised attack that FGSM, DeepFool, PGD, one-pixel attacks and others are cases of.",
    "universal": "Make one perturbation for all inputs, and count the inputs that it fools.",
}
"""Name and one line of help of each command, in the order of the help."""

_HELP = """Attacks on ReLU classifiers, what they miss of the exact distance, and a detector built on them.

counter-attack COMMAND --help tells the options of a command."""

_EPILOG = (  # one line: typer would keep a line break
    "Exit codes: 0 answered; 1 adversarial or not robust, where a command decides that; 2 unknown (a limit was "
    "reached); 3 wrong usage or input; 130 interrupted. Exact answers are the business of `verify`."
)


def main() -> None:
    """The command `counter-attack`: runs on the process's arguments and exits."""
    start(PROGRAM, run)


def run(arguments: Sequence[str]) -> int:
    """Runs `counter-attack` with these arguments and gives its exit code; what it says goes to stdout and stderr."""
    return guarded(PROGRAM, lambda: _run(list(arguments)))


def new_app(**settings: Any) -> typer.Typer:
    """A typer application as all commands are: without shell completion and with -h beside --help."""
    return typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["--help", "-h"]},
        **settings,
    )


def command() -> Any:
    """The parser: called with words, it gives what the command returned, an exit code or an object with `run`."""
    app = new_app(cls=_Commands, help=_HELP, epilog=_EPILOG)
    app.callback(invoke_without_command=True)(_options)
    return typer.main.get_command(app)


def _run(words: list[str]) -> int:
    outcome = command().main(args=words or ["--help"], prog_name=PROGRAM, standalone_mode=False)
    if outcome is None or isinstance(outcome, int):  # --help, --version, or done
        return int(outcome or ExitCode.ANSWERED)
    from onnx_models.errors import MipverifyError  # numpy and scipy: not before the command line is known to be sound

    try:
        return int(outcome.run())
    except MipverifyError as error:
        raise typer.TyperException(str(error)) from error


def _options(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        sys.stdout.write(f"{PROGRAM} {installed('mipverify-py')}\n")
        raise typer.Exit(ExitCode.ANSWERED)
    if context.invoked_subcommand is None:
        raise typer.TyperException(f"No command is given; choose from {', '.join(COMMANDS)}.")


class _Commands(TyperGroup):
    """Lists the commands by name and line of help, and imports only the one that is run."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name]) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, found, rest = super().resolve_command(ctx, args)
        if found is not None and name is not None:
            found = typer.main.get_command(importlib.import_module(_module(name)).app)
        return name, found, rest


def _module(name: str) -> str:
    return f"counter_attack.cli._{name.replace('-', '_')}"
