"""Several answers per image, bounds and models in files, accuracy: whole runs on a small model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

import mipverify_py._agreement as agreement
from bounds import MipModel
from mipverify_py.backends import MipSolution, SolveLimits, available_backends, solve_isolated
from mipverify_py.cli import ExitCode, run
from mipverify_py.cli import _main as main_module

SCHEMA = json.loads(Path(main_module.__file__).with_name("verify-1.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)
DIGITS = ("zoo:digits_small_standard", "--dataset", "digits")


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


@pytest.fixture
def text(inside: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `verify ...` and gives the exit code, what it prints and what it complains about."""

    def call(*words: str) -> tuple[int, str, str]:
        code = run([*words, "--quiet"] if "-v" not in words else [*words])
        out, err = capsys.readouterr()
        return code, out, err

    return call


class TestAllTargets:
    def test_one_record_per_class(self, records: Any) -> None:
        _, [all_at_once] = records("model.onnx", "x.npy")
        code, found = records("model.onnx", "x.npy", "--all-targets")
        assert code == ExitCode.ANSWERED
        assert [record["targets"] for record in found] == [[j] for j in all_at_once["targets"]]
        uppers = [record["upper"] for record in found if record["upper"] is not None]
        assert min(uppers) == pytest.approx(all_at_once["upper"], abs=2e-5)

    def test_several_images_and_workers_give_the_same(self, records: Any) -> None:
        words = ("model.onnx", "batch.npy", "--all-targets", "--eps", "0.1")
        (one, first), (two, second) = records(*words), records(*words, "--jobs", "2")
        assert one == two
        keys = [(r["index"], *r["targets"], r["verdict"]) for r in first]
        assert keys == [(r["index"], *r["targets"], r["verdict"]) for r in second]
        assert [key[0] for key in keys] == [0, 0, 1, 1, 2, 2]

    def test_a_row_per_class(self, text: Any) -> None:
        code, out, _ = text("model.onnx", "x.npy", "--all-targets")
        assert code == ExitCode.ANSWERED
        assert "2 of 2 classes of images" in out

    def test_witness_files_name_the_class(self, records: Any, tmp_path: Path) -> None:
        _, found = records("model.onnx", "x.npy", "--all-targets", "--save-witness", str(tmp_path / "w.npz"))
        expected = {f"w-0000-class{r['targets'][0]}.npz" for r in found if r["witness"] is not None}
        assert expected and {path.name for path in tmp_path.iterdir()} == expected


class TestWitnesses:
    def test_examples_are_stacked(self, records: Any, tmp_path: Path) -> None:
        file = tmp_path / "w.npz"
        code, [record] = records(
            *("model.onnx", "x.npy", "--eps", "0.9", "--witnesses", "3", "--min-distance", "0.2"),
            *("--save-witness", str(file)),
        )
        assert code == ExitCode.ADVERSARIAL
        assert record["count"] == len(record["witnesses"]) == 3 and record["file"] == str(file)
        with np.load(file) as archive:
            stack, x0 = archive["witnesses"].reshape(3, -1), archive["x0"].reshape(-1)
            assert archive["targets"].tolist() == [w["target"] for w in record["witnesses"]]
        assert np.abs(stack - x0).max() <= 0.9
        for k in range(3):
            assert all(np.abs(stack[k] - stack[j]).max() >= 0.2 - 1e-15 for j in range(k))

    def test_robust_at_eps_has_none(self, records: Any, text: Any) -> None:
        words = ("model.onnx", "x.npy", "--eps", "0.001", "--witnesses", "3", "--min-distance", "0.2")
        code, [record] = records(*words)
        assert (code, record["witnesses"], record["exhausted"]) == (ExitCode.ANSWERED, [], True)
        code, out, _ = text(*words)
        assert code == ExitCode.ANSWERED and "0 adversarial examples" in out and "no more" in out


