"""The handwritten digits that scikit-learn brings along, in a split that never changes."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

VALIDATION_ROWS, TEST_ROWS = 200, 400

WHITE = 16
"""The largest pixel value in the data; images are divided by it."""


class LabelledImages(NamedTuple):
    """Images, shape (N, 1, 8, 8), float32 multiples of 1/16 in [0, 1], and their labels, shape (N,), int64, 0 to 9."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


class DigitsSplit(NamedTuple):
    """The three disjoint parts of the data: 1,197, 200 and 400 images."""

    train: LabelledImages
    validation: LabelledImages
    test: LabelledImages


def digits_split() -> DigitsSplit:
    """The 1,797 digits of Alpaydin and Kaynak (UCI, 1998) as bundled with scikit-learn, split into three parts.

    Rows are ordered by the SHA-256 of their number, which no library version can change; the last 400 are the test
    rows and the 200 before them the validation rows. Row i of the test part is the i-th image of the data set `digits`.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    images = (data.images.astype(np.float32) / np.float32(WHITE)).reshape(-1, 1, 8, 8)
    labels = data.target.astype(np.int64)
    order = sorted(range(len(labels)), key=lambda row: hashlib.sha256(f"digits {row}".encode()).digest())
    parts = np.split(np.array(order), [len(order) - TEST_ROWS - VALIDATION_ROWS, len(order) - TEST_ROWS])
    return DigitsSplit(*(LabelledImages(images[part], labels[part]) for part in parts))


def digits_test() -> LabelledImages:
    """The 400 test rows, in the order in which `--dataset digits` numbers them."""
    return digits_split().test
