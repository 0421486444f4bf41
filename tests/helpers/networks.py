"""Small random ReLU networks of every shape the importer can produce, for tests of bounds, encodings and engines.

Every generator draws from a numpy `Generator` alone, so a seed is a network. `max_relus` bounds the number of ReLU
units, and with it the number of activation patterns (2**max_relus) that a brute-force oracle has to try. All weights
are float32 numbers stored in float64, so a float32 ONNX file holds them exactly.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from onnx_models import Array, ConvolutionMap, DenseMap, NetworkBuilder, ReluNetwork, SparseMap

Generator = Callable[..., ReluNetwork]
"""A function (rng, *, max_relus, outputs, fuse) -> network."""


def random_dense(rng: np.random.Generator, *, max_relus: int = 8, outputs: int = 3, fuse: bool = True) -> ReluNetwork:
    """Dense layers with ReLUs between: 2 to 5 inputs, 1 to 3 hidden layers, at most `max_relus` units in all."""
    assert max_relus >= 1
    builder = NetworkBuilder((int(rng.integers(2, 6)),))
    node = 0
    for width in _split(rng, max_relus, int(rng.integers(1, min(3, max_relus) + 1))):
        node = builder.relu(_dense(rng, builder, node, width))
    return builder.build(_dense(rng, builder, node, outputs), fuse=fuse)


def random_conv(rng: np.random.Generator, *, max_relus: int = 8, outputs: int = 3, fuse: bool = True) -> ReluNetwork:
    """Convolution, ReLU, dense output; the convolution has random stride, asymmetric padding, groups and dilation.

    Where units are left over, a second layer (a 1x1 convolution, or a dense one) with ReLU stands before the output.
    """
    assert max_relus >= 1
    first = random_convolution(rng, max_outputs=max_relus)
    builder = NetworkBuilder(first.input_shape)
    node = builder.relu(_convolution(rng, builder, 0, first))
    left = max_relus - first.output_size
    channels, height, width = first.output_shape
    if left >= height * width and rng.random() < 0.5:
        kernel = _weights(rng, (left // (height * width), channels, 1, 1), channels)
        second = ConvolutionMap(kernel, first.output_shape)
        node = builder.relu(_convolution(rng, builder, node, second))
    elif left >= 1:
        node = builder.relu(_dense(rng, builder, node, int(rng.integers(1, left + 1))))
    return builder.build(_dense(rng, builder, node, outputs), fuse=fuse)


def random_residual(
    rng: np.random.Generator, *, max_relus: int = 8, outputs: int = 3, fuse: bool = True
) -> ReluNetwork:
    """A residual network: h = W x + b, then blocks h <- h + relu(V h + c) (or a ReLU of that sum), dense output.

    The first map is a convolution half of the time; the skip connection is the identity or a channel scaling.
    """
    assert max_relus >= 2
    if rng.random() < 0.5:
        stem = random_convolution(rng, max_outputs=max_relus // 2)
        builder = NetworkBuilder(stem.input_shape)
        node = _convolution(rng, builder, 0, stem)
    else:
        builder = NetworkBuilder((int(rng.integers(2, 6)),))
        node = _dense(rng, builder, 0, int(rng.integers(1, max_relus // 2 + 1)))
    left, size = max_relus, builder.size(node)
    while left >= size:
        branch = builder.relu(_dense(rng, builder, node, size))
        skip = SparseMap.diagonal(np.full(size, rng.choice([1.0, 1.0, 0.5, -1.0])))
        node = builder.affine((node, branch), (skip, SparseMap.identity(size)))
        left -= size
        if left >= size and rng.random() < 0.5:
            node = builder.relu(node)
            left -= size
    return builder.build(_dense(rng, builder, node, outputs), fuse=fuse)


def random_maxpool(rng: np.random.Generator, *, max_relus: int = 8, outputs: int = 3, fuse: bool = True) -> ReluNetwork:
    """Convolution, max-pooling over windows of 2 to 4 entries, a ReLU where units are left, dense output.

    A window of k entries is a chain of k - 1 maxima, each relu(a - b) + b, so it costs k - 1 units.
    """
    assert max_relus >= 1
    window = int(rng.integers(2, min(4, max_relus + 1) + 1))
    cells = int(rng.integers(1, max_relus // (window - 1) + 1))
    kernel = _weights(rng, (1, 1, 1, 2), 2)
    convolution = ConvolutionMap(kernel, (1, cells, window + 1))
    builder = NetworkBuilder(convolution.input_shape)
    before = _convolution(rng, builder, 0, convolution)
    grid = np.arange(cells * window).reshape(cells, window)
    entries = [
        builder.affine((before,), (SparseMap.selection(grid[:, k], cells * window),)) for k in rng.permutation(window)
    ]
    node = entries[0]
    for entry in entries[1:]:
        node = builder.maximum(node, entry)
    if max_relus - cells * (window - 1) >= cells:
        node = builder.relu(node)
    return builder.build(_dense(rng, builder, node, outputs), fuse=fuse)


def random_masked(rng: np.random.Generator, *, max_relus: int = 8, outputs: int = 3, fuse: bool = True) -> ReluNetwork:
    """Dense layers with masked ReLUs as in MIPVerify: mask -1 gives 0, mask 0 a ReLU, mask +1 the identity."""
    assert max_relus >= 1
    builder = NetworkBuilder((int(rng.integers(2, 6)),))
    node = 0
    for relus in _split(rng, max_relus, int(rng.integers(1, min(2, max_relus) + 1))):
        mask = rng.permutation(np.concatenate([np.zeros(relus), rng.integers(0, 2, size=2) * 2.0 - 1.0]))
        node = _masked_relu(builder, _dense(rng, builder, node, len(mask)), mask)
    return builder.build(_dense(rng, builder, node, outputs), fuse=fuse)


FAMILIES: dict[str, Generator] = {
    "dense": random_dense,
    "conv": random_conv,
    "residual": random_residual,
    "maxpool": random_maxpool,
    "masked": random_masked,
}
"""Every generator by name, for parametrised tests."""


def random_network(rng: np.random.Generator, *, max_relus: int = 8, outputs: int = 3, fuse: bool = True) -> ReluNetwork:
    """A network of one of the `FAMILIES`, chosen by `rng`; `max_relus` must be at least 2."""
    family = FAMILIES[str(rng.choice(list(FAMILIES)))]
    return family(rng, max_relus=max_relus, outputs=outputs, fuse=fuse)


@st.composite
def networks(draw: st.DrawFn, *, max_relus: int = 8, outputs: int = 3, fuse: bool = True) -> ReluNetwork:
    """Hypothesis strategy: a network of one of the `FAMILIES`; shrinks towards dense ones, few units, small seeds."""
    family = draw(st.sampled_from(list(FAMILIES)))
    relus = draw(st.integers(min(2, max_relus), max_relus))
    seed = draw(st.integers(0, 2**32 - 1))
    return FAMILIES[family](np.random.default_rng(seed), max_relus=relus, outputs=outputs, fuse=fuse)


def random_inputs(rng: np.random.Generator, network: ReluNetwork, count: int) -> Array:
    """`count` inputs, shape (count, *input_shape): uniform in [0, 1], a fifth of all entries moved onto 0 or 1."""
    inputs = rng.random((count, *network.input_shape))
    corner = rng.random(inputs.shape) < 0.2
    return np.where(corner, np.round(inputs), inputs)


def random_convolution(rng: np.random.Generator, *, max_outputs: int, max_side: int = 5) -> ConvolutionMap:
    """A convolution with random kernel, stride, asymmetric padding, dilation and groups, 1 to `max_outputs` outputs."""
    while True:
        groups = int(rng.choice([1, 1, 2]))
        channels = groups * int(rng.integers(1, 3))
        out_channels = groups * int(rng.integers(1, 3))
        height, width = (int(d) for d in rng.integers(2, max_side + 1, size=2))
        k_h, k_w, s_h, s_w = (int(d) for d in rng.integers(1, 4, size=4))
        d_h, d_w = (int(d) for d in rng.choice([1, 1, 2], size=2))
        top, left, bottom, right = (int(d) for d in rng.choice([0, 0, 1, 2], size=4))
        room_h = height + top + bottom - d_h * (k_h - 1) - 1
        room_w = width + left + right - d_w * (k_w - 1) - 1
        if min(room_h, room_w) < 0 or out_channels * (room_h // s_h + 1) * (room_w // s_w + 1) > max_outputs:
            continue
        return ConvolutionMap(
            _weights(rng, (out_channels, channels // groups, k_h, k_w), channels // groups * k_h * k_w),
            (channels, height, width),
            strides=(s_h, s_w),
            pads=(top, left, bottom, right),
            dilations=(d_h, d_w),
            groups=groups,
        )


def _split(rng: np.random.Generator, total: int, parts: int) -> list[int]:
    """`parts` positive integers that add up to `total`."""
    cuts = np.sort(rng.choice(np.arange(1, total), size=parts - 1, replace=False))
    return [int(w) for w in np.diff(np.concatenate([[0], cuts, [total]]))]


def _weights(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> Array:
    """Normal numbers whose sums over `fan_in` entries in [0, 1] are of order one, rounded to float32."""
    return _float32(rng.normal(size=shape) * 1.5 / np.sqrt(fan_in))


def _bias(rng: np.random.Generator, size: int) -> Array:
    return _float32(rng.normal(size=size) * 0.3)


def _float32(values: Array) -> Array:
    """The nearest float32 numbers, as float64."""
    return values.astype(np.float32).astype(np.float64)


def _dense(rng: np.random.Generator, builder: NetworkBuilder, node: int, width: int) -> int:
    inputs = builder.size(node)
    return builder.affine((node,), (DenseMap(_weights(rng, (width, inputs), inputs)),), _bias(rng, width))


def _convolution(rng: np.random.Generator, builder: NetworkBuilder, node: int, convolution: ConvolutionMap) -> int:
    channels, height, width = convolution.output_shape
    return builder.affine((node,), (convolution,), np.repeat(_bias(rng, channels), height * width))


def _masked_relu(builder: NetworkBuilder, node: int, mask: Array) -> int:
    """Only the units with mask 0 get a ReLU; a scatter map puts them back beside the identities."""
    rectified = np.flatnonzero(mask == 0)
    relu = builder.relu(builder.affine((node,), (SparseMap.selection(rectified, len(mask)),)))
    place = np.full(len(mask), -1)
    place[rectified] = np.arange(len(rectified))
    scatter = SparseMap.selection(place, len(rectified))
    return builder.affine((node, relu), (SparseMap.diagonal((mask > 0).astype(np.float64)), scatter))
