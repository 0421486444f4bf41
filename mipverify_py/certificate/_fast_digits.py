"""Vectors of large integers as float64 arrays of digits, on which numpy and BLAS compute exactly.

A number is the sum over k of  d[k] 2**(BITS k)  with whole digits |d[k]| <= 2**(BITS - 1); the digits are the first
axis of an array. Everything here rests on one fact: sums and products of whole numbers in float64 are exact, in any
order and with or without fused multiply-add, as long as no partial sum is larger than 2**53. A product of two digits
is at most 2**(2 BITS - 2) = 2**42, so sums of CHUNK = 2**10 of them are at most 2**52. Longer sums are cut, and results
are carried back into digits before the next sum could pass LIMIT.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

BITS = 22
BASE, HALF = 2.0**BITS, 2.0 ** (BITS - 1)
LIMIT = 2.0**53 - 2.0**32
"""Entries up to here can be carried: a carry is at most 2**31 + 1."""
CHUNK = 2**10
"""So many products of digits are added up at once."""
MOST_DIGITS = 40
"""Longer numbers are left to Python's integers; so `approximate` stays below 2**1000."""
DOUBT = 2.0**-40
"""Share by which `approximate` may be wrong at most, with room to spare."""

Digits = NDArray[np.float64]
Matrix = NDArray[np.float64] | csr_array


class TooLongError(Exception):
    """Numbers have more than `MOST_DIGITS` digits, or sums more terms than float64 adds up exactly."""


def carried(x: Digits) -> Digits:
    """The same numbers in digits, from whole entries of at most `LIMIT`. Leading digits that are 0 everywhere go."""
    found = np.zeros((len(x) + 3, *x.shape[1:]))  # 2**53 has three digits
    found[: len(x)] = x
    for k in range(len(x) + 2):
        if k >= len(x) and not found[k].any():
            break
        carry = np.rint(found[k] * (1.0 / BASE))
        found[k + 1] += carry
        carry *= BASE
        found[k] -= carry
    count = len(found)
    while count > 1 and not found[count - 1].any():
        count -= 1
    if count > MOST_DIGITS:
        raise TooLongError
    return found[:count]


def digits(values: Sequence[int] | NDArray[np.int64]) -> Digits:
    """Whole numbers in digits, shape (K, n)."""
    rest: NDArray[Any]
    try:
        rest = np.asarray(values, np.int64)
        if rest.size and max(int(rest.max()), -int(rest.min())) >= 2**62:
            raise OverflowError
    except OverflowError:
        rest = np.array([int(v) for v in values], object)
    half, mask, rows = 1 << (BITS - 1), (1 << BITS) - 1, list[NDArray[np.float64]]()
    while not rows or rest.any():
        digit = ((rest + half) & mask) - half
        rest = (rest - digit) >> BITS
        rows.append(digit.astype(np.float64))
        if len(rows) > MOST_DIGITS:
            raise TooLongError
    return np.stack(rows)


