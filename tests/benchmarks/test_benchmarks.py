"""The benchmark scripts still run, remember, and notice contradictions; what they measure is not tested."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from mipverify_py import Objective, StopReason, Tightening, verify
from onnx_models import load_onnx
from onnx_models.errors import InputError
from tests.benchmarks import (
    against_mip,
    against_prototype,
    agreement,
    backends,
    distances,
    growth,
    loading,
    mnist_networks,
    rsl18a,
    tightening,
)
from tests.benchmarks.test_measurements import CLOSED, OTHER, SMALL

QUICK = ["--engine", "mip", "--seconds", "20"]


def test_backends_are_timed_on_a_question(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = backends.available_backends()[:1]
    assert backends.main(["--questions", "1", "--seconds", "30", "--backends", ",".join(chosen)]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*chosen, backends.QUESTIONS[0].model))


def test_there_are_twenty_different_questions() -> None:
    assert len(set(backends.QUESTIONS)) == 20


def test_an_unsettled_answer_does_not_pass_for_a_time() -> None:
    assert backends.Answer(1.0, None, "BackendLimitError").cell(60.0) == "BackendLimitError"


@pytest.mark.parametrize("case", [None, loading.CASES[-1]], ids=["imports alone", "smallest model"])
def test_loading_is_measured(case: loading.Case | None, shared_data: Path) -> None:
    assert shared_data == loading.DATA
    row = loading.measure(case)
    assert set(row) == (
        {"megabytes"} if case is None else {"load", "interval", "linear", "relus", "unstable", "megabytes"}
    )


def test_stages_are_compared_on_the_same_images() -> None:
    stages = (Tightening.INTERVAL, Tightening.LP)
    rows = [tightening.measure("digits_small_standard", stage, "highs", 60.0, (1, 9)) for stage in stages]
    assert tightening.contradictions(rows) == 0 and all(row.open_images == 0 for row in rows)
    wrong = rows[0]._replace(brackets=((0.9, 0.9), (0.9, 0.9)))
    assert tightening.contradictions([wrong, rows[1]]) == 2


# ---------------------------------------------------------------------------------------------------------- scripts


def doctor(file: Path, figures: dict[str, object], options: dict[str, object]) -> None:
    """Adds to the file a copy of its first measurement with other figures, as if made with other options."""
    row = json.loads(file.read_text().splitlines()[0])
    row["figures"] |= figures
    row["key"]["options"] |= options
    with file.open("a") as stream:
        stream.write(json.dumps(row) + "\n")


@pytest.mark.slow
def test_a_run_is_resumed_and_not_confused_by_another_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "deep" / "measurements.jsonl"
    run = ["--images", "0", "--out", str(file), *QUICK]
    assert distances.main(["--networks", SMALL, *run]) == 0
    first = capsys.readouterr()
    assert "1 of 1" in first.out and "[1/1]" in first.err
    with file.open("a") as stream:
        stream.write('{"key": {"what": "que')  # a run that was killed
    assert distances.main(["--networks", f"{SMALL},{OTHER}", *run]) == 0
    second = capsys.readouterr()
    assert f"{OTHER} 0" in second.err and SMALL not in second.err and "1 unreadable" in second.err
    keys = [json.loads(line)["key"] for line in file.read_text().splitlines() if line.endswith("}")]
    assert len(keys) == 2 and len({key["network"] for key in keys}) == 2


def test_a_contradiction_in_the_file_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "measurements.jsonl"
    run = ["--networks", SMALL, "--images", "0", "--out", str(file), *QUICK]
    assert distances.main(run) == 0
    doctor(file, {"lower": 0.9, "upper": 0.9}, {"engine": "another"})
    assert distances.main(run) == 1
    assert "CONTRADICTION: zoo:digits_small_standard 0: brackets" in capsys.readouterr().err


@pytest.mark.slow
def test_the_engine_is_compared_with_a_program_inside_its_distance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "measurements.jsonl"
    run = ["--networks", SMALL, "--images", "0", "--backends", "highs", "--out", str(file), *QUICK]
    assert against_mip.main(run) == 0
    assert "1 of 1" in capsys.readouterr().out
    ours, theirs = (json.loads(line) for line in file.read_text().splitlines())
    assert ours["key"]["radius"] is None
    assert ours["figures"]["upper"] < theirs["key"]["radius"] < ours["figures"]["upper"] + 2e-6
    theirs["figures"] |= {"verdict": "robust", "lower": None, "upper": None}
    file.write_text("".join(json.dumps(row) + "\n" for row in (ours, theirs)))
    assert against_mip.main(run) == 1


def test_ratios_favour_the_program_in_doubt() -> None:
    ours = {**CLOSED, "seconds": 2.0}
    loose = {**CLOSED, "settled": False, "stop": StopReason.NUMERICAL.value, "seconds": 4.0}
    late = {**CLOSED, "settled": False, "stop": StopReason.TIME_LIMIT.value, "seconds": 101.0}
    refused = {"error": "BackendLimitError", "detail": "too large"}
    cells = dict(
        zip(
            against_mip.HEADINGS[2:],
            against_mip.row([(ours, loose), (ours, late), (ours, refused), (refused, late)], 100.0),
            strict=True,
        )
    )
    assert cells["images"] == "3 of 4" and cells["failed"] == "1 BackendLimitError"
    assert cells["ratio"] == f">= {(2 * 50 * 1) ** (1 / 3):.2f}" and cells["least"] == "1.00"
    assert (cells["engine open"], cells["MIP open"], cells["MIP loose"]) == ("1", "2", "1")


SCRIPT = """
import sys
first, last = map(int, sys.argv[sys.argv.index("--index") + 1].split(":"))
for index in range(first, last):
    if index == {broken}:
        sys.exit("image {broken} is too much")
    bracket = "open" if index == 2 else "{distance:.6f}"
    end = "rounds 1 nodes 9 attack 0.40 s total 0.50 s"
    print(f"{{index}} class 7 d* in [{{bracket}}, {distance:.6f}] {{end}}", flush=True)
