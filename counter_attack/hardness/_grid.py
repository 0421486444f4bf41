"""Fooling Counter-Attack on a grid, by looking at every point of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import maximum_filter

from counter_attack.hardness._reduction import grid_steps
from mipverify_py._arguments import instance, real_number
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError

MOST_POINTS = 2_000_000
"""Points of a grid that are looked at; a network of n inputs has (1 / mu + 1)**n."""

_BATCH = 16_384
"""Points evaluated at once."""

_NEAR = 1e-9
"""How far a radius or an entry of x0, in steps of the grid, may be from a whole number."""


@dataclass(frozen=True, slots=True, eq=False)
class GridFooling:
    """What looking at all points of a grid has shown.

    Attributes:
        point: an x' that fools the detector, shape (n,), the first in lexicographic order; None if there is none.
        label: its class; None with the point.
        points: points of the grid, all of which were evaluated.
        adversarial: those within gamma of x0 that have another class than x0.
        fooling: those of them that the detector lets pass: no point of the grid within eps has another class.
    """

    point: Array | None
    label: int | None
    points: int
    adversarial: int
    fooling: int

    @property
    def foolable(self) -> bool:
        """Whether some x' of the grid fools the detector."""
        return self.fooling > 0


def fool_on_grid(network: ReluNetwork, x0: ArrayLike, *, gamma: float, eps: float, mu: float) -> GridFooling:
    """Whether Counter-Attack with radius eps can be fooled from x0, where all inputs are multiples of mu in [0, 1].

    All (1 / mu + 1)**n points are evaluated, in float64. A point x' fools the detector if |x' - x0| <= gamma, its class
    is not that of x0, and every point x'' of the grid with |x'' - x'| <= eps has the class of x' and no tie for it (as
    everywhere here, a class that reaches another counts as adversarial). The class of a point is its first largest
    logit. All distances are L-infinity. What holds on the grid need not hold for real inputs:
    `counter_attack.detection.largest_distance` answers for those.

    Args:
        network: of few inputs.
        x0: a point of the grid, flat or of the model's shape.
        gamma: radius of the attack, >= 0, a multiple of mu.
        eps: radius of the detector, likewise.
        mu: 1 divided by a whole number.

    Raises:
        InputError: an argument that does not fit, or a grid of more than two million points.
    """
    instance(ReluNetwork, network, "The network")
    steps, n = grid_steps(mu), network.input_size
    centre = _whole(network.flatten_input(x0) * steps, "x0 is not a point of the grid: an entry")
    if np.any(centre < 0) or np.any(centre > steps):
        raise InputError("x0 lies outside [0, 1].")
    reach, around = (_radius(radius, steps, name) for radius, name in ((gamma, "gamma"), (eps, "eps")))
    if n * np.log(steps + 1) > np.log(MOST_POINTS):
        raise InputError(f"The grid has {steps + 1}**{n} points; at most {MOST_POINTS:,} are looked at.")
    shape = (steps + 1,) * n
    own, safe = _classes(network, shape, steps)
    reference = own[tuple(centre)]
    offsets = [np.abs(np.arange(steps + 1) - c) <= reach for c in centre]
    ball = np.ones(shape, dtype=bool)
    for axis, inside in enumerate(offsets):
        ball &= inside.reshape([-1 if k == axis else 1 for k in range(n)])
    adversarial = ball & (own != reference)
    fooling = np.zeros(shape, dtype=bool)
    for label in np.unique(own[adversarial]):
        breaks = ((own != label) | ~safe).astype(np.uint8)
        broken = maximum_filter(breaks, size=2 * around + 1, mode="constant", cval=0)
        fooling |= adversarial & (own == label) & (broken == 0)
    found = np.argwhere(fooling)
    point = found[0] if len(found) else None
    return GridFooling(
        point=None if point is None else point / steps,
        label=None if point is None else int(own[tuple(point)]),
        points=own.size,
        adversarial=int(adversarial.sum()),
        fooling=len(found),
    )


def _classes(network: ReluNetwork, shape: tuple[int, ...], steps: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """The class of every point of the grid, and whether no other class reaches its logit."""
    count = int(np.prod(shape))
    own, safe = np.empty(count, dtype=np.intp), np.empty(count, dtype=bool)
    for start in range(0, count, _BATCH):
        chosen = np.arange(start, min(start + _BATCH, count))
        logits = network.forward_batch(np.stack(np.unravel_index(chosen, shape), axis=1) / steps)
        own[chosen] = logits.argmax(axis=1)
        safe[chosen] = (logits == logits.max(axis=1, keepdims=True)).sum(axis=1) == 1
    return own.reshape(shape), safe.reshape(shape)


def _radius(radius: float, steps: int, name: str) -> int:
    value = real_number(radius, name)
    if not 0 <= value < np.inf:
        raise InputError(f"{name} is {value}; it must be finite and at least 0.")
    return min(int(_whole(np.array(value * steps), f"{name} is no multiple of mu: it")), steps)


def _whole(values: Array, what: str) -> NDArray[np.int64]:
    """The values as whole numbers; raises InputError where one is none."""
    nearest = np.rint(values)
    off = np.abs(values - nearest) > _NEAR
    if np.any(off):
        raise InputError(f"{what} is {float(values[off].flat[0]):.9g} steps of mu.")
    return nearest.astype(np.int64)
