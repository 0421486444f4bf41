"""Published networks and published verdicts: data that nobody here made."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from bounds import Bounds
from mipverify_py import Box, LinfBall, Objective, Options, Query, Tightening, Verdict, distance, verify
from mipverify_py.data import read_mnist
from onnx_models import Array, ReluNetwork, load_onnx
from tests.helpers.queries import OWN

FAST = Options(tightening=Tightening.LINEAR, time_limit=20)


def mnistfc_property(path: Path) -> tuple[Bounds, int]:
    """The input box and the label c of a mnistfc property, which asserts Y_j >= Y_c for some other j."""
    text = path.read_text()
    ends = {"<=": np.full(784, np.nan), ">=": np.full(784, np.nan)}
    for relation, index, value in re.findall(r"\(assert \((<=|>=) X_(\d+) (\S+)\)\)", text):
        ends[relation][int(index)] = float(value)
    labels = set(re.findall(r"\(>= Y_\d+ Y_(\d+)\)", text))
    assert len(labels) == 1
    return Bounds(ends[">="], ends["<="]), int(labels.pop())


@pytest.fixture(scope="module")
def verdicts(shared_data: Path) -> list[tuple[str, str]]:
    """Property file and agreed verdict for the smallest mnistfc network."""
    with (shared_data / "vnncomp" / "expected.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["onnx"] == "mnist-net_256x2.onnx"]
    return [(row["vnnlib"], row["verdict"]) for row in rows if row["basis"] == "agree"]


@pytest.mark.slow
def test_no_verdict_contradicts_the_published_ones(shared_data: Path, verdicts: list[tuple[str, str]]) -> None:
    """20 properties of mnist-net_256x2 (VNN-COMP 2021): sat is an adversarial example, unsat is robustness."""
    folder = shared_data / "vnncomp" / "mnistfc"
    network = load_onnx(folder / "mnist-net_256x2.onnx")
    meaning = {Verdict.ADVERSARIAL: "sat", Verdict.ROBUST: "unsat"}
    found: list[str] = []
    for name, published in verdicts:
        box, label = mnistfc_property(folder / name)
        query = Query(network, 0.5 * (box.lower + box.upper), Box(box), Objective.FEASIBILITY, label=label)
        result = verify(query, FAST)
        if result.verdict is not Verdict.UNKNOWN:
            assert meaning[result.verdict] == published, name
            found.append(name)
    assert len(verdicts) == 20 and len(found) >= 15


@pytest.fixture(scope="module")
def wk17a(shared_data: Path) -> ReluNetwork:
    """WK17a (Wong and Kolter, 2018), trained for radius 0.1."""
    return load_onnx(shared_data / "models" / "wk17a_linf0.1.onnx")


@pytest.fixture(scope="module")
def images(shared_data: Path) -> tuple[Array, Array]:
    """The first five MNIST test images, flat, and their labels."""
    mnist = read_mnist(shared_data / "mnist")
    return mnist.images[:5].reshape(5, -1), mnist.labels[:5]


def test_wk17a_is_robust_on_the_first_images_by_bounds_alone(wk17a: ReluNetwork, images: tuple[Array, Array]) -> None:
    for x0, label in zip(*images, strict=True):
        result = verify(Query(wk17a, x0, LinfBall(0.1), Objective.FEASIBILITY, label=int(label)), FAST)
        assert (result.verdict, result.backend) == (Verdict.ROBUST, None) and result.evidence in OWN


@pytest.mark.slow
def test_a_distance_under_a_time_limit_is_a_bracket(wk17a: ReluNetwork, images: tuple[Array, Array]) -> None:
    result = distance(wk17a, images[0][0], options=FAST)
    assert result.lower is not None and result.upper is not None and result.witness is not None
    assert 0.1 < result.lower <= result.upper < 0.5
    assert result.witness.replay is not None
