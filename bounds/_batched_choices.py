"""Rows over the logits with several lower lines to choose from: the smallest of their bounds counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from onnx_models import Affine, Array, Relu, ReluNetwork

MOST_CHOICES = 16
"""A row is followed back through ReLUs as long as it has at most this many ways to go."""

NEGLIGIBLE = 1e-12
"""A coefficient smaller than this share of the row's largest is what rounding left of a zero."""


@dataclass(frozen=True, slots=True, eq=False)
class RowChoices:
    """Rows over the logits, each in every combination of lower lines of the last few ReLUs.

    A row that meets few ReLU units on its way back, all with negative coefficients, is bounded once with y >= 0 and
    once with y >= z for each of them, since relu(z) is at least as large as both. For the minimum of several outputs,
    min(p, q) = p - relu(p - q), these are p and q themselves: the minimum is as small as the smallest of their bounds.

    Attributes:
        rows: the rows, shape (R, logits).
        owners: which row a choice belongs to, ascending, shape (C,).
        slopes: by ReLU node the slope of the lower line of every unit in every choice, shape (C, units); NaN where it
            is left to CROWN.
        tails: ReLU nodes whose units only ever have slopes of this kind, so that bounds of their pre-activations need
            no refinement.
    """

    rows: Array
    owners: NDArray[np.intp]
    slopes: Mapping[int, Array]
    tails: frozenset[int]

    @classmethod
    def of(cls, network: ReluNetwork, rows: Array) -> RowChoices:
        """The choices of every row, found by following it back in floats; any choice is valid."""
        found = [_follow(network, row) for row in rows]
        owners = np.repeat(np.arange(len(rows)), [len(ways) for ways in found])
        ways = [way for several in found for way in several]
        slopes = {}
        for relu in sorted({relu for way in ways for relu in way.slopes}):
            unset = np.full(network.nodes[relu].size, np.nan)
            slopes[relu] = np.stack([way.slopes.get(relu, unset) for way in ways])
        plain = {relu for way in ways for relu in way.plain}
        return cls(rows, owners, slopes, frozenset(slopes) - frozenset(plain))


@dataclass(frozen=True, slots=True, eq=False)
class _Way:
    """One combination: the slopes set so far, coefficients of nodes still to go through, and ReLUs left to CROWN."""

    coefficients: Mapping[int, Array]
    slopes: Mapping[int, Array]
    plain: frozenset[int]


def _follow(network: ReluNetwork, row: Array) -> list[_Way]:
    ways = [_Way({len(network.nodes) - 1: row}, {}, frozenset())]
    for index in range(len(network.nodes) - 1, 0, -1):
        node = network.nodes[index]
        if isinstance(node, Affine):
            ways = [_through_affine(way, index, node) for way in ways]
        else:
            assert isinstance(node, Relu)
            ways = _through_relu(ways, index, node)
    return ways


def _through_affine(way: _Way, index: int, node: Affine) -> _Way:
    coefficients = dict(way.coefficients)
    rows = coefficients.pop(index, None)
    if rows is None:
        return way
    for source, linear_map in zip(node.inputs, node.maps, strict=True):
        part = linear_map.transpose_apply(rows[None])[0]
        coefficients[source] = coefficients[source] + part if source in coefficients else part
    return _Way(coefficients, way.slopes, way.plain)


def _through_relu(ways: list[_Way], index: int, node: Relu) -> list[_Way]:
    """Every way once per combination of slopes 0 and 1, or, if that makes too many, all as they are."""
    negative = [_negative_units(way, index) for way in ways]
    if sum(1 if units is None else 2 ** len(units) for units in negative) > MOST_CHOICES:
        return [_stopped(way, index) for way in ways]
    result = []
    for way, units in zip(ways, negative, strict=True):
        if units is None:
            result.append(_stopped(way, index))
        else:
            result += _branches(way, index, node, units)
    return result


def _negative_units(way: _Way, index: int) -> NDArray[np.intp] | None:
    """Units with a negative coefficient; None if one has a positive one, and so needs more than a lower line."""
    rows = way.coefficients.get(index, np.zeros(0))
    size = NEGLIGIBLE * np.abs(rows).max(initial=0.0)
    return None if np.any(rows > size) else np.flatnonzero(rows < -size)


def _stopped(way: _Way, index: int) -> _Way:
    """The way with every ReLU that it may still meet left to CROWN."""
    return _Way({}, way.slopes, way.plain | frozenset(range(index + 1))) if way.coefficients else way


def _branches(way: _Way, index: int, node: Relu, units: NDArray[np.intp]) -> Iterable[_Way]:
    rest = dict(way.coefficients)
    rows = rest.pop(index, None)
    if rows is None:
        yield way
        return
    for chosen in product((0.0, 1.0), repeat=len(units)):
        slopes, part, coefficients = np.full(node.size, np.nan), np.zeros(node.size), dict(rest)
        slopes[units], part[units] = chosen, rows[units] * chosen
        coefficients[node.input] = coefficients[node.input] + part if node.input in coefficients else part
        yield _Way(coefficients, {**way.slopes, index: slopes}, way.plain)
