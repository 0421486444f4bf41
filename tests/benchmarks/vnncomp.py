"""Instances of VNN-COMP 2021 with their own time limits: `python -m tests.benchmarks.vnncomp --benchmark acasxu`.

The networks, properties and published verdicts are in ../shared/data/vnncomp. One row of the table per property
(acasxu) or network (mnistfc), the last one for all. A verdict that contradicts a published one that at least two tools
share and none denies is an error. Seconds are those of the search: reading the files and a warm-up on another question
come before. With --out a run can be stopped and begun again. Instances answered side by side (--jobs) disturb each
other's times.

    python -m tests.benchmarks.vnncomp --benchmark mnistfc [--rows 0:30] [--jobs 2] [--device cuda] [--out FILE]
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mipverify_py import Options, Query, StopReason, verify, verify_property
from mipverify_py.data import read_digits
from onnx_models import ReluNetwork, load_onnx
from onnx_models.errors import MipverifyError
from onnx_models.vnnlib import read_vnnlib
from onnx_models.zoo import load_zoo
from tests.benchmarks.common import counts, facts, new_table, quantile, report, rows, setting, show
from tests.benchmarks.measurements import Measurements, option_values
from tests.benchmarks.mnist_networks import MNIST
from tests.benchmarks.questions import Figures
from tests.benchmarks.workers import Task, measured

FOLDER = Path(MNIST).parent / "vnncomp"
BENCHMARKS = ("acasxu", "mnistfc")
DECIDED = ("sat", "unsat")
LEFT = ("group", "rests on", "failed")
HEADINGS = ("group", "instances", "decided", *DECIDED, "unknown", "mean s", "median", "max", "rests on", "failed")


class Instance(NamedTuple):
    """A line of an instance list: the files, the limit, and the verdict that the tools agree on (empty if none)."""

    benchmark: str
    row: int
    onnx: str
    vnnlib: str
    limit: float
    expected: str

    @property
    def model(self) -> str:
        """The model's file."""
        return str(FOLDER / self.benchmark / self.onnx)

    @property
    def specification(self) -> str:
        """The property's file."""
        return str(FOLDER / self.benchmark / self.vnnlib)

    @property
    def group(self) -> str:
        """The row of the table that it counts in."""
        return Path(self.vnnlib if self.benchmark == "acasxu" else self.onnx).stem


def instances(benchmark: str) -> list[Instance]:
    """The benchmark's list with the published verdicts."""
    with (FOLDER / "expected.csv").open(newline="") as stream:
        published = {(line["benchmark"], int(line["row"])): line["verdict"] for line in csv.DictReader(stream)}
    with (FOLDER / benchmark / f"{benchmark}_instances.csv").open(newline="") as stream:
        lines = list(csv.reader(stream))
    return [
        Instance(benchmark, k, onnx, prop, float(limit), published.get((benchmark, k), "").replace("unknown", ""))
        for k, (onnx, prop, limit) in enumerate(lines)
    ]


@cache
def network(model: str) -> ReluNetwork:
    """A model, read once per process."""
    return load_onnx(model)


def task(instance: Instance, options: Options) -> Task:
    """The task of answering an instance."""
    text = Path(instance.specification).read_bytes()
    key = {
        "what": "property",
        "network": network(instance.model).digest,
        "property": hashlib.sha256(text).hexdigest()[:16],
        "options": option_values(options),
    }
    assert options.time_limit is not None
    name = f"{instance.benchmark} {instance.row} {Path(instance.onnx).stem} {Path(instance.vnnlib).stem}"
    return Task(key, name, ask, (instance, options), options.time_limit)


def ask(instance: Instance, options: Options) -> Figures:
    """The figures of one instance, answered in this process."""
    _warm_up(options.engine, options.device)
    try:
        model, prop = network(instance.model), read_vnnlib(instance.specification)
        began = time.perf_counter()
        result = verify_property(model, prop, options)
    except MipverifyError as error:
        return {"error": type(error).__name__, "detail": str(error)}
    found = result.counterexample
    return {
        "verdict": result.status.value,
        "settled": result.status.value in DECIDED,
        "seconds": time.perf_counter() - began,
        "stop": result.stop_reason.value,
        "detail": result.stop_detail,
        "evidence": None if result.evidence is None else result.evidence.value,
        "confirmed": None if found is None else found.is_confirmed,
    }


