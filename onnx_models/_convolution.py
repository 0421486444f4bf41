"""Convolutions as linear maps that are never written out as a dense matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from onnx_models._maps import Array, LinearMap


@dataclass(frozen=True, eq=False)
class ConvolutionMap(LinearMap):
    """A two-dimensional convolution (cross-correlation, as in ONNX) between row-major flattened (C, H, W) tensors.

        y[o, p, q] = sum over c, i, j of  kernel[o, c, i, j] * x[g*C' + c, p*s_h + i*d_h - top, q*s_w + j*d_w - left]

    with C' = C / groups, g the group of output channel o, and x zero outside its bounds.

    Attributes:
        kernel: shape (O, C/groups, K_h, K_w).
        input_shape: (C, H, W).
        strides: (s_h, s_w).
        pads: (top, left, bottom, right), all >= 0.
        dilations: (d_h, d_w).
        groups: a divisor of C and O.
    """

    kernel: Array
    input_shape: tuple[int, int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        assert self.kernel.ndim == 4 and self.kernel.dtype == np.float64
        assert self.kernel.shape[1] * self.groups == self.input_shape[0]
        assert self.kernel.shape[0] % self.groups == 0
        assert min(self.output_shape) > 0

    @property
    def padded_shape(self) -> tuple[int, int, int]:
        """(C, H, W) after zero padding."""
        (channels, height, width), (top, left, bottom, right) = self.input_shape, self.pads
        return channels, height + top + bottom, width + left + right

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """(O, H', W')."""
        _, height, width = self.padded_shape
        k_h, k_w = (d * (k - 1) + 1 for d, k in zip(self.dilations, self.kernel.shape[2:], strict=True))
        return self.kernel.shape[0], (height - k_h) // self.strides[0] + 1, (width - k_w) // self.strides[1] + 1

    @property
    def input_size(self) -> int:
        return int(np.prod(self.input_shape))

    @property
    def output_size(self) -> int:
        return int(np.prod(self.output_shape))

    @property
    def entries(self) -> int:
        return self.output_size * self.fan_in

    @property
    def fan_in(self) -> int:
        return int(np.prod(self.kernel.shape[1:]))

    @property
    def fan_out(self) -> int:
        out_channels, _, k_h, k_w = self.kernel.shape
        return int(out_channels // self.groups * k_h * k_w)

    def apply(self, batch: Array) -> Array:
        n, (out_channels, height, width) = len(batch), self.output_shape
        windows = self._windows(self._pad(batch))
        grouped = windows.reshape(n, self.groups, self.kernel.shape[1], height, width, *self.kernel.shape[2:])
        kernel = self.kernel.reshape(self.groups, out_channels // self.groups, -1)
        result = np.empty((n, self.groups, out_channels // self.groups, height * width))
        for g in range(self.groups):
            columns = grouped[:, g].transpose(0, 2, 3, 1, 4, 5).reshape(n, height * width, self.fan_in)
            result[:, g] = (columns @ kernel[g].T).transpose(0, 2, 1)
        return result.reshape(n, self.output_size)

    def transpose_apply(self, batch: Array) -> Array:
        n, (out_channels, height, width) = len(batch), self.output_shape
        channels, k_h, k_w = self.input_shape[0] // self.groups, *self.kernel.shape[2:]
        (s_h, s_w), (d_h, d_w) = self.strides, self.dilations
        kernel = self.kernel.reshape(self.groups, out_channels // self.groups, -1)
        grouped = batch.reshape(n, self.groups, out_channels // self.groups, height * width)
        padded = np.zeros((n, self.groups, channels, *self.padded_shape[1:]))
        for g in range(self.groups):
            columns = (kernel[g].T @ grouped[:, g]).reshape(n, channels, k_h, k_w, height, width)
            for i in range(k_h):
                for j in range(k_w):
                    rows = slice(i * d_h, i * d_h + s_h * (height - 1) + 1, s_h)
                    cols = slice(j * d_w, j * d_w + s_w * (width - 1) + 1, s_w)
                    padded[:, g, :, rows, cols] += columns[:, :, i, j]
        top, left, _, _ = self.pads
        _, in_height, in_width = self.input_shape
        unpadded = padded[:, :, :, top : top + in_height, left : left + in_width]
        return np.ascontiguousarray(unpadded).reshape(n, self.input_size)

    def absolute(self) -> ConvolutionMap:
        return replace(self, kernel=np.abs(self.kernel))

    def signed_parts(self) -> tuple[ConvolutionMap, ConvolutionMap]:
        return (
            replace(self, kernel=np.maximum(self.kernel, 0.0)),
            replace(self, kernel=np.maximum(-self.kernel, 0.0)),
        )

    def scale_channels(self, *, inputs: Array | None = None, outputs: Array | None = None) -> ConvolutionMap:
        """This convolution with input channels scaled by `inputs` (C,) and output channels by `outputs` (O,)."""
        kernel = self.kernel
        if inputs is not None:
            per_group = inputs.reshape(self.groups, 1, -1)
            kernel = (kernel.reshape(self.groups, -1, *kernel.shape[1:]) * per_group[..., None, None]).reshape(
                kernel.shape
            )
        if outputs is not None:
            kernel = kernel * outputs[:, None, None, None]
        return replace(self, kernel=kernel)

    def to_sparse(self) -> sparse.csr_array:
        return self._matrix

    @cached_property
    def _matrix(self) -> sparse.csr_array:
        """CSR form; row r holds the receptive field of output unit r, entries in the padding left out."""
        (out_channels, height, width), fan_in = self.output_shape, self.fan_in
        index = np.arange(self.input_size, dtype=np.float64).reshape(1, -1) + 1.0
        fields = self._windows(self._pad(index))[0].astype(np.int64) - 1  # (C, H', W', K_h, K_w); -1 marks padding
        fields = fields.reshape(self.groups, -1, height, width, *self.kernel.shape[2:]).transpose(0, 2, 3, 1, 4, 5)
        fields = np.broadcast_to(
            fields.reshape(self.groups, 1, height * width, fan_in),
            (self.groups, out_channels // self.groups, height * width, fan_in),
        ).reshape(-1, fan_in)
        weights = np.repeat(self.kernel.reshape(out_channels, fan_in), height * width, axis=0)
        kept = (fields >= 0) & (weights != 0)
        start = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
        matrix = sparse.csr_array((weights[kept], fields[kept], start), shape=(self.output_size, self.input_size))
        matrix.sort_indices()
        return matrix

    def _pad(self, batch: Array) -> Array:
        top, left, bottom, right = self.pads
        tensor = batch.reshape(len(batch), *self.input_shape)
        return np.pad(tensor, ((0, 0), (0, 0), (top, bottom), (left, right))) if any(self.pads) else tensor

    def _windows(self, padded: Array) -> NDArray[np.float64]:
        """View of shape (N, C, H', W', K_h, K_w) of the padded tensor."""
        (k_h, k_w), (d_h, d_w), (s_h, s_w) = self.kernel.shape[2:], self.dilations, self.strides
        extent = (d_h * (k_h - 1) + 1, d_w * (k_w - 1) + 1)
        windows = np.lib.stride_tricks.sliding_window_view(padded, extent, axis=(2, 3))
        return windows[:, :, ::s_h, ::s_w, ::d_h, ::d_w]
