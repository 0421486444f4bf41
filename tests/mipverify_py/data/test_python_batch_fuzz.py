"""Python batches, mutated and made up: each is read or refused with InputError, and nothing else happens."""

from __future__ import annotations

import pickle  # to write batches as their authors do; the package reads them without it
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mipverify_py.data import read_cifar10
from onnx_models.errors import InputError
from tests.helpers.python2_pickle import python2_pickle

# Grey images: the rows, 3072 times the letter A, look the same in every protocol and can be left out of the mutations.
GREY = b"A" * 3072
GREY_ROWS = np.full((1, 3072), ord("A"), np.uint8)
GREY_BATCH: dict[Any, Any] = {"labels": [4], "data": GREY_ROWS, "filenames": ["a"], "batch_label": "b"}
SEEDS = [
    python2_pickle(GREY_BATCH),
    *(pickle.dumps(GREY_BATCH, protocol) for protocol in range(2, 6)),
    *(pickle.dumps({key.encode(): value for key, value in GREY_BATCH.items()}, protocol) for protocol in range(2, 6)),
]
PARTS = [tuple(seed.split(GREY)) for seed in SEEDS]


def outcome(path: Path, stream: bytes) -> bool:
    """Whether the stream is read; any exception but InputError fails the test."""
    path.write_bytes(stream)
    try:
        found = read_cifar10(path)
    except InputError:
        return False
    assert found.pixels.shape == (len(found.labels), 3, 32, 32)
    assert 0 <= found.labels.min() <= found.labels.max() < 10
    return True


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file to be overwritten."""
    return tmp_path_factory.mktemp("fuzz") / "test_batch"


def test_the_seeds_are_sound(fuzzed: Path) -> None:
    assert all(len(part) == 2 for part in PARTS)
    assert all(outcome(fuzzed, seed) for seed in SEEDS)


EDITS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 4),  # bytes that go
        st.one_of(
            st.binary(max_size=4), st.sampled_from([opcode.code.encode("latin-1") for opcode in pickletools.opcodes])
        ),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=600, deadline=None)
@given(parts=st.sampled_from(PARTS), edits=EDITS)
@pytest.mark.slow
def test_mutations_are_read_or_refused(fuzzed: Path, parts: tuple[bytes, bytes], edits: Any) -> None:
    head, tail = parts
    for share, gone, new in edits:
        place = int(share * (len(head) + len(tail)))
        if place < len(head):
            head = head[:place] + new + head[place + gone :]
        else:
            place -= len(head)
            tail = tail[:place] + new + tail[place + gone :]
    outcome(fuzzed, head + GREY + tail)


WORDS = [
    *(opcode.code.encode("latin-1") for opcode in pickletools.opcodes if opcode.arg is None and opcode.name != "STOP"),
    *(b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"c_codecs\nencode\n"),
    *(b"cnumpy._core.multiarray\n_reconstruct\n", b"cnumpy._core.numeric\n_frombuffer\n"),
    *(b"K\x00", b"K\x01", b"K\x03", b"K\xff", b"J\xff\xff\xff\xff", b"q\x00", b"q\x01", b"h\x00", b"h\x01"),
    *(b"U\x01b", b"U\x02u1", b"U\x01|", b"U\x01C", b"U\x06latin1", b"U\x04data", b"U\x06labels", b"C\x02xy"),
    *(b"X\x02\x00\x00\x00\xc4\x80", b"\x96\x03" + bytes(7) + b"xyz"),
    *(
        b"cnumpy\ndtype\nU\x02u1\x89\x88\x87R",
        b"cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R",
    ),
]


@settings(max_examples=300, deadline=None)
@given(words=st.lists(st.sampled_from(WORDS), max_size=30))
def test_any_sequence_of_instructions_is_refused(fuzzed: Path, words: list[bytes]) -> None:
    assert not outcome(fuzzed, b"\x80\x04" + b"".join(words) + b".")
