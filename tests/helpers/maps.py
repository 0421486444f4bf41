"""Hypothesis strategies for linear maps of every form."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from scipy import sparse

from onnx_models import ConvolutionMap, DenseMap, LinearMap, SparseMap
from tests.helpers.networks import random_convolution

SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.integers(1, 6)


@st.composite
def convolutions(draw: st.DrawFn) -> ConvolutionMap:
    """Convolutions of any stride, asymmetric padding, dilation and groups, on tensors of up to 4 x 6 x 6."""
    return random_convolution(np.random.default_rng(draw(SEEDS)), max_outputs=200, max_side=6)


@st.composite
def dense_maps(draw: st.DrawFn, *, inputs: int | None = None, outputs: int | None = None) -> DenseMap:
    """Dense maps of up to 6 x 6, or from R^inputs, or to R^outputs."""
    rng = np.random.default_rng(draw(SEEDS))
    return DenseMap(rng.normal(size=(outputs or draw(SIZES), inputs or draw(SIZES))))


@st.composite
def sparse_maps(draw: st.DrawFn, *, inputs: int | None = None, outputs: int | None = None) -> SparseMap:
    """Identities, scalings, selections with empty rows, scaled selections, and general sparse matrices.

    `outputs` must equal `inputs` where it is given: identities and scalings are square.
    """
    rng = np.random.default_rng(draw(SEEDS))
    n, m = inputs or draw(SIZES), outputs or draw(SIZES)
    kind = draw(st.sampled_from(["identity", "diagonal", "selection", "scaled selection", "general"]))
    if kind == "identity":
        return SparseMap.identity(n)
    if kind == "diagonal":
        return SparseMap.diagonal(rng.normal(size=n))
    if kind == "general":
        return SparseMap(sparse.csr_array(rng.normal(size=(m, n)) * (rng.random((m, n)) < 0.4)))
    selection = SparseMap.selection(rng.integers(-1, n, size=m), n)
    if kind == "selection":
        return selection
    return SparseMap(sparse.csr_array(selection.matrix * rng.normal(size=(m, 1))))


def linear_maps() -> st.SearchStrategy[LinearMap]:
    """A map of any form."""
    return st.one_of(dense_maps(), sparse_maps(), convolutions())
