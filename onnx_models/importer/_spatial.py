"""Windows of convolutions and pools: kernel, strides, dilations and padding of each spatial axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnx_models.importer._call import Call
from onnx_models.importer._lowering import Indices
from onnx_models.importer._registry import ANY

WINDOW_ATTRIBUTES: dict[str, tuple[object, ...] | None] = {
    "auto_pad": ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"),
    "dilations": ANY,
    "kernel_shape": ANY,
    "pads": ANY,
    "strides": ANY,
}
"""Attributes that `window_axes` reads."""


@dataclass(frozen=True)
class WindowAxis:
    """How windows lie along one spatial axis.

    Attributes:
        length: of the input without padding.
        kernel, stride, dilation: of the window, in entries.
        before, after: zero (or absent) entries on either side.
    """

    length: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def extent(self) -> int:
        """Entries from the first to the last that one window touches."""
        return self.dilation * (self.kernel - 1) + 1

    def count(self, *, ceil: bool = False) -> int:
        """Number of windows; with `ceil` a last one may hang over the end if it starts before the padding after it."""
        room = self.length + self.before + self.after - self.extent
        if not ceil or room < 0:
            return room // self.stride + 1
        windows = -(-room // self.stride) + 1
        return windows - 1 if (windows - 1) * self.stride >= self.length + self.before else windows

    def positions(self, *, ceil: bool = False) -> Indices:
        """Input position of every window entry, shape (windows, kernel); padding has positions < 0 or >= length."""
        starts = np.arange(self.count(ceil=ceil), dtype=np.int64) * self.stride - self.before
        return starts[:, None] + np.arange(self.kernel) * self.dilation


def window_axes(call: Call, lengths: Sequence[int], kernel: Sequence[int]) -> tuple[WindowAxis, ...]:
    """The node's windows over axes of these lengths; refuses attributes that do not fit them."""
    rank = len(lengths)
    strides = [int(s) for s in call.attribute("strides", [1] * rank)]
    dilations = [int(d) for d in call.attribute("dilations", [1] * rank)]
    if not len(kernel) == len(strides) == len(dilations) == rank or min([*kernel, *strides, *dilations]) < 1:
        call.refuse(f"has kernel {list(kernel)}, strides {strides} and dilations {dilations} for {rank} spatial axes")
    pads = _pads(call, lengths, [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)], strides)
    axes = tuple(
        WindowAxis(length, k, s, d, before, after)
        for length, k, s, d, (before, after) in zip(lengths, kernel, strides, dilations, pads, strict=True)
    )
    if any(axis.count() < 1 for axis in axes):
        call.refuse(f"has a kernel {list(kernel)} larger than its padded input {list(lengths)}")
    return axes


def _pads(call: Call, lengths: Sequence[int], extents: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """(before, after) for each axis, from `pads` or `auto_pad`."""
    rank, automatic = len(lengths), call.attribute("auto_pad", "NOTSET")
    if automatic == "VALID":
        return [(0, 0)] * rank
    if automatic == "NOTSET":
        pads = [int(p) for p in call.attribute("pads", [0] * (2 * rank))]
        if len(pads) != 2 * rank or min(pads) < 0:
            call.refuse(f"has pads {pads}; {2 * rank} numbers that are not negative are expected")
        return list(zip(pads[:rank], pads[rank:], strict=True))
    totals = [max((-(-n // s) - 1) * s + e - n, 0) for n, s, e in zip(lengths, strides, extents, strict=True)]
    if automatic == "SAME_UPPER":
        return [(t // 2, t - t // 2) for t in totals]
    return [(t - t // 2, t // 2) for t in totals]
