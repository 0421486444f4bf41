"""From a store to the tidy table: nothing is added, averaged or dropped without a word."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from counter_attack.ug100 import COLUMNS, campaign_frame, read_distances
from mipverify_py.campaigns import Answer, Failure, Finding, QueryKind, QueryRecord, Store
from mipverify_py.campaigns._load import load_campaign
from onnx_models.errors import InputError
from tests.helpers.campaigns import MODEL, answer, completion, failure, query

ATTACK = QueryKind.ATTACK


def found(**distances: float | None) -> Answer:
    """What attacks answer."""
    findings = tuple(Finding(name, distance) for name, distance in distances.items())
    least = min((distance for distance in distances.values() if distance is not None), default=None)
    return answer(None, least, decided=True, verdict=None, stop_reason="solved", findings=findings)


def store_of(path: Path, *contents: tuple[QueryRecord, Answer | Failure | None]) -> Path:
    """A store with these queries, each answered once, or not at all."""
    with Store.create(path) as store:
        store.add_model(MODEL)
        store.add_queries([record for record, _ in contents])
        rows = {stored.key: stored for stored in store.queries()}
        for record, outcome in contents:
            if outcome is not None:
                store.record(completion(rows[record.key], outcome))
    return path


def frame_of(path: Path, *contents: tuple[QueryRecord, Answer | Failure | None], **options: Any) -> Any:
    return campaign_frame(load_campaign(store_of(path / "campaign.sqlite", *contents)), **options)


def test_every_attack_on_every_image_is_a_row_with_the_bracket_of_the_image(tmp_path: Path) -> None:
    frame = frame_of(
        tmp_path,
        (query(7), answer(0.2, 0.25)),
        (query(7, ATTACK), found(pgd=0.3, fab=None)),
        (query(2), answer(0.1, 0.1)),
        (query(2, ATTACK), found(pgd=0.125, fab=0.11)),
        (query(2, ATTACK, set="slow"), found(pgd=0.1)),
        (query(9, ATTACK), found(pgd=0.5, fab=0.6)),
    )
    assert tuple(frame.columns) == COLUMNS
    rows = [tuple(None if pd.isna(value) else value for value in row) for row in frame.itertuples(index=False)]
    assert rows == [
        ("A", 2, "fast", "fab", 0.11, 0.1, 0.1),
        ("A", 2, "fast", "pgd", 0.125, 0.1, 0.1),
        ("A", 2, "slow", "pgd", 0.1, 0.1, 0.1),
        ("A", 7, "fast", "fab", None, 0.2, 0.25),
        ("A", 7, "fast", "pgd", 0.3, 0.2, 0.25),
        ("A", 9, "fast", "fab", 0.6, None, None),
        ("A", 9, "fast", "pgd", 0.5, None, None),
    ]


def test_a_store_is_read_like_any_table(tmp_path: Path) -> None:
    path = store_of(tmp_path / "any.sqlite", (query(2), answer()), (query(2, ATTACK), found(pgd=0.125)))
    [row] = read_distances(path).itertuples(index=False)
    assert (row.distance, row.lower, row.upper) == (0.125, 0.1, 0.1)


def test_a_proof_that_there_is_no_example_is_an_infinite_lower_end(tmp_path: Path) -> None:
    nothing = answer(None, None, decided=True, verdict="robust", stop_reason="solved")
    [row] = frame_of(tmp_path, (query(), nothing), (query(0, ATTACK), found(pgd=None))).itertuples(index=False)
    assert row.lower == math.inf and math.isnan(row.upper)


def test_unanswered_attacks_are_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cut_short = answer(None, 0.1, decided=False, verdict=None, stop_reason="interrupted")
    with caplog.at_level(logging.WARNING):
        frame = frame_of(
            tmp_path,
            (query(0, ATTACK), found(pgd=0.125)),
            (query(1, ATTACK), failure()),
            (query(2, ATTACK), None),
            (query(3, ATTACK), cut_short),
        )
    assert frame["index"].tolist() == [0]
    assert "3 of 4 attack queries have no answer" in caplog.text


def test_of_several_attempts_the_nearest_example_of_each_attack_counts(tmp_path: Path) -> None:
    path = store_of(tmp_path / "c.sqlite", (query(0, ATTACK), found(pgd=0.3, fab=None, bim=None)))
    with Store.open(path) as store:
        store.record(completion(store.queries()[0], found(pgd=0.5, fab=0.2, bim=None), number=2))
    frame = campaign_frame(load_campaign(path))
    distances = dict(zip(frame["attack"], frame["distance"], strict=True))
    assert distances["pgd"] == 0.3 and distances["fab"] == 0.2 and math.isnan(distances["bim"])


def test_distances_in_several_norms_are_never_mixed(tmp_path: Path) -> None:
    contents = [
        (query(0, norm=norm), answer(distance, distance)) for norm, distance in (("linf", 0.1), ("l2", 0.9))
    ] + [(query(0, ATTACK, norm=norm), found(pgd=distance)) for norm, distance in (("linf", 0.2), ("l2", 1.5))]
    campaign = load_campaign(store_of(tmp_path / "c.sqlite", *contents))
    with pytest.raises(InputError, match="norms l2, linf; choose one"):
        campaign_frame(campaign)
    [row] = campaign_frame(campaign, norm="l2").itertuples(index=False)
    assert (row.distance, row.upper) == (1.5, 0.9)
    with pytest.raises(InputError, match="no attacks in the norm l1; there is l2, linf"):
        campaign_frame(campaign, norm="l1")
    [row] = read_distances(campaign.path, norm="linf").itertuples(index=False)
    assert (row.distance, row.upper) == (0.2, 0.1)


def test_what_does_not_make_a_table_is_refused(tmp_path: Path) -> None:
    refused = {
        "holds no attacks": [(query(), answer())],
        "no attack query has an answer yet": [(query(0, ATTACK), None)],
        "has several distance queries for index 0": [
            (query(), answer()),
            (query(targets=[5]), answer()),
            (query(0, ATTACK), found(pgd=0.2)),
        ],
    }
    for number, (message, contents) in enumerate(refused.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(InputError, match=message):
            frame_of(folder, *contents)


def test_no_answer_is_no_proof_that_there_is_no_example(tmp_path: Path) -> None:
    frame = frame_of(
        tmp_path,
        (query(0), failure()),
        (query(1), None),
        (query(2), answer(0.1, None)),
        (query(3), answer(None, None, decided=True, verdict="robust", stop_reason="solved")),
        *((query(index, ATTACK), found(pgd=None)) for index in range(4)),
    )
    assert frame["upper"].isna().all()
    assert [None if math.isnan(lower) else lower for lower in frame["lower"]] == [None, None, 0.1, math.inf]
