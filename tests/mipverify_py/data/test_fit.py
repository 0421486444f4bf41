"""Fitting arrays to a shape: every accepted layout is checked entry by entry against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mipverify_py.data import fit_arrays, fit_images
from onnx_models.errors import InputError

sizes = st.integers(2, 5)


def numbered(shape: tuple[int, ...]) -> np.ndarray:
    """An array whose entries are all different."""
    return np.arange(math.prod(shape), dtype=np.float64).reshape(shape)


@settings(max_examples=30)
@given(sizes, sizes, sizes)
def test_the_models_own_shape_is_taken_as_it_is(c: int, h: int, w: int) -> None:
    x = numbered((c, h, w))
    assert np.array_equal(fit_arrays(x, (c, h, w)), x[None])
    assert np.array_equal(fit_arrays(x.reshape(-1), (c, h, w)), x[None])


@settings(max_examples=30)
@given(sizes, sizes, sizes, st.integers(2, 4))
def test_channels_last_is_moved_to_the_front(c: int, h: int, w: int, count: int) -> None:
    batch = numbered((count, h, w, c))
    if (h, w, c) == (c, h, w):
        return
    expected = np.empty((count, c, h, w))
    for k, i, j, channel in np.ndindex(batch.shape):
        expected[k, channel, i, j] = batch[k, i, j, channel]
    assert np.array_equal(fit_arrays(batch, (c, h, w)), expected)
    assert np.array_equal(fit_arrays(batch[0], (c, h, w)), expected[:1])


@pytest.mark.parametrize("found", [(4, 6), (1, 4, 6), (4, 6, 1), (1, 1, 4, 6), (24,), (1, 24), (24, 1)])
@pytest.mark.parametrize("shape", [(1, 4, 6), (4, 6), (4, 6, 1)])
def test_ones_do_not_matter_for_one_channel(found: tuple[int, ...], shape: tuple[int, ...]) -> None:
    assert np.array_equal(fit_arrays(numbered(found), shape), numbered((1, *shape)))


@pytest.mark.parametrize("shape", [(24,), (1, 24, 1)])
def test_a_flat_model_reads_rows_of_an_image_one_after_the_other(shape: tuple[int, ...]) -> None:
    assert fit_arrays(numbered((4, 6)), shape).reshape(-1).tolist() == list(range(24))
    assert fit_arrays(numbered((5, 4, 6)), shape).shape == (5, *shape)


@pytest.mark.parametrize("found", [(5, 24), (5, 4, 6), (5, 1, 4, 6), (5, 4, 6, 1)])
def test_batches(found: tuple[int, ...]) -> None:
    assert np.array_equal(fit_arrays(numbered(found), (1, 4, 6)), numbered((5, 1, 4, 6)))


REFUSED = {
    "too few": ((23,), (1, 4, 6), "(23 entries)"),
    "transposed image": ((6, 4), (1, 4, 6), "the model expects shape (1, 4, 6)"),
    "rows, channels, columns": ((4, 3, 6), (3, 4, 6), "the model expects"),
    "colour for a flat model": ((4, 6, 3), (72,), "the model expects"),
    "no entries": ((0, 1, 4, 6), (1, 4, 6), "no entries"),
    "a number": ((), (1, 4, 6), "(1 entries)"),
    "columns, channels, rows": ((6, 4, 3), (3, 4, 6), "the model expects"),
    "two readings": ((3, 1, 3), (3, 3, 1), "read in two ways"),
    "two readings in a batch": ((5, 3, 1, 3), (3, 3, 1), "read in two ways"),
}


@pytest.mark.parametrize(("found", "shape", "fragment"), REFUSED.values(), ids=REFUSED.keys())
def test_other_shapes_are_refused(found: tuple[int, ...], shape: tuple[int, ...], fragment: str) -> None:
    with pytest.raises(InputError) as caught:
        fit_arrays(numbered(found), shape, name="x.npy")
    assert fragment in str(caught.value)
    assert str(caught.value).startswith("x.npy has shape")


def test_the_models_own_shape_comes_before_channels_last() -> None:
    x = numbered((3, 3, 3))
    assert np.array_equal(fit_arrays(x, (3, 3, 3))[0], x)


@settings(max_examples=30)
@given(sizes, sizes)
def test_images_fit_both_orders_of_channels(h: int, w: int) -> None:
    images = numbered((2, 3, h, w))
    assert np.array_equal(fit_images(images, (3, h, w)), images)
    if (h, w, 3) != (3, h, w):
        last = fit_images(images, (h, w, 3))
        assert last[1, h - 1, 0, 2] == images[1, 2, h - 1, 0]


def test_grey_images_fit_flat_and_two_dimensional_models() -> None:
    images = numbered((2, 1, 4, 6))
    for shape in ((24,), (1, 24, 1), (4, 6), (4, 6, 1), (1, 4, 6)):
        fitted = fit_images(images, shape)
        assert fitted.shape == (2, *shape)
        assert fitted[1].reshape(-1).tolist() == list(range(24, 48))


def test_images_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="order cannot be told"):
        fit_images(numbered((1, 3, 4, 6)), (72,))
    with pytest.raises(InputError, match=r"1 channel of 4 x 6 pixels; the model expects shape \(1, 5, 5\)"):
        fit_images(numbered((1, 1, 4, 6)), (1, 5, 5))
