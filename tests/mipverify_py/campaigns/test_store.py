"""What goes into a store comes out of it, and what does not belong there is refused."""

from __future__ import annotations

import json
import sqlite3
import threading
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import mipverify_py.campaigns
from mipverify_py.campaigns import (
    Added,
    Answer,
    CampaignError,
    Completion,
    Failure,
    FailureReason,
    Finding,
    InputRecord,
    Limits,
    ModelRecord,
    QueryKind,
    QueryRecord,
    QueryState,
    Store,
    Task,
    load_campaign,
)
from mipverify_py.campaigns._codec import pack, unpack
from tests.checks.test_imports import HEAVY, RESOLVE, TOOLS, run_without
from tests.helpers.campaigns import (
    HOST,
    MODEL,
    OPTIONS,
    OTHER_MODEL,
    VERSIONS,
    answer,
    completion,
    failure,
    filled_store,
    image,
    query,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with filled_store(tmp_path / "campaign.sqlite") as made:
        yield made


def test_public_names_load_nothing_heavy() -> None:
    run_without((*HEAVY, *TOOLS, "dask", "distributed", "pyarrow"), RESOLVE.format("mipverify_py.campaigns"))


def test_public_names_are_listed_once_and_in_order() -> None:
    names = mipverify_py.campaigns.__all__
    assert names == sorted(set(names), key=lambda name: (name[0].islower(), name)) and dir(mipverify_py.campaigns)


# ------------------------------------------------------------------------------------------------- models and queries


def test_models_come_back(store: Store) -> None:
    assert store.add_model(OTHER_MODEL) and not store.add_model(replace(OTHER_MODEL, name="again"))
    found = store.models()
    assert list(found) == [MODEL.digest, OTHER_MODEL.digest]
    for expected in (MODEL, OTHER_MODEL):
        assert asdict(found[expected.digest]) == asdict(expected)


@pytest.mark.parametrize("kind", QueryKind)
def test_a_query_comes_back_with_every_field(tmp_path: Path, kind: QueryKind) -> None:
    expected = query(4, kind, label=None)
    with Store.create(tmp_path / "campaign.sqlite") as store:
        store.add_model(MODEL)
        store.add_queries([expected])
        (found,) = store.queries()
    assert (found.state, found.attempts, found.lower, found.upper, found.verdict) == (
        QueryState.NEW,
        0,
        None,
        None,
        None,
    )
    for field in fields(QueryRecord):
        if field.name != "input":
            assert getattr(found.record, field.name) == getattr(expected, field.name)
    np.testing.assert_array_equal(found.record.input.values, expected.input.values)
    assert (found.record.input.dataset, found.record.input.index, found.record.input.label) == ("toy", 4, None)
    assert found.key == found.record.key == expected.key


def test_queries_without_inputs_keep_their_keys(store: Store) -> None:
    light, full = store.queries(with_inputs=False), store.queries()
    assert [each.key for each in light] == [each.record.key for each in full]
    assert all(each.record.input.values.size == 0 for each in light)
    np.testing.assert_array_equal(store.input(light[1].row), image(1))


def test_a_query_is_there_once(store: Store) -> None:
    assert store.add_queries([query(0), query(7)]) == Added(new=1, present=1)
    assert store.add_queries([query(7), query(7)]) == Added(new=0, present=2)
    assert store.summary().total == 4


def test_equal_inputs_of_several_models_are_stored_once(store: Store, tmp_path: Path) -> None:
    store.add_model(OTHER_MODEL)
    store.add_queries([query(0, configuration="B", model=OTHER_MODEL.digest), query(0, QueryKind.ATTACK)])
    count = sqlite3.connect(tmp_path / "campaign.sqlite").execute("SELECT count(*) FROM input").fetchone()
    assert count == (3,)


REFUSED = {
    "other model": (
        query(9, model=OTHER_MODEL.digest),
        rf"model {MODEL.digest} in the store, and model {OTHER_MODEL.digest}",
    ),
    "other options": (
        query(9, options={**OPTIONS, "engine": "mip"}),
        r"the store has options .*auto.* and .*mip.* are given",
    ),
    "other seed": (query(9, seed=5), r"under different options are never\s+mixed"),
    "other margin": (query(9, margin=0.5), "different options are never"),
    "other domain": (query(9, domain=[-1.0, 1.0]), "different options are never"),
    "unknown model": (query(9, configuration="B", model="c" * 64), "add_model comes before"),
    "other name": (query(0, configuration="B"), "under another configuration's name"),
    "other values": (query(9, input=InputRecord(image(8), "toy", 0, 3)), "The data set has changed"),
    "other label": (query(0, QueryKind.VERIFY, label=4), "has label 3, and label 4 is given"),
    "NaN": (query(9, input=InputRecord(np.full((1, 2, 3), np.nan), "toy", 9, 3)), "NaN or an infinity"),
    "no numbers": (query(9, input=InputRecord(np.array([["a"]]), "toy", 9, 3)), "an array of real numbers is needed"),
    "complex numbers": (query(9, input=InputRecord(np.array([1j]), "toy", 9, 3)), "real numbers .* not .* complex"),
    "NaN as a radius": (query(9, QueryKind.VERIFY, eps=float("nan")), "eps is nan"),
    "a seed of 65 bits": (query(9, configuration="B", seed=2**64), "the seed is 18446744073709551616; .* 64 bits"),
    "half a label": (query(9, label=1.5), "its label is 1.5; a store keeps whole numbers"),
    "a name that is no text": (query(9, configuration="\udcff"), "does not belong into the store"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_go_with_the_store_is_refused_as_a_whole(store: Store, name: str) -> None:
    store.add_model(OTHER_MODEL)
    wrong, message = REFUSED[name]
    with pytest.raises(CampaignError, match=message):
        store.add_queries([query(20), wrong])
    assert store.summary().total == 3
    assert store.add_queries([query(20)]).new == 1  # the store goes on


def test_what_may_differ_within_a_configuration(store: Store) -> None:
    labelled = query(5)
    asked = [
        query(5),
        replace(labelled, question={**labelled.question, "label": 1}),
        query(5, targets=[1, 2]),
        query(5, QueryKind.VERIFY, eps=0.1),
        query(5, QueryKind.VERIFY, eps=0.2),
        query(5, norm="l2", margin=0.1),
        query(5, QueryKind.ATTACK, set="fast"),
        query(5, QueryKind.ATTACK, set="strong", attacks={"fab": {}}),
    ]
    assert store.add_queries(asked) == Added(new=8, present=0)


def test_the_specification_comes_back(store: Store) -> None:
    assert store.spec() is None
    store.add_queries([], {"limits": {"time_limit": 3.5}})
    store.add_queries([query(0)], {"limits": {"time_limit": 7.0}})
    assert store.spec() == {"limits": {"time_limit": 7.0}}


# ------------------------------------------------------------------------------------------------------------ attempts

finite = st.floats(allow_nan=False, allow_infinity=False)
distances = st.floats(0, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
points = arrays(np.float64, array_shapes(max_dims=3, max_side=4), elements=finite)
findings = st.builds(
    Finding,
    texts,
    st.none() | distances,
    st.none() | st.integers(0, 99),
    st.none() | points,
    st.none() | distances,
    st.none() | st.integers(0, 10**12),
)
answers = st.builds(
    Answer,
    decided=st.booleans(),
    verdict=st.sampled_from([None, "robust", "adversarial", "unknown"]),
    lower=st.none() | finite,
    upper=st.none() | distances,
    evidence=st.sampled_from([None, "reproved", "solver_claim"]),
    evidence_detail=texts,
    stop_reason=st.sampled_from(["solved", "time_limit", "interrupted"]),
    stop_detail=texts,
    predicted=st.integers(0, 1000),
    reference=st.integers(0, 1000),
    engine=texts,
    backend=st.none() | texts,
    seconds=distances,
    findings=st.lists(findings, max_size=3).map(tuple),
    statistics=st.dictionaries(texts, finite | texts | st.lists(st.integers()), max_size=3),
)
outcomes = answers | st.builds(Failure, st.sampled_from(FailureReason), texts)
limits = st.builds(Limits, st.none() | st.floats(1e-9, 1e9), distances, st.floats(0, 1, exclude_max=True))


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Path]:
    path = tmp_path_factory.mktemp("round_trip") / "campaign.sqlite"
    with filled_store(path, 1) as made:
        yield made, path


@given(
    outcome=outcomes, asked=limits, number=st.integers(1, 10**6), final=st.booleans(), worker=texts, seconds=distances
)
def test_attempts_come_back_exactly(shared_store, outcome, asked, number, final, worker, seconds) -> None:
    store, path = shared_store
    overrides = {"engine": "mip"} if final else {}
    task = Task(1, number, query(), asked, overrides, final)
    is_new = store.record(Completion(task, outcome, worker, HOST, VERSIONS, min(seconds, 1e9)))
    assert not store.record(Completion(task, outcome, worker, HOST, VERSIONS, min(seconds, 1e9)))
    if not is_new:
        return
    found = store.queries()[0].history[-1]
    assert (found.number, found.final, found.limits, found.overrides) == (number, final, asked, overrides)
    if isinstance(outcome, Failure):
        assert (found.failure, found.failure_detail) == (outcome.reason.value, outcome.detail)
        return
    for name in (
        "decided",
        "verdict",
        "lower",
        "upper",
        "evidence",
        "stop_reason",
        "predicted",
        "reference",
        "engine",
        "backend",
        "seconds",
    ):
        assert getattr(found, name) == getattr(outcome, name), name
    connection = sqlite3.connect(path)
    rows = connection.execute(
        "SELECT name, distance, target, seconds, calls, shape, data, checksum FROM finding "
        "WHERE attempt = ? ORDER BY id",
        (found.row,),
    ).fetchall()
    statistics = connection.execute("SELECT statistics FROM attempt WHERE id = ?", (found.row,)).fetchone()[0]
    connection.close()
    assert json.loads(statistics) == outcome.statistics
    assert len(rows) == len(outcome.findings)
    for row, finding in zip(rows, outcome.findings, strict=True):
        assert row[:5] == (finding.name, finding.distance, finding.target, finding.seconds, finding.calls)
        if finding.point is None:
            assert row[5:] == (None, None, None)
        else:
            np.testing.assert_array_equal(_by_hand(*row[5:7]), finding.point)


def _by_hand(shape: str, data: bytes) -> np.ndarray:
    """An array as the reference page says that it is stored, read without the package."""
    import struct
    import zlib

    raw = zlib.decompress(data)
    return np.array(struct.unpack(f"<{len(raw) // 8}d", raw)).reshape(json.loads(shape))


@given(points)
def test_packing_keeps_every_bit(values: np.ndarray) -> None:
    for array in (values, values.T, values[..., ::-1]):
        found = unpack(pack(array, "it"), "it")
        assert found.tobytes() == np.ascontiguousarray(array).tobytes() and found.shape == array.shape
        assert found.flags.writeable


def test_a_scalar_array_keeps_its_shape() -> None:
    assert unpack(pack(np.array(0.5), "it"), "it").shape == ()


BAD_OUTCOMES = {
    "lower is NaN": answer(float("nan"), 0.2),
    "upper is infinite": answer(0.1, float("inf"), findings=()),
    "seconds are NaN": answer(seconds=float("nan")),
    "no number": answer(lower="much"),
    "distance of a finding": answer(findings=(Finding("exact", float("inf")),)),
    "point of a finding": answer(findings=(Finding("exact", 0.1, 5, np.array([np.inf])),)),
    "statistics": answer(statistics={"gap": float("nan")}),
    "statistics that JSON has not": answer(statistics={"gap": {1, 2}}),
    "negative distance": answer(-0.5, -0.25, findings=()),
    "unknown verdict": answer(verdict="maybe"),
    "a verdict that is no text": answer(verdict=QueryKind.VERIFY),
    "class of 65 bits": answer(predicted=2**64),
    "class that is NaN": answer(predicted=float("nan")),
    "name that is no text": answer(engine="\ud800"),
}


@pytest.mark.parametrize("name", BAD_OUTCOMES)
def test_what_is_no_sound_answer_is_refused_and_leaves_nothing(store: Store, name: str) -> None:
    stored = store.queries()
    good, bad = completion(stored[0], answer()), completion(stored[1], BAD_OUTCOMES[name])
    with pytest.raises(CampaignError):
        store.record_many([good, bad])
    assert all(each.attempts == 0 for each in store.queries())
    assert store.record_many([good]) == 1


def test_words_of_any_kind_are_kept(store: Store) -> None:
    """Names of files on Linux may be no text at all, and errors quote them: that must not cost the failure."""
    asked = store.queries()[0]
    store.record(completion(asked, failure(detail="cannot read \udcff.onnx")))
    store.record(completion(asked, answer(stop_detail="\ud800", evidence_detail="zero \0"), number=2))
    assert store.queries()[0].failure == "killed: cannot read \\udcff.onnx"


def test_an_attempt_at_an_unknown_query_is_refused(store: Store) -> None:
    with pytest.raises(CampaignError, match="no such query"):
        store.record(completion(99, answer()))


def test_the_same_completion_is_recorded_once(store: Store) -> None:
    once = completion(store.queries()[0], answer())
    assert store.record(once) and not store.record(once)
    assert store.record_many([once, completion(store.queries()[0], answer())]) == 1
    assert store.queries()[0].attempts == 2


def test_numpy_numbers_are_numbers(store: Store) -> None:
    outcome = answer(np.float64(0.25), np.float32(0.25), predicted=np.int64(3), seconds=np.float32(2))
    store.record(completion(store.queries()[0], outcome))
    found = store.queries()[0].history[0]
    assert (found.lower, found.upper, found.predicted, found.seconds) == (0.25, 0.25, 3, 2.0)


def test_rows_are_only_ever_added(store: Store, tmp_path: Path) -> None:
    store.add_queries([], {"a": 1})
    store.record(completion(store.queries()[0], replace(answer(), certificate=b"a proof")))
    connection = sqlite3.connect(tmp_path / "campaign.sqlite")
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    assert len(tables) == 12
    for table in tables:
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] > 0, table
        column = connection.execute(f"SELECT name FROM pragma_table_info('{table}')").fetchone()[0]
        for change in (f"DELETE FROM {table}", f"UPDATE {table} SET {column} = {column}"):
            with pytest.raises(sqlite3.IntegrityError, match="only ever added"):
                connection.execute(change)
    connection.close()


def test_the_log_tells_what_happened(store: Store, tmp_path: Path) -> None:
    first, second = store.queries()[:2]
    store.record(completion(first, answer()))
    store.record(completion(second, failure(FailureReason.MEMORY, "over 2 GiB")))
    store.note("run", "stopped", second.row)
    events = load_campaign(tmp_path / "campaign.sqlite").events
    assert list(events.kind) == ["queries", "answer", "failure", "run"]
    assert list(events.row.fillna(0)) == [0, first.row, second.row, second.row]
    assert list(events.detail) == ["3 new queries", "solved", "memory: over 2 GiB", "stopped"]


def test_several_threads_may_record(store: Store) -> None:
    stored = store.queries()

    def work(number: int) -> None:
        for _ in range(20):
            store.record(completion(stored[number], answer()))
            store.summary()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.attempts for each in store.queries()] == [20, 20, 20]


def test_a_model_without_card_and_a_name_with_any_letters(tmp_path: Path) -> None:
    model = ModelRecord("d" * 64, "Grüße 例", b"")
    with Store.create(tmp_path / "a name with spaces, ? and %20 # in it.sqlite") as store:
        store.add_model(model)
        assert store.models()[model.digest].name == model.name
        assert store.name == "a name with spaces, ? and %20 # in it.sqlite"
