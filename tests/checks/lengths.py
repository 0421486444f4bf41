"""Modules of at most 400 lines, functions of at most 80 lines and 7 parameters: `python tests/checks/lengths.py`.

Prints one line per offence and exits with 1 if there is any. A function's lines run from its `def` to its end,
docstring and nested functions included; `self` and `cls` are not counted as parameters.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MODULE_LINES = 400
FUNCTION_LINES = 80
PARAMETERS = 7
FOLDERS = ("onnx_models", "bounds", "mipverify_py", "counter_attack", "tests", "docs")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def offences(source: str, name: str) -> Iterator[str]:
    """One message per limit that the module `source` exceeds; `name` is what to call the file."""
    length = len(source.splitlines())
    if length > MODULE_LINES:
        yield f"{name}: the module has {length} lines; the limit is {MODULE_LINES}. Split it by what its parts are for."
    for function in _functions(ast.parse(source, name)):
        place = f"{name}:{function.lineno}: {function.name}"
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > FUNCTION_LINES:
            yield f"{place} has {lines} lines; the limit is {FUNCTION_LINES}. Name its parts."
        count = _parameters(function)
        if count > PARAMETERS:
            yield f"{place} has {count} parameters; the limit is {PARAMETERS}. Some of them are one thing with a name."


def _functions(tree: ast.AST) -> Iterator[Function]:
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield node


def _parameters(function: Function) -> int:
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    if positional and positional[0].arg in ("self", "cls"):
        positional = positional[1:]
    variadic = [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
    return len(positional) + len(arguments.kwonlyargs) + len(variadic)


def main(root: Path) -> int:
    """Checks every Python file of the project below `root`; returns the exit code."""
    files = sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py"))
    found = [message for path in files for message in offences(path.read_text("utf-8"), str(path.relative_to(root)))]
    for message in found:
        print(message)
    print(f"{len(files)} files, {len(found)} over a limit.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parents[2]))
