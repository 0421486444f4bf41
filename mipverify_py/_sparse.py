"""Images that differ from x0 in few pixels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bounds import Bounds, Formulation
from mipverify_py._arguments import instance, whole_number
from mipverify_py._layout import ImageShape, Layout
from mipverify_py._perturbation import LinfBall, PerturbationSet, Unrestricted
from onnx_models import Array
from onnx_models.errors import InputError


@dataclass(frozen=True, slots=True)
class Sparse(PerturbationSet):
    """All x that differ from x0 in at most `max_pixels` pixels, and there by at most `radius` in every channel.

    A pixel is a position of the image with all its channels. An input that is no image (one dimension) has as many
    pixels as entries.

    Attributes:
        max_pixels: at least 0.
        radius: in L-infinity norm, finite and at least 0; None for anywhere in the domain.
        layout: how the input is an image, where the model's input shape does not tell.
        image: the image's shape; filled in by the query.
    """

    max_pixels: int
    radius: float | None = None
    layout: Layout = field(default_factory=Layout)
    image: ImageShape | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        instance(Layout, self.layout, "The layout")
        count = whole_number(self.max_pixels, "The number of pixels (max_pixels)")
        if count < 0:
            raise InputError(f"The number of pixels (max_pixels) is {count}; it must be at least 0.")
        object.__setattr__(self, "max_pixels", count)
        if self.radius is not None:
            object.__setattr__(self, "radius", LinfBall(self.radius).radius)

    def for_shape(self, shape: tuple[int, ...]) -> Sparse:
        entries = int(np.prod(shape))
        flat = self.layout.shape is None and max(shape, default=1) == entries
        image = ImageShape(1, 1, entries) if flat else self.layout.image(shape)
        return Sparse(self.max_pixels, self.radius, self.layout, image=image)

    @property
    def pixels(self) -> NDArray[np.int64]:
        """The entries of every pixel in the flat input, shape (pixels, channels)."""
        if self.image is None:
            raise InputError("The set does not know the image's shape yet; use the one that the query holds.")
        return self.image.positions.reshape(self.image.channels, -1).T

    @property
    def reach(self) -> PerturbationSet:
        """What the changed pixels may be."""
        return Unrestricted() if self.radius is None else LinfBall(self.radius)

    def bounding_box(self, x0: Array, domain: Bounds) -> Bounds:
        return self.reach.bounding_box(x0, domain) if self.max_pixels else Bounds(x0, x0)

    def contains(self, x: Array, x0: Array) -> bool:
        changed = int(np.any((x != x0)[self.pixels], axis=1).sum())
        return changed <= self.max_pixels and self.reach.contains(x, x0)

    def project(self, x: Array, x0: Array, domain: Bounds) -> Array:
        """The pixels that change most, in their largest entry, are kept, and moved within reach."""
        change = np.abs(x - x0)[self.pixels].max(axis=1)
        order = np.argsort(-change, kind="stable")
        return self.only(order[: self.max_pixels], self.reach.project(x, x0, domain), x0)

    def only(self, chosen: NDArray[np.intp], x: Array, x0: Array) -> Array:
        """x in the chosen pixels, x0 in the others."""
        result = x0.copy()
        entries = self.pixels[chosen].reshape(-1)
        result[entries] = x[entries]
        return result

    def restrict(self, form: Formulation, x0: Array) -> None:
        """One binary s_p per pixel, sum s_p <= max_pixels, and  (l_i - x0_i) s_p <= x_i - x0_i <= (u_i - x0_i) s_p."""
        box = form.bounds.nodes[0]
        pixel_of = np.empty(x0.size, np.intp)
        pixel_of[self.pixels] = np.arange(len(self.pixels))[:, None]
        s = form.builder.add_columns(0.0, 1.0, [f"s_{p}" for p in range(len(self.pixels))], integer=True)
        x, chosen = form.builder.unit(form.inputs), form.builder.unit(s[pixel_of])
        for end, low, high in ((box.upper, -np.inf, x0), (box.lower, x0, np.inf)):
            scaled = sparse.diags_array(end - x0) @ chosen
            form.add_rows(sparse.csr_array(x - scaled), low, high)
        count = sparse.csr_array(form.builder.unit(s).sum(axis=0).reshape(1, -1))
        form.add_rows(count, -np.inf, float(self.max_pixels))
