"""Evaluation in exact rational arithmetic: floats are dyadic rationals, so integers and one exponent suffice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from onnx_models._maps import Array
from onnx_models._network import Affine, Input, ReluNetwork

Integers = NDArray[np.object_]
"""An array of Python integers."""

_MANTISSA_BITS = 53


def exact_logits(network: ReluNetwork, x: ArrayLike) -> tuple[Fraction, ...]:
    """The logits of one input, shape (n,) or the input shape, without any rounding.

    The network's float64 weights and the input are taken as the rational numbers that they are. Every node's value is
    kept as integers times one common power of two. Costs about a tenth of a microsecond per weight and layer.
    """
    return _evaluated(network, _dyadic(network.flatten_input(x)), 1)


def exact_logits_at(network: ReluNetwork, x: Sequence[Fraction]) -> tuple[Fraction, ...]:
    """As `exact_logits`, at an input of n rational numbers that need not be floats.

    Scaling the input and all biases by a positive number scales the logits: that makes integers of the input.
    """
    scale = math.lcm(*(value.denominator for value in x))
    entries = np.array([value.numerator * (scale // value.denominator) for value in x], dtype=object)
    return _evaluated(network, (entries, 0), scale)


def _evaluated(network: ReluNetwork, start: tuple[Integers, int], scale: int) -> tuple[Fraction, ...]:
    """The logits at `start` / scale."""
    values: list[tuple[Integers, int]] = []
    for node in network.nodes:
        if isinstance(node, Input):
            values.append(start)
        elif isinstance(node, Affine):
            bias, power = _dyadic(node.bias)
            terms = [(bias * scale, power)]
            for source, linear_map in zip(node.inputs, node.maps, strict=True):
                terms.append(_product(linear_map.to_sparse(), *values[source]))
            values.append(_total(terms))
        else:
            mantissa, exponent = values[node.input]
            values.append((np.maximum(mantissa, 0), exponent))
    mantissa, exponent = values[-1]
    unit = Fraction(2) ** exponent / scale
    return tuple(int(m) * unit for m in mantissa)


def _dyadic(values: Array) -> tuple[Integers, int]:
    """Integers m and one exponent e with values = m * 2**e exactly."""
    fraction, power = np.frexp(values)
    mantissa = np.ldexp(fraction, _MANTISSA_BITS).astype(np.int64).astype(object)
    used = fraction != 0
    if not np.any(used):
        return mantissa, 0
    exponent = int(power[used].min())
    shift = np.where(used, power - exponent, 0).astype(object)
    return mantissa << shift, exponent - _MANTISSA_BITS


def _product(matrix: sparse.csr_array, vector: Integers, exponent: int) -> tuple[Integers, int]:
    """matrix @ (vector * 2**exponent)."""
    result = np.zeros(matrix.shape[0], dtype=object)
    weights, weight_exponent = _dyadic(matrix.data)
    filled = np.flatnonzero(np.diff(matrix.indptr))
    if len(filled):
        result[filled] = np.add.reduceat(weights * vector[matrix.indices], matrix.indptr[filled])
    return result, exponent + weight_exponent


def _total(terms: list[tuple[Integers, int]]) -> tuple[Integers, int]:
    exponent = min(e for _, e in terms)
    return sum((m << (e - exponent) for m, e in terms[1:]), terms[0][0] << (terms[0][1] - exponent)), exponent