def digits_of_floats(values: NDArray[np.float64], exponent: int) -> list[NDArray[np.float64]]:
    """Floats times 2**exponent, which are whole, in digits.

    The largest digit is taken away first. What is left are the lower bits of a float, or these less one power of two
    that is next to them: in both cases a float.
    """
    rest = np.ldexp(values, exponent)
    count = max(1, -(-(int(np.frexp(np.abs(rest).max(initial=0.0))[1]) + 1) // BITS))
    if count > MOST_DIGITS:
        raise TooLongError
    rows = []
    for place in reversed(range(count)):
        digit = np.rint(np.ldexp(rest, -BITS * place))
        rest = rest - np.ldexp(digit, BITS * place)
        rows.append(digit)
    return rows[::-1]


def shifted(x: Digits, places: int) -> Digits:
    """The numbers times 2**places."""
    whole, rest = divmod(places, BITS)
    if rest:
        x = carried(x * 2.0**rest)
    if not whole:
        return x
    if whole + len(x) > MOST_DIGITS:
        raise TooLongError
    return np.concatenate([np.zeros((whole, *x.shape[1:])), x])


def added(x: Digits, y: Digits) -> Digits:
    """The sums."""
    if len(x) < len(y):
        x, y = y, x
    total = np.array(np.broadcast_to(x, (len(x), *np.broadcast_shapes(x.shape[1:], y.shape[1:]))))
    total[: len(y)] += y
    return carried(total)


def times(x: Digits, y: Digits) -> Digits:
    """The products, entry by entry: a digit of them is a sum of at most MOST_DIGITS products of digits."""
    if len(x) + len(y) > MOST_DIGITS + 1:
        raise TooLongError
    total = np.zeros((len(x) + len(y) - 1, *np.broadcast_shapes(x.shape[1:], y.shape[1:])))
    for k, digit in enumerate(y):
        total[k : k + len(x)] += x * digit
    return carried(total)


class Table:
    """A matrix of whole numbers, by digits, that vectors are multiplied with from the left.

    Attributes:
        parts: per chunk of rows its first row, its end, and its matrices by digit; dense or sparse, shape (m, n).
        columns: n.
    """

    def __init__(self, matrices: Sequence[Matrix]) -> None:
        rows, self.columns = matrices[0].shape
        self.parts: list[tuple[int, int, list[tuple[Matrix, float]]]] = []
        for start in range(0, rows, CHUNK):
            end = min(rows, start + CHUNK)
            cut = [matrix if end - start == rows else matrix[start:end] for matrix in matrices]
            self.parts.append((start, end, [(matrix, _reach(matrix)) for matrix in cut]))
        self.count = len(matrices)

    def product(self, x: Digits) -> Digits:
        """x times the matrix, for x of the shape (K, ..., m)."""
        flat, shape = x.reshape(-1, x.shape[-1]), x.shape[:-1]
        total = np.zeros((len(x) + self.count, *shape[1:], self.columns))
        size = 0.0
        for start, end, matrices in self.parts:
            for k, (matrix, reach) in enumerate(matrices):
                if not reach:
                    continue
                if size + reach > LIMIT:
                    total = carried(total)
                    missing = len(x) + self.count - len(total)
                    total = np.concatenate([total, np.zeros((max(0, missing), *total.shape[1:]))])
                    size = HALF
                total[k : k + len(x)] += (flat[:, start:end] @ matrix).reshape(*shape, self.columns)
                size += reach
        return carried(total)


def _reach(matrix: Matrix) -> float:
    """How large a sum of products of digits with a column may be: at most 2**52 where no place is taken twice."""
    if isinstance(matrix, np.ndarray):
        sums = np.abs(matrix).sum(axis=0)
    else:
        sums = np.bincount(matrix.indices, np.abs(matrix.data))
    reach = HALF * float(np.max(sums, initial=0.0))
    if reach > LIMIT - HALF:
        raise TooLongError
    return reach


def approximate(x: Digits) -> NDArray[np.float64]:
    """The numbers as floats, by Horner's rule; the sign is right, 0 stands for 0, others are wrong by less than DOUBT.

    Digits below the first that is not 0 make up at most half of it and a bit, so partial sums are never much larger
    than the number, and every step is wrong by 2**-53 of its result at most.
    """
    total: NDArray[np.float64] = x[-1]
    for row in x[-2::-1]:
        total = total * BASE + row
    return total


def lengths(x: Digits, sizes: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bits of the largest number of every row of x, shape (K, B, n); `sizes` are its `approximate` ones."""
    sizes = np.abs(sizes)
    most = sizes.max(axis=-1, initial=0.0)
    mantissas, exponents = np.frexp(most)
    found: NDArray[np.int64] = exponents.astype(np.int64)
    unsure = (mantissas != 0) & ((mantissas < 0.5 + DOUBT) | (mantissas > 1.0 - DOUBT))
    for b in np.flatnonzero(unsure).tolist():
        near = x[:, b, sizes[b] >= most[b] * (1.0 - 2.0 * DOUBT)]
        found[b] = max(abs(v) for v in set(integers(near))).bit_length()
    return found


def integers(x: NDArray[np.float64] | NDArray[np.int64]) -> list[int]:
    """The numbers of x, shape (K, n)."""
    found = []
    for number in x.astype(np.int64).T.tolist():
        total = 0
        for digit in reversed(number):
            total = (total << BITS) + digit
        found.append(total)
    return found


def dots(x: Digits, y: Digits) -> list[int]:
    """The sums over n of x[:, b, n] y[:, b, n] for every b; shapes (K, B, n) and (L, B or 1, n)."""
    found = [0] * x.shape[1]
    for start in range(0, x.shape[2], CHUNK):
        part = slice(start, start + CHUNK)
        total = (x[:, :, part].transpose(1, 0, 2) @ y[:, :, part].transpose(1, 2, 0)).astype(np.int64)
        rows = np.zeros((len(x) + len(y) - 1, x.shape[1]), np.int64)  # at most MOST_DIGITS sums of 2**52 each
        for k in range(len(y)):
            rows[k : k + len(x)] += total[:, :, k].T
        found = [a + b for a, b in zip(found, integers(rows), strict=True)]
    return found
