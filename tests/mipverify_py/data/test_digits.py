"""The bundled digits are scikit-learn's, with their labels, each at most once."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from mipverify_py.data import read_digits


def test_digits_are_rows_of_the_original() -> None:
    digits, original = read_digits(), load_digits()
    assert digits.pixels.shape == (400, 1, 8, 8)
    rows = {
        image.astype(np.uint8).tobytes(): label for image, label in zip(original.images, original.target, strict=True)
    }
    found = [image.tobytes() for image in digits.pixels]
    assert len(set(found)) == len(found)
    assert [rows[image] for image in found] == digits.labels.tolist()


def test_values_are_sixteenths() -> None:
    images = read_digits().images
    assert images.dtype == np.float64
    assert (images.min(), images.max()) == (0.0, 1.0)
    assert np.array_equal(images * 16, np.rint(images * 16))
