"""The card of a data set: numbers counted by hand, a schema, and the same in words."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from jsonschema import Draft202012Validator

from counter_attack.ug100 import write_ug100
from counter_attack.ug100._card import LICENCES, Facts, make_card, measured_apart
from counter_attack.ug100._card_text import card_text
from counter_attack.ug100._dataset import ATTACK_COLUMNS, CASE_COLUMNS
from mipverify_py.campaigns import InputRecord, ModelRecord, QueryKind, QueryRecord, Store
from onnx_models.errors import InputError
from tests.helpers.campaigns import MODEL, OTHER_MODEL, answer, completion, query

SCHEMA = json.loads((files("counter_attack.ug100") / "card-1.schema.json").read_text())
CARD = {
    "architecture": "A: dense",
    "accuracy": {"train": 0.9, "test": 0.875},
    "relus": 32,
    "rows": {"train": "1197 rows"},
}

CASES: list[dict[str, Any]] = [
    {"index": 0, "label": 3, "predicted": 3, "state": "decided", "lower": 0.1, "upper": 0.1, "gap": 0.0},
    {"index": 1, "label": 3, "predicted": 4, "state": "open", "lower": 0.1, "upper": 0.3, "gap": 0.2},
    {"index": 5, "label": 3, "predicted": None, "state": "failed", "stop_reason": "memory: 4 GiB", "evidence": None},
    {"index": 6, "label": None, "predicted": 1, "state": "decided", "lower": 0.5, "upper": 0.5, "gap": 0.0},
]


def facts(**changes: Any) -> Facts:
    common = {"configuration": "n", "architecture": "n", "training": "", "dataset": "own", "evidence": "reproved"}
    rows = [{**common, "case": case, "seconds": 2.0, **row} for case, row in enumerate(CASES)]
    cases = pd.DataFrame(rows, columns=list(CASE_COLUMNS)).astype(dict(CASE_COLUMNS))
    attacks = [{"case": case, "attack_set": "s", "attack": "pgd", "distance": 0.6, "seconds": 0.5} for case in (0, 3)]
    fields: dict[str, Any] = {
        "name": "own",
        "question": {"norm": "linf", "targets": None, "domain": [0.0, 1.0], "margin": 0.0, "reference": "predicted"},
        "searches": [{"options": {"engine": "auto"}, "seed": 0, "configurations": ["n"]}],
        "attack_sets": [
            {
                "name": "s",
                "attacks": {"pgd": {"steps": 3}},
                "finish": True,
                "options": {},
                "seed": 0,
                "configurations": ["n"],
            }
        ],
        "cases": cases,
        "attacks": pd.DataFrame(attacks, columns=list(ATTACK_COLUMNS)).astype(dict(ATTACK_COLUMNS)),
        "models": {"n": ModelRecord("d" * 64, "n", b"", CARD)},
        "limits": {"time_limit": 60.0, "gap_absolute": 1e-6, "gap_relative": 1e-5},
        "versions": {"numpy": ["2.0", "2.1"]},
        "hosts": [{"cpu": "a processor", "gpu": None}],
        "began": "2024-05-06T07:08:09.123Z",
        "ended": "2024-05-06T08:08:09.123Z",
        **changes,
    }
    return Facts(**fields)


def test_counts_are_those_of_the_cases() -> None:
    card = make_card(facts(), 1)
    Draft202012Validator(SCHEMA).validate(card)
    expected = {
        "total": 4,
        "decided": 2,
        "open": 1,
        "failed": 1,
        "new": 0,
        "contradictions": 0,
        "without_example": 1,
        "misclassified": 1,
        "evidence": {"none": 1, "reproved": 3},
        "widest_gap": 0.2,
    }
    assert card["cases"] == expected
    [own] = card["configurations"]
    assert own["cases"] == expected
    assert own["distance"] == {"mean": pytest.approx(0.3), "median": 0.3, "largest": 0.5}
    assert card["attacks"] == {"rows": 2, "cases": 2}
    assert card["rows"] == {"own": [[0, 2], [5, 7]]}
    assert card["seconds"] == {"exact": 8.0, "attacks": 1.0}


def test_words_say_the_same() -> None:
    page = card_text(make_card(facts(), 1))
    for words in (
        "4 cases: 1 networks",
        "3 cases, proved by a certificate that was checked in exact arithmetic",
        "2 cases are decided to the gap, 1 are open, 1 failed, 0 were not tried; in 1 no example is known.",
        "| n | A: dense | 32 | train 90.00%, test 87.50% | 4 | 1 | 1 | 0.3 | 8.0 |",
        "Measured: 4 rows of the test images of own: 0 to 1, 5 to 6.",
        "Whether measured rows were used to fit weights is not known.",
        "- s: pgd; exact finishing of the nearest; on all networks.",
        "2 cases have no row of any attack",
        "Images of own: Not known here; whoever supplied the images knows.",
        "numpy 2.0, 2.1",
    ):
        assert words in page, words


@pytest.mark.parametrize(
    ("fitted", "expected", "words"),
    [
        ({"files": "training"}, True, "No measured row was used to fit weights."),
        ({"files": "test", "first": 7, "stop": 100}, True, "No measured row was used to fit weights."),
        ({"files": "test", "first": 6, "stop": 100}, False, "Some of the measured rows were used to fit weights."),
        ({"files": "test", "first": 0, "stop": 1}, False, "Some of the measured rows were used to fit weights."),
        (None, None, "is not known"),
    ],
)
def test_rows_that_were_learned_from_are_told(fitted: Any, expected: bool | None, words: str) -> None:
    assert measured_apart(fitted, [0, 1, 5, 6]) is expected
    models = {"n": ModelRecord("d" * 64, "n", b"", {**CARD, "fitted": fitted})}
    card = make_card(facts(models=models), 1)
    Draft202012Validator(SCHEMA).validate(card)
    assert card["configurations"][0]["model"]["measured_apart"] is expected
    assert words in card_text(card)


def test_a_model_without_a_card_has_gaps_in_its_line() -> None:
    card = make_card(facts(models={"n": ModelRecord("d" * 64, "n", b"", {"accuracy": 0.9})}), 1)
    Draft202012Validator(SCHEMA).validate(card)
    assert "| n | - | - | - | 4 |" in card_text(card)


def test_every_data_set_that_can_be_built_has_a_licence_statement() -> None:
    from counter_attack.ug100._build import DATA

    assert set(DATA) <= set(LICENCES)


def kept(index: int, label: int) -> QueryRecord:
    """A query that keeps this class, about an image of class 3."""
    record = query(index, label=3)
    return replace(record, question={**record.question, "label": label})


def refused(path: Path, message: str, *records: Any) -> None:
    with Store.create(path) as store:
        for model in (MODEL, OTHER_MODEL):
            store.add_model(model)
        store.add_queries(records)
        for stored in store.queries():
            store.record(completion(stored, answer(0.1, None, decided=False)))
    with pytest.raises(InputError, match=message):
        write_ug100(path, path.parent / "out")


def test_a_data_set_asks_one_question(tmp_path: Path) -> None:
    for number, (message, records) in enumerate(
        {
            "asks for other targets": (query(0), query(1, targets=[5])),
            "keeps the true class of some images": (kept(0, 3), kept(1, 5)),
            "attacks on A, toy 1, but no distance query": (query(0), query(1, QueryKind.ATTACK)),
            "cannot name a file": (query(0, configuration="a/b"),),
            "index 0 of several data sets": (
                query(0),
                query(0, input=InputRecord(query(0).input.values, "other", 0, 3)),
            ),
        }.items()
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        refused(folder / "c.sqlite", message, *records)
        assert not (folder / "out").exists()
