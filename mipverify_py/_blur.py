"""Blurred images: the original convolved with any kernel of a given size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse

from bounds import Bounds, NetworkBounds
from bounds._rounding import UNDERFLOW, gamma, inflate
from mipverify_py._arguments import instance, whole_number
from mipverify_py._image import AffineImage
from mipverify_py._layout import ImageShape, Layout
from mipverify_py._parametric import Parameters, ParametricSet
from onnx_models import Affine, Array, ReluNetwork
from onnx_models.errors import InputError

_GRID = 2.0**-50
"""Kernel entries are rounded to multiples of this, so that their sums are exact."""

_HALVINGS = 52
"""Steps of a bisection over a few units: to the precision of the grid."""

_NEAR = 1e-5
"""Largest change of an entry that is taken for the repair of a solver's tolerances."""


@dataclass(frozen=True, slots=True)
class Blur(ParametricSet):
    """All images that a convolution of x0 with an h x w kernel gives, as MIPVerify's BlurringPerturbationFamily.

    The kernel has shape (h, w, C, C) for an image of C channels: entry (i, j, c, d) is the weight with which channel c
    of x0 enters channel d of the result, so channels may mix. All entries are in [0, 1], and the sum of all of them is
    C. The stride is 1 and the padding TensorFlow's SAME: zeros, (h - 1) // 2 rows above and h // 2 below, likewise for
    columns; the kernel is not flipped. The kernel that is 1 from each channel to itself in the middle gives x0 back.

    Attributes:
        kernel_size: (h, w), each at least 1.
        layout: how the input is an image, where the model's input shape does not tell.
        image: the image's shape; filled in by the query.
    """

    kernel_size: tuple[int, int]
    layout: Layout = field(default_factory=Layout)
    image: ImageShape | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        instance(Layout, self.layout, "The layout")
        object.__setattr__(self, "kernel_size", _kernel_size(self.kernel_size))

    def for_shape(self, shape: tuple[int, ...]) -> Blur:
        return Blur(self.kernel_size, self.layout, image=self.layout.image(shape))

    @property
    def kernel_shape(self) -> tuple[int, int, int, int]:
        """(h, w, channels in, channels out), the shape of the parameters."""
        channels = self._known_image.channels
        return (*self.kernel_size, channels, channels)

    def parameters(self, x0: Array, domain: Bounds) -> Parameters:
        height, width, channels, _ = self.kernel_shape
        size = height * width * channels**2
        identity = np.zeros(self.kernel_shape)
        identity[(height - 1) // 2, (width - 1) // 2] = np.eye(channels)
        image = AffineImage(self._matrix(x0), np.zeros(x0.size))
        return _Kernels(image, Bounds(np.zeros(size), np.ones(size)), domain, identity.reshape(-1), total=channels)

    @property
    def _known_image(self) -> ImageShape:
        if self.image is None:
            raise InputError("The blur does not know the image's shape yet; use the one that the query holds.")
        return self.image

    def _matrix(self, x0: Array) -> sparse.csr_array:
        """A with  blurred image = A @ kernel, shape (n, K)."""
        image, (height, width, channels, _) = self._known_image, self.kernel_shape
        top, left = (height - 1) // 2, (width - 1) // 2
        pixels = np.pad(x0[image.positions], ((0, 0), (top, height // 2), (left, width // 2)))
        matrix = np.zeros((x0.size, *self.kernel_shape))
        for i in range(height):
            for j in range(width):
                shifted = pixels[:, i : i + image.height, j : j + image.width]
                for c in range(channels):
                    for d in range(channels):
                        matrix[image.positions[d], i, j, c, d] = shifted[c]
        return sparse.csr_array(matrix.reshape(x0.size, -1))


class _Kernels(Parameters):
    """The kernels of a blur. `total` is the number of channels."""

    def image_box(self) -> Bounds:
        return self._knapsack(self.image.matrix.toarray(), np.zeros(self.image.matrix.shape))

    def narrowed(self, network: ReluNetwork, bounds: NetworkBounds) -> NetworkBounds:
        """For the image, and for what is affine in the image alone, the sum of the kernel is taken in."""
        nodes = [bounds.nodes[0], bounds.nodes[1].intersect(self.image_box()).intersect(self.domain)]
        for node, known in zip(network.nodes[2:], bounds.nodes[2:], strict=True):
            if isinstance(node, Affine) and node.inputs == (1,):
                nodes.append(known.intersect(self._after(node)))
            else:
                nodes.append(known)
        return NetworkBounds(tuple(nodes))

    def _after(self, node: Affine) -> Bounds:
        """Bounds of an affine node that reads the image alone: a linear function of the kernel, and a constant."""
        (linear_map,), columns = node.maps, self.image.matrix.toarray().T
        rows = linear_map.apply(columns).T
        sizes = linear_map.absolute().apply(np.abs(columns)).T
        known = self._knapsack(rows, inflate(gamma(linear_map.fan_in + 2) * sizes, sizes >= 0))
        return Bounds(np.nextafter(known.lower + node.bias, -np.inf), np.nextafter(known.upper + node.bias, np.inf))

    def _knapsack(self, rows: Array, errors: Array) -> Bounds:
        """Bounds of rows @ kernel for rows known up to errors, shape (m, K): the `total` smallest and largest entries.

        That is the optimum of a fractional knapsack whose entries all weigh 1.
        """
        assert self.total is not None
        low = np.sort(rows - errors, axis=1)[:, : self.total]
        high = np.sort(rows + errors, axis=1)[:, rows.shape[1] - self.total :]
        if self.total == 1 and not np.any(errors):
            return Bounds(low[:, 0], high[:, 0])
        # Each sum of two floats, those with the errors among them, is off by at most 2**-53 of its terms' sizes.
        slack = [(gamma(self.total + 1) * np.abs(end)).sum(axis=1) * (1.0 + 1e-9) + UNDERFLOW for end in (low, high)]
        return Bounds(
            np.nextafter(low.sum(axis=1) - slack[0], -np.inf), np.nextafter(high.sum(axis=1) + slack[1], np.inf)
        )

    def _candidates(self, x: Array) -> Iterator[Array]:
        """The nearest kernel; then one whose weights for each output channel sum to 1, which leaves no domain [0, b].

        That one comes second only where it differs by what a solver's tolerances explain: otherwise a kernel on the way
        to the identity is nearer.
        """
        assert self.total is not None
        nearest = _with_sum(x, self.total)
        yield nearest
        even = self._even(x)
        if np.abs(even - x).max() <= _NEAR:
            yield even
        yield _with_sum(self._towards_identity(nearest), self.total)
        yield even

    def _even(self, x: Array) -> Array:
        """The nearest kernel whose weights for each output channel sum to 1."""
        assert self.total is not None
        result = np.empty_like(x).reshape(-1, self.total)
        for d in range(self.total):
            result[:, d] = _with_sum(x.reshape(-1, self.total)[:, d], 1)
        return result.reshape(-1)


def _with_sum(x: Array, total: int) -> Array:
    """The nearest vector to x with entries in [0, 1] and exactly this sum, up to rounding to multiples of `_GRID`.

    The nearest is clip(x - t, 0, 1) for the t, found by bisection, that makes the sum right.
    """
    low, high = float(x.min()) - 1.0, float(x.max())
    for _ in range(_HALVINGS):
        t = 0.5 * (low + high)
        if np.minimum(np.maximum(x - t, 0.0), 1.0).sum() > total:
            low = t
        else:
            high = t
    grains = np.rint(np.clip(x - high, 0.0, 1.0) / _GRID).astype(np.int64)
    whole = round(1.0 / _GRID)
    left = total * whole - int(grains.sum(dtype=np.int64))
    for k in np.argsort(-grains * np.sign(left), kind="stable") if left else ():
        room = min(whole - int(grains[k]), left) if left > 0 else max(-int(grains[k]), left)
        grains[k] += room
        left -= room
    return grains.astype(np.float64) * _GRID


def _kernel_size(value: Any) -> tuple[int, int]:
    try:
        height, width = value
    except (TypeError, ValueError) as error:
        raise InputError(f"The kernel's size is {value!r}; it must be (height, width), such as (5, 5).") from error
    size = whole_number(height, "The kernel's height"), whole_number(width, "The kernel's width")
    if min(size) < 1 or math.prod(size) > 2**12:
        raise InputError(f"The kernel's size is {size}; both must be at least 1, with at most 4096 entries in all.")
    return size
