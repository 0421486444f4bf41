"""Inputs as pictures: PNG images in data URIs, one pixel per entry."""

from __future__ import annotations

import base64
import io
from typing import Final

import numpy as np

from onnx_models import Array

_LOWER, _SAME, _HIGHER = (
    np.array(colour, dtype=np.float64) for colour in ((33, 102, 172), (247, 247, 247), (179, 88, 6))
)
"""Blue, near white and brown: three colours that people with any kind of colour vision tell apart."""

CHANNELS: Final = (1, 3)
"""Channels of the inputs that can be shown: grey and red, green, blue."""


def pixels(values: Array) -> Array | None:
    """The input as an image, shape (height, width, channels); None where its shape is not an image's.

    Args:
        values: shape (height, width) or (channels, height, width), with the channels `CHANNELS`.
    """
    if values.ndim == 2:
        values = values[None]
    if values.ndim != 3 or values.shape[0] not in CHANNELS or min(values.shape[1:]) < 2:
        return None
    return np.moveaxis(values, 0, -1)


def scale(*images: Array) -> tuple[float, float]:
    """The values that are shown black and white: 0 and 1, or the ends of the images' own range if that is wider."""
    low, high = min(float(image.min()) for image in images), max(float(image.max()) for image in images)
    return min(low, 0.0), max(high, 1.0)


def picture(image: Array, black: float, white: float) -> str:
    """The image, shape (height, width, channels), as a data URI."""
    return _png(255 * (image - black) / (white - black))


def difference_picture(change: Array) -> str:
    """The change of every entry, shape (height, width, channels), scaled so that the largest has a full colour.

    One channel: blue where entries fell, brown where they rose, white where they stayed. Three channels: grey where
    they stayed, brighter in the channels that rose.
    """
    largest = float(np.abs(change).max(initial=0.0))
    share = change / largest if largest > 0 else np.zeros_like(change)
    if share.shape[2] == 3:
        return _png(127.5 + 127.5 * share)
    end = np.where(share < 0, _LOWER, _HIGHER)
    return _png(_SAME + np.abs(share) * (end - _SAME))


def _png(levels: Array) -> str:
    from PIL import Image

    grey = levels.shape[2] == 1
    rounded = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(rounded[:, :, 0] if grey else rounded).save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
