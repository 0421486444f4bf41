"""`--replay`: what it says of proofs that hold, of proofs that do not, and of proofs of something else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from bounds import Bounds
from mipverify_py import Evidence, Options, Query, Result, verify
from mipverify_py.cli import ExitCode, _search_image, run
from mipverify_py.cli import _main as main_module
from mipverify_py.cli._claim import unsupported
from mipverify_py.proof import Proof, ReplayReport, Tree
from onnx_models import load_onnx

VALIDATOR = Draft202012Validator(json.loads(Path(main_module.__file__).with_name("verify-1.schema.json").read_text()))
HOLDS = ReplayReport(holds=True, nodes=263, leaves=132, seconds=0.21)
FAILS = ReplayReport(holds=False, nodes=7, leaves=3, seconds=0.25, failure="Target 1: 2 leaves were not closed.")
MIP = ["--engine", "mip", "--quiet"]


def claim(query: Query, result: Result) -> Proof:
    """A proof that claims what the answer says; its trees are empty."""
    region = query.box
    if result.lower is not None:
        near = Bounds(query.x0 - result.lower - 1e-9, query.x0 + result.lower + 1e-9)
        region = near.intersect(query.box)
    trees = tuple(Tree(target, ()) for target in query.target_classes)
    return Proof(query.network, query.reference, region, query.margin, trees)


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Proof]]:
    """Has engine mip leave a proof, whose replay gives the report; returns the list of what was replayed."""

    def prepare(report: ReplayReport, make: Callable[[Query, Result], Proof] = claim) -> list[Proof]:
        seen: list[Proof] = []

        def with_proof(query: Query, options: Options, **rest: Any) -> Result:
            result = verify(query, options, **rest)
            return replace(result, proof=make(query, result), evidence=Evidence.REPROVED, evidence_detail="by us")

        def replay(proof: Proof) -> ReplayReport:
            seen.append(proof)
            return report

        monkeypatch.setattr(_search_image, "verify", with_proof)
        monkeypatch.setattr(_search_image, "replay", replay)
        return seen

    return prepare


def records(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[dict[str, Any]], str]:
    code = run([*words, *MIP, "--json"])
    out, err = capsys.readouterr()
    found = [json.loads(line) for line in out.splitlines()]
    for record in found:
        assert [error.message for error in VALIDATOR.iter_errors(record)] == []
    return code, found, err


def test_a_proof_that_holds_is_said_to(
    inside: Path, capsys: pytest.CaptureFixture[str], replays: Callable[..., list[Proof]]
) -> None:
    seen = replays(HOLDS)
    code, [record], err = records(capsys, "model.onnx", "x.npy", "--replay")
    assert (code, err, record["evidence"]) == (ExitCode.ANSWERED, "", "reproved")
    assert record["replay"] == {"holds": True, "nodes": 263, "leaves": 132, "seconds": 0.21, "failure": ""}
    assert len(seen) == 1
    assert run(["model.onnx", "x.npy", *MIP, "--replay"]) == ExitCode.ANSWERED
    assert "  proof     replayed: 132 leaves, 0.21 s\n" in capsys.readouterr().out
    assert run(["model.onnx", "batch.npy", *MIP, "--replay"]) == ExitCode.ANSWERED
    out = capsys.readouterr().out
    assert "\nproofs: 3 of 3 replayed and found to hold: 396 leaves, 0.63 s\n" in out
    assert "  proof" not in out  # a line per image only where there is something to worry about


@pytest.mark.parametrize("engine", ["auto", "cuts", "duals"])
@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.slow
def test_proofs_of_the_native_engines_hold(
    inside: Path, capsys: pytest.CaptureFixture[str], engine: str, jobs: str
) -> None:
    words = ["model.onnx", "batch.npy", "--engine", engine, "--jobs", jobs, "--replay", "--json", "--quiet"]
    assert run(words) == ExitCode.ANSWERED
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(found) == 3
    for record in found:
        assert [error.message for error in VALIDATOR.iter_errors(record)] == []
        assert (record["engine"], record["evidence"], record["stop_reason"]) == (engine, "reproved", "solved")
        assert record["replay"]["holds"] and record["replay"]["leaves"] >= len(record["targets"])


def test_nothing_is_replayed_unasked(
    inside: Path, capsys: pytest.CaptureFixture[str], replays: Callable[..., list[Proof]]
) -> None:
    seen = replays(FAILS)
    code, [record], _ = records(capsys, "model.onnx", "x.npy")
    assert (code, record["replay"], record["evidence"], seen) == (ExitCode.ANSWERED, None, "reproved", [])


def test_an_answer_without_a_proof_has_nothing_to_replay(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, [record], _ = records(capsys, "model.onnx", "x.npy", "--replay")
    assert (code, record["replay"], record["stop_reason"]) == (ExitCode.ANSWERED, None, "solved")
    assert run(["model.onnx", "x.npy", *MIP, "--replay"]) == ExitCode.ANSWERED
    assert "  proof     none to replay\n" in capsys.readouterr().out
    assert run(["model.onnx", "batch.npy", *MIP, "--replay"]) == ExitCode.ANSWERED
    assert "\nproofs: none to replay\n" in capsys.readouterr().out


def test_a_proof_that_fails_takes_the_lower_end_along(
    inside: Path, capsys: pytest.CaptureFixture[str], replays: Callable[..., list[Proof]]
) -> None:
    replays(FAILS)
    code, [record], err = records(capsys, "model.onnx", "x.npy", "--replay")
    assert code == ExitCode.REPLAY_FAILED == 4
    assert record["lower"] is record["gap"] is record["evidence"] is None
    assert record["upper"] == record["witness"]["distance"]  # this rests on the witness, not on the proof
    assert (record["stop_reason"], record["replay"]["holds"]) == ("numerical", False)
    detail = "the proof does not hold when it is replayed: Target 1: 2 leaves were not closed."
    assert record["stop_detail"] == detail
    assert err == f"verify: index 0: {detail} This is a bug; please report the model.\n"


def test_a_robust_answer_whose_proof_fails_is_unknown(
    inside: Path, capsys: pytest.CaptureFixture[str], replays: Callable[..., list[Proof]]
) -> None:
    replays(FAILS)
    code, [record], _ = records(capsys, "model.onnx", "x.npy", "--eps", "0.001", "--replay")
    assert (code, record["verdict"], record["evidence"]) == (ExitCode.REPLAY_FAILED, "unknown", None)


@pytest.mark.parametrize("words", [["x.npy"], ["batch.npy"], ["x.npy", "--eps", "0.001"]], ids=" ".join)
def test_a_proof_that_fails_is_never_shown_as_proved(
    inside: Path, capsys: pytest.CaptureFixture[str], replays: Callable[..., list[Proof]], words: list[str]
) -> None:
    replays(FAILS)
    assert run(["model.onnx", *words, *MIP, "--replay"]) == ExitCode.REPLAY_FAILED
    out, err = capsys.readouterr()
    assert "re-proved" not in out
    assert "robust" not in out.partition("\n\n")[2]
    assert "does not hold: Target 1: 2 leaves were not closed." in out
    assert "please report the model" in err


def test_an_interrupted_replay_leaves_the_answer(
    inside: Path, capsys: pytest.CaptureFixture[str], replays: Callable[..., list[Proof]], monkeypatch: Any
) -> None:
    replays(HOLDS)

    def interrupted(proof: Proof) -> ReplayReport:
        raise KeyboardInterrupt

    monkeypatch.setattr(_search_image, "replay", interrupted)
    code, [record], _ = records(capsys, "model.onnx", "batch.npy", "--replay")
    assert (code, record["index"], record["replay"]) == (ExitCode.INTERRUPTED, 0, None)
    assert (record["stop_reason"], record["stop_detail"]) == ("interrupted", "the replay of the proof was interrupted")
    assert record["lower"] is not None


def test_a_sound_proof_of_too_little_counts_as_failed(
    inside: Path, capsys: pytest.CaptureFixture[str], replays: Callable[..., list[Proof]]
) -> None:
    replays(HOLDS, lambda query, result: replace(claim(query, result), region=Bounds(query.x0, query.x0)))
    code, [record], _ = records(capsys, "model.onnx", "x.npy", "--replay")
    assert (code, record["lower"], record["evidence"]) == (ExitCode.REPLAY_FAILED, None, None)
    assert record["replay"]["failure"].startswith("The proof does not cover all inputs within 0.")


@pytest.fixture(scope="module")
def answered(workplace: Path) -> tuple[Query, Result]:
    """A distance, from engine mip."""
    query = Query(load_onnx(workplace / "model.onnx"), np.load(workplace / "x.npy"))
    return query, verify(query, Options(engine="mip"))


def test_a_proof_of_what_the_answer_says_supports_it(answered: tuple[Query, Result]) -> None:
    query, result = answered
    assert result.lower is not None
    assert unsupported(query, result, claim(query, result)) == ""


def test_every_part_of_the_claim_counts(answered: tuple[Query, Result], workplace: Path) -> None:
    query, result = answered
    proof, other = claim(query, result), load_onnx(workplace / "flat.onnx")
    assert result.lower is not None
    entry = int(np.argmax(query.x0))
    rounded = query.x0[entry] - result.lower
    assert rounded > 0  # so it is not the domain that ends there
    short = f"The proof does not cover all inputs within {result.lower!r}."
    for end, said in ((np.nextafter(rounded, 0), ""), (np.nextafter(rounded, 1), short)):
        low = proof.region.lower.copy()
        low[entry] = end
        assert unsupported(query, result, replace(proof, region=Bounds(low, proof.region.upper))) == said
    wrong = {
        "another network": replace(proof, network=other),
        f"about class {query.target_classes[0]}": replace(proof, reference=query.target_classes[0]),
        f"leaves out target {query.target_classes[0]}": replace(proof, trees=proof.trees[1:]),
        "is not reached": replace(proof, threshold=query.margin + 1e-12),
    }
    for part, changed in wrong.items():
        assert part in unsupported(query, result, changed)


def test_a_robust_answer_needs_the_whole_box(workplace: Path) -> None:
    from mipverify_py import LinfBall, Objective, Verdict

    network, x = load_onnx(workplace / "model.onnx"), np.load(workplace / "x.npy")
    query = Query(network, x, LinfBall(0.001), Objective.FEASIBILITY)
    result = verify(query, Options(engine="mip"))
    assert result.verdict is Verdict.ROBUST
    proof = claim(query, result)
    assert unsupported(query, result, proof) == ""
    low = query.box.lower.copy()
    low[3] = np.nextafter(low[3], 1)
    short = unsupported(query, result, replace(proof, region=Bounds(low, query.box.upper)))
    assert short == "The proof does not cover the perturbation set."
