"""Products and sums of maps equal applying them one after the other, and no convolution is ever written out."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from onnx_models import ConvolutionMap, DenseMap, LinearMap, SparseMap
from onnx_models._compose import add, compose
from tests.helpers.maps import SEEDS, convolutions, dense_maps, linear_maps, sparse_maps


@st.composite
def chains(draw: st.DrawFn) -> tuple[LinearMap, LinearMap]:
    """(outer, inner) of any two forms whose sizes fit."""
    inner = draw(linear_maps())
    size = inner.output_size
    forms: list[st.SearchStrategy[LinearMap]] = [dense_maps(inputs=size), sparse_maps(inputs=size)]
    if isinstance(inner, ConvolutionMap):
        forms += [channel_scalings(inner.output_shape), pointwise(inner.output_shape)]
    return draw(st.one_of(forms)), inner


@st.composite
def channel_scalings(draw: st.DrawFn, shape: tuple[int, int, int]) -> SparseMap:
    factors = np.random.default_rng(draw(SEEDS)).normal(size=shape[0])
    return SparseMap.diagonal(np.repeat(factors, shape[1] * shape[2]))


@st.composite
def pointwise(draw: st.DrawFn, shape: tuple[int, int, int]) -> ConvolutionMap:
    kernel = np.random.default_rng(draw(SEEDS)).normal(size=(draw(st.integers(1, 3)), shape[0], 1, 1))
    return ConvolutionMap(kernel, shape)


@settings(max_examples=200, deadline=None)
@given(chains())
def test_product_equals_one_map_after_the_other(chain: tuple[LinearMap, LinearMap]) -> None:
    outer, inner = chain
    product = compose(outer, inner)
    if product is None:
        assert isinstance(outer, ConvolutionMap) or isinstance(inner, ConvolutionMap)
        return
    expected = outer.to_sparse() @ inner.to_sparse()
    np.testing.assert_allclose(product.to_sparse().toarray(), expected.toarray(), rtol=0, atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(chains())
def test_a_product_with_a_convolution_is_a_convolution_or_refused(chain: tuple[LinearMap, LinearMap]) -> None:
    outer, inner = chain
    product = compose(outer, inner)
    if isinstance(inner, ConvolutionMap) and product is not None:
        assert isinstance(product, ConvolutionMap)
    if isinstance(outer, ConvolutionMap) and product is not None:
        assert isinstance(product, ConvolutionMap) or product is inner


@settings(max_examples=50, deadline=None)
@given(convolutions(), SEEDS)
def test_channel_scalings_merge_into_convolutions_from_both_sides(convolution: ConvolutionMap, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for shape, after in ((convolution.output_shape, True), (convolution.input_shape, False)):
        scaling = SparseMap.diagonal(np.repeat(rng.normal(size=shape[0]), shape[1] * shape[2]))
        product = compose(scaling, convolution) if after else compose(convolution, scaling)
        assert isinstance(product, ConvolutionMap)
        matrices = (scaling.to_sparse(), convolution.to_sparse())
        expected = matrices[0] @ matrices[1] if after else matrices[1] @ matrices[0]
        np.testing.assert_allclose(product.to_sparse().toarray(), expected.toarray(), rtol=0, atol=1e-12)


def test_a_scaling_within_channels_does_not_merge() -> None:
    convolution = ConvolutionMap(np.ones((1, 1, 1, 1)), (1, 2, 2))
    uneven = SparseMap.diagonal(np.array([1.0, 2.0, 1.0, 1.0]))
    assert compose(uneven, convolution) is None and compose(convolution, uneven) is None


@settings(max_examples=100, deadline=None)
@given(linear_maps())
def test_identities_vanish(linear_map: LinearMap) -> None:
    assume(not (isinstance(linear_map, SparseMap) and linear_map.is_identity))
    assert compose(SparseMap.identity(linear_map.output_size), linear_map) is linear_map
    assert compose(linear_map, SparseMap.identity(linear_map.input_size)) is linear_map


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_sum_of_dense_and_sparse_maps(data: st.DataObject) -> None:
    first, second = (data.draw(dense_maps(inputs=4, outputs=4) | sparse_maps(inputs=4, outputs=4)) for _ in range(2))
    total = add(first, second)
    assert total is not None
    assert isinstance(total, SparseMap) == (isinstance(first, SparseMap) and isinstance(second, SparseMap))
    expected = first.to_sparse().toarray() + second.to_sparse().toarray()
    np.testing.assert_array_equal(total.to_sparse().toarray(), expected)


@settings(max_examples=50, deadline=None)
@given(convolutions(), SEEDS)
def test_convolutions_of_one_geometry_add_up_and_others_do_not(convolution: ConvolutionMap, seed: int) -> None:
    kernel = np.random.default_rng(seed).normal(size=convolution.kernel.shape)
    other = convolution.scale_channels(outputs=np.full(convolution.output_shape[0], 2.0))
    total = add(convolution, other)
    assert isinstance(total, ConvolutionMap)
    np.testing.assert_allclose(total.kernel, 3 * convolution.kernel, rtol=1e-15)
    top, left, bottom, right = convolution.pads
    moved = ConvolutionMap(
        kernel,
        convolution.input_shape,
        convolution.strides,
        (top + 1, left, bottom, right),
        convolution.dilations,
        convolution.groups,
    )
    assert add(convolution, moved) is None
    full = DenseMap(np.ones((convolution.output_size, convolution.input_size)))
    assert add(convolution, full) is None and add(full, convolution) is None
