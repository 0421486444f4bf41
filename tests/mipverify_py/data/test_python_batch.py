"""Python batches of CIFAR-10: sound ones of every origin are read, hostile ones are refused and run nothing.

pickle is imported to write batches as their authors did, and as the oracle for the streams written by hand. The package
itself never loads a pickle.
"""

from __future__ import annotations

import gzip
import pickle
import pickletools
import struct
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mipverify_py.data import _python_batch as module
from mipverify_py.data import read_cifar10
from mipverify_py.data._python_batch import read_python_batch
from onnx_models.errors import InputError
from tests.helpers.python2_pickle import python2_pickle

LABELS = [3, 8, 0]
ROWS = np.random.default_rng(1).integers(0, 256, (3, 3072), dtype=np.uint8)
NAMES = [f"image_{k}.png" for k in range(3)]
BATCH: dict[str, Any] = {"batch_label": "testing batch 1 of 1", "labels": LABELS, "data": ROWS, "filenames": NAMES}
BYTES_BATCH = {
    b"batch_label": b"testing batch 1 of 1",
    b"labels": LABELS,
    b"data": ROWS,
    b"filenames": [name.encode() for name in NAMES],
}


PYTHON2 = python2_pickle(BATCH)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # numpy.core has a new name, which Python 2 did not know
@pytest.mark.parametrize("encoding", ["latin1", "bytes"])
def test_the_stream_written_by_hand_is_a_sound_pickle(encoding: str) -> None:
    batch = {k if isinstance(k, str) else k.decode(): v for k, v in pickle.loads(PYTHON2, encoding=encoding).items()}
    assert list(batch) == list(BATCH)
    assert batch["labels"] == LABELS
    assert np.array_equal(batch["data"], ROWS)


# ------------------------------------------------------------------------------------------------------ sound batches


