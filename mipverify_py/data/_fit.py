"""Fitting arrays to a model's input shape: every accepted layout is listed here, and ambiguity is an error."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from onnx_models import Array
from onnx_models.errors import InputError

Shape = tuple[int, ...]


def fit_arrays(values: Array, shape: Shape, *, name: str = "The input") -> Array:
    """`values`, one input or a batch of them, as an array of shape (N, *shape).

    One input may have
      - the model's own shape: taken as it is, whatever else it could mean;
      - that shape with dimensions of size 1 added or left out, such as (28, 28) or (28, 28, 1) for (1, 28, 28);
      - one dimension: the model's entries in row-major order;
      - (H, W, C) where the model takes (C, H, W), C > 1: channels are moved to the front;
      - two dimensions (H, W) where the model takes H * W entries in one dimension: read in row-major order.
    A batch has one more dimension in front.

    Raises:
        InputError: the shape is none of these, or two of them apply and disagree.
    """
    size, found = math.prod(shape), values.shape
    if values.size == 0:
        raise InputError(f"{name} has shape {found} and so no entries; the model expects {_words(shape)}.")
    if values.size == size:
        count, orders = 1, _orders(found, shape)
        if found[:1] == (1,):
            orders += _orders(found[1:], shape)
    else:
        count, orders = found[0] if found else 1, _orders(found[1:], shape)
    if not orders:
        raise InputError(
            f"{name} has shape {found} ({values.size} entries); the model expects {_words(shape)} "
            f"({size} entries), or a batch of those."
        )
    if found != shape and any(not np.array_equal(order, orders[0]) for order in orders[1:]):
        raise InputError(
            f"{name} has shape {found}, which can be read in two ways for a model that expects {_words(shape)}; "
            "save it in exactly that shape."
        )
    return values.reshape(count, size)[:, orders[0]].reshape(count, *shape)


def _orders(found: Shape, shape: Shape) -> list[NDArray[np.intp]]:
    """Every way to read one input: position, in the flat array of shape `found`, of each of the model's entries."""
    size = math.prod(shape)
    if math.prod(found) != size:
        return []
    straight = np.arange(size)
    core, model_core = _core(found), _core(shape)
    orders = []
    if core == model_core or core == _core((size,)) or (len(model_core) == 1 and len(core) == 2):
        orders.append(straight)
    if len(shape) == 3 and shape[0] > 1 and found == (*shape[1:], shape[0]):
        orders.append(straight.reshape(found).transpose(2, 0, 1).reshape(-1))
    return orders


def _core(shape: Shape) -> Shape:
    """The dimensions that are not 1."""
    return tuple(d for d in shape if d != 1)


def fit_images(images: Array, shape: Shape, *, name: str = "The image") -> Array:
    """`images`, shape (N, C, H, W), as an array of shape (N, *shape) for a model that takes (C, H, W) or (H, W, C).

    Grey images (C = 1) also fit (H, W) and H * W entries in one dimension, in row-major order.

    Raises:
        InputError: another size; or colour images for a model that takes a flat vector, whose order of channels and
            pixels cannot be told.
    """
    count, channels, height, width = images.shape
    grey = channels == 1 and _core(shape) in (_core((height, width)), _core((height * width,)))
    if shape == (channels, height, width) or grey:
        return images.reshape(count, *shape)
    if shape == (height, width, channels):
        return images.transpose(0, 2, 3, 1)
    if channels > 1 and _core(shape) == (channels * height * width,):
        raise InputError(
            f"{name} has {channels} channels of {height} x {width} pixels, but the model takes {_words(shape)}, in "
            "which their order cannot be told; give an array in the model's own order instead."
        )
    raise InputError(
        f"{name} has {channels} channel{'s' if channels > 1 else ''} of {height} x {width} pixels; "
        f"the model expects {_words(shape)}."
    )


def channels_of(shape: Shape, height: int, width: int) -> int:
    """How many channels (1 or 3) an image of the given size needs for a model that takes `shape`; 1 if none fits."""
    colour = ((3, height, width), (height, width, 3), (3 * height * width,))
    return 3 if shape in colour else 1


def _words(shape: Shape) -> str:
    return f"shape {shape}"
