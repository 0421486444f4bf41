"""`counter-attack ug100 build`: one command from images to a data set that the other commands read."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from counter_attack._parameters import SETS
from counter_attack.cli import _ug100_build as command
from counter_attack.cli import run
from counter_attack.ug100 import load_ug100
from counter_attack.ug100._build import DATA, INDICES, POOLS, TIME_LIMITS
from counter_attack.ug100._build_models import DIGITS_EPOCHS
from mipverify_py.campaigns import Store
from mipverify_py.cli import ExitCode

TINY = ["--data", "digits", "--architectures", "A", "--trainings", "standard", "--epochs", "1", "--indices", "0:2"]
ATTACKS = {"fgsm": {}, "uniform": {"runs": 5}}
QUICK_TABLES = "tightness,configurations,trainings,attacks,drop-one,pools"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set built by the command, with a quick pool and in this process."""
    folder = tmp_path_factory.mktemp("built") / "set"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SETS, "balanced-mnist", ATTACKS)
        assert run(["ug100", "build", *TINY, "--out", str(folder), "--executor", "inline", "--quiet"]) == 0
    return folder


def test_names_are_those_of_the_library() -> None:
    assert (command.DATA, command.POOLS) == (DATA, POOLS)
    words = Path(command.__file__).read_text()
    assert f"Default: {INDICES['digits']} of digits, else {INDICES['mnist']}." in words
    assert f"Default: {TIME_LIMITS['digits']:g} for digits, else {TIME_LIMITS['mnist']:g}." in words
    assert f"Default: {DIGITS_EPOCHS} for digits" in words


def test_the_data_set_lies_beside_its_campaign(built: Path) -> None:
    names = {str(path.relative_to(built)) for path in built.rglob("*") if path.is_file()}
    assert names == {
        "attacks.parquet",
        "campaign.sqlite",
        "card.json",
        "card.md",
        "cases.parquet",
        "checksums.txt",
        "examples/digits-a-standard.npz",
        "models/digits-a-standard.json",
        "models/digits-a-standard.onnx",
        "originals/digits.npz",
    }
    assert load_ug100(built).verify().sound


def test_building_again_takes_what_is_there_and_says_so(
    built: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SETS, "balanced-mnist", ATTACKS)
    words = ["ug100", "build", *TINY, "--out", str(built), "--executor", "inline"]
    assert run(words) == ExitCode.ANSWERED
    out, errors = capsys.readouterr()
    assert errors == "model 1 of 1, digits-a-standard: is there already\n"
    assert out.startswith(f"{built}: 2 cases, 1 configurations\n")
    for fact in ("2 decided, 0 open, 0 failed", "2 reproved", "4 distances", "2 examples computed anew: all sound"):
        assert fact in out
    assert run([*words, "--json", "--quiet"]) == ExitCode.ANSWERED
    out, errors = capsys.readouterr()
    record = json.loads(out)
    assert errors == "" and (record["schema"], record["kind"]) == (1, "ug100-build")
    assert record["version"] == version("mipverify-py")
    assert record["cases"]["decided"] == record["attacked"] == record["verified"]["examples"] == 2


