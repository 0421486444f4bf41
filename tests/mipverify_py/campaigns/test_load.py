"""Tables and arrays of a campaign, against what was put in."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mipverify_py.campaigns import (
    Campaign,
    CampaignError,
    FailureReason,
    Finding,
    Limits,
    QueryKind,
    Store,
    load_campaign,
)
from tests.helpers.campaigns import HOST, MODEL, VERSIONS, answer, completion, failure, image, query


def attacked(best: float) -> tuple[Finding, ...]:
    """Findings of two attacks: one example, and one failure."""
    point = np.full((1, 2, 3), best)
    return (Finding("pgd", best, 7, point, 0.25, 900), Finding("fab", None, None, None, 0.5, None))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "campaign.sqlite"
    with Store.create(made) as store:
        store.add_model(MODEL)
        asked = [
            query(0),
            query(1, label=None),
            query(0, QueryKind.VERIFY, eps=0.5),
            query(0, QueryKind.ATTACK),
            query(2),
        ]
        store.add_queries(asked, {"seed": 0})
        first, second, third, fourth, _ = store.queries()
        store.record_many(
            [
                completion(first, answer(0.1, 0.3), limits=Limits(1.0), final=False),
                completion(
                    first, answer(0.2, 0.2, findings=(Finding("exact", 0.2, 8, np.full((1, 2, 3), 0.2)),)), number=2
                ),
                completion(second, failure(FailureReason.HUNG, "no word for 60 s")),
                completion(second, answer(0.25, None)),
                completion(third, answer(None, None, verdict="robust", decided=True, evidence="reproved", predicted=3)),
                completion(fourth, answer(None, 0.5, verdict=None, decided=True, findings=attacked(0.5))),
                completion(fourth, answer(None, 0.75, verdict=None, decided=True, findings=attacked(0.75))),
            ]
        )
    return made


@pytest.fixture
def campaign(path: Path) -> Campaign:
    return load_campaign(path)


def test_a_row_of_the_table_says_everything_about_a_query(campaign: Campaign) -> None:
    row = campaign.table.loc[0].to_dict()
    seconds = row.pop("seconds")
    assert seconds == 1.0
    for absent in ("eps", "failure", "contradiction", "backend"):
        assert pd.isna(row.pop(absent)), absent
    assert row == {
        "configuration": "A",
        "kind": "distance",
        "norm": "linf",
        "dataset": "toy",
        "index": 0,
        "label": 3,
        "state": "decided",
        "verdict": "adversarial",
        "lower": 0.2,
        "upper": 0.2,
        "gap": 0.0,
        "predicted": 3,
        "reference": 3,
        "target": 8,
        "evidence": "reproved",
        "stop_reason": "solved",
        "engine": "cuts",
        "attempts": 2,
        "failures": 0,
        "model": MODEL.digest,
        "key": query(0).key,
        "row": 1,
    }


def test_columns_over_all_queries(campaign: Campaign) -> None:
    table = campaign.table
    assert list(table.state) == ["decided", "open", "decided", "decided", "new"]
    assert list(table.kind) == ["distance", "distance", "verify", "attack", "distance"]
    assert table.label.isna().tolist() == [False, True, False, False, False]
    assert table.lower.fillna(-1).tolist() == [0.2, 0.25, -1, -1, -1]
    assert table.upper.fillna(-1).tolist() == [0.2, -1, -1, 0.5, -1]
    assert table.target.fillna(-1).tolist() == [8, -1, -1, 7, -1]
    assert table.verdict.fillna("").tolist() == ["adversarial", "unknown", "robust", "", ""]
    assert table.eps.fillna(-1).tolist() == [-1, -1, 0.5, -1, -1]
    assert table.attempts.tolist() == [2, 2, 1, 2, 0] and table.failures.tolist() == [0, 1, 0, 0, 0]
    assert table.failure[1] == "hung: no word for 60 s"


def test_limits_measure_the_state(path: Path) -> None:
    wide = load_campaign(path, Limits(None, 1.0, 0.0)).table
    assert wide.state[1] == "open"  # there is no upper end, however wide the gap may be
    with Store.open(path) as store:
        store.record(completion(store.queries()[4], answer(0.1, 0.4)))
    assert load_campaign(path).table.state[4] == "open"
    assert load_campaign(path, Limits(None, 0.5, 0.0)).table.state[4] == "decided"


def test_findings_are_those_of_every_attempt(campaign: Campaign) -> None:
    found = campaign.findings
    assert found[["row", "name"]].values.tolist() == [
        [1, "exact"],
        [1, "exact"],
        [4, "pgd"],
        [4, "fab"],
        [4, "pgd"],
        [4, "fab"],
    ]
    attack = found[found.row == 4]
    assert attack.set.tolist() == ["fast"] * 4 and found.set.isna().sum() == 2
    assert attack.distance.fillna(-1).tolist() == [0.5, -1, 0.75, -1]
    assert attack.target.fillna(-1).tolist() == [7, -1, 7, -1]
    assert attack.seconds.tolist() == [0.25, 0.5, 0.25, 0.5] and attack.calls.fillna(-1).tolist() == [900, -1, 900, -1]
    assert attack.configuration.tolist() == ["A"] * 4 and attack["index"].tolist() == [0] * 4


def test_attempts_have_their_provenance(campaign: Campaign) -> None:
    attempts = campaign.attempts
    assert attempts.row.tolist() == [1, 1, 2, 2, 3, 4, 4]
    assert attempts.final.tolist() == [False, *[True] * 6]
    assert attempts.decided.fillna(False).tolist() == [False, True, False, False, True, True, True]
    assert attempts.decided.isna().tolist() == (attempts.failure.notna()).tolist()
    import json

    assert all(json.loads(text) == HOST for text in attempts.host)
    assert all(json.loads(text) == VERSIONS for text in attempts.versions)
    assert attempts.session.nunique() == 1 and attempts.digest.nunique() == 7
    for text in attempts.started:
        assert datetime.fromisoformat(text).utcoffset().total_seconds() == 0


def test_inputs_and_examples(campaign: Campaign) -> None:
    np.testing.assert_array_equal(campaign.input(2), image(1))
    np.testing.assert_array_equal(campaign.point(1), np.full((1, 2, 3), 0.2))  # the nearest of both attempts
    np.testing.assert_array_equal(campaign.point(4, "pgd"), np.full((1, 2, 3), 0.5))
    assert campaign.point(4, "fab") is None and campaign.point(5) is None
    with pytest.raises(CampaignError, match="no query in row 77"):
        campaign.input(77)


def test_models_spec_and_queries_come_along(campaign: Campaign) -> None:
    assert campaign.models[MODEL.digest].onnx == MODEL.onnx and campaign.spec == {"seed": 0}
    assert [each.row for each in campaign.queries] == campaign.table.row.tolist()


def test_an_empty_store_gives_empty_tables_of_the_same_types(tmp_path: Path, campaign: Campaign) -> None:
    Store.create(tmp_path / "empty.sqlite").close()
    empty = load_campaign(tmp_path / "empty.sqlite")
    for name in ("table", "findings", "attempts", "events"):
        assert len(getattr(empty, name)) == 0
        pd.testing.assert_series_equal(getattr(empty, name).dtypes, getattr(campaign, name).dtypes)


def test_a_campaign_can_be_loaded_while_a_run_writes_to_it(path: Path) -> None:
    with Store.open(path) as store:
        store.record(completion(store.queries()[4], answer()))
        assert load_campaign(path).table.state[4] == "decided"


def test_nothing_tells_where_and_who(path: Path, campaign: Campaign) -> None:
    shown = "".join(getattr(campaign, name).to_csv() for name in ("table", "findings", "attempts", "events"))
    for private in (str(path.parent), str(Path.home()), os.uname().nodename):
        assert not re.search(rf"\b{re.escape(private)}\b" if private.isalnum() else re.escape(private), shown)
