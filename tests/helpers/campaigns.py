"""Made-up campaigns: queries, answers and failures without a solver, and stores that hold them."""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from mipverify_py.campaigns import (
    Answer,
    Completion,
    Failure,
    FailureReason,
    Finding,
    InputRecord,
    Limits,
    ModelRecord,
    QueryKind,
    QueryRecord,
    Store,
    StoredQuery,
    Task,
)

REPOSITORY = Path(__file__).resolve().parents[2]

MODEL = ModelRecord("a" * 64, "small", b"not really ONNX", {"accuracy": 0.9, "seed": 3})
OTHER_MODEL = ModelRecord("b" * 64, "large", b"\x00\x01", {})

QUESTIONS: dict[QueryKind, dict[str, Any]] = {
    QueryKind.DISTANCE: {"norm": "linf", "margin": 0.0, "targets": None, "domain": [0.0, 1.0], "label": None},
    QueryKind.VERIFY: {"norm": "linf", "margin": 0.0, "targets": None, "domain": [0.0, 1.0], "label": None, "eps": 0.1},
    QueryKind.ATTACK: {
        "norm": "linf",
        "domain": [0.0, 1.0],
        "label": None,
        "set": "fast",
        "attacks": {"pgd": {"steps": 7}},
        "finish": False,
    },
}
OPTIONS = {"engine": "auto", "backend": "highs", "tightening": "lp", "restarts": 4}
HOST = {"cpu": "a processor", "cores": 2, "memory_gib": 8, "system": "Linux", "gpu": None}
VERSIONS = {"mipverify-py": "0.1.0", "numpy": "2.1"}
_SECONDS = itertools.count(1)


def image(index: int) -> np.ndarray:
    """An input of shape (1, 2, 3), another one for every index."""
    return np.random.default_rng(index).random((1, 2, 3))


def query(
    index: int = 0,
    kind: QueryKind = QueryKind.DISTANCE,
    configuration: str = "A",
    label: int | None = 3,
    **changes: Any,
) -> QueryRecord:
    """A query about model A; `changes` are fields of the record, or of its question."""
    fields = {
        "model": MODEL.digest,
        "options": OPTIONS,
        "seed": 0,
        "input": InputRecord(image(index), "toy", index, label),
    }
    fields |= {name: value for name, value in changes.items() if name in fields}
    question = {**QUESTIONS[kind], **{name: value for name, value in changes.items() if name not in fields}}
    return QueryRecord(configuration=configuration, kind=kind, question=question, **fields)


def answer(lower: float | None = 0.1, upper: float | None = 0.1, **changes: Any) -> Answer:
    """An answer with this bracket; it is decided where the ends are equal, unless `changes` say otherwise."""
    decided = lower is not None and lower == upper
    fields: dict[str, Any] = {
        "decided": decided,
        "verdict": "unknown" if upper is None else "adversarial",
        "lower": lower,
        "upper": upper,
        "evidence": None if lower is None else "reproved",
        "evidence_detail": "",
        "stop_reason": "solved" if decided else "time_limit",
        "stop_detail": "",
        "predicted": 3,
        "reference": 3,
        "engine": "cuts",
        "backend": None,
        "seconds": 0.5,
        "findings": () if upper is None else (Finding("exact", upper, 5, np.full((1, 2, 3), upper)),),
        "statistics": {"nodes": 7},
    }
    return Answer(**{**fields, **changes})


def failure(reason: FailureReason = FailureReason.KILLED, detail: str = "signal 9") -> Failure:
    return Failure(reason, detail)


def completion(asked: StoredQuery | int, outcome: Answer | Failure, **task: Any) -> Completion:
    """An attempt at the query that is over; no two of them are equal."""
    row, record = (asked, query()) if isinstance(asked, int) else (asked.row, asked.record)
    fields: dict[str, Any] = {"number": 1, "limits": Limits(10.0), "overrides": {}, "final": True, **task}
    seconds = next(_SECONDS) * 2.0**-20
    return Completion(Task(row, record=record, **fields), outcome, "worker-1", HOST, VERSIONS, seconds)


def filled_store(path: Path, count: int = 3, *, decided: int = 0) -> Store:
    """A new store with model A and `count` queries for distances, the first `decided` of them answered."""
    store = Store.create(path)
    store.add_model(MODEL)
    store.add_queries([query(index) for index in range(count)])
    for stored in store.queries()[:decided]:
        store.record(completion(stored, answer()))
    return store


def dump(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables, read without the package; the order of columns is that of the schema."""
    import sqlite3

    connection = sqlite3.connect(path)
    try:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in names}
    finally:
        connection.close()


def start(program: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """A new Python process that runs `program`; what it prints can be read line by line."""
    command = [sys.executable, "-u", "-c", textwrap.dedent(program), *map(str, arguments)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, **options)


def run(program: str, *arguments: object, **options: Any) -> str:
    """What such a process prints; it has to end well."""
    with start(program, *arguments, stderr=subprocess.PIPE, **options) as process:
        out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    return out
