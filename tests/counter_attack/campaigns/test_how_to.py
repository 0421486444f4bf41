"""The example specs of the how-to guide: complete, sound, and they run."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from counter_attack.campaigns import read_spec
from counter_attack.cli import run
from mipverify_py.campaigns import Store
from mipverify_py.campaigns._spec import RunSettings
from mipverify_py.campaigns._spec_questions import COMMON_KEYS, EXACT_KEYS
from mipverify_py.cli import ExitCode
from tests.docs.run_page import blocks

PAGE = Path(__file__).resolve().parents[3] / "docs/how-to/run-a-campaign.md"


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """The spec with every key."""
    _, text = (block.body for block in blocks(PAGE.read_text("utf-8")) if block.language == "toml")
    path = tmp_path / "campaign.toml"
    path.write_text(text)
    return path


def test_every_key_is_in_the_example(example: Path) -> None:
    keys = set(re.findall(r"^(?:# )?(\w+) =", example.read_text(), re.MULTILINE))
    data = ("dataset", "split", "indices", "file", "labels", "name")
    limits = ("time_limit", "gap_absolute", "gap_relative")
    asked = ("kind", "eps", "sets", "attacks", "finish", "name")
    run_keys = list(RunSettings.__dataclass_fields__)
    missing = {"seed", "models", *data, *COMMON_KEYS, *EXACT_KEYS, *asked, *limits, *run_keys} - keys
    assert not missing


def test_the_example_asks_what_it_says(example: Path) -> None:
    queries = read_spec(example).queries()
    found = Counter((q.configuration, q.kind.value, q.question.get("set")) for q in queries)
    for name in ("small", "robust"):
        assert found[name, "distance", None] == 4
        assert found[name, "verify", None] == 8
        assert found[name, "attack", "balanced-mnist"] == found[name, "attack", "quick"] == 4
    assert found["digits_pool_standard", "distance", None] == 2
    assert len(queries) == 2 * 20 + 2


@pytest.mark.slow
def test_the_example_runs(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(example.parent)
    code = run(["campaign", "run", "campaign.toml", "--time-limit", "3", "--executor", "inline", "--quiet"])
    assert code in (ExitCode.ANSWERED, ExitCode.UNKNOWN)
    with Store.open("campaign.sqlite", read_only=True) as store:
        assert store.summary().failed == store.summary().new == 0
        assert store.contradictions() == []
