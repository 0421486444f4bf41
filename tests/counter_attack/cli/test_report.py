"""`counter-attack report`: what it writes where, and what it refuses."""

from __future__ import annotations

import json
import webbrowser
from importlib.metadata import version
from pathlib import Path

import pytest

from counter_attack.cli import run
from mipverify_py.campaigns import QueryKind
from tests.helpers.reports import varied_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return varied_store(tmp_path_factory.mktemp("store") / "campaign.sqlite", [QueryKind.DISTANCE], images=6)


def test_the_page_is_written_and_named(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(store), "-o", str(tmp_path / "out"), "--title", "Six digits", "--quiet"]) == 0
    out, errors = capsys.readouterr()
    assert (out, errors) == (f"{tmp_path / 'out' / 'index.html'}\n", "")
    assert "<title>Six digits</title>" in (tmp_path / "out" / "index.html").read_text("utf-8")


def test_json_names_the_file(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(store), "--out", str(tmp_path), "--gallery", "0", "--json", "--quiet"]) == 0
    record = json.loads(capsys.readouterr().out)
    path = tmp_path / "index.html"
    expected = {"schema": 1, "kind": "report", "version": version("mipverify-py")}
    assert record == {**expected, "file": str(path), "bytes": path.stat().st_size}


def test_errors_are_one_line(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "index.html").write_text("a page of somebody else")
    for words, expected in (
        ([str(tmp_path / "none.sqlite"), "-o", str(tmp_path)], "is not a report of ours"),
        ([str(tmp_path / "none.sqlite"), "-o", str(tmp_path / "new")], "none.sqlite: no store"),
        ([str(tmp_path / "index.html"), "-o", str(tmp_path / "new")], "index.html"),
        ([str(store), "-o", str(tmp_path), "--gallery", "-1"], "--gallery"),
        ([str(store)], "--out"),
    ):
        assert run(["report", *words, "--quiet"]) == 3
        out, errors = capsys.readouterr()
        assert out == "" and expected in errors and len(errors.splitlines()) == 1
    assert (tmp_path / "index.html").read_text() == "a page of somebody else"


@pytest.mark.parametrize("there", [True, False])
def test_open_shows_the_page(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], there: bool
) -> None:
    shown = []
    monkeypatch.setattr(webbrowser, "open", lambda address: shown.append(address) or there)
    assert run(["report", str(store), "-o", str(tmp_path), "--open", "--quiet", "--gallery", "0"]) == (
        0 if there else 3
    )
    assert shown == [(tmp_path / "index.html").as_uri()]
    assert ("no browser was found" in capsys.readouterr().err) != there
