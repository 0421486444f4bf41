"""Messages between processes: whole, in any slices, and never anything but data."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mipverify_py.backends import Answer, SolveLimits, SolveProgress, SolveStatus
from mipverify_py.backends._frames import (
    MAGIC,
    PREFIX,
    Frame,
    FrameReader,
    answer_frame,
    progress_frame,
    read_answer,
    read_progress,
    read_request,
    request,
)
from mipverify_py.backends._preflight import canonical
from tests.helpers.mips import random_mip

NUMBERS = st.none() | st.floats(allow_nan=False)


def through(frame: Frame) -> Frame:
    (read,) = FrameReader().feed(frame.pack())
    return read


@given(seed=st.integers(0, 10**6), cut=st.floats(-9, 9), start=st.booleans())
def test_requests(seed: int, cut: float, start: bool) -> None:
    model = canonical(random_mip(seed))
    limits = SolveLimits(
        seconds=np.float64(2.5),
        nodes=np.int64(7),  # type: ignore[arg-type]
        cutoff=cut,
        start=np.linspace(0, 1, model.columns) if start else None,
    )
    got, got_limits = read_request(through(request(model, limits)))
    for name in ("row_lower", "row_upper", "column_lower", "column_upper", "cost", "integer"):
        np.testing.assert_array_equal(getattr(got, name), getattr(model, name))
    np.testing.assert_array_equal(got.matrix.toarray(), model.matrix.toarray())
    assert (got.offset, got.names) == (model.offset, model.names)
    for name in ("seconds", "nodes", "gap_absolute", "gap_relative", "threads", "seed", "cutoff"):
        assert getattr(got_limits, name) == getattr(limits, name)
    np.testing.assert_array_equal(got_limits.start, limits.start)


@given(bound=NUMBERS, objective=NUMBERS, point=st.none() | st.lists(st.floats(width=64)))
def test_progress(bound: float | None, objective: float | None, point: list[float] | None) -> None:
    array = None if point is None else np.array(point, np.float64)
    got = read_progress(through(progress_frame(SolveProgress(bound, objective, array))))
    assert (got.dual_bound, got.objective) == (bound, objective)
    np.testing.assert_array_equal(got.point, array)


@pytest.mark.parametrize("status", SolveStatus)
def test_answers(status: SolveStatus) -> None:
    answer = Answer(status, np.array([1 / 3, -np.inf]), 0.1, np.zeros(0), nodes=12)
    got = read_answer(through(answer_frame(answer)))
    assert (got.status, got.dual_bound, got.nodes) == (status, 0.1, 12)
    np.testing.assert_array_equal(got.point, answer.point)
    np.testing.assert_array_equal(got.row_duals, answer.row_duals)


def test_a_number_says_which_request_a_frame_belongs_to() -> None:
    frame = progress_frame(SolveProgress(1.5, None, np.ones(2)))
    assert through(frame).number == 0
    got = through(frame.numbered(12))
    assert got.number == 12
    assert read_progress(got).dual_bound == 1.5
    np.testing.assert_array_equal(read_progress(got).point, np.ones(2))


@given(sizes=st.lists(st.integers(0, 60), min_size=1, max_size=4), slices=st.lists(st.integers(1, 90), min_size=1))
def test_a_stream_may_come_in_any_slices(sizes: list[int], slices: list[int]) -> None:
    sent = [Frame("progress", {"n": n}, {"v": np.arange(n)} if n else {}) for n in sizes]
    data = b"".join(frame.pack() for frame in sent)
    reader, got, place, turn = FrameReader(), [], 0, 0
    while place < len(data):
        step = slices[turn % len(slices)]
        got += list(reader.feed(data[place : place + step]))
        place, turn = place + step, turn + 1
    assert [(f.kind, f.head["n"]) for f in got] == [("progress", n) for n in sizes]
    for frame, n in zip(got, sizes, strict=True):
        assert n == 0 or frame.body["v"].tolist() == list(range(n))


def frame_of(head: bytes, body: bytes = b"") -> bytes:
    return PREFIX.pack(MAGIC, len(head), len(body)) + head + body


GARBAGE = {
    "console output": b"Academic license - for non-commercial use only",
    "one wrong byte": b"X",
    "absurd length": PREFIX.pack(MAGIC, 2**60, 0),
    "no JSON": frame_of(b"hello"),
    "JSON without a kind": frame_of(b"{}"),
    "JSON of another form": frame_of(b"[1, 2]"),
    "body that is no archive": frame_of(b'{"kind": "answer"}', b"PK nonsense"),
    "pickle": frame_of(b'{"kind": "answer"}', pickle.dumps(print)),
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="frame"):
        list(FrameReader().feed(data))


def test_objects_inside_an_archive_are_refused() -> None:
    import io

    buffer = io.BytesIO()
    np.savez(buffer, point=np.array([print], dtype=object))  # numpy pickles it
    with pytest.raises(ValueError, match="unreadable frame"):
        list(FrameReader().feed(frame_of(b'{"kind": "answer"}', buffer.getvalue())))
