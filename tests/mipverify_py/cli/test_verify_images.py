"""Whole runs on a small model: answers, exit codes, JSON against its schema, text against JSON."""

from __future__ import annotations

import json
import signal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from jsonschema import Draft202012Validator

from mipverify_py import Bracket, Options, Query, Result
from mipverify_py.cli import ExitCode, _search_image, _witness_file, run
from mipverify_py.cli import _main as main_module
from mipverify_py.cli._answer import worst
from onnx_models.errors import BackendLimitError

SCHEMA = json.loads(Path(main_module.__file__).with_name("verify-1.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)


@pytest.fixture
def records(inside: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `verify ... --json` and gives the exit code and the objects, each of which fits the schema."""

    def call(*words: str) -> tuple[int, list[dict[str, Any]]]:
        code = run([*words, "--json", "--quiet"])
        out, err = capsys.readouterr()
        assert err == ""
        found = [json.loads(line, parse_constant=pytest.fail) for line in out.splitlines()]
        for record in found:
            assert [error.message for error in VALIDATOR.iter_errors(record)] == []
        return code, found

    return call


def logits(model: str, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {"x": x.astype(np.float32)[None]})[0][0]
    return result


def test_the_distance_brackets_the_truth(records: Any) -> None:
    code, [record] = records("model.onnx", "x.npy")
    assert code == ExitCode.ANSWERED
    assert record["stop_reason"] == "solved"
    assert 0 < record["lower"] <= record["upper"]
    assert record["gap"] <= max(1e-6, 1e-5 * record["upper"])
    below, above = 0.999 * record["lower"], 1.001 * record["upper"]
    code, [robust] = records("model.onnx", "x.npy", "--eps", repr(below))
    assert (code, robust["verdict"], robust["eps"]) == (ExitCode.ANSWERED, "robust", below)
    assert robust["lower"] is robust["upper"] is robust["witness"] is None
    code, [broken] = records("model.onnx", "x.npy", "--eps", repr(above))
    assert (code, broken["verdict"]) == (ExitCode.ADVERSARIAL, "adversarial")
    assert record["lower"] <= broken["witness"]["distance"] <= above


@pytest.mark.parametrize("words", [("x.npz",), ("x.png",), ("two.npz:x",), ("batch.npy", "--index", "0")])
def test_the_same_image_from_another_file_gets_the_same_answer(records: Any, words: tuple[str, ...]) -> None:
    (_, [first]), (_, [second]) = records("model.onnx", "x.npy"), records("model.onnx", *words)
    assert (second["lower"], second["upper"], second["target"]) == (first["lower"], first["upper"], first["target"])


def test_a_table_is_read_with_the_digits_it_has(records: Any) -> None:
    (_, [first]), (_, [second]) = records("model.onnx", "x.npy"), records("model.onnx", "x.csv")
    assert second["upper"] == pytest.approx(first["upper"], abs=1e-6)


def test_targets_divide_the_distance(records: Any) -> None:
    _, [any_class] = records("model.onnx", "x.npy")
    others = any_class["targets"]
    assert sorted([*others, any_class["predicted"]]) == [0, 1, 2]
    each = {}
    for target in others:
        _, [one] = records("model.onnx", "x.npy", "--target", str(target))
        _, [same] = records("model.onnx", "x.npy", "--not-target", ",".join(str(j) for j in others if j != target))
        assert one["targets"] == same["targets"] == [target]
        each[target] = one["upper"] if one["upper"] is not None else float("inf")
    assert min(each.values()) == pytest.approx(any_class["upper"], abs=2e-5)
    assert min(each, key=each.__getitem__) == any_class["target"]


def test_a_misclassified_image_has_distance_zero_and_says_so(records: Any) -> None:
    _, [plain] = records("model.onnx", "x.npy")
    wrong = (plain["predicted"] + 1) % 3
    code, [record] = records("model.onnx", "x.npy", "--label", str(wrong))
    assert code == ExitCode.ANSWERED
    assert (record["label"], record["reference"], record["predicted"]) == (wrong, wrong, plain["predicted"])
    assert (record["lower"], record["upper"], record["evidence"]) == (0.0, 0.0, "reproved")
    assert any("misclassified" in note for note in record["notes"])
    code, [record] = records("model.onnx", "x.npy", "--label", str(wrong), "--eps", "0.01")
    assert (code, record["verdict"]) == (ExitCode.ADVERSARIAL, "adversarial")


def test_no_time_leaves_it_unknown(records: Any) -> None:
    code, [record] = records("model.onnx", "x.npy", "--engine", "mip", "--timeout", "1e-9")
    assert (code, record["verdict"], record["stop_reason"]) == (ExitCode.UNKNOWN, "unknown", "time_limit")
    assert record["lower"] is record["upper"] is record["evidence"] is None
    assert record["options"]["time_limit"] == 1e-9


def test_no_time_for_a_native_engine(records: Any) -> None:
    code, [record] = records("model.onnx", "x.npy", "--timeout", "1e-9")
    assert (code, record["stop_reason"]) == (ExitCode.UNKNOWN, "time_limit")
    assert record["lower"] is None or record["lower"] < record["upper"]


def test_a_larger_domain_can_only_come_nearer(records: Any) -> None:
    _, [unit] = records("model.onnx", "x.npy")
    _, [wide] = records("model.onnx", "x.npy", "--domain", "-1,2")
    _, [same] = records("model.onnx", "x.npy", "--domain", "domain.npz")
    assert wide["lower"] <= unit["upper"]
    assert (wide["lower"], wide["upper"]) == (same["lower"], same["upper"])


def test_a_margin_takes_longer_to_reach(records: Any) -> None:
    _, [tie] = records("model.onnx", "x.npy")
    _, [clear] = records("model.onnx", "x.npy", "--margin", "0.5", "--target", str(tie["target"]))
    assert clear["margin"] == 0.5
    assert clear["lower"] > tie["upper"]
    found = clear["witness"]["logits"]
    assert found[clear["target"]] - found[clear["reference"]] >= 0.5 - 1e-9


def test_every_image_of_a_batch_in_the_order_asked_for(records: Any) -> None:
    code, found = records("model.onnx", "batch.npy", "--index", "2,0:2")
    assert code == ExitCode.ANSWERED
    assert [record["index"] for record in found] == [2, 0, 1]
    assert len({record["digest"] for record in found}) == 1


def test_exit_codes_of_several_images() -> None:
    zero, one, two = ExitCode.ANSWERED, ExitCode.ADVERSARIAL, ExitCode.UNKNOWN
    assert worst([zero, zero]) == zero
    assert worst([zero, one, zero]) == one
    assert worst([one, two, zero]) == two


def test_a_saved_witness_is_adversarial_in_onnxruntime(
    records: Any, inside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, found = records("model.onnx", "batch.npy", "--index", "0,2", "--save-witness", str(tmp_path / "w.npz"))
    assert code == ExitCode.ANSWERED
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w-0000.npz", "w-0002.npz"]
    batch = np.load(inside / "batch.npy").astype(np.float64)
    for record in found:
        path = tmp_path / f"w-{record['index']:04d}.npz"
        assert record["witness"]["file"] == str(path)
        saved = np.load(path)
        assert np.array_equal(saved["x0"], batch[record["index"]])
        assert saved["witness"].shape == (1, 4, 4)
        assert np.all((saved["witness"] >= 0) & (saved["witness"] <= 1))
        assert np.abs(saved["witness"] - saved["x0"]).max() == pytest.approx(record["upper"], abs=1e-15)
        assert (str(saved["digest"]), int(saved["target"])) == (record["digest"], record["target"])
        outputs = logits("model.onnx", saved["witness"])
        assert outputs[record["target"]] - outputs[record["reference"]] >= -1e-5
        assert np.allclose(saved["logits"], outputs, atol=1e-5)


def test_a_single_witness_keeps_its_name_and_replaces_the_file(records: Any, tmp_path: Path) -> None:
    (tmp_path / "w.npz").write_text("old")
    code, [record] = records("model.onnx", "x.npy", "--eps", "0.9", "--save-witness", str(tmp_path / "w.npz"))
    assert code == ExitCode.ADVERSARIAL
    assert [path.name for path in tmp_path.iterdir()] == ["w.npz"]
    assert float(np.load(tmp_path / "w.npz")["distance"]) == record["witness"]["distance"]


def test_without_a_witness_nothing_is_saved(records: Any, tmp_path: Path) -> None:
    code, [record] = records("model.onnx", "x.npy", "--eps", "0", "--save-witness", str(tmp_path / "w.npz"))
    assert (code, record["witness"]) == (ExitCode.ANSWERED, None)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_does_not_cost_the_answer(
    inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(witness: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_witness_file, "_arrays", full)
    code = run(["model.onnx", "x.npy", "--json", "--quiet", "--save-witness", str(tmp_path / "w.npz")])
    out, err = capsys.readouterr()
    assert code == ExitCode.USAGE
    assert json.loads(out)["witness"]["file"] is None
    assert "the witness cannot be written (No space left on device)" in err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The search, but the first image is more than the solver's licence allows."""
    calls: list[int] = []
    real = _search_image.verify

    def verify(query: Query, *args: Any, **keywords: Any) -> Result:
        calls.append(query.predicted)
        if len(calls) == 1:
            raise BackendLimitError("The model has 3,000 rows; the licence allows 2,000.")
        return real(query, *args, **keywords)

    monkeypatch.setattr(_search_image, "verify", verify)
    return calls


def test_one_image_that_fails_does_not_stop_the_others(records: Any, refusing: list[int]) -> None:
    code, [first, second] = records("model.onnx", "batch.npy", "--index", "0:2")
    assert code == ExitCode.UNKNOWN
    assert (first["verdict"], first["stop_reason"]) == ("unknown", "solver_failed")
    assert first["stop_detail"] == "The model has 3,000 rows; the licence allows 2,000."
    assert (second["index"], second["stop_reason"]) == (1, "solved")
    assert len(refusing) == 2


def test_an_interruption_ends_the_run_after_the_image_at_hand(
    inside: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = _search_image.verify

    def stop(bracket: Bracket) -> None:
        signal.raise_signal(signal.SIGINT)

    def interrupted(query: Query, options: Options, **_: Any) -> Result:
        return real(query, options, on_progress=stop)

    monkeypatch.setattr(_search_image, "verify", interrupted)
    assert run(["model.onnx", "batch.npy", "--quiet"]) == ExitCode.INTERRUPTED
    out = capsys.readouterr().out
    assert [row[0] for row in rows(out)] == ["0"]
    assert "  stopped   interrupted" in out
    assert "1 of 3 images" in out


def test_a_bug_is_not_mistaken_for_an_answer(
    inside: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*args: Any, **keywords: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(_search_image, "verify", bug)
    assert run(["model.onnx", "x.npy", "--quiet"]) == ExitCode.INTERNAL
    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--inspect"],
        ["--inspect", "x.npy", "--eps", "0.1"],
        ["--inspect", "batch.npy", "--eps", "0.1", "--index", "1:"],
        ["--backends"],
        ["--list-zoo"],
    ],
)
def test_other_objects_fit_the_schema_too(records: Any, words: list[str]) -> None:
    code, found = records("model.onnx", *words)
    assert code == ExitCode.ANSWERED
    assert found


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert not VALIDATOR.is_valid({"schema": 1, "kind": "result"})


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line[:6].strip().isdigit()]


def test_rows_show_the_bracket_rounded_outwards(records: Any, inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, found = records("model.onnx", "batch.npy")
    assert run(["model.onnx", "batch.npy", "--quiet"]) == ExitCode.ANSWERED
    out, err = capsys.readouterr()
    assert err == ""
    assert len(rows(out)) == len(found) == 3
    for row, record in zip(rows(out), found, strict=True):
        assert row[:4] == [str(record["index"]), "-", str(record["predicted"]), "exact"]
        assert Fraction(row[4]) <= Fraction(record["lower"]) <= Fraction(record["upper"]) <= Fraction(row[5])
        assert row[6] == str(record["target"])
    assert "3 of 3 images" in out
    assert "3 exact" in out


def test_lines_of_a_table_are_aligned(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["model.onnx", "batch.npy", "--quiet", "--eps", "0.2", "--label", "1"])
    lines = capsys.readouterr().out.splitlines()
    head = next(line for line in lines if line.lstrip().startswith("index"))
    for line in lines:
        if line[:6].strip().isdigit():
            assert len(line) == len(head)
            assert line[: head.index("answer")].split()[1] == "1"


def test_a_single_image_is_told_in_facts(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["model.onnx", "x.npy", "--quiet"]) == ExitCode.ANSWERED
    out = capsys.readouterr().out
    for fact in ("input", "answer", "witness", "evidence", "search"):
        assert sum(line.startswith(f"  {fact} ") for line in out.splitlines()) == 1
    assert "<= distance <=" in out
    assert "onnxruntime (float32)" in out


def test_verbose_adds_statistics(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["model.onnx", "x.npy", "-v", "--engine", "mip", "--tightening", "interval"])
    assert "  bounds " in capsys.readouterr().out


def test_names_from_outside_cannot_style_the_output(
    inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "[red]\x1b[31m.npy"
    path.write_bytes((inside / "x.npy").read_bytes())
    assert run(["model.onnx", str(path), "--quiet"]) == ExitCode.ANSWERED
    out = capsys.readouterr().out
    assert "[red]\\x1b[31m.npy" in out
    assert "\x1b" not in out


def test_targets_that_have_to_win_are_compared_with_all_other_classes(records: Any) -> None:
    _, [reached] = records("model.onnx", "x.npy", "--target", "2")
    _, [winning] = records("model.onnx", "x.npy", "--target", "2", "--target-wins", "--replay")
    assert reached["rivals"] == [reached["reference"]]
    assert winning["rivals"] == [k for k in range(3) if k != 2]
    assert winning["replay"]["holds"]
    assert winning["lower"] is None or winning["lower"] >= reached["lower"] - 1e-6


def test_winning_needs_targets(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["model.onnx", "x.npy", "--target-wins"]) == ExitCode.USAGE
    assert "--target-wins needs targets" in capsys.readouterr().err
