"""Labelled images as a value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnx_models import Array
from onnx_models.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class DataSet:
    """Labelled images, kept as the bytes they came in; `image` and `images` give the numbers a model takes.

    Attributes:
        name: what to call it in messages and results.
        pixels: shape (N, C, H, W), channels first, uint8.
        labels: shape (N,), zero-based classes.
        white: the pixel value that stands for 1.0, such as 255.
    """

    name: str
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    white: int = 255

    def __post_init__(self) -> None:
        assert self.pixels.ndim == 4 and self.pixels.dtype == np.uint8
        if len(self.pixels) != len(self.labels):
            raise InputError(f"{self.name} has {len(self.pixels)} images but {len(self.labels)} labels.")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Array:
        """All images, shape (N, C, H, W), values in [0, 1]; computed anew at each access."""
        return scale_pixels(self.pixels, self.white)

    def image(self, index: int) -> Array:
        """One image, shape (C, H, W), values in [0, 1]; raises InputError for an index outside 0 .. N-1."""
        if not 0 <= index < len(self):
            raise InputError(f"Index {index} is out of range: {self.name} has images 0 to {len(self) - 1}.")
        return scale_pixels(self.pixels[index], self.white)


def scale_pixels(pixels: NDArray[np.uint8], white: int = 255) -> Array:
    """pixel / white, divided in float32 and embedded exactly in float64.

    Models are trained and run on float32 quotients, so these, not the slightly different float64 ones, are the inputs.
    """
    return (pixels.astype(np.float32) / np.float32(white)).astype(np.float64)