def test_tables_plots_and_check_read_folder_and_store_alike(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The third source is a table written by hand from the store's rows."""
    with Store.open(built / "campaign.sqlite", read_only=True) as store, store.database.reading() as connection:
        found = connection.execute(
            "SELECT input.position, finding.name, finding.distance FROM finding JOIN attempt ON attempt.id = attempt "
            "JOIN query ON query.id = attempt.query JOIN input ON input.id = query.input WHERE finding.name != 'exact'"
        ).fetchall()
        ends = {query.record.input.index: (query.lower, query.upper) for query in store.queries() if query.lower}
    rows = [
        ("digits-a-standard", index, "balanced", name, "" if far is None else repr(far), *map(repr, ends[index]))
        for index, name, far in found
    ]
    with (tmp_path / "by-hand.csv").open("w", newline="") as file:
        header = ("configuration", "index", "attack_set", "attack", "distance", "lower", "upper")
        csv.writer(file).writerows([header, *rows])
    told = []
    for source in (built, built / "campaign.sqlite", tmp_path / "by-hand.csv"):
        assert run(["ug100", "tables", str(source), "--table", QUICK_TABLES, "--json", "--quiet"]) == 0
        assert run(["ug100", "check", str(source), "--json"]) == 0
        told.append(capsys.readouterr().out)
    figures = tmp_path / "figures"
    assert run(["ug100", "plots", str(built), "--out", str(figures), "--quiet"]) == 0
    assert len(list(figures.glob("*.png"))) == 3
    assert told[0] == told[1] == told[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "o"], "--data"),
        (["--data", "digits"], "--out"),
        (["--data", "svhn", "--out", "o"], "'svhn' is unknown"),
        (["--data", "digits", "--out", "o", "--path", "p"], "The digits are bundled; leave out --path."),
        (["--data", "mnist", "--out", "o"], "mnist is not bundled; name the folder with its files with --path."),
        (["--data", "mnist", "--path", "absent", "--out", "o"], "absent"),
        (["--data", "mnist", "--path", "p", "--out", "o", "--split", "5:"], "--split is one range of rows"),
        (["--data", "digits", "--out", "file"], "--out file is a file; name a folder."),
        (["--data", "digits", "--out", "o", "--pool", "weak"], "'weak' is unknown"),
        (["--data", "digits", "--out", "o", "--quick"], "quick already"),
        (["--data", "digits", "--out", "o", "--indices", "0:500"], "Index 499 is out of range"),
        (["--data", "digits", "--out", "o", "--architectures", "D"], "not a choice among A, B, C"),
        (["--data", "digits", "--out", "o", "--scheduler", "tcp://x:1"], "add executor = 'dask'"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing_behind(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    assert run(["ug100", "build", *words]) == ExitCode.USAGE
    out, errors = capsys.readouterr()
    assert out == "" and message in errors and errors.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["file"]


def command_line(folder: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "counter_attack.cli", "ug100", "build", "--out", str(folder), *more]


@pytest.mark.slow
def test_killed_and_interrupted_anywhere_the_same_command_goes_on(tmp_path: Path) -> None:
    words = command_line(
        tmp_path, "--data", "digits", "--architectures", "A", "--trainings", "standard", "--indices", "0:3"
    )
    store = tmp_path / "campaign.sqlite"
    for is_far_enough, number in (
        (lambda: any(tmp_path.glob("models/*.checkpoint")), signal.SIGKILL),
        (lambda: any(tmp_path.glob("models/*.checkpoint")), signal.SIGINT),
        (lambda: store.exists() and answers(store) >= 1, signal.SIGKILL),
        (lambda: store.exists() and answers(store) >= 3, signal.SIGINT),
    ):
        with subprocess.Popen(words, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
            while process.poll() is None and not is_far_enough():
                time.sleep(0.02)
            process.send_signal(number)
            ended = process.wait(timeout=60)
        assert ended == (-signal.SIGKILL if number is signal.SIGKILL else ExitCode.INTERRUPTED)
        assert not (tmp_path / "checksums.txt").exists()
    done = subprocess.run([*words, "--json", "--quiet"], capture_output=True, text=True, timeout=250, check=True)
    record = json.loads(done.stdout)
    assert record["cases"]["decided"] == record["attacked"] == 3 and not record["verified"]["problems"]
    with Store.open(store, read_only=True) as opened:
        finished = [[a for a in query.history if a.is_complete] for query in opened.queries()]
    assert [len(attempts) for attempts in finished] == [1] * 6


def answers(store: Path) -> int:
    with Store.open(store, read_only=True) as opened:
        return sum(query.attempts for query in opened.queries(with_inputs=False))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_whole_grid_of_the_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nine models; few images, of which each takes seconds for all attacks."""
    assert run(["ug100", "build", "--data", "digits", "--out", str(tmp_path), "--indices", "0:4", "--quiet"]) == 0
    data = load_ug100(tmp_path)
    assert len(data) == 36 and data.card["cases"]["evidence"] == {"reproved": 36}
    by_training = data.cases.groupby("training")["upper"].mean()
    assert by_training["standard"] < by_training["adversarial"]
    assert (data.frame["distance"] >= data.frame["lower"] - 1e-6).all()
    for one in data.card["configurations"]:
        assert one["model"]["accuracy"]["test"] > 0.85 and one["model"]["measured_apart"]
