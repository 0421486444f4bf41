"""Every form of a linear map says the same thing in each of its methods, with its matrix as the judge."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from onnx_models import Array, ConvolutionMap, LinearMap, SparseMap
from tests.helpers.maps import SEEDS, convolutions, linear_maps, sparse_maps


def matrix_by_columns(linear_map: LinearMap) -> Array:
    """The matrix of a map from its values at the unit vectors."""
    return linear_map.apply(np.eye(linear_map.input_size)).T


@settings(max_examples=150, deadline=None)
@given(linear_maps(), SEEDS)
def test_apply_transpose_and_sparse_agree(linear_map: LinearMap, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = linear_map.to_sparse().toarray()
    assert matrix.shape == (linear_map.output_size, linear_map.input_size)
    np.testing.assert_array_equal(matrix_by_columns(linear_map), matrix)
    x, y = rng.normal(size=(3, linear_map.input_size)), rng.normal(size=(3, linear_map.output_size))
    np.testing.assert_allclose(linear_map.apply(x), x @ matrix.T, rtol=0, atol=1e-12)
    np.testing.assert_allclose(linear_map.transpose_apply(y), y @ matrix, rtol=0, atol=1e-12)


@settings(max_examples=80, deadline=None)
@given(linear_maps())
def test_an_empty_batch_gives_an_empty_batch(linear_map: LinearMap) -> None:
    assert linear_map.apply(np.zeros((0, linear_map.input_size))).shape == (0, linear_map.output_size)
    assert linear_map.transpose_apply(np.zeros((0, linear_map.output_size))).shape == (0, linear_map.input_size)


@settings(max_examples=80, deadline=None)
@given(linear_maps())
def test_sparse_form_is_sorted_and_free_of_zeros_of_convolutions(linear_map: LinearMap) -> None:
    matrix = linear_map.to_sparse()
    assert matrix.dtype == np.float64 and sparse.csr_array(matrix).has_canonical_format
    if isinstance(linear_map, ConvolutionMap):
        assert np.all(matrix.data != 0)


@settings(max_examples=80, deadline=None)
@given(linear_maps())
def test_absolute_and_signed_parts(linear_map: LinearMap) -> None:
    matrix = linear_map.to_sparse().toarray()
    np.testing.assert_array_equal(matrix_by_columns(linear_map.absolute()), np.abs(matrix))
    positive, negative = linear_map.signed_parts()
    np.testing.assert_array_equal(matrix_by_columns(positive), np.maximum(matrix, 0))
    np.testing.assert_array_equal(matrix_by_columns(negative), np.maximum(-matrix, 0))
    assert type(positive) is type(linear_map) is type(linear_map.absolute())


@settings(max_examples=80, deadline=None)
@given(linear_maps())
def test_fan_in_and_fan_out_bound_the_products_per_sum(linear_map: LinearMap) -> None:
    matrix = linear_map.to_sparse().toarray() != 0
    assert matrix.sum(axis=1).max(initial=0) <= linear_map.fan_in
    assert matrix.sum(axis=0).max(initial=0) <= linear_map.fan_out
    assert linear_map.entries >= matrix.sum()


@settings(max_examples=150, deadline=None)
@given(convolutions(), SEEDS)
def test_convolution_equals_torch(convolution: ConvolutionMap, seed: int) -> None:
    batch = np.random.default_rng(seed).normal(size=(3, *convolution.input_shape))
    top, left, bottom, right = convolution.pads
    expected = torch.nn.functional.conv2d(
        torch.nn.functional.pad(torch.tensor(batch), (left, right, top, bottom)),
        torch.tensor(convolution.kernel),
        stride=convolution.strides,
        dilation=convolution.dilations,
        groups=convolution.groups,
    )
    assert tuple(expected.shape[1:]) == convolution.output_shape
    np.testing.assert_allclose(
        convolution.apply(batch.reshape(3, -1)), expected.numpy().reshape(3, -1), rtol=0, atol=1e-12
    )


@settings(max_examples=80, deadline=None)
@given(convolutions(), SEEDS)
def test_channel_scaling_equals_scaling_the_tensors(convolution: ConvolutionMap, seed: int) -> None:
    rng = np.random.default_rng(seed)
    (c, h, w), (o, p, q) = convolution.input_shape, convolution.output_shape
    inputs, outputs = rng.normal(size=c), rng.normal(size=o)
    x = rng.normal(size=(2, convolution.input_size))
    expected = convolution.apply(x * np.repeat(inputs, h * w)) * np.repeat(outputs, p * q)
    scaled = convolution.scale_channels(inputs=inputs, outputs=outputs)
    np.testing.assert_allclose(scaled.apply(x), expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(convolution.scale_channels().kernel, convolution.kernel)


@settings(max_examples=80, deadline=None)
@given(sparse_maps())
def test_scale_is_the_diagonal_of_scalings_only(linear_map: SparseMap) -> None:
    matrix = linear_map.matrix.toarray()
    if linear_map.scale is None:
        square = matrix.shape[0] == matrix.shape[1]
        assert not square or np.any(matrix != np.diag(np.diag(matrix))) or np.any(np.diag(matrix) == 0)
    else:
        np.testing.assert_array_equal(matrix, np.diag(linear_map.scale))
    assert linear_map.is_identity == (
        matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.eye(len(matrix)))
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-1, 4), min_size=1, max_size=8))
def test_selection_picks_entries_and_fills_with_zero(index: list[int]) -> None:
    x = np.arange(1.0, 6.0)
    picked = SparseMap.selection(np.array(index), 5).apply(x[None])[0]
    assert picked.tolist() == [x[i] if i >= 0 else 0.0 for i in index]