@cache
def _warm_up(engine: str, device: str) -> None:
    """Imports and torch's own preparations happen on a question that is not counted."""
    options = Options(engine=engine, device=device, time_limit=30.0)
    verify(Query(load_zoo("digits_small_standard"), read_digits().image(0)), options)


def problems(chosen: Sequence[Instance], answers: Sequence[Figures]) -> list[str]:
    """Verdicts that contradict the published ones, and counterexamples that onnxruntime does not confirm."""
    found = []
    for instance, answer in zip(chosen, answers, strict=True):
        said, place = answer.get("verdict"), f"{instance.benchmark} {instance.row}"
        if {said, instance.expected} == set(DECIDED):
            found.append(f"{place}: {said}, published is {instance.expected}")
        if answer.get("confirmed") is False:
            found.append(f"{place}: onnxruntime does not confirm the counterexample")
    return found


def cells(chosen: Sequence[Instance], answers: Sequence[Figures]) -> tuple[str, ...]:
    """Counts and seconds; an instance that is not decided counts as its limit."""
    verdicts = [answer.get("verdict", "unknown") for answer in answers]
    seconds = [
        float(answer["seconds"]) if answer.get("settled") else instance.limit
        for instance, answer in zip(chosen, answers, strict=True)
    ]
    limited = (None, StopReason.SOLVED.value, StopReason.TIME_LIMIT.value)
    failed = [answer.get("error") or answer.get("stop") for answer in answers]
    return (
        str(len(answers)),
        str(sum(verdict in DECIDED for verdict in verdicts)),
        *(str(verdicts.count(verdict)) for verdict in (*DECIDED, "unknown")),
        f"{np.mean(seconds):.2f}",
        *(f"{quantile(seconds, share):.2f}" for share in (0.5, 1.0)),
        counts([answer["evidence"] for answer in answers if answer.get("evidence")]),
        counts([reason for reason in failed if reason not in limited]),
    )


def processor(device: str) -> str:
    """What the duals compute on, as a line of the caption; empty for the CPU, which `facts` names."""
    if device == "cpu":
        return ""
    import torch

    return f"\n{device}: {torch.cuda.get_device_name(device)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns 1 if a verdict contradicts the published one."""
    parser = argparse.ArgumentParser(description="Instances of VNN-COMP 2021.")
    parser.add_argument("--benchmark", choices=BENCHMARKS, required=True)
    parser.add_argument("--rows", type=rows, help="A:B or A,B,... of the instance list, default all")
    parser.add_argument("--seconds", type=float, default=np.inf, help="limit at most, default the list's own limits")
    parser.add_argument("--jobs", type=int, default=1, help="instances answered at the same time, default 1")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, default cpu")
    parser.add_argument("--set", type=setting, action="append", default=[], help="NAME=VALUE, options of the engine")
    parser.add_argument("--out", type=Path, help="file of measurements; what it holds is not measured again")
    chosen = parser.parse_args(arguments)
    listed = instances(chosen.benchmark)
    picked = listed if chosen.rows is None else [listed[k] for k in chosen.rows if k < len(listed)]
    picked = [instance._replace(limit=min(instance.limit, chosen.seconds)) for instance in picked]
    try:
        plain = Options(**{"device": chosen.device, "certify": "never", **dict(chosen.set)})
        tasks = [task(one, replace(plain, time_limit=one.limit)) for one in picked]
    except (MipverifyError, TypeError, OSError) as error:
        parser.error(str(error))
    measurements = Measurements(chosen.out)
    answers = measured(tasks, measurements, threads=plain.threads, jobs=chosen.jobs)
    caption = facts(plain.threads, chosen.jobs) + processor(plain.device)
    table = new_table(f"VNN-COMP 2021 {chosen.benchmark}, engine {plain.engine}", HEADINGS, left=LEFT, caption=caption)
    for group in [*dict.fromkeys(one.group for one in picked), "all"]:
        part = [(one, found) for one, found in zip(picked, answers, strict=True) if group in (one.group, "all")]
        table.add_row(group, *cells([one for one, _ in part], [found for _, found in part]))
    wrong = problems(picked, answers)
    show(table, f"{len(wrong)} contradictions with the published verdicts or with onnxruntime", measurements.note())
    return report(wrong)


if __name__ == "__main__":
    sys.exit(main())
