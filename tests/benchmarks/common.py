"""What the comparisons share: command lines, means, cells of tables, and the facts that figures depend on."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mipverify_py import Options, StopReason
from onnx_models.errors import MipverifyError
from tests.benchmarks.measurements import code_digest
from tests.benchmarks.mnist_networks import NAMES, subject
from tests.benchmarks.questions import Figures

if TYPE_CHECKING:
    from rich.table import Table

PACKAGES = ("numpy", "scipy", "torch", "onnxruntime", "highspy", "pyscipopt", "gurobipy")


def new_table(title: str, headings: Sequence[str], *, left: Sequence[str], caption: str) -> Table:
    """An empty table whose columns named in `left` are words, the others numbers."""
    from rich.table import Table

    table = Table(title=title, caption=caption, caption_justify="left")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in left else "right")
    return table


def show(table: Table, *remarks: str) -> None:
    """Prints the table, and below it the remarks that are not empty."""
    from rich.console import Console

    console = Console(width=160)
    console.print(table, *(remark for remark in remarks if remark), sep="\n")


def report(problems: Sequence[str]) -> int:
    """Prints the contradictions to stderr; returns the exit code."""
    for problem in problems:
        print(f"CONTRADICTION: {problem}", file=sys.stderr)
    return 1 if problems else 0


def in_time(found: Figures, limit: float) -> bool:
    """Whether the question was answered to its gap within the limit."""
    return bool(found.get("settled")) and found["seconds"] <= limit


def failed(found: Figures) -> str:
    """Why a measurement gives no time: the licence, a crash, or a solver that ended early; empty where it gives one.

    A search that stopped short of its limit without an answer has no time that means anything.
    """
    if "error" in found:
        return str(found["error"])
    unsettled = not found["settled"] and found["stop"] != StopReason.TIME_LIMIT.value
    return str(found["stop"]) if unsettled else ""


def charged(found: Figures, limit: float) -> float:
    """Seconds, an unanswered question counted as the limit."""
    return float(found["seconds"]) if in_time(found, limit) else limit


def geometric_mean(values: Sequence[float]) -> float:
    """NaN for none."""
    return float(np.exp(np.mean(np.log(values)))) if len(values) else float("nan")


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least that share of the values do not exceed; NaN for none."""
    return float(np.quantile(values, share, method="inverted_cdf")) if len(values) else float("nan")


def cell(seconds: float, limit: float) -> str:
    """Seconds for a table; the limit itself means that it was reached."""
    if np.isnan(seconds):
        return "-"
    return f"> {limit:g}" if seconds >= limit * (1 - 1e-9) else f"{seconds:.2f}"


def counts(values: Sequence[object]) -> str:
    """How often each value occurs, such as `3 reproved, 1 none`."""
    seen: dict[str, int] = {}
    for value in values:
        name = "none" if value is None else str(value)
        seen[name] = seen.get(name, 0) + 1
    return ", ".join(f"{count} {name}" for name, count in sorted(seen.items(), key=lambda item: -item[1])) or "-"


def argument_parser(
    description: str, *, networks: Sequence[str] = NAMES, images: str = "0:50", seconds: float = 120.0
) -> argparse.ArgumentParser:
    """The options that every comparison has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--networks", type=words, default=tuple(networks), help=f"default {','.join(networks)}")
    parser.add_argument("--images", type=rows, default=rows(images), help=f"A:B or A,B,..., default {images}")
    parser.add_argument("--seconds", type=float, default=seconds, help=f"limit per question, default {seconds:g}")
    parser.add_argument("--engine", default=Options().engine, help="engine measured, default the library's")
    parser.add_argument("--threads", type=int, default=1, help="threads of each measurement, default 1")
    parser.add_argument(
        "--set", type=setting, action="append", default=[], help="NAME=VALUE, more options of the engine"
    )
    parser.add_argument("--out", type=Path, help="file of measurements; what it holds is not measured again")
    return parser


def parsed(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options given, with every network there (trained, if need be); what cannot be ends the program."""
    chosen = parser.parse_args(arguments)
    try:
        engine_options(chosen)
        for network in chosen.networks:
            subject(network)
    except (MipverifyError, TypeError) as error:  # TypeError: no such option
        parser.error(str(error))
    return chosen


def setting(text: str) -> tuple[str, Any]:
    """`jobs=2` as ("jobs", 2), `device=cuda` as ("device", "cuda")."""
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def words(text: str) -> tuple[str, ...]:
    """`a,b` as ("a", "b")."""
    return tuple(part for part in text.split(",") if part)


def rows(text: str) -> tuple[int, ...]:
    """`2:5` as (2, 3, 4); `2,7` as (2, 7)."""
    first, colon, last = text.partition(":")
    return tuple(range(int(first), int(last))) if colon else tuple(int(part) for part in text.split(","))


def engine_options(chosen: argparse.Namespace, **changes: Any) -> Options:
    """Options of the engine measured."""
    plain = {"engine": chosen.engine, "time_limit": chosen.seconds, "threads": chosen.threads}
    return Options(**{"certify": "never", **plain, **dict(chosen.set), **changes})


def mip_options(chosen: argparse.Namespace, backend: str, **changes: Any) -> Options:
    """Options of the mixed-integer program on a backend, under the same limits; `--set` does not concern it."""
    limits = {"time_limit": chosen.seconds, "threads": chosen.threads}
    return Options(**{"engine": "mip", "backend": backend, "certify": "never", **limits, **changes})


def to_gap(gap: float) -> dict[str, float]:
    """The options that close a distance to a relative gap, however small the distance."""
    return {"gap_relative": gap, "gap_absolute": 0.0}


def facts(threads: int, jobs: int = 1) -> str:
    """The machine and the versions that figures depend on, in three lines."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    versions = [f"{name} {_version(name)}" for name in PACKAGES]
    return (
        f"{os.cpu_count()} cores, {usable} usable, load at the start {load}; threads {threads}, at a time {jobs}\n"
        f"{_processor()}; {platform.system()} {platform.release()}; Python {platform.python_version()}\n"
        f"mipverify-py {_version('mipverify-py')} (code {code_digest()}); {', '.join(versions)}"
    )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
