"""MNIST: against the published facts about the test set, and against files that are wrong on purpose."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from mipverify_py.data import read_mnist
from mipverify_py.data._mnist import read_idx
from onnx_models.errors import InputError


def idx(shape: tuple[int, ...], payload: bytes) -> bytes:
    """An IDX file of uint8 entries, written down from the format's description."""
    return bytes((0, 0, 8, len(shape))) + struct.pack(f">{len(shape)}I", *shape) + payload


def write_pair(folder: Path, images: bytes, labels: bytes, suffix: str = "") -> None:
    (folder / f"t10k-images-idx3-ubyte{suffix}").write_bytes(images)
    (folder / f"t10k-labels-idx1-ubyte{suffix}").write_bytes(labels)


def test_the_test_set_is_the_published_one(shared_data: Path) -> None:
    mnist = read_mnist(shared_data / "mnist")
    assert mnist.pixels.shape == (10_000, 1, 28, 28)
    assert np.bincount(mnist.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    header = struct.pack(">IIII", 2051, 10_000, 28, 28)
    checksum = hashlib.md5(header + mnist.pixels.tobytes()).hexdigest()  # the MD5 in ../shared/data/README.md
    assert checksum == "2646ac647ad5339dbf082846283269ea"
    assert mnist.image(0).max() == 1.0
    assert mnist.image(0)[0, 7, 6] == float(np.float32(84) / np.float32(255))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_plain_and_compressed_files_read_the_same(tmp_path: Path, suffix: str) -> None:
    pack = gzip.compress if suffix else bytes
    write_pair(tmp_path, pack(idx((2, 2, 3), bytes(range(12)))), pack(idx((2,), bytes([7, 1]))), suffix)
    found = read_mnist(tmp_path)
    assert found.pixels.tolist() == [[[[0, 1, 2], [3, 4, 5]]], [[[6, 7, 8], [9, 10, 11]]]]
    assert found.labels.tolist() == [7, 1]
    assert len(found) == 2


def test_names_with_a_dot_are_found_and_the_training_split_too(tmp_path: Path) -> None:
    (tmp_path / "train-images.idx3-ubyte").write_bytes(idx((1, 1, 1), b"\xff"))
    (tmp_path / "train-labels.idx1-ubyte").write_bytes(idx((1,), b"\x05"))
    found = read_mnist(tmp_path, split="train", name="fashion")
    assert (found.name, found.image(0).tolist(), found.labels.tolist()) == ("fashion", [[[1.0]]], [5])


GOOD = idx((1, 2, 2), bytes(4))

DAMAGED = {
    "empty": (b"", "starts with nothing"),
    "not IDX": (b"\x89PNG" + bytes(20), "starts with 89504e47"),
    "other entry type": (bytes((0, 0, 0x0D, 3)) + GOOD[4:], "starts with 00000d03"),
    "labels where images belong": (idx((4,), bytes(4)), "3-dimensional"),
    "cut in the header": (GOOD[:9], "ends inside its header"),
    "cut in the data": (GOOD[:-1], "4 bytes, but holds only 3"),
    "bytes after the data": (GOOD + b"\x00", "but holds more"),
    "no images": (idx((0, 28, 28), b""), "0 bytes"),
    "more than memory": (idx((2**32 - 1,) * 3, b""), "are accepted"),
    "compressed and cut off": (gzip.compress(GOOD)[:-9], "damaged or cut off"),
    "compressed and changed": (gzip.compress(GOOD, mtime=0)[:-6] + b"\x00" * 6, "damaged or cut off"),
}


@pytest.mark.parametrize(("data", "fragment"), DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_files_are_named(tmp_path: Path, data: bytes, fragment: str) -> None:
    path = tmp_path / "t10k-images-idx3-ubyte"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_idx(path, dimensions=3)
    assert str(path) in str(caught.value)
    assert fragment in str(caught.value)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        read_mnist(tmp_path / "absent")
    with pytest.raises(InputError, match="has no t10k-images-idx3-ubyte nor"):
        read_mnist(tmp_path)
    with pytest.raises(InputError, match="'validation' is unknown"):
        read_mnist(tmp_path, split="validation")


def test_images_and_labels_must_be_equally_many(tmp_path: Path) -> None:
    write_pair(tmp_path, idx((2, 1, 1), bytes(2)), idx((3,), bytes(3)))
    with pytest.raises(InputError, match="2 images but 3 labels"):
        read_mnist(tmp_path)


def test_an_index_outside_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, idx((2, 1, 1), bytes(2)), idx((2,), bytes(2)))
    found = read_mnist(tmp_path)
    for index in (-1, 2):
        with pytest.raises(InputError, match="has images 0 to 1"):
            found.image(index)
