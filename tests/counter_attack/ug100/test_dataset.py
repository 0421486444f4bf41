"""Data sets: what is written is what was found, nobody changes it unnoticed, and everything can be computed anew."""

from __future__ import annotations

import hashlib
import json
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from counter_attack.ug100 import check_distances, load_ug100, read_distances, tables, write_distances, write_ug100
from counter_attack.ug100._dataset_files import array_bytes, table_bytes
from mipverify_py.campaigns import Answer, FailureReason, QueryKind, Store, StoredQuery
from onnx_models import exact_logits
from onnx_models.errors import InputError
from tests.helpers.campaigns import completion, failure
from tests.helpers.campaigns_ug100 import (
    IMAGES,
    Small,
    fill_store,
    shortened,
    small_campaign,
    tiny_spec,
)

ORDER = ["configuration", "index", "attack_set", "attack"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Two trained models and a campaign about them, answered."""
    return small_campaign(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def written(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set of that campaign; not to be changed."""
    folder = tmp_path_factory.mktemp("written")
    write_ug100(small.store, folder)
    return folder


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Path:
    """A copy of it that may be changed."""
    return Path(shutil.copytree(written, tmp_path / "copy"))


def rows_of(small: Small) -> pd.DataFrame:
    """The tidy table, put together from the answers themselves."""
    exact = {
        (query.record.configuration, query.record.input.index): found
        for query, found in small.answers
        if query.record.kind is QueryKind.DISTANCE
    }
    rows = []
    for query, found in small.answers:
        if query.record.kind is QueryKind.ATTACK:
            name, index = query.record.configuration, query.record.input.index
            bracket = exact[name, index]
            rows += [(name, index, "quick", f.name, f.distance, bracket.lower, bracket.upper) for f in found.findings]
    columns = [*ORDER, "distance", "lower", "upper"]
    return pd.DataFrame(rows, columns=columns).sort_values(ORDER)


def test_tables_and_checks_equal_those_of_the_answers(small: Small, written: Path, tmp_path: Path) -> None:
    write_distances(rows_of(small), tmp_path / "answers.csv")
    expected = read_distances(tmp_path / "answers.csv")
    for source in (written, small.store):
        found = read_distances(source)
        assert [one.record() for one in tables(found)] == [one.record() for one in tables(expected)]
        assert [one.record() for one in check_distances(found)] == [one.record() for one in check_distances(expected)]


def test_cases_hold_what_was_answered(small: Small, written: Path) -> None:
    data = load_ug100(written)
    asked = [(query, found) for query, found in small.answers if query.record.kind is QueryKind.DISTANCE]
    assert len(data) == len(asked) == 2 * IMAGES
    for query, found in asked:
        chosen = (data.cases["configuration"] == query.record.configuration) & (
            data.cases["index"] == query.record.input.index
        )
        [row] = data.cases[chosen].to_dict("records")
        assert (row["lower"], row["upper"], row["evidence"]) == (found.lower, found.upper, "reproved")
        assert (row["predicted"], row["label"]) == (found.predicted, query.record.input.label)
        assert (row["architecture"], row["training"]) == ("a", query.record.configuration.rsplit("-", 1)[1])
        np.testing.assert_array_equal(data.original(row["case"]), query.record.input.values)


def test_examples_are_adversarial_at_their_distance_in_exact_arithmetic(written: Path) -> None:
    data = load_ug100(written)
    for case in range(len(data)):
        row, example, original = data.cases.iloc[case], data.example(case), data.original(case)
        logits = exact_logits(data.model(row["configuration"]), example)
        assert max(logits[j] for j in range(10) if j != row["predicted"]) >= logits[row["predicted"]]
        apart = max(abs(Fraction(a) - Fraction(b)) for a, b in zip(example.flat, original.flat, strict=True))
        upper = float(row["upper"])
        assert Fraction(np.nextafter(upper, 0)) < apart <= Fraction(upper)
        assert example.min() >= 0 and example.max() <= 1


def test_everything_is_computed_anew(written: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = load_ug100(written).verify(lambda done, total: seen.append((done, total)))
    assert report.sound and report.summary().endswith("all sound")
    assert (report.cases, report.examples) == (2 * IMAGES, 2 * IMAGES)
    assert seen == [(done, 2 * IMAGES) for done in range(1, 2 * IMAGES + 1)]
    assert report.files == len([path for path in written.rglob("*") if path.is_file()]) - 1  # but the checksums


def test_the_same_store_gives_the_same_bytes(small: Small, written: Path, tmp_path: Path) -> None:
    write_ug100(small.store, tmp_path)
    for path in written.rglob("*"):
        if path.is_file():
            assert (tmp_path / path.relative_to(written)).read_bytes() == path.read_bytes(), path
    assert len(list(tmp_path.rglob("*"))) == len(list(written.rglob("*")))


def test_checksums_are_those_of_the_files(written: Path) -> None:
    for line in (written / "checksums.txt").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((written / name).read_bytes()).hexdigest() == digest


def look_at_everything(folder: Path) -> None:
    data = load_ug100(folder)
    for case in range(len(data)):
        data.example(case)
        data.original(case)
        data.model(data.cases.iloc[case]["configuration"])


FILES = ("card.json", "cases.parquet", "attacks.parquet", "originals/digits.npz", "examples/digits-a-standard.npz")


@pytest.mark.parametrize("name", [*FILES, "models/digits-a-standard.onnx"])
def test_a_damaged_or_missing_file_is_named(copy: Path, name: str) -> None:
    path = copy / name
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"?" + data[len(data) // 2 + 1 :])
    with pytest.raises(InputError, match=f"{name}: is damaged"):
        look_at_everything(copy)
    with pytest.raises(InputError, match="is damaged"):
        load_ug100(copy).verify() if name in FILES[:3] else look_at_everything(copy)
    path.unlink()
    with pytest.raises(InputError, match=f"{name}: is missing"):
        look_at_everything(copy)


def test_an_unfinished_data_set_is_none(copy: Path, small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    (copy / "checksums.txt").unlink()
    for read in (load_ug100, read_distances):
        with pytest.raises(InputError, match="is no complete data set"):
            read(copy)
    write_ug100(small.store, copy)
    (copy / "checksums.txt").write_text((copy / "checksums.txt").read_text()[:100])
    with pytest.raises(InputError, match="checksums.txt"):
        load_ug100(copy)
    with pytest.raises(InputError, match="there is no such folder"):
        load_ug100(copy / "absent")


def test_writing_that_is_cut_short_leaves_no_data_set(
    copy: Path, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bytes:
        raise InputError("no room")

    monkeypatch.setattr("counter_attack.ug100._dataset_write.table_bytes", full)
    with pytest.raises(InputError, match="no room"):
        write_ug100(small.store, copy)
    with pytest.raises(InputError, match="is no complete data set"):
        load_ug100(copy)


def replace_file(folder: Path, name: str, data: bytes) -> None:
    """Changes a file and its checksum, as somebody who wants to deceive would."""
    (folder / name).write_bytes(data)
    lines = (folder / "checksums.txt").read_text().splitlines()
    digest = hashlib.sha256(data).hexdigest()
    lines = [f"{digest}  {name}" if line.endswith(f"  {name}") else line for line in lines]
    (folder / "checksums.txt").write_text("\n".join(lines) + "\n")


def test_examples_that_are_none_are_found_out(copy: Path) -> None:
    name = "examples/digits-a-standard.npz"
    with np.load(copy / name) as arrays:
        cases, examples = arrays["case"], arrays["example"].copy()
    examples[0] = load_ug100(copy).original(0)
    examples[1].flat[np.argmin(np.abs(examples[1] - 0.5))] += 0.3
    replace_file(copy, name, array_bytes(case=cases, example=examples))
    report = load_ug100(copy).verify()
    assert not report.sound and report.examples == 2 * IMAGES - 2
    first, second = report.problems
    assert first.startswith("Case 0 (digits-a-standard, index 0): its example is none.")
    assert second.startswith("Case 1 (digits-a-standard, index 1): its example")


def test_numbers_that_are_changed_are_found_out(copy: Path) -> None:
    cases = load_ug100(copy).cases
    cases.loc[0, "upper"] -= 1e-9
    cases.loc[1, "predicted"] = (cases.loc[1, "predicted"] + 1) % 10
    cases.loc[2, "input"] = "0" * 64
    cases.loc[3, "lower"] = cases.loc[3, "upper"] + 0.1
    replace_file(copy, "cases.parquet", table_bytes(cases))
    problems = " ".join(load_ug100(copy).verify().problems)
    for words in (
        "Case 0 (digits-a-standard, index 0): its example lies at",
        "Case 0 (digits-a-standard, index 0): the gap",
        "Case 1 (digits-a-standard, index 1): the model predicts",
        "Case 2 (digits-a-standard, index 2): its image is not the one",
        "Case 3 (digits-a-standard, index 3): the bracket is crossed",
    ):
        assert words in problems
    assert "Case 4" not in problems


def test_another_model_is_found_out(copy: Path) -> None:
    other = (copy / "models/digits-a-adversarial.onnx").read_bytes()
    replace_file(copy, "models/digits-a-standard.onnx", other)
    with pytest.raises(InputError, match=r"standard.onnx: is another network than the cases are about"):
        load_ug100(copy).model("digits-a-standard")
    assert not load_ug100(copy).verify().sound


def test_a_newer_layout_is_refused(copy: Path) -> None:
    card = json.loads((copy / "card.json").read_text())
    replace_file(copy, "card.json", json.dumps({**card, "schema": 2}).encode())
    with pytest.raises(InputError, match=r"card.json: has version 2 of the layout; this program reads version 1"):
        load_ug100(copy)


def test_nothing_is_unpickled(copy: Path) -> None:
    np.savez(copy / "evil.npz", case=np.array([0]), example=np.array([{}], dtype=object))
    replace_file(copy, "examples/digits-a-standard.npz", (copy / "evil.npz").read_bytes())
    with pytest.raises(InputError, match="never unpickled"):
        load_ug100(copy).example(0)


def test_open_and_failed_cases_are_kept_and_told(small: Small, tmp_path: Path) -> None:
    def change(query: StoredQuery, found: Answer) -> Answer | None:
        if query.record.kind is QueryKind.ATTACK:
            return None if query.record.input.index == 1 else found
        return {0: shortened(found), 1: None}.get(query.record.input.index, found)

    store = fill_store(tmp_path / "c.sqlite", tiny_spec(small.models), change, reuse=small.answers)
    with Store.open(store) as opened:
        for query in opened.queries():
            if query.record.input.index == 1 and query.record.kind is QueryKind.DISTANCE:
                for number in (1, 2, 3):
                    opened.record(completion(query, failure(FailureReason.MEMORY, "4 GiB"), number=number))
    data = write_ug100(store, tmp_path / "out")
    states = sorted(data.cases[["configuration", "index", "state"]].itertuples(index=False, name=None))
    for name in small.models:
        assert [state for own, _, state in states if own == name] == ["open", "failed", "decided", "decided"]
    failed = data.cases[data.cases["state"] == "failed"].iloc[0]
    assert failed["stop_reason"] == "memory: 4 GiB" and np.isnan(failed["upper"])
    assert data.example(int(failed["case"])) is None
    count = data.card["cases"]
    assert (count["decided"], count["open"], count["failed"], count["without_example"]) == (4, 2, 2, 2)
    assert data.card["attacks"]["cases"] == 6
    assert sorted(set(data.frame["index"])) == [0, 2, 3]
    assert data.verify().sound


def test_what_is_no_data_set_is_refused(small: Small, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no distances in the norm l2"):
        write_ug100(small.store, tmp_path / "l2", norm="l2")
    assert not (tmp_path / "l2").exists()