"""


@pytest.mark.slow
def test_the_engine_is_compared_with_a_prototype(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, script = tmp_path / "measurements.jsonl", tmp_path / "prototype.py"
    run = ["--networks", SMALL, "--images", "0", "--methods", "lp", "--out", str(file), *QUICK]
    assert against_prototype.main([*run, "--prototype", str(script)]) == 0
    assert "Skipped" in capsys.readouterr().err and not file.exists()
    script.write_text(SCRIPT.format(broken=99, distance=0.156194))
    assert against_prototype.main([*run, "--prototype", str(script)]) == 0
    assert "lp (lp 0.50)" in capsys.readouterr().out
    script.write_text(SCRIPT.format(broken=99, distance=0.2))
    assert against_prototype.main([*run, "--prototype", str(script)]) == 1  # another script is another measurement
    assert "CONTRADICTION" in capsys.readouterr().err


def test_a_prototype_that_fails_on_an_image_goes_on_with_the_next(tmp_path: Path) -> None:
    script = tmp_path / "prototype.py"
    script.write_text(SCRIPT.format(broken=1, distance=0.25))
    found = dict(against_prototype.run_prototype(script, SMALL, "hull", [4, 2, 0, 1], 5.0))
    assert sorted(found) == [0, 1, 2, 4]
    assert found[1] == {"error": "prototype failed", "detail": "image 1 is too much"}
    assert (found[0]["lower"], found[0]["upper"], found[0]["settled"]) == (0.25, 0.25, True)
    assert (found[2]["lower"], found[2]["settled"]) == (None, False)


@pytest.mark.parametrize("script", [distances, against_mip, against_prototype, rsl18a, growth])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--networks", "zoo:none"], "none"),
        (["--networks", "nowhere.onnx"], "nowhere.onnx"),
        (["--networks", SMALL, "--engine", "steam"], "steam"),
        (["--networks", SMALL, "--set", "steam=1"], "steam"),
    ],
)
def test_what_cannot_be_measured_is_named_at_once(
    script: ModuleType, wrong: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        script.main(wrong)
    assert end.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.slow
def test_verdicts_at_a_fixed_radius_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "measurements.jsonl"
    run = ["--networks", SMALL, "--images", "0:3", "--radius", "0.15", "--out", str(file), "--jobs", "2", *QUICK]
    assert rsl18a.main(run) == 0
    verdicts = [json.loads(line)["figures"]["verdict"] for line in file.read_text().splitlines()]
    assert len(verdicts) == 3 and set(verdicts) == {"robust", "adversarial"}
    assert "reproved" in capsys.readouterr().out
    swapped = {"robust": "adversarial", "adversarial": "robust"}
    doctor(file, {"verdict": swapped[verdicts[0]]}, {"seed": 9})
    assert rsl18a.main(run) == 1


@pytest.mark.slow
def test_growth_with_units_and_radius_is_tabulated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "measurements.jsonl"
    run = ["--networks", SMALL, "--images", "0", "--shares", "0.9", "--out", str(file), *QUICK]
    assert growth.main(run) == 0
    shown = capsys.readouterr().out
    assert "unstable units" in shown and " 0.9 " in shown
    text = file.read_text().replace('"verdict": "robust"', '"verdict": "adversarial"')
    file.write_text(text)
    assert growth.main(run) == 1
    assert "below its proven distance" in capsys.readouterr().err


def test_unstable_units_fall_into_one_row() -> None:
    rows = growth.by_units([(9, CLOSED), (10, CLOSED), (19, CLOSED), (500, CLOSED)], 20.0)
    assert [row[:2] for row in rows] == [("0 to 9", "1"), ("10 to 19", "2"), ("320 and more", "1")]


# --------------------------------------------------------------------------------------------------------- agreement


@pytest.mark.slow
def test_methods_agree_on_a_few_questions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "measurements.jsonl"
    run = ["--cases", "8", "--backends", "highs", "--out", str(file), *QUICK]
    assert agreement.main(run) == 0
    assert "8 random questions" in capsys.readouterr().out
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    adversarial = next(row for row in rows if row["figures"].get("verdict") == "adversarial")
    adversarial["figures"]["witness"] = False
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert agreement.main(run) == 1
    assert "the witness is none" in capsys.readouterr().err


def test_random_questions_are_of_every_kind() -> None:
    queries = [agreement.random_query((0, number, tuple(agreement.FAMILIES))) for number in range(60)]
    assert len({query.network.digest for query in queries}) == 60
    assert {query.objective for query in queries} == set(Objective)
    assert {type(query.perturbation).__name__ for query in queries} == {"Unrestricted", "LinfBall", "Box"}
    assert {query.margin == 0.0 for query in queries} == {query.label is None for query in queries} == {True, False}
    assert {query.domain is None for query in queries} == {True, False}


@pytest.mark.parametrize(
    ("change", "brute", "expected"),
    [
        ({}, {"near": 0.5, "far": 0.5000001}, "agree"),
        ({}, {"near": 0.5, "far": None}, "borderline"),
        ({}, {"near": None, "far": None}, "adversarial, but"),
        ({"settled": False, "lower": 0.1}, {"near": 0.5, "far": 0.5}, "open"),
        ({"lower": 0.51, "upper": 0.52}, {"near": 0.5, "far": 0.5}, "bracket"),
        ({"lower": 0.4, "upper": 0.49}, {"near": 0.5, "far": 0.5}, "bracket"),
        ({"verdict": "robust", "lower": None, "upper": None}, {"near": None, "far": None}, "agree"),
        ({"verdict": "robust", "lower": None, "upper": None}, {"near": 0.5, "far": None}, "borderline"),
        ({"verdict": "robust", "lower": None, "upper": None}, {"near": 0.5, "far": 0.5}, "robust, but"),
        ({"objective": "feasibility", "lower": None, "upper": None}, {"top": 0.1}, "adversarial, but"),
        ({"objective": "feasibility", "lower": None, "upper": None}, {"top": 0.25}, "borderline"),
        ({"objective": "worst"}, {"top": 0.5}, "agree"),
        ({"objective": "worst"}, {"top": 0.51}, "bracket"),
        ({"witness": False}, {"near": 0.5, "far": 0.5}, "the witness is none"),
        ({"replays": False}, {"near": 0.5, "far": 0.5}, "does not replay"),
        ({"error": "process died", "detail": "suddenly"}, {"near": 0.5, "far": 0.5}, "process died"),
    ],
)
def test_brute_force_is_the_judge(change: dict[str, object], brute: dict[str, object], expected: str) -> None:
    assert expected in agreement.judge(0.25, {**CLOSED, "witness": True, **change}, brute)


def test_a_witness_is_checked_without_its_own_class() -> None:
    cases = [agreement.random_query((1, number, ("dense",))) for number in range(60)]
    closest = [query for query in cases if query.objective is Objective.CLOSEST]
    results = [result for result in map(verify, closest) if result.witness is not None and result.upper > 0.01]
    assert results
    for result in results:
        assert agreement.sound_witness(result) is True
        query, point = result.witness.query, result.witness.point
        for changed in (
            {"point": point, "distance": 0.99 * result.upper},
            {"point": query.x0, "distance": result.upper},  # it misses the margin
            {"point": point + 3.0, "distance": 9.0},  # it leaves the domain
        ):
            pretended = SimpleNamespace(query=query, **changed)
            assert agreement.sound_witness(SimpleNamespace(witness=pretended)) is False
    assert agreement.sound_witness(SimpleNamespace(witness=None)) is None


# ----------------------------------------------------------------------------------------------------- MNIST networks


@pytest.mark.parametrize("shape", ["A", "B", "C"])
def test_networks_are_written_as_torch_computes_them(shape: str, tmp_path: Path) -> None:
    import torch

    torch.manual_seed(0)
    module = mnist_networks._architecture(shape)
    (tmp_path / "model.onnx").write_bytes(mnist_networks._to_onnx(module, "model"))
    network = load_onnx(tmp_path / "model.onnx")
    images = np.random.default_rng(0).random((5, 1, 28, 28)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(images)).numpy()
    assert network.relu_count == {"A": 100, "B": 256, "C": 288}[shape]
    np.testing.assert_allclose(network.forward_batch(images.reshape(5, -1)), expected, atol=1e-5)


def test_a_network_is_trained_once_and_kept_where_asked(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIPVERIFY_CACHE", str(tmp_path))
    monkeypatch.setattr(mnist_networks, "EPOCHS", {"B": 1})
    file = mnist_networks.path("B-adversarial")
    made = file.stat().st_mtime_ns
    assert file.parent == tmp_path and list(tmp_path.iterdir()) == [file]
    assert mnist_networks.path("B-adversarial") == file and file.stat().st_mtime_ns == made
    data = mnist_networks.read_mnist(mnist_networks.MNIST)
    assert mnist_networks.accuracy(mnist_networks.load("B-adversarial"), data) > 0.5


@pytest.mark.slow
def test_a_relu_trained_network_has_masked_units(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIPVERIFY_CACHE", str(tmp_path))
    monkeypatch.setattr(mnist_networks, "EPOCHS", {"B": 1})
    network = mnist_networks.load("B-relu")
    assert network.relu_count < 256
    assert mnist_networks.accuracy(network, mnist_networks.read_mnist(mnist_networks.MNIST)) > 0.5


@pytest.mark.parametrize("name", ["D-standard", "A", "no/such.model"])
def test_unknown_networks_are_named(name: str) -> None:
    with pytest.raises(InputError, match="A-standard"):
        mnist_networks.path(name)
    with pytest.raises(InputError, match="A-standard"):
        mnist_networks.subject(name)
