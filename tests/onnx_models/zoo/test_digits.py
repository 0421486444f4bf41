"""The split of the digits is a partition, balanced, and never changes."""

from __future__ import annotations

import hashlib

import numpy as np
from sklearn.datasets import load_digits

from onnx_models.zoo import WHITE, digits_split, digits_test


def test_shapes_types_and_ranges() -> None:
    split = digits_split()
    assert [len(part.labels) for part in split] == [1197, 200, 400]
    for images, labels in split:
        assert images.shape == (len(labels), 1, 8, 8)
        assert images.dtype == np.float32 and labels.dtype == np.int64
        assert images.min() == 0.0 and images.max() == 1.0
        assert np.array_equal(images * WHITE, np.round(images * WHITE))
        assert np.bincount(labels).min() >= len(labels) // 20 and set(labels) == set(range(10))


def test_every_digit_of_the_source_is_in_exactly_one_part() -> None:
    source = load_digits()
    rows = sorted((image.tobytes(), int(label)) for image, label in zip(source.images, source.target, strict=True))
    split = digits_split()
    parts = [
        ((image[0].astype(np.float64) * WHITE).tobytes(), int(label))
        for part in split
        for image, label in zip(part.images, part.labels, strict=True)
    ]
    assert sorted(parts) == rows


def test_test_rows_never_change() -> None:
    """Published results name a row of this order, so this digest must not be updated."""
    images, labels = digits_test()
    content = (images * WHITE).astype(np.uint8).tobytes() + labels.astype(np.uint8).tobytes()
    assert hashlib.sha256(content).hexdigest() == "3001d9d74fed6e097f422a3476e63305ab6cd769c372b8a65c604e19be59dfd2"


def test_test_rows_are_the_last_part() -> None:
    test = digits_split().test
    images, labels = digits_test()
    assert np.array_equal(images, test.images) and np.array_equal(labels, test.labels)