def readonly(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows = rows.copy()
    rows.flags.writeable = False
    return rows


ARRAYS = {
    "rows": ROWS,
    "columns": np.asfortranarray(ROWS),
    "read-only": readonly(ROWS),
    "view with gaps": np.repeat(ROWS, 2, axis=1)[:, ::2],
}


def written_by_python3() -> dict[str, bytes]:
    streams = {}
    for protocol in range(2, 6):
        for name, rows in ARRAYS.items():
            streams[f"{name}, text, protocol {protocol}"] = pickle.dumps(BATCH | {"data": rows}, protocol)
        streams[f"bytes, protocol {protocol}"] = pickle.dumps(BYTES_BATCH, protocol)
        streams[f"pickler in Python, protocol {protocol}"] = pickle._dumps(BYTES_BATCH, protocol)  # type: ignore[attr-defined]
        streams[f"optimized, protocol {protocol}"] = pickletools.optimize(pickle.dumps(BATCH, protocol))
    return streams


def as_numpy_1(stream: bytes) -> bytes:
    """The same with the names of modules that numpy had before version 2."""
    for new in (b"numpy._core.multiarray", b"numpy._core.numeric"):
        old = new.replace(b"_core", b"core")
        stream = stream.replace(b"c" + new + b"\n", b"c" + old + b"\n")
        stream = stream.replace(bytes([0x8C, len(new)]) + new, bytes([0x8C, len(old)]) + old)
    return stream


SOUND = {"Python 2": PYTHON2, **written_by_python3()}
SOUND |= {f"{name}, numpy 1": as_numpy_1(stream) for name, stream in SOUND.items()}


@pytest.mark.parametrize("stream", SOUND.values(), ids=SOUND.keys())
def test_a_batch_is_read_whoever_wrote_it(tmp_path: Path, stream: bytes) -> None:
    (tmp_path / "test_batch").write_bytes(stream)
    found = read_cifar10(tmp_path)
    assert np.array_equal(found.pixels, ROWS.reshape(3, 3, 32, 32))
    assert found.labels.tolist() == LABELS
    assert found.pixels.flags.writeable


def test_names_and_other_entries_are_read_too_and_gzip_is_undone(tmp_path: Path) -> None:
    path = tmp_path / "test_batch"
    path.write_bytes(gzip.compress(pickle.dumps(BYTES_BATCH | {b"more": (None, True, {"k": []})})))
    batch = read_python_batch(path)
    assert list(batch) == ["batch_label", "labels", "data", "filenames", "more"]
    assert batch["filenames"] == BYTES_BATCH[b"filenames"]
    assert batch["more"] == (None, True, {"k": []})


@pytest.mark.parametrize("version", ["Python 2", 2, 3, 4, 5])
def test_a_long_batch_needs_long_memo_slots_and_several_appends(tmp_path: Path, version: str | int) -> None:
    rows = np.tile(ROWS[:1], (1001, 1))
    batch = BATCH | {"data": rows, "labels": [7] * 1001, "filenames": [f"{k:05}.png" for k in range(1001)]}
    path = tmp_path / "test_batch"
    path.write_bytes(python2_pickle(batch) if isinstance(version, str) else pickle.dumps(batch, version))
    assert np.array_equal(read_cifar10(path).pixels, rows.reshape(-1, 3, 32, 32))
    assert read_python_batch(path)["filenames"] == batch["filenames"]


# ---------------------------------------------------------------------------------------------------- batches with code


class Calls:
    """Its pickle calls `function` when it is loaded."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, ...]:
        return self.call


def refusal(path: Path, stream: bytes) -> str:
    """The message with which the stream is refused."""
    path.write_bytes(stream)
    with pytest.raises(InputError) as caught:
        read_cifar10(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert len(message) < len(str(path)) + 500
    return message


@pytest.mark.parametrize("protocol", range(2, 6))
def test_code_is_named_and_not_run(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "trace"
    code = Calls(exec, f"import pathlib; pathlib.Path({str(trace)!r}).touch()")
    stream = pickle.dumps(BATCH | {"filenames": [code]}, protocol)
    message = refusal(tmp_path / "test_batch", stream)
    assert ("names __builtin__.exec" if protocol == 2 else "names builtins.exec") in message
    assert "nothing in it was run; the binary version" in message
    assert not trace.exists()
    pickle.loads(stream)
    assert trace.exists()  # the pickle module would have run it


def test_naming_a_module_does_not_import_it(tmp_path: Path) -> None:
    (tmp_path / "payload_of_a_batch.py").write_text("raise SystemExit")
    sys.path.insert(0, str(tmp_path))
    try:
        message = refusal(tmp_path / "test_batch", b"\x80\x02cpayload_of_a_batch\nrun\n.")
    finally:
        sys.path.remove(str(tmp_path))
    assert "names payload_of_a_batch.run" in message
    assert "payload_of_a_batch" not in sys.modules


def edited(old: bytes, new: bytes, stream: bytes = PYTHON2) -> bytes:
    assert stream.count(old) == 1
    return stream.replace(old, new)


def dumped(**changes: object) -> bytes:
    return pickle.dumps(BATCH | changes, 4)


def without(*keys: str) -> bytes:
    return pickle.dumps({key: value for key, value in BATCH.items() if key not in keys})


FORBIDDEN = {
    "another module": (b"\x80\x02cos\nsystem\n(U\x04truetR.", "byte 2: names os.system, which no CIFAR-10 batch needs"),
    "from the stack": (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "names os.system"),
    "another function of numpy": (edited(b"_reconstruct", b"fromfile"), "names numpy.core.multiarray.fromfile"),
    "an attribute of an attribute": (b"\x80\x04\x8c\x05numpy\x8c\x0ddtype.__new__\x93.", "names numpy.dtype.__new__"),
    "escape codes": (b"\x80\x04\x8c\x02\x1b[\x8c\x01x\x93.", r"names \x1b[.x"),
    "a long name": (b"\x80\x02cos\n" + b"x" * 1000 + b"\n.", "names os." + "x" * 97 + "..."),
    "a name that is no text": (b"\x80\x04K\x01K\x02\x93.", "names a global by what is no text"),
    "an object of a class": (b"\x80\x02cnumpy\nndarray\n)\x81.", "has the pickle instruction EMPTY_TUPLE"),
    "a class made anew": (b"\x80\x02cnumpy\nndarray\nN\x81.", "has the pickle instruction NEWOBJ"),
    "an instance": (b"\x80\x02(ios\nsystem\n.", "has the pickle instruction INST"),
    "an object on the stack": (b"\x80\x02(cnumpy\nndarray\no.", "has the pickle instruction OBJ"),
    "an extension": (b"\x80\x02\x82\x01.", "has the pickle instruction EXT1"),
    "something kept elsewhere": (b"\x80\x02U\x01xQ.", "has the pickle instruction BINPERSID"),
    "a buffer kept elsewhere": (b"\x80\x05\x97.", "has the pickle instruction NEXT_BUFFER"),
    "a second start": (b"\x80\x02\x80\x02}.", "has the pickle instruction PROTO"),
    "a float": (dumped(labels=[0.5]), "has the pickle instruction BINFLOAT"),
    "a set": (dumped(labels={1}), "has the pickle instruction EMPTY_SET"),
    "a scalar of numpy": (dumped(labels=[np.int64(1)]), "names numpy._core.multiarray.scalar"),
    "calling a type": (edited(b"U\x01b\x87R(", b"U\x01b\x87RR("), "what is no tuple"),
    "calling what is no function": (b"\x80\x02K\x01K\x02\x85R.", "calls a function in a way that makes no array"),
    "calling with no tuple": (b"\x80\x02cnumpy\ndtype\n]R.", "calls a function on what is no tuple"),
    "another codec": (b"\x80\x02c_codecs\nencode\nU\x01xU\x05punyc\x86R.", "calls a function in a way"),
    "a type of array": (edited(b"K\x00\x85", b"K\x07\x85"), "calls a function in a way"),
    "state of a type": (edited(b"U\x01|NNN", b"U\x01|N}N"), "sets the state of what is no new array"),
    "state of a dict": (b"\x80\x02}}b.", "sets the state of what is no new array"),
    "state twice": (edited(b"tbU\x09filenames", b"t2bbU\x09filenames"), "has the pickle instruction DUP"),
}


@pytest.mark.parametrize(("stream", "fragment"), FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_instructions_and_names_beyond_a_batch_are_refused(tmp_path: Path, stream: bytes, fragment: str) -> None:
    assert fragment in refusal(tmp_path / "test_batch", stream)


def test_an_array_is_filled_once(tmp_path: Path) -> None:
    again = b"(K\x01K\x01\x85cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R\x89U\x01xtb"
    stream = edited(b"tbU\tfilenames", b"tb" + again + b"U\tfilenames")
    assert "sets the state of what is no new array" in refusal(tmp_path / "test_batch", stream)


# ------------------------------------------------------------------------------------------------------ wrong contents

UNFILLED = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"

WRONG = {
    "no images": (without("data"), "has no entry 'data', so it is no batch of CIFAR-10"),
    "no labels": (without("labels"), "has no entry 'labels'"),
    "nothing": (pickle.dumps({}), "has no entry 'data'"),
    "a list": (pickle.dumps([BATCH]), "does not hold one dict"),
    "an array": (pickle.dumps(ROWS), "does not hold one dict"),
    "two dicts": (b"\x80\x02}}.", "does not hold one dict"),
    "an open mark": (b"\x80\x02(}.", "does not hold one dict"),
    "label 10": (dumped(labels=[1, 10, 2]), "record 1 has label 10; CIFAR-10 labels are 0 to 9"),
    "label -1": (dumped(labels=[1, 2, -1]), "record 2 has label -1"),
    "a label too few": (dumped(labels=[1, 2]), "has 3 images but 2 labels"),
    "labels of truth": (dumped(labels=[True, False, True]), "its labels are no list of whole numbers"),
    "labels in words": (dumped(labels=["cat", "dog", "cat"]), "its labels are no list of whole numbers"),
    "a tuple of labels": (dumped(labels=(1, 2, 3)), "its labels are no list of whole numbers"),
    "labels as bytes": (dumped(labels=np.array([1, 2, 3], np.uint8)), "its labels are no list of whole numbers"),
    "images of another size": (dumped(data=ROWS[:, :1024]), "its data is an array of shape (3, 1024)"),
    "images in planes": (dumped(data=ROWS.reshape(3, 3, 32, 32)), "its data is an array of shape (3, 3, 32, 32)"),
    "images in a list": (dumped(data=ROWS.tolist()), "its data is no array; CIFAR-10 has shape (images, 3072)"),
    "an array left empty": (b"\x80\x02}(U\x04data" + UNFILLED + b"U\x06labels]u.", "its data is no array"),
    "floats": (dumped(data=ROWS.astype(float)), "has an array of type f8; CIFAR-10 images are of type u1"),
    "signed bytes": (dumped(data=ROWS.astype(np.int8)), "has an array of type i1"),
    "objects": (dumped(data=np.array([{}], object)), "has an array of type O8"),
    "no rows": (dumped(data=ROWS[:0], labels=[]), "shape is not 1 to 4 positive numbers"),
    "five dimensions": (dumped(data=ROWS.reshape(3, 3, 32, 32, 1)), "shape is not 1 to 4 positive numbers"),
    "both kinds of key": (pickle.dumps(BATCH | {b"data": ROWS}), "has a dict with the key data twice"),
    "a number as key": (pickle.dumps(BATCH | {1: 2}), "has a dict with a key that is no word"),
    "a key that cannot be hashed": (b"\x80\x02}]Ns.", "has a dict with a key that is no word"),
    "a long key": (pickle.dumps({"k" * 101: 0}), "has a dict with a key that is no word"),
    "a key without a value": (b"\x80\x02}(Nu.", "a key without a value"),
    "an entry of a list": (b"\x80\x02](NNu.", "sets entries of what is no dict"),
    "an item of a dict": (b"\x80\x02}Na.", "appends to what is no list"),
    "another format": (b"PK\x03\x04", "starts with 504b; a python batch of CIFAR-10 starts with 8002 to 8005"),
    "protocol 0": (pickle.dumps(BATCH, 0), "starts with 2864; a python batch"),
    "protocol 1": (pickle.dumps(BATCH, 1), "starts with 7d71; a python batch"),
    "protocol 6": (b"\x80\x06}.", "starts with 8006"),
    "empty": (b"", "starts with nothing"),
    "a start": (b"\x80", "starts with 80;"),
    "unknown instruction": (b"\x80\x02\xff.", "is damaged or cut off (at position 2, opcode b"),
    "more after the end": (PYTHON2 + b"}.", "goes on for 2 bytes after its end"),
    "nothing on the stack": (b"\x80\x02.", "uses a value that is not there"),
    "nothing to remember": (b"\x80\x02q\x01.", "uses a value that is not there"),
    "nothing to recall": (b"\x80\x02h\x01.", "uses entry 1 of its memo"),
    "nothing marked": (b"\x80\x02]e.", "closes a MARK that is not open"),
    "escapes of protocol 0": (b"\x80\x02S'\\d'\n.", "damaged or cut off"),
    "text as bytes": (edited(b"T\x00\x24\x00\x00" + ROWS.tobytes(), b"X\x02\x00\x00\x00\xc4\x80"), "but holds 1"),
    "text beyond bytes": (b"\x80\x02c_codecs\nencode\nX\x02\x00\x00\x00\xc4\x80U\x06latin1\x86R.", "has text where"),
}


@pytest.mark.parametrize(("stream", "fragment"), WRONG.values(), ids=WRONG.keys())
@pytest.mark.filterwarnings("error")
def test_wrong_contents_are_named(tmp_path: Path, stream: bytes, fragment: str) -> None:
    assert fragment in refusal(tmp_path / "test_batch", stream)


@pytest.mark.parametrize("stream", SOUND.values(), ids=SOUND.keys())
def test_a_file_that_is_cut_off_anywhere_is_refused(tmp_path: Path, stream: bytes) -> None:
    ends = {*range(0, 400, 7), *range(400, len(stream) - 200, 997), *range(len(stream) - 200, len(stream), 7)}
    for end in ends:
        refusal(tmp_path / "test_batch", stream[:end])


# --------------------------------------------------------------------------------------------------------------- bombs


def shaped(*sizes: int) -> bytes:
    """The batch of Python 2 with another shape declared for its array."""
    old = b"K\x03M\x00\x0c\x86"
    return edited(old, b"(" + b"".join(b"J" + struct.pack("<i", size) for size in sizes) + b"t")


ENCODE = b"\x80\x02c_codecs\nencode\nq\x01X" + struct.pack("<I", 10_000) + b"x" * 10_000 + b"q\x02U\x06latin1q\x03"

BOMBS = {
    "a length of 2 GB": (b"\x80\x02T\xff\xff\xff\x7fxxx.", "expected 2147483647 bytes"),
    "a negative length": (b"\x80\x02T\xff\xff\xff\xffxxx.", "byte count < 0: -1"),
    "a length of 4 EB": (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"xxx.", "is damaged or cut off"),
    "the largest length": (b"\x80\x05\x96" + b"\xff" * 8 + b"xxx.", "is damaged or cut off"),
    "the largest frame": (b"\x80\x04\x95" + b"\xff" * 8 + b"}.", "has no entry 'data'"),
    "a huge array": (shaped(2**31 - 1, 3072), "declares an array of shape (2147483647, 3072)"),
    "an overflowing array": (shaped(*[2**31 - 1] * 4), "declares an array of shape"),
    "a negative size": (shaped(-3, -3072), "shape is not 1 to 4 positive numbers"),
    "many sizes": (shaped(*[2] * 10_000), "shape is not 1 to 4 positive numbers"),
    "a far memo slot": (b"\x80\x02}r\xff\xff\xff\xff.", "has no entry 'data'"),
    "the same text as bytes again and again": (
        ENCODE + b"]" + 1000 * b"h\x01h\x02h\x03\x86Ra" + b".",
        "turns more text into bytes than it holds",
    ),
    "laughs": (b"\x80\x02Nq\x00" + b"".join([b"(" + 9 * b"h\x00" + b"tq\x00"] * 50) + b".", "does not hold one dict"),
    "nested in itself": (b"\x80\x02]q\x00" + 9 * b"h\x00a" + b"}q\x01U\x01kh\x01sa.", "does not hold one dict"),
    "deep": (b"\x80\x02}U\x04dataN" + 50_000 * b"\x85" + b"s.", "has no entry 'labels'"),
}


@pytest.mark.parametrize(("stream", "fragment"), BOMBS.values(), ids=BOMBS.keys())
def test_no_more_memory_is_taken_than_the_file_warrants(tmp_path: Path, stream: bytes, fragment: str) -> None:
    tracemalloc.start()
    try:
        message = refusal(tmp_path / "test_batch", stream)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert fragment in message
    assert peak < 1_000_000 + 100 * len(stream)


def test_the_number_of_instructions_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = sum(1 for _ in pickletools.genops(PYTHON2)) - 2  # the first and the last are not carried out
    (tmp_path / "test_batch").write_bytes(PYTHON2)
    monkeypatch.setattr(module, "_MOST_INSTRUCTIONS", count)
    assert len(read_cifar10(tmp_path)) == 3
    monkeypatch.setattr(module, "_MOST_INSTRUCTIONS", count - 1)
    message = refusal(tmp_path / "test_batch", PYTHON2)
    assert f"has more than {count - 1} pickle instructions" in message


def test_the_size_of_a_file_is_limited_also_once_decompressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LARGEST", 2_000)
    stream = b"\x80\x02" + bytes(10_000)
    assert "holds more than 2000 bytes" in refusal(tmp_path / "test_batch", stream)
    assert "holds more than 2000 bytes" in refusal(tmp_path / "test_batch", gzip.compress(stream))
