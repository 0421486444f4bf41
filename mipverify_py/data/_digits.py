"""The bundled data set: handwritten digits that no model of the zoo was trained on."""

from __future__ import annotations

import numpy as np

from mipverify_py.data._dataset import DataSet
from onnx_models.zoo import digits_test

WHITE = 16
"""Largest pixel value of these images."""


def read_digits() -> DataSet:
    """The 400 test rows of scikit-learn's digits, shape (N, 1, 8, 8); `onnx_models.zoo` says how they are split off."""
    images, labels = digits_test()
    return DataSet("digits", np.rint(images * WHITE).astype(np.uint8), labels, WHITE)
