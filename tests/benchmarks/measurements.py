"""Measurements that are remembered, and answers that cannot both be right.

The key of a measurement is everything that its answer may depend on: network digest, image, question and options. So
another network or another option is another measurement, and a run that is begun again skips what its file holds.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mipverify_py import Objective, Options, Verdict
from onnx_models.errors import InvalidBoundsError
from tests.benchmarks.questions import Figures

REPOSITORY = Path(__file__).resolve().parents[2]
CLAIM_SLACK = 1e-6
"""By how much a solver's claim may pass a checked value before that counts as a contradiction: a thousand times the
tolerance of its rows. What we prove ourselves gets no slack at all."""


class Measurements:
    """Figures by key, in a file of JSON lines that grows by one line per measurement; without a file, in memory only.

    A last line that was cut off when a run was killed is left alone and counts as absent.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._known: dict[str, dict[str, Any]] = {}
        self._used: set[str] = set()
        text = file.read_text("utf-8") if file is not None and file.is_file() else ""
        broken = 0
        for line in text.splitlines():
            try:
                row = json.loads(line)
                self._known[_canonical(row["key"])] = row
            except (ValueError, KeyError, TypeError):
                broken += 1
        if broken:
            print(f"{file}: {broken} unreadable lines, measured again where needed.", file=sys.stderr)
        self._open_line = bool(text) and not text.endswith("\n")

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: Mapping[str, object]) -> Figures | None:
        """The figures of an earlier measurement with this key, or None."""
        name = _canonical(key)
        if name not in self._known:
            return None
        self._used.add(name)
        return self._known[name]["figures"]

    def add(self, key: Mapping[str, object], name: str, found: Figures) -> Figures:
        """Keeps the figures, on disk at once; returns them as they would be read back."""
        row = {"key": key, "name": name, "figures": found, "code": code_digest(), "machine": platform.node()}
        line = json.dumps(row)
        self._known[_canonical(key)] = json.loads(line)
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write("\n" * self._open_line + line + "\n")
            self._open_line = False
        return self._known[_canonical(key)]["figures"]

    def note(self) -> str:
        """A warning where measurements that were asked for come from other code or another machine."""
        here = (code_digest(), platform.node())
        rows = [self._known[name] for name in self._used]
        strange = sum((row.get("code"), row.get("machine")) != here for row in rows)
        if not strange:
            return ""
        return (
            f"{strange} of the {len(rows)} measurements used, in {self._file}, come from other code or another machine "
            "than this; name another --out to make them again."
        )

    def contradictions(self) -> list[str]:
        """One line per answer that is wrong in itself, and per pair of answers to one question that contradict."""
        groups: dict[str, list[dict[str, Any]]] = {}
        found = []
        for row in self._known.values():
            groups.setdefault(_canonical({**row["key"], "options": None}), []).append(row)
            problem = flaw(row["figures"])
            found += [f"{row['name']}: {problem}"] if problem else []
        for rows in groups.values():
            for position, one in enumerate(rows):
                for other in rows[:position]:
                    problem = contradiction(one["figures"], other["figures"])
                    found += [f"{one['name']}: {problem}"] if problem else []
        return found


def _canonical(key: Mapping[str, object]) -> str:
    return json.dumps(key, sort_keys=True)


def option_values(options: Options) -> dict[str, object]:
    """The options as plain values, for keys."""
    values = {name: getattr(options, name) for name in options.__dataclass_fields__}
    return values | {"tightening": options.tightening.value}


@cache
def code_digest() -> str:
    """Tells versions of the code apart: a digest of the packages' source, command line left out."""
    digest = hashlib.sha256()
    for package in ("onnx_models", "bounds", "mipverify_py"):
        for file in sorted((REPOSITORY / package).rglob("*.py")):
            if "cli" not in file.parts:
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def contradiction(one: Figures, other: Figures, *, slack: float = CLAIM_SLACK) -> str:
    """Why two answers to the same question cannot both be right; empty if they can.

    `slack` is given to an end of a bracket that rests on a claim; an end that is reproved or checked gets none.
    """
    verdicts = {one.get("verdict"), other.get("verdict")}
    if verdicts == {Verdict.ROBUST.value, Verdict.ADVERSARIAL.value}:
        return f"one says robust, the other adversarial ({_bracket(one)}, {_bracket(other)})"
    for low, high in ((one, other), (other, one)):
        if low.get("lower") is None or high.get("upper") is None:
            continue
        prover = high if low.get("objective") == Objective.WORST.value else low
        allowed = 0.0 if prover.get("evidence") == "reproved" else slack
        if low["lower"] > high["upper"] + allowed:
            return f"brackets {_bracket(one)} and {_bracket(other)} do not meet"
    return ""


def flaw(found: Figures) -> str:
    """What is wrong with an answer on its own; empty if nothing is."""
    if found.get("error") == InvalidBoundsError.__name__:
        return str(found["detail"])
    if found.get("replays") is False:
        return "the proof does not replay"
    return contradiction(found, found, slack=0.0)


def _bracket(found: Figures) -> str:
    return f"[{found.get('lower')}, {found.get('upper')}]"
