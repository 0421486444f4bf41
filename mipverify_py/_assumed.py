"""Bounds that the user supplies: taken on trust, but not against what we can see for ourselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bounds import Bounds, NetworkBounds, interval_bounds
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError, InvalidBoundsError

ASSUMED_DETAIL = "rests on bounds supplied by the user"


@dataclass(frozen=True, slots=True, eq=False)
class AssumedBounds:
    """Bounds of every node of a network, said to hold for all inputs in the box `bounds.nodes[0]`.

    An end may be infinite where nothing is known, the box's own ends apart.

    Raises:
        InputError: there is not one pair of bounds per node, of the node's size, or the box is unbounded.
    """

    network: ReluNetwork
    bounds: NetworkBounds

    def __post_init__(self) -> None:
        nodes, given = self.network.nodes, self.bounds.nodes
        if len(given) != len(nodes):
            raise InputError(f"The supplied bounds are for {len(given)} nodes; the network has {len(nodes)}.")
        for index, (node, pair) in enumerate(zip(nodes, given, strict=True)):
            if pair.size != node.size:
                name = layer_name(self.network, index)
                raise InputError(f"The supplied bounds of {name} have {pair.size} entries; it has {node.size}.")
        if not np.all(np.isfinite(self.region.magnitude)):
            raise InputError("The supplied bounds are for an unbounded box of inputs; their node 0 must be finite.")

    @property
    def region(self) -> Bounds:
        """The box of inputs for which the bounds are said to hold."""
        return self.bounds.nodes[0]

    def meet(self, own: NetworkBounds) -> NetworkBounds:
        """What holds over the box of `own`, our own bounds, if the supplied ones hold, too.

        The box must be part of `region`.

        Raises:
            InvalidBoundsError: both exclude each other; names the unit and the layer.
        """
        met = []
        for index, (mine, theirs) in enumerate(zip(own.nodes, self.bounds.nodes, strict=True)):
            lower, upper = np.maximum(mine.lower, theirs.lower), np.minimum(mine.upper, theirs.upper)
            self._check(index, lower <= upper, theirs, mine, "over the whole box it")
            met.append(Bounds(lower, upper))
        return NetworkBounds(tuple(met))

    def confront(self, point: Array) -> None:
        """Raises InvalidBoundsError if the network at `point`, shape (n,), goes beyond the bounds.

        Decided with an outward-rounded evaluation: a difference within rounding does not count. A point outside
        `region` says nothing.
        """
        if not self.region.contains(point):
            return
        seen = interval_bounds(self.network, Bounds(point, point))
        for index, (mine, theirs) in enumerate(zip(seen.nodes, self.bounds.nodes, strict=True)):
            inside = (mine.lower <= theirs.upper) & (theirs.lower <= mine.upper)
            self._check(index, inside, theirs, mine, "at an input that was evaluated it")

    def check_region(self, box: Bounds) -> None:
        """Raises InputError unless the box is part of `region`."""
        region = self.region
        short = (region.lower > box.lower) | (region.upper < box.upper)
        if not np.any(short):
            return
        k = int(np.argmax(short))
        raise InputError(
            f"The supplied bounds hold for inputs whose entry {k} is in {_interval(region, k)}; the search covers "
            f"{_interval(box, k)}. Supply bounds for a box that contains it."
        )

    def _check(self, index: int, fine: NDArray[np.bool_], theirs: Bounds, mine: Bounds, where: str) -> None:
        if np.all(fine):
            return
        unit = int(np.argmin(fine))
        raise InvalidBoundsError(
            f"The supplied bounds are wrong: unit {unit} of {layer_name(self.network, index)} is said to be in "
            f"{_interval(theirs, unit)}; {where} is in {_interval(mine, unit)}."
        )


def _interval(bounds: Bounds, entry: int) -> str:
    return f"[{float(bounds.lower[entry])!r}, {float(bounds.upper[entry])!r}]"


def layer_name(network: ReluNetwork, index: int) -> str:
    """What to call a node in a message."""
    name = network.nodes[index].name
    return f"layer {name!r} (node {index})" if name else f"node {index}"
