"""Training data from files written by hand."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from counter_attack.training import read_training_data
from onnx_models.errors import InputError
from onnx_models.zoo import digits_split

TRAIN, TEST = 40, 12


def write_mnist(folder: Path, part: str, count: int, side: int = 28, first: int = 0) -> None:
    """Images whose pixels all are the image's number plus `first`, with labels 0, 1, ..., 9, 0, ..."""
    pixels = np.repeat(np.arange(first, first + count, dtype=np.uint8), side * side)
    images = bytes((0, 0, 8, 3)) + struct.pack(">3I", count, side, side) + pixels.tobytes()
    labels = bytes((0, 0, 8, 1)) + struct.pack(">I", count) + bytes(k % 10 for k in range(count))
    (folder / f"{part}-images-idx3-ubyte").write_bytes(images)
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(labels)


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    write_mnist(tmp_path, "train", TRAIN)
    write_mnist(tmp_path, "t10k", TEST, first=100)
    return tmp_path


def numbers(part: object) -> list[int]:
    return [int(image.flat[0]) for image in part.pixels]


def test_the_digits_are_the_three_parts_of_the_zoo() -> None:
    data = read_training_data("digits")
    for part, expected in zip(data.parts.values(), digits_split(), strict=True):
        np.testing.assert_array_equal(part.images, expected.images)
        np.testing.assert_array_equal(part.labels, expected.labels)
    assert data.shape == (1, 8, 8)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_training_files_give_training_and_validation_rows(mnist: Path, name: str) -> None:
    data = read_training_data(name, mnist)
    assert numbers(data.train) == list(range(36)) and numbers(data.validation) == list(range(36, 40))
    assert numbers(data.test) == list(range(100, 112))
    assert data.train.labels.tolist() == [k % 10 for k in range(36)]
    assert data.rows["validation"] == "rows 36 to 39 of the training files"
    assert data.train.images.max() == np.float32(35) / np.float32(255)


def test_the_number_of_validation_rows_can_be_chosen(mnist: Path) -> None:
    assert len(read_training_data("mnist", mnist, validation_rows=30).train) == 10
    none = read_training_data("mnist", mnist, validation_rows=0)
    assert len(none.train) == TRAIN and none.validation is None and set(none.rows) == {"train", "test"}
    for wrong in (TRAIN, -1):
        with pytest.raises(InputError, match="leave nothing to learn from"):
            read_training_data("mnist", mnist, validation_rows=wrong)


def test_without_test_files_there_is_no_test_part(tmp_path: Path) -> None:
    write_mnist(tmp_path, "train", TRAIN)
    assert read_training_data("mnist", tmp_path).test is None


def test_a_split_of_the_test_files_has_to_be_named(tmp_path: Path) -> None:
    write_mnist(tmp_path, "t10k", TEST)
    with pytest.raises(InputError, match=r"no training files of mnist.*name these as split"):
        read_training_data("mnist", tmp_path)
    data = read_training_data("mnist", tmp_path, split=(3, 10))
    assert numbers(data.train) == list(range(3, 10)) and numbers(data.validation) == [0, 1, 2, 10, 11]
    assert data.test is None
    assert read_training_data("mnist", tmp_path, split=(0, TEST)).validation is None


@pytest.mark.parametrize("split", [(5, 5), (-1, 4), (0, TEST + 1)])
def test_rows_that_are_not_there_are_refused(mnist: Path, split: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="rows 0 to 11"):
        read_training_data("mnist", mnist, split=split)


def test_cifar10_is_read_from_its_batches_and_never_learnt_from_a_table_by_accident(tmp_path: Path) -> None:
    record = bytes([3]) + bytes(3072)
    for k in range(1, 6):
        (tmp_path / f"data_batch_{k}.bin").write_bytes(record * 4)
    (tmp_path / "test_batch.bin").write_bytes(record * 2)
    data = read_training_data("cifar10", tmp_path)
    assert {name: len(part) for name, part in data.parts.items()} == {"train": 18, "validation": 2, "test": 2}
    table = tmp_path / "table"
    table.mkdir()
    (table / "cifar10_test.csv").write_text(",".join(["3"] + ["0"] * 3072) + "\n")
    with pytest.raises(InputError, match="no training files of cifar10"):
        read_training_data("cifar10", table)
    assert len(read_training_data("cifar10", table, split=(0, 1)).train) == 1


def test_the_digest_depends_on_every_pixel_label_and_row(mnist: Path) -> None:
    def digest(**choice: object) -> str:
        return read_training_data("mnist", mnist, **choice).digest()

    before = digest()
    assert digest() == before
    assert digest(validation_rows=5) != before
    for file in ("train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        data = bytearray((mnist / file).read_bytes())
        data[-1] ^= 1
        (mnist / file).write_bytes(data)
        assert digest() != before
        data[-1] ^= 1
        (mnist / file).write_bytes(data)
    assert digest() == before


def test_what_cannot_be_read_is_named(mnist: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'svhn' is unknown"):
        read_training_data("svhn", mnist)
    with pytest.raises(InputError, match="name the folder"):
        read_training_data("mnist")
    with pytest.raises(InputError, match="digits are bundled"):
        read_training_data("digits", mnist)
    with pytest.raises(InputError, match="no such folder"):
        read_training_data("mnist", tmp_path / "absent")
    with pytest.raises(InputError, match="leave out their number"):
        read_training_data("mnist", mnist, split=(0, 5), validation_rows=3)
    small = tmp_path / "small"
    small.mkdir()
    write_mnist(small, "train", 20, side=8)
    with pytest.raises(InputError, match=r"\(1, 8, 8\); mnist has \(1, 28, 28\)"):
        read_training_data("mnist", small)
