"""`counter-attack campaign`: runs, refusals, and what it shows, with real stores."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from counter_attack.cli import _campaign_options as own
from counter_attack.cli import run
from mipverify_py import distance
from mipverify_py.campaigns import Store
from mipverify_py.campaigns._export import Part
from mipverify_py.campaigns._policies import Policy
from mipverify_py.campaigns._records import QueryState
from mipverify_py.campaigns._spec import EXECUTORS
from mipverify_py.cli import ExitCode
from mipverify_py.cli import run as verify
from onnx_models.zoo import digits_test, load_zoo, zoo_path
from tests.helpers.campaign_runs import ENDLESS, attempts, status, told

QUICK = """
models = "zoo:digits_small_standard"
[data]
dataset = "digits"
indices = "0:2"
[[query]]
kind = "distance"
[[query]]
kind = "attack"
attacks = ["fgsm"]
[[query]]
kind = "verify"
eps = 0.01
[limits]
time_limit = 60
[run]
executor = "inline"
rounds = [1]
"""
"""Each query is decided by its first attempt, however slow the machine."""


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign that is over."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "c.toml").write_text(QUICK)
    assert run(["campaign", "run", str(folder / "c.toml"), "--quiet"]) == ExitCode.ANSWERED
    return folder / "c.sqlite"


@pytest.fixture
def store(finished: Path) -> Path:
    """A copy of it, with its spec, here."""
    shutil.copy(finished, "c.sqlite")
    Path("c.toml").write_text(QUICK)
    return Path("c.sqlite")


def test_names_are_those_of_the_library() -> None:
    assert own.EXECUTORS == EXECUTORS
    assert set(own.POLICIES) == {policy.value for policy in Policy}
    assert set(own.PARTS) == set(Part.__args__)  # type: ignore[attr-defined]


def test_a_run_answers_everything_and_the_distances_are_exact(finished: Path) -> None:
    images, labels = digits_test()
    network = load_zoo("digits_small_standard")
    with Store.open(finished, read_only=True) as opened:
        queries = opened.queries()
    assert len(queries) == 6
    assert {query.state for query in queries} == {QueryState.DECIDED}
    by_kind = {(query.record.kind.value, query.record.input.index): query for query in queries}
    for index in range(2):
        truth = distance(network, images[index], label=int(labels[index]))
        found = by_kind["distance", index]
        assert truth.lower is not None and truth.upper is not None
        assert found.lower is not None and found.upper is not None
        assert max(truth.lower, found.lower) <= min(truth.upper, found.upper)
        heuristic = by_kind["attack", index].upper
        assert heuristic is not None and heuristic >= truth.lower
        assert by_kind["verify", index].verdict == ("adversarial" if truth.upper <= 0.01 else "robust")


def test_a_second_run_computes_nothing_again(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = attempts(store)
    out, _ = told(capsys, ["run", "c.toml"], 0)
    assert "6 queries: 6 decided" in out
    assert "nothing to do" in out
    found = json.loads(told(capsys, ["run", "c.toml", "--json", "--quiet"], 0)[0])
    assert (found["kind"], found["decided"], found["run"]["attempts"]) == ("campaign-run", 6, 0)
    assert told(capsys, ["resume", str(store), "--quiet"], 0)[1] == ""
    assert attempts(store) == before


def test_a_spec_may_ask_more_and_then_only_that_is_computed(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.toml").write_text(QUICK.replace("0:2", "0:3").replace("time_limit = 60", "time_limit = 50"))
    found = json.loads(told(capsys, ["run", "c.toml", "--json", "--quiet"], 0)[0])
    assert (found["total"], found["decided"], found["run"]["total"], found["run"]["attempts"]) == (9, 9, 3, 3)


CHANGED = {
    "fewer inputs": (("0:2", "0:1"), "c.sqlite holds 3 queries that the spec does not ask"),
    "another model": (
        ('models = "zoo:digits_small_standard"', 'models = {digits_small_standard = "m.onnx"}'),
        "another store",
    ),
    "another engine": (
        ("[limits]", "[defaults]\nengine = 'cuts'\n[limits]"),
        "Configuration digits_small_standard, distance",
    ),
    "another seed": (('models = "zoo', 'seed = 1\nmodels = "zoo'), "Configuration digits_small_standard, "),
    "another label": (("[limits]", "[defaults]\nlabel = 'predicted'\n[limits]"), "queries that the spec does not ask"),
    "other attacks": (
        ('["fgsm"]', "{ fgsm = { search = { bisections = 3 } } }"),
        "attack linf fgsm: the store has options",
    ),
}


@pytest.mark.parametrize(("change", "message"), CHANGED.values(), ids=CHANGED)
def test_a_changed_spec_is_refused_and_nothing_is_added(
    store: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str], message: str
) -> None:
    shutil.copy(zoo_path("digits_small_adversarial"), "m.onnx")
    Path("c.toml").write_text(QUICK.replace(*change))
    before = status(store, capsys)
    out, err = told(capsys, ["run", "c.toml"], ExitCode.USAGE)
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert status(store, capsys) == before


def test_reverify_and_refine_add_attempts(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(
        told(capsys, ["resume", str(store), "--policy", "reverify", "--engine", "cuts", "--json", "-q"], 0)[0]
    )
    assert (found["run"]["total"], found["decided"], found["contradictions"]) == (4, 6, [])
    assert attempts(store) == 10
    before = status(store, capsys)
    words = ["resume", str(store), "--policy", "refine", "--gap", "0", "--json", "--quiet", "--time-limit", "30"]
    found = json.loads(told(capsys, words, 0)[0])
    assert found["run"]["total"] == 2  # the two distances, whose brackets were closed to 1e-5 of them
    assert found["worst_gap"] <= 1e-6 < before["worst_gap"]  # --gap leaves the absolute gap alone


def test_status_tells_states_gaps_and_events(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = status(store, capsys)
    rows = found["rows"]
    assert isinstance(rows, list)
    assert [(row["kind"], row["total"], row["decided"]) for row in rows] == [
        ("distance linf", 2, 2),
        ("attack fgsm linf", 2, 2),
        ("verify linf 0.01", 2, 2),
    ]
    assert 0 <= rows[0]["median_gap"] <= rows[0]["worst_gap"] <= 1e-5
    out, err = told(capsys, ["status", str(store), "--events", "2"], 0)
    assert err == ""
    assert "c.sqlite: 6 queries: 6 decided" in out
    assert out.partition("Last events\n")[2].count("\n") == 2


def test_what_is_left_open_is_told_with_the_way_on(capsys: pytest.CaptureFixture[str]) -> None:
    text = ENDLESS.replace("0:3", "0:1").partition('[[query]]\nkind = "distance"')[0]
    Path("c.toml").write_text(f"{text}[limits]\ntime_limit = 0.3\n[run]\nexecutor = 'inline'\n")
    out, _ = told(capsys, ["run", "c.toml", "--quiet"], ExitCode.UNKNOWN)
    assert "1 query: 1 open" in out
    assert "campaign resume c.sqlite --policy retry --time-limit SECONDS" in out
    assert "nothing to do" in told(capsys, ["resume", "c.sqlite", "--quiet"], ExitCode.UNKNOWN)[0]
    words = ["resume", "c.sqlite", "--quiet", "--policy", "retry", "--time-limit", "0.5", "--json"]
    assert json.loads(told(capsys, words, ExitCode.UNKNOWN)[0])["run"]["total"] == 1
    with Store.open("c.sqlite", read_only=True) as opened:
        assert (opened.spec() or {})["limits"]["time_limit"] == 0.5


@pytest.mark.parametrize("ending", own.EXPORTS)
def test_export_has_a_row_per_query(store: Path, capsys: pytest.CaptureFixture[str], ending: str) -> None:
    import pandas as pd

    out, _ = told(capsys, ["export", str(store), f"out{ending}"], 0)
    assert out == f"out{ending}\n"
    path = Path(out.strip())
    readers = {
        ".parquet": pd.read_parquet,
        ".csv": pd.read_csv,
        ".jsonl": lambda p: pd.DataFrame([json.loads(line) for line in p.read_text().splitlines()]),
    }
    table = readers[ending](path)
    with Store.open(store, read_only=True) as opened:
        expected = {query.key: query.upper for query in opened.queries(with_inputs=False)}
    found = dict(zip(table["key"], table["upper"], strict=True))
    assert {key: None if pd.isna(value) else value for key, value in found.items()} == expected


def test_certificates_are_kept_and_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exact = QUICK.replace('[[query]]\nkind = "attack"\nattacks = ["fgsm"]\n', "")
    Path("s.toml").write_text(f'{exact}certificates = "store"\n')
    Path("h.toml").write_text(exact)
    for name in "sh":
        told(capsys, ["run", f"{name}.toml", "--quiet"], 0)
    assert "4 certificates" in told(capsys, ["certificates", "s.sqlite", "files"], 0)[0]
    files = sorted(Path("files").iterdir())
    assert [file.name for file in files] == [
        f"digits_small_standard-digits-{row // 2}-{row + 1}.cert" for row in range(4)
    ]
    for file in files:
        assert verify(["--check", str(file), "zoo:digits_small_standard"]) == ExitCode.ANSWERED
    assert "of 4 others" in told(capsys, ["certificates", "h.sqlite", "none"], 0)[0] and not list(
        Path("none").iterdir()
    )
    told(capsys, ["merge", "all.sqlite", "s.sqlite", "h.sqlite"], 0)
    assert "4 certificates" in told(capsys, ["certificates", "all.sqlite", "both"], 0)[0]
    with Store.open(Path("h.sqlite"), read_only=True) as opened:
        assert {query.evidence for query in opened.queries()} == {"reproved"}
    assert "is a file" in told(capsys, ["certificates", "s.sqlite", "s.toml"], ExitCode.USAGE)[1]


def test_merge_is_the_union_and_refuses_its_own_target(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("d.toml").write_text(QUICK.replace("0:2", "1:3"))
    assert run(["campaign", "run", "d.toml", "--quiet"]) == 0
    out, _ = told(capsys, ["merge", "all.sqlite", str(store), "d.sqlite"], 0)
    assert "9 queries and 12 attempts added" in out
    assert "0 queries and 0 attempts" in told(capsys, ["merge", "all.sqlite", str(store)], 0)[0]
    assert "itself one of the stores" in told(capsys, ["merge", "all.sqlite", "all.sqlite"], ExitCode.USAGE)[1]


def test_a_report_is_written(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = told(capsys, ["report", str(store), "-o", "page"], 0)
    assert Path(out.strip()) == Path("page/index.html")
    assert "digits_small_standard" in Path("page/index.html").read_text("utf-8")


def test_no_backend_no_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from mipverify_py.backends._registry import backend_class

    monkeypatch.setattr(backend_class("scip"), "is_installed", staticmethod(lambda: False))
    Path("c.toml").write_text(QUICK.replace("[limits]", "[defaults]\nengine = 'mip'\nbackend = 'scip'\n[limits]"))
    assert "Backend 'scip' needs the package" in told(capsys, ["run", "c.toml"], ExitCode.USAGE)[1]


WRONG = {
    "no spec": (["run"], "Missing argument 'SPEC.toml'"),
    "absent spec": (["run", "absent.toml"], "absent.toml: there is no such file"),
    "a folder as a spec": (["run", "folder"], "folder is a folder; name the .toml file in it"),
    "a store as a spec": (["run", "other.sqlite"], "to go on with a store, use resume"),
    "a store in no folder": (["run", "c.toml", "--store", "no/c.sqlite"], "there is no folder no"),
    "a folder as a store": (["run", "c.toml", "--store", "folder"], "folder: is a folder"),
    "another program's file": (["run", "c.toml", "--store", "other.sqlite"], "no store of a campaign"),
    "a text file as a store": (["run", "c.toml", "--store", "c.toml"], "c.toml"),
    "no workers": (["run", "c.toml", "--workers", "0"], "0 is not allowed"),
    "workers inline": (["run", "c.toml", "--workers", "2"], "executor 'inline' is one worker"),
    "scheduler": (["run", "c.toml", "--scheduler", "tcp://x:1", "--executor", "inline"], "is for --executor dask"),
    "tls of one file": (["run", "c.toml", "--tls", "ca.pem", "--executor", "dask"], "--tls is three files"),
    "tls without dask": (["run", "c.toml", "--tls", "a,b,c"], "tls is three files for executor 'dask'"),
    "unknown executor": (["run", "c.toml", "--executor", "slurm"], "'slurm' is unknown"),
    "unknown policy": (["run", "c.toml", "--policy", "all"], "'all' is unknown"),
    "reverify with nothing": (["run", "c.toml", "--policy", "reverify"], "verify anew with what?"),
    "engine without reverify": (["run", "c.toml", "--engine", "cuts"], "are for --policy reverify"),
    "backend without engine": (["run", "c.toml", "--policy", "reverify", "--backend", "scip"], "--engine mip"),
    "resume nothing": (["resume", "absent.sqlite"], "absent.sqlite: there is no such store"),
    "resume a folder": (["resume", "folder"], "folder is a folder; name the .sqlite file in it"),
    "resume a text": (["resume", "c.toml"], "no store of a campaign"),
    "status of another file": (["status", "other.sqlite"], "no store of a campaign"),
    "export to a picture": (["export", "other.sqlite", "out.png"], "must end in .parquet, .csv, .jsonl"),
    "export of another file": (["export", "other.sqlite", "out.csv"], "no store of a campaign"),
    "merge nothing": (["merge", "out.sqlite"], "Missing argument"),
    "merge into a folder": (["merge", "folder", "other.sqlite"], "folder: is a folder"),
    "report into a file": (["report", "other.sqlite", "-o", "c.toml"], "is a file; name a folder"),
    "report nowhere": (["report", "other.sqlite"], "Missing option"),
    "a wrong spec": (["run", "wrong.toml"], "wrong.toml: there is no key 'model'; did you mean 'models'?"),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG)
def test_mistakes_are_one_line_and_leave_nothing_behind(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    Path("folder").mkdir()
    Path("c.toml").write_text(QUICK)
    Path("wrong.toml").write_text("model = 1\n")
    with sqlite3.connect("other.sqlite") as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    out, err = told(capsys, words, ExitCode.USAGE)
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert {path.name: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before
