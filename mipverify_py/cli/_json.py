"""Answers as JSON, one object per line, as docs/reference/json.md and verify-1.schema.json describe them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from mipverify_py._options import Options
from mipverify_py._statistics_record import statistics_record
from mipverify_py._witness import Witness
from mipverify_py.cli._answer import Answer
from mipverify_py.cli._certificates import certificate_record
from mipverify_py.cli._float32 import float32_record
from mipverify_py.cli._perturbations import perturbation_record
from mipverify_py.cli._questions import tolerance_of
from mipverify_py.cli._report import Report, Run
from mipverify_py.proof import ReplayReport

SCHEMA = 1
"""Version of the objects written; it grows when a field changes its meaning or goes, not when one is added."""


def write_line(record: Mapping[str, Any]) -> None:
    """Writes one object as one line of stdout, at once; numbers are finite by construction, or this raises."""
    sys.stdout.write(json.dumps(record, allow_nan=False) + "\n")
    sys.stdout.flush()


class JsonReport(Report):
    """One object per image and nothing else."""

    def begin(self) -> None:
        """Nothing: every line stands alone."""

    def add(self, answer: Answer) -> None:
        write_line(result_record(self.run, answer))

    def end(self) -> None:
        """Nothing: every line stands alone."""


def result_record(run: Run, answer: Answer) -> dict[str, Any]:
    """The object for one image; every field is always there, null where there is nothing to say."""
    query, result = answer.query, answer.result
    return {
        "schema": SCHEMA,
        "kind": "result",
        "version": version("mipverify-py"),
        "model": run.model,
        "digest": run.network.digest,
        "input": run.inputs,
        "index": answer.index,
        "label": query.label,
        "predicted": result.predicted,
        "reference": result.reference,
        "objective": result.objective.value,
        "verdict": result.verdict.value,
        "lower": result.lower,
        "upper": result.upper,
        "gap": result.gap,
        "relative_gap": result.relative_gap,
        "target": result.target,
        "targets": list(query.target_classes),
        "rivals": list(query.rivals),
        "norm": query.norm.value,
        "eps": answer.eps,
        "perturbation": perturbation_record(query.perturbation),
        "margin": query.margin,
        "evidence": None if result.evidence is None else result.evidence.value,
        "evidence_detail": result.evidence_detail,
        "stop_reason": result.stop_reason.value,
        "stop_detail": result.stop_detail,
        "engine": result.engine,
        "backend": result.backend,
        "seconds": result.seconds,
        "attack_seconds": result.attack_seconds,
        "replay": _replay(answer.replay),
        "certificate": certificate_record(answer.certified),
        "witness": _witness(result.witness, answer),
        "float32": float32_record(answer.float32),
        "notes": [*run.network.notes, *answer.notes],
        "options": {
            **_options(answer.options),
            "jobs": run.arguments.jobs,
            "certify": run.arguments.certify if run.arguments.certificate is None else "always",
            "method": run.arguments.method,
            "tolerance": tolerance_of(run.arguments),
        },
        "statistics": statistics_record(result.statistics),
    }


def _replay(report: ReplayReport | None) -> dict[str, Any] | None:
    if report is None:
        return None
    return {
        "holds": report.holds,
        "nodes": report.nodes,
        "leaves": report.leaves,
        "seconds": report.seconds,
        "failure": report.failure,
    }


def _witness(witness: Witness | None, answer: Answer) -> dict[str, Any] | None:
    if witness is None:
        return None
    replay = witness.replay
    return {
        "distance": witness.distance,
        "target": witness.target,
        "predicted": witness.predicted,
        "logits": witness.logits.tolist(),
        "parameters": None if witness.parameters is None else witness.parameters.tolist(),
        "replay": None if replay is None else {"predicted": replay.predicted, "adversarial": replay.adversarial},
        "file": None if answer.saved is None else str(answer.saved),
    }


def _options(options: Options) -> dict[str, Any]:
    return {
        "backend": options.backend,
        "tightening": options.tightening.value,
        "time_limit": options.time_limit,
        "gap_absolute": options.gap_absolute,
        "gap_relative": options.gap_relative,
        "threads": options.threads,
        "device": options.device,
        "seed": options.seed,
    }
