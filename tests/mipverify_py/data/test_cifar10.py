"""CIFAR-10: the binary version, the python version and text hold the same images; wrong files are refused.

What a python batch may contain, and what becomes of hostile ones, is in test_python_batch.py.
"""

from __future__ import annotations

import gzip
import pickle  # to write python batches as their authors do; the package reads them without it
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mipverify_py.data import read_cifar10
from onnx_models.errors import InputError


def some_images(count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Random images (N, 32, 32, 3), channels last, and labels."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return images, random.integers(0, 10, count, dtype=np.uint8)


def binary(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> bytes:
    """The binary version, written down from its description: per image the label, then a red, green and blue plane."""
    records = []
    for image, label in zip(images, labels, strict=True):
        planes = b"".join(image[:, :, channel].tobytes() for channel in range(3))
        records.append(bytes([label]) + planes)
    return b"".join(records)


def text(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> str:
    rows = zip(labels.tolist(), images.reshape(len(images), -1).tolist(), strict=True)
    return "".join(",".join(map(str, [label, *pixels])) + "\n" for label, pixels in rows)


def python(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> bytes:
    """The python version: a row per image with its red, green and blue planes one after another."""
    data = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return pickle.dumps({"data": data, "labels": labels.tolist()})


def test_all_forms_give_the_same_images(tmp_path: Path) -> None:
    images, labels = some_images(3)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "test_batch.bin").write_bytes(binary(images, labels))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "cifar.csv.gz").write_bytes(gzip.compress(text(images, labels).encode()))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "test_batch").write_bytes(python(images, labels))
    for found in (
        read_cifar10(tmp_path / "a"),
        read_cifar10(tmp_path / "b"),
        read_cifar10(tmp_path / "c"),
        read_cifar10(tmp_path / "a" / "test_batch.bin"),
        read_cifar10(tmp_path / "c" / "test_batch"),
    ):
        assert np.array_equal(found.pixels, images.transpose(0, 3, 1, 2))
        assert np.array_equal(found.labels, labels)
        assert found.pixels[1, 2, 30, 7] == images[1, 30, 7, 2]


@pytest.mark.parametrize(("version", "ending", "write"), [("bin", ".bin", binary), ("py", "", python)])
def test_the_training_split_is_five_batches_in_order(
    tmp_path: Path, version: str, ending: str, write: Callable[[NDArray[np.uint8], NDArray[np.uint8]], bytes]
) -> None:
    images, labels = some_images(5)
    folder = tmp_path / f"cifar-10-batches-{version}"
    folder.mkdir()
    for k in range(5):
        (folder / f"data_batch_{k + 1}{ending}").write_bytes(write(images[k : k + 1], labels[k : k + 1]))
    found = read_cifar10(tmp_path, split="train")
    assert np.array_equal(found.pixels, images.transpose(0, 3, 1, 2))
    (folder / f"data_batch_4{ending}").unlink()
    with pytest.raises(InputError, match=rf"lacks data_batch_4{re.escape(ending)};"):
        read_cifar10(tmp_path, split="train")


def test_a_folder_with_several_forms_is_read_as_binary_then_python_then_text(tmp_path: Path) -> None:
    images, labels = some_images(6)
    (tmp_path / "cifar.csv").write_text(text(images[:1], labels[:1]))
    assert len(read_cifar10(tmp_path)) == 1
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(python(images[:2], labels[:2]))
    assert len(read_cifar10(tmp_path)) == 2
    (tmp_path / "test_batch.bin").write_bytes(binary(images[:3], labels[:3]))
    assert len(read_cifar10(tmp_path)) == 3


def test_a_complete_version_is_read_beside_an_incomplete_one(tmp_path: Path) -> None:
    images, labels = some_images(1)
    (tmp_path / "data_batch_1.bin").write_bytes(binary(images, labels))
    for k in range(1, 6):
        (tmp_path / f"data_batch_{k}").write_bytes(python(images, labels))
    assert len(read_cifar10(tmp_path, split="train")) == 5


def test_the_first_real_images(shared_data: Path) -> None:
    found = read_cifar10(shared_data / "cifar10")
    assert found.pixels.shape == (100, 3, 32, 32)
    # The first test images of CIFAR-10 are a cat, two ships, an aeroplane and a frog.
    assert found.labels[:5].tolist() == [3, 8, 8, 0, 6]
    assert found.pixels[0, :, 0, 0].tolist() == [158, 112, 49]


LINE = text(*some_images(1)).strip()
PIXELS = LINE.split(",", 1)[1]

WRONG_TEXT = {
    "empty": ("", "is empty"),
    "header": ("label,p0\n" + LINE, "line 1: expected whole numbers"),
    "fractions": (LINE.replace(",", ",0.5,", 1), "line 1: expected whole numbers"),
    "too short": (LINE + "\n" + LINE.rpartition(",")[0], "line 2: has 3072 numbers"),
    "label out of range": (f"10,{PIXELS}", "label 10 is out of range"),
    "pixel above 255": (f"1,256,{PIXELS.split(',', 1)[1]}", "pixels must lie in 0 to 255"),
    "pixel below 0": (f"1,-1,{PIXELS.split(',', 1)[1]}", "pixels must lie in 0 to 255"),
}


@pytest.mark.parametrize(("content", "fragment"), WRONG_TEXT.values(), ids=WRONG_TEXT.keys())
def test_wrong_text_is_named_by_its_line(tmp_path: Path, content: str, fragment: str) -> None:
    path = tmp_path / "cifar.csv"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_cifar10(path)
    assert fragment in str(caught.value)


def test_wrong_binary_files(tmp_path: Path) -> None:
    path = tmp_path / "test_batch.bin"
    path.write_bytes(bytes(3074))
    with pytest.raises(InputError, match="3073"):
        read_cifar10(tmp_path)
    path.write_bytes(b"\x0b" + bytes(3072))
    with pytest.raises(InputError, match="record 0 has label 11"):
        read_cifar10(tmp_path)


def test_folders_without_a_clear_choice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        read_cifar10(tmp_path / "absent")
    with pytest.raises(InputError, match=r"neither test_batch\.bin nor test_batch nor"):
        read_cifar10(tmp_path)
    (tmp_path / "a.csv").write_text(LINE)
    (tmp_path / "b.csv").write_text(LINE)
    with pytest.raises(InputError, match=r"several \.csv files \(a\.csv, b\.csv\)"):
        read_cifar10(tmp_path)
    with pytest.raises(InputError, match="'extra' is unknown"):
        read_cifar10(tmp_path, split="extra")