class TestCompareBackends:
    def test_solvers_agree(self, records: Any, text: Any, tmp_path: Path) -> None:
        names = available_backends()[:2]
        words = ("model.onnx", "x.npy", "--compare-backends", ",".join(names))
        code, [record] = records(*words, "--save-model", str(tmp_path / "m.mps"))
        assert code == ExitCode.ANSWERED and record["compared"] and record["disagreements"] == []
        assert [answer["backend"] for answer in record["answers"]] == list(names)
        assert (tmp_path / "m.mps").read_text().startswith("NAME")
        code, out, _ = text(*words)
        assert code == ExitCode.ANSWERED and "agree     yes" in out and "saved" not in out

    def test_a_disagreement_has_its_exit_code_and_leaves_the_model(
        self, records: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        first, second = available_backends()[:2]

        def lying(name: str, model: MipModel, limits: SolveLimits) -> MipSolution:
            solution = solve_isolated(first, model, limits)
            object.__setattr__(solution, "dual_bound", 9.0 if name == second else solution.dual_bound)
            return solution

        monkeypatch.setattr(agreement, "solve_isolated", lying)
        model = str(Path("model.onnx").resolve())
        x = str(Path("x.npy").resolve())
        monkeypatch.chdir(tmp_path)
        code, [record] = records(model, x, "--compare-backends", f"{first},{second}")
        assert code == ExitCode.DISAGREEMENT == 5
        assert f"{second} claims that the optimum is at least 9" in record["disagreements"][0]
        assert record["file"] == "disagreement-0000.mps" and (tmp_path / record["file"]).is_file()


class TestBounds:
    def test_out_and_in(self, records: Any, tmp_path: Path) -> None:
        file = str(tmp_path / "b.npz")
        words = ("model.onnx", "x.npy", "--engine", "mip")
        _, [first] = records(*words, "--save-bounds", file)
        code, [second] = records(*words, "--bounds", file)
        assert code == ExitCode.ANSWERED and second["upper"] == first["upper"]
        assert second["evidence"] == "solver_claim" and "supplied by the user" in second["evidence_detail"]
        assert second["statistics"]["bound_solves"]["supplied"] == 0

    def test_native_engines_save_theirs(self, records: Any, tmp_path: Path) -> None:
        file = tmp_path / "b.npz"
        records("model.onnx", "x.npy", "--save-bounds", str(file))
        with np.load(file) as archive:
            assert archive["format"] == "mipverify-bounds" and "lower_0" in archive.files

    def test_bounds_for_another_image_are_refused(self, text: Any, tmp_path: Path) -> None:
        file = str(tmp_path / "b.npz")
        words = ("model.onnx", "batch.npy", "--engine", "mip", "--eps", "0.01")
        assert text(*words, "--index", "0", "--save-bounds", file)[0] in (ExitCode.ANSWERED, ExitCode.ADVERSARIAL)
        code, _, err = text(*words, "--index", "1", "--bounds", file)
        assert code == ExitCode.USAGE and "The supplied bounds hold for inputs whose entry 0" in err

    def test_wrong_bounds_name_unit_and_layer(self, text: Any, tmp_path: Path) -> None:
        file = tmp_path / "b.npz"
        words = ("model.onnx", "x.npy", "--engine", "mip")
        text(*words, "--save-bounds", str(file))
        with np.load(file) as archive:
            arrays = dict(archive)
        arrays["lower_1"], arrays["upper_1"] = arrays["lower_1"] + 100.0, arrays["upper_1"] + 100.0
        np.savez(file, **arrays)
        code, _, err = text(*words, "--bounds", str(file))
        assert code == ExitCode.USAGE
        assert "The supplied bounds are wrong: unit 0 of" in err and "node 1" in err

    def test_an_answer_without_bounds_says_so(self, text: Any, tmp_path: Path) -> None:
        words = ("model.onnx", "x.npy", "--engine", "mip", "--eps", "0.9", "--save-bounds", str(tmp_path / "b.npz"))
        code, _, err = text(*words)
        assert code == ExitCode.ADVERSARIAL and "came to no bounds" in err
        assert list(tmp_path.iterdir()) == []

    def test_a_file_is_for_one_image(self, text: Any, tmp_path: Path) -> None:
        code, _, err = text("model.onnx", "batch.npy", "--save-bounds", str(tmp_path / "b.npz"))
        assert code == ExitCode.USAGE and "--save-bounds is for one image; choose it with --index." in err


class TestAccuracy:
    def test_the_summary_counts(self, text: Any) -> None:
        _, out, _ = text(*DIGITS, "--index", "0:6", "--eps", "0.1")
        assert "adversarial accuracy: 83.33 % of 6 (5 robust, 1 adversarial, 0 misclassified, 0 unknown)" in out

    def test_unknown_images_count_for_both_ends(self, text: Any) -> None:
        words = ("--eps", "0.1", "--engine", "mip", "--tightening", "interval", "--timeout", "1e-9")
        _, out, _ = text(*DIGITS, "--index", "0:6", *words)
        [line] = [line for line in out.splitlines() if line.startswith("adversarial accuracy: between ")]
        low, high, count, robust, *_, unknown = map(float, re.findall(r"[\d.]+", line))
        assert count == 6 and unknown > 0
        assert 6 * low / 100 <= robust <= 6 * low / 100 + 1e-3
        assert 6 * high / 100 - 1e-3 <= robust + unknown <= 6 * high / 100

    @pytest.mark.parametrize("words", [("--target", "0"), ("--margin", "0.1"), ("--all-targets",)])
    def test_other_questions_say_nothing_about_accuracy(self, text: Any, words: tuple[str, ...]) -> None:
        _, out, _ = text(*DIGITS, "--index", "0:2", "--eps", "0.01", *words)
        assert "2 of" in out or "18 of" in out
        assert "accuracy" not in out

    def test_without_labels_there_is_none(self, text: Any) -> None:
        _, out, _ = text("model.onnx", "batch.npy", "--eps", "0.01")
        assert "3 of 3 images" in out and "accuracy" not in out


def test_statistics_are_shown_and_written(records: Any, text: Any) -> None:
    _, [record] = records("model.onnx", "x.npy", "--engine", "mip")
    statistics = record["statistics"]
    [layer] = statistics["layers"]
    assert layer["active"] + layer["inactive"] + layer["unstable"] == 8
    assert statistics["unstable"] == [layer["unstable"]]
    assert list(statistics["phase_seconds"]) == ["attack", "bounds", "search", "replay"]
    assert record["relative_gap"] == pytest.approx(record["gap"] / record["upper"])
    _, out, _ = text("model.onnx", "x.npy", "--engine", "mip", "-v")
    for name in ("bounds", "layer", "model", "gap", "time"):
        assert f"\n  {name:<9} " in out
    assert f"8 units: {layer['active']} active, {layer['inactive']} inactive, {layer['unstable']} unstable" in out
    assert f"{statistics['iterations']} simplex iterations" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--all-targets --witnesses 2 --eps 0.1 --min-distance 0.1", "--all-targets and --witnesses exclude each"),
        ("--witnesses 2 --min-distance 0.1", "--witnesses needs --eps"),
        ("--witnesses 2 --eps 0.1", "--witnesses needs --min-distance"),
        ("--min-distance 0.1", "--min-distance is for --witnesses"),
        ("--witnesses 0 --eps 0.1 --min-distance 0.1", "it must be at least 1"),
        ("--witnesses 2 --eps 0.1 --min-distance 0", "it must be a distance above 0"),
        ("--witnesses 2 --eps 0.1 --min-distance 0.1 --replay", "--witnesses leaves no proof"),
        ("--witnesses 2 --eps 0.1 --min-distance 0.1 --save-witness w.png", "must end in .npz"),
        ("--compare-backends highs", "name at least two solvers"),
        ("--compare-backends highs,highs", "is not a comma list of different names"),
        ("--compare-backends highs,cplex", "--compare-backends cplex: choose from highs"),
        ("--compare-backends highs,scip --replay", "leave out --replay"),
        ("--save-model m.mps", "--save-model is for --compare-backends"),
        ("--compare-backends highs,scip --save-model m.txt", "must end in .mps"),
        ("--bounds x.npz", "--bounds is for --engine mip"),
        ("--engine mip --bounds none.npz", "--bounds none.npz: there is no such file"),
        ("--engine mip --bounds x.npz", "x.npz: this is no file of bounds"),
        ("--engine mip --bounds x.npz --all-targets", "--bounds is for one answer"),
        ("--save-bounds b.npy", "--save-bounds b.npy: must end in .npz"),
        ("--save-bounds none/b.npz", "the folder none does not exist"),
        ("--inspect --eps 0.1 --save-bounds b.npz", "--save-bounds is for one answer"),
    ],
)
def test_what_makes_no_sense_is_refused(text: Any, words: str, message: str) -> None:
    code, _, err = text("model.onnx", "x.npy", *words.split())
    assert code == ExitCode.USAGE and message in err and err.count("\n") == 1
