"""WK17a at radius 0.1 on all MNIST test images, by the command line: `python -m tests.benchmarks.wk17a`.

The convolutional network of Wong and Kolter (2018) in ../shared/data. MIPVerify publishes that 4.38 % of the test
images are misclassified or have an adversarial example within L-infinity distance 0.1. What is timed is `verify` as a
user runs it, with its start and the reading of the data. With --out a run can be stopped and begun again.

    python -m tests.benchmarks.wk17a [--images 0:10000] [--seconds 60] [--jobs 2] [--device cuda] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.common import facts, new_table, quantile, report, rows, show
from tests.benchmarks.mnist_networks import MNIST

NETWORK = Path(MNIST).parent / "models" / "wk17a_linf0.1.onnx"
RADIUS, IMAGES, ADVERSARIAL = 0.1, 10_000, 438
"""What is published: so many of so many images are misclassified or not robust."""

HEADINGS = ("images", "robust", "adversarial", "of them misclassified", "unknown", "wall s", "median s", "max s")
Record = dict[str, Any]


def known(file: Path) -> dict[int, Record]:
    """The answers in the file, by index; a line that was cut short is not one."""
    found = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if record["stop_reason"] != "interrupted":
            found[record["index"]] = record
    return found


def ranges(indices: Sequence[int]) -> str:
    """`[0, 1, 2, 7]` as `0:3,7:8`."""
    parts: list[list[int]] = []
    for index in indices:
        if parts and index == parts[-1][1]:
            parts[-1][1] += 1
        else:
            parts.append([index, index + 1])
    return ",".join(f"{first}:{last}" for first, last in parts)


def answer(images: Sequence[int], chosen: argparse.Namespace, file: Path) -> float:
    """Runs `verify` on the images and appends its answers to the file; returns the seconds it took."""
    words = ["--dataset", "mnist", "--data-dir", MNIST, "--eps", f"{RADIUS:g}", "--index", ranges(images), "--json"]
    words += ["--jobs", str(chosen.jobs), "--timeout", f"{chosen.seconds:g}", "--device", chosen.device]
    program = "import sys; from mipverify_py.cli import run; sys.exit(run(sys.argv[1:]))"
    began = time.monotonic()
    with file.open("ab") as out:
        subprocess.run([sys.executable, "-c", program, str(NETWORK), *words], stdout=out, check=False)
    return time.monotonic() - began


def device_name(device: str) -> str:
    """The GPU's name, empty for the CPU."""
    if device == "cpu":
        return ""
    import torch

    return torch.cuda.get_device_name(device)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; returns 1 where an image is undecided or the count is not the published one."""
    parser = argparse.ArgumentParser(description="Fixed-radius verdicts on WK17a, all of MNIST's test images.")
    parser.add_argument("--images", type=rows, default=rows(f"0:{IMAGES}"), help=f"A:B or A,B,..., default 0:{IMAGES}")
    parser.add_argument("--seconds", type=float, default=60.0, help="limit per image, default 60")
    parser.add_argument("--jobs", type=int, default=2, help="images answered at the same time, default 2")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, default cpu")
    parser.add_argument("--out", type=Path, help="file of answers; what it holds is not asked again")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        file = chosen.out or Path(folder) / "answers.jsonl"
        before = known(file)
        missing = [k for k in chosen.images if k not in before]
        caption = "\n".join(filter(None, (facts(1, chosen.jobs), device_name(chosen.device))))
        seconds = answer(missing, chosen, file) if missing else 0.0
        found = [record for k, record in known(file).items() if k in set(chosen.images)]
    verdicts = Counter(record["verdict"] for record in found)
    wrong = sum(record["predicted"] != record["reference"] for record in found)
    times = [record["seconds"] for record in found]
    table = new_table(f"Adversarial examples within {RADIUS:g} on WK17a", HEADINGS, left=(), caption=caption)
    table.add_row(
        *map(str, (len(found), verdicts["robust"], verdicts["adversarial"], wrong, verdicts["unknown"])),
        f"{seconds:.0f}",
        f"{np.median(times):.3f}",
        f"{quantile(times, 1.0):.1f}",
    )
    reused = len(chosen.images) - len(missing)
    show(table, f"{reused} answers were in {chosen.out} already; wall s is for the others." if reused else "")
    problems = [f"{len(chosen.images) - len(found)} images have no answer"] if len(found) < len(chosen.images) else []
    if len(found) == IMAGES and verdicts["adversarial"] != ADVERSARIAL:
        problems.append(f"{verdicts['adversarial']} images are adversarial; published are {ADVERSARIAL}")
    return report(problems)


if __name__ == "__main__":
    sys.exit(main())
