"""Which entries of a flat input are the channels of which pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mipverify_py._arguments import whole_number
from onnx_models.errors import InputError

_CHANNEL_COUNTS = (1, 3)
"""Lengths of a dimension that is taken for the channels where nobody says which it is: grey and colour."""


@dataclass(frozen=True, slots=True)
class ImageShape:
    """An image of `channels` x `height` x `width` entries, flattened row by row from (C, H, W) or (H, W, C)."""

    channels: int
    height: int
    width: int
    channels_last: bool = False

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.channels * self.height * self.width

    @property
    def positions(self) -> NDArray[np.int64]:
        """Where in the flat input the entry (channel, row, column) stands, shape (C, H, W)."""
        index = np.arange(self.size, dtype=np.int64)
        if self.channels_last:
            return index.reshape(self.height, self.width, self.channels).transpose(2, 0, 1)
        return index.reshape(self.channels, self.height, self.width)


@dataclass(frozen=True, slots=True)
class Layout:
    """How an input is to be read as an image.

    Attributes:
        shape: (H, W), (C, H, W) or (H, W, C), where the model's own input shape does not tell; None takes the model's.
        channels: "first" or "last"; None takes for the channels the one of the first and last dimension that is 1 or 3.
    """

    shape: tuple[int, ...] | None = None
    channels: str | None = None

    def __post_init__(self) -> None:
        if self.channels not in (None, "first", "last"):
            raise InputError(f'The channels are {self.channels!r}; they must be "first", "last" or None.')
        if self.shape is not None:
            plain = tuple(whole_number(d, "A dimension of the image's shape") for d in _sequence(self.shape))
            if len(plain) not in (2, 3) or min(plain) < 1:
                raise InputError(f"The image's shape is {plain}; it must be (H, W), (C, H, W) or (H, W, C).")
            object.__setattr__(self, "shape", plain)

    def image(self, input_shape: tuple[int, ...]) -> ImageShape:
        """The image that an input of the model's shape holds; raises InputError where that is not clear."""
        shape = _without_leading_ones(input_shape) if self.shape is None else self.shape
        if math.prod(shape) != math.prod(input_shape):
            raise InputError(f"An image of shape {shape} has not as many entries as the model's input {input_shape}.")
        if len(shape) == 2:
            return ImageShape(1, *shape)
        if len(shape) != 3:
            raise InputError(
                f"The model's input has shape {input_shape}, which does not say how it is an image; "
                "give its shape as (H, W), (C, H, W) or (H, W, C)."
            )
        if self._channels_last(shape):
            return ImageShape(shape[2], shape[0], shape[1], channels_last=True)
        return ImageShape(*shape)

    def _channels_last(self, shape: tuple[int, ...]) -> bool:
        if self.channels is not None:
            return self.channels == "last"
        first, last = shape[0] in _CHANNEL_COUNTS, shape[2] in _CHANNEL_COUNTS
        if first == last:
            raise InputError(
                f"In an image of shape {shape} the channels may stand first or last; "
                'say channels="first" or channels="last".'
            )
        return last


def _sequence(value: Any) -> Sequence[Any]:
    try:
        return tuple(value)
    except TypeError as error:
        raise InputError(f"The image's shape is {value!r}; it must be (H, W), (C, H, W) or (H, W, C).") from error


def _without_leading_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape with dimensions of length 1 in front left out, down to three."""
    while len(shape) > 3 and shape[0] == 1:
        shape = shape[1:]
    return shape
