"""Several stores as one: nothing is lost, nothing is there twice, nothing is mixed."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mipverify_py.campaigns import (
    CampaignError,
    InputRecord,
    QueryKind,
    Store,
    StoreBusyError,
    load_campaign,
    merge_campaigns,
)
from tests.helpers.campaigns import (
    MODEL,
    OPTIONS,
    OTHER_MODEL,
    answer,
    completion,
    dump,
    failure,
    filled_store,
    image,
    query,
)

CONTENT = [
    "configuration",
    "dataset",
    "index",
    "kind",
    "state",
    "lower",
    "upper",
    "attempts",
    "failures",
    "seconds",
    "key",
]


def part(path: Path, indices: range, *, answered: tuple[int, ...] = ()) -> Path:
    """A store with queries about the inputs of these indices, and an answer about those of the others."""
    with Store.create(path) as store:
        store.add_model(MODEL)
        store.add_queries([query(index) for index in indices], {"indices": list(indices)})
        for stored in store.queries():
            if (index := stored.record.input.index) in answered:
                store.record(completion(stored, answer(0.1 * (index + 1), 0.1 * (index + 1))))
    return path


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    """Two stores that share the queries 2 and 3, of which 2 is answered in both."""
    return [
        part(tmp_path / "one.sqlite", range(4), answered=(0, 2)),
        part(tmp_path / "two.sqlite", range(2, 6), answered=(2, 3, 5)),
    ]


def content(path: Path) -> pd.DataFrame:
    return load_campaign(path).table.sort_values("index", ignore_index=True)[CONTENT]


def test_queries_are_united_and_attempts_kept(parts: list[Path], tmp_path: Path) -> None:
    into = tmp_path / "all.sqlite"
    merged = merge_campaigns(parts, into)
    assert (merged.queries, merged.attempts, merged.contradictions) == (6, 5, 0)
    table = content(into)
    assert table["index"].tolist() == [0, 1, 2, 3, 4, 5]
    assert table.state.tolist() == ["decided", "new", "decided", "decided", "new", "decided"]
    assert table.attempts.tolist() == [1, 0, 2, 1, 0, 1]
    digests = [set(load_campaign(path).attempts.digest) for path in (*parts, into)]
    assert digests[2] == digests[0] | digests[1]


def test_sources_are_not_touched(parts: list[Path], tmp_path: Path) -> None:
    before = [path.read_bytes() for path in parts]
    merge_campaigns(parts, tmp_path / "all.sqlite")
    assert [path.read_bytes() for path in parts] == before


def test_merging_twice_changes_nothing(parts: list[Path], tmp_path: Path) -> None:
    into = tmp_path / "all.sqlite"
    merge_campaigns(parts, into)
    before = dump(into)
    assert merge_campaigns([*parts, *parts], into) == (0, 0, 0)
    assert dump(into) == before


def test_merging_into_one_of_them_and_in_any_order(parts: list[Path], tmp_path: Path) -> None:
    merge_campaigns(parts, tmp_path / "forth.sqlite")
    merge_campaigns(parts[::-1], tmp_path / "back.sqlite")
    merge_campaigns(parts[1:], parts[0])
    expected = content(tmp_path / "forth.sqlite")
    for other in (tmp_path / "back.sqlite", parts[0]):
        pd.testing.assert_frame_equal(content(other), expected)


def test_a_merge_of_merges_counts_every_attempt_once(parts: list[Path], tmp_path: Path) -> None:
    merge_campaigns(parts, tmp_path / "all.sqlite")
    merge_campaigns([tmp_path / "all.sqlite", *parts], tmp_path / "again.sqlite")
    pd.testing.assert_frame_equal(content(tmp_path / "again.sqlite"), content(tmp_path / "all.sqlite"))


def test_everything_comes_along(parts: list[Path], tmp_path: Path) -> None:
    with Store.open(parts[1]) as store:
        store.record(completion(store.queries()[2], failure()))
        store.note("run", "stopped", 3)
    into = tmp_path / "all.sqlite"
    merge_campaigns(parts, into)
    found, source = load_campaign(into), load_campaign(parts[1])
    row = int(found.table.row[found.table["index"] == 4].iloc[0])
    np.testing.assert_array_equal(found.input(row), image(4))
    assert found.table.failure[row - 1] == "killed: signal 9"
    at = int(found.table.row[found.table["index"] == 5].iloc[0])
    np.testing.assert_array_equal(found.point(at), source.point(4))
    assert found.models[MODEL.digest].onnx == MODEL.onnx and found.spec == {"indices": [2, 3, 4, 5]}
    stopped = found.events[found.events.detail == "stopped"]
    assert stopped.row.tolist() == [row] and stopped.time.tolist() == source.events.time[-1:].tolist()
    columns = ["digest", "number", "started", "elapsed", "worker", "host", "versions", "statistics", "session"]
    mine = found.attempts[found.attempts.session.isin(source.attempts.session)]
    pd.testing.assert_frame_equal(mine[columns].reset_index(drop=True), source.attempts[columns])


def test_answers_of_two_stores_that_contradict_each_other_are_reported(tmp_path: Path) -> None:
    for name, distance in (("one", 0.1), ("two", 0.2)):
        with filled_store(tmp_path / f"{name}.sqlite", 1) as store:
            store.record(completion(store.queries()[0], answer(distance, distance)))
    into = tmp_path / "all.sqlite"
    sources = [tmp_path / "one.sqlite", tmp_path / "two.sqlite"]
    assert merge_campaigns(sources, into).contradictions == 1
    campaign = load_campaign(into)
    assert campaign.table.state.tolist() == ["open"] and len(campaign.contradictions) == 1
    assert (campaign.events.kind == "contradiction").sum() == 1
    before = dump(into)
    merge_campaigns(sources, into)
    assert dump(into) == before


CONFLICTS = {
    "model": (query(9, model=OTHER_MODEL.digest), "A configuration keeps its model"),
    "options": (query(9, options={**OPTIONS, "engine": "mip"}), "never mixed"),
    "input": (query(input=InputRecord(image(8), "toy", 0, 3)), "The data set has changed"),
    "label": (query(0, QueryKind.VERIFY, label=4), "has label 3, and label 4"),
    "name": (query(0, configuration="B"), "under another configuration's name"),
}


@pytest.mark.parametrize("name", CONFLICTS)
def test_conflicts_are_refused_by_name_and_leave_the_target_as_it_was(
    parts: list[Path], tmp_path: Path, name: str
) -> None:
    wrong, message = CONFLICTS[name]
    with Store.create(tmp_path / "wrong.sqlite") as store:
        store.add_model(MODEL)
        store.add_model(OTHER_MODEL)
        store.add_queries([wrong])
    into = tmp_path / "all.sqlite"
    merge_campaigns(parts, into)
    before = dump(into)
    with pytest.raises(CampaignError, match=rf"^wrong\.sqlite cannot be merged into all\.sqlite\. .*{message}"):
        merge_campaigns([parts[0], tmp_path / "wrong.sqlite"], into)
    assert dump(into) == before


def test_a_refused_merge_leaves_no_new_file(parts: list[Path], tmp_path: Path) -> None:
    parts[1].write_bytes(b"not a store")
    with pytest.raises(CampaignError, match=r"two\.sqlite"):
        merge_campaigns(parts, tmp_path / "all.sqlite")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["one.sqlite", "two.sqlite"]


def test_a_source_whose_rows_do_not_match_their_keys_is_refused(parts: list[Path], tmp_path: Path) -> None:
    connection = sqlite3.connect(parts[1])
    connection.execute("DROP TRIGGER query_is_not_changed")
    connection.execute("UPDATE query SET key = ? WHERE id = 4", ("f" * 64,))
    connection.commit()
    connection.close()
    with pytest.raises(CampaignError, match=r"two\.sqlite: a query does not match its key"):
        merge_campaigns(parts, tmp_path / "all.sqlite")


def test_the_target_is_no_source(parts: list[Path]) -> None:
    parts[0].with_name("link.sqlite").symlink_to(parts[0])
    for name in (parts[0], parts[0].with_name("link.sqlite")):
        with pytest.raises(CampaignError, match="source and the target"):
            merge_campaigns(parts, name)


def test_a_target_that_is_written_to_is_busy(parts: list[Path]) -> None:
    with Store.open(parts[1]), pytest.raises(StoreBusyError):
        merge_campaigns(parts[:1], parts[1])


def test_a_source_that_is_written_to_gives_what_it_has(parts: list[Path], tmp_path: Path) -> None:
    with Store.open(parts[0]) as store:
        store.record(completion(store.queries()[1], answer()))
        assert merge_campaigns(parts[:1], tmp_path / "all.sqlite").attempts == 3


def test_no_sources_make_an_empty_store(tmp_path: Path) -> None:
    assert merge_campaigns([], tmp_path / "all.sqlite") == (0, 0, 0)
    assert len(load_campaign(tmp_path / "all.sqlite").table) == 0


splits = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.floats(0.1, 0.4)), max_size=8)


@settings(max_examples=4)
@given(splits)
def test_a_merged_campaign_knows_what_one_store_would(
    tmp_path_factory: pytest.TempPathFactory, attempts: list[tuple[int, int, float]]
) -> None:
    """Attempts dealt out to three stores and merged, against the same attempts in one."""
    folder = tmp_path_factory.mktemp("split")
    names = [folder / f"{number}.sqlite" for number in range(3)]
    stores = [filled_store(path, 5) for path in [*names, folder / "one.sqlite"]]
    for index, number, upper in attempts:
        done = completion(stores[3].queries()[index], answer(0.05, upper))
        for store in (stores[number], stores[3]):
            store.record(replace(done))
    for store in stores:
        store.close()
    merge_campaigns(names, folder / "all.sqlite")
    columns = [name for name in CONTENT if name != "seconds"]
    pd.testing.assert_frame_equal(content(folder / "all.sqlite")[columns], content(folder / "one.sqlite")[columns])
