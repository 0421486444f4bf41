"""Random numbers for each input of a batch that do not depend on the others."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio, odd: multiples of it never repeat before all 2^64 states are used."""


class Draws:
    """A stream of numbers for each of N inputs, begun at a hash of seed and input.

    Number i of a stream that begins at k is mix(k + i * GOLDEN), the i-th output of SplitMix64 (Steele, Lea and Flood
    2014, "Fast splittable pseudorandom number generators"). So an input gets the same numbers alone, in a batch and in
    another order. They are made on the CPU: they do not depend on the device either.

    Args:
        seed: of all streams.
        x: the inputs, shape (N, n).
    """

    def __init__(self, seed: int, x: Tensor) -> None:
        import torch

        begin = seed.to_bytes(8, "little", signed=True)
        rows = np.ascontiguousarray(x.cpu().numpy())
        keys = [hashlib.blake2b(begin + row.tobytes(), digest_size=8).digest() for row in rows]
        self._keys = torch.from_numpy(np.frombuffer(b"".join(keys), dtype="<i8").copy())
        self._used = torch.zeros(len(rows), dtype=torch.int64)

    def uniform(self, rows: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The next numbers of the inputs `rows`, from [0, 1), shape (K, *shape); on the device of `rows`."""
        return self._uniform(rows, shape).to(rows.device)

    def normal(self, rows: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Standard normal numbers likewise (Box and Muller 1958)."""
        import torch

        first, second = self._uniform(rows, (2, *shape)).unbind(dim=1)
        return (torch.sqrt(-2.0 * torch.log1p(-first)) * torch.cos(2.0 * math.pi * second)).to(rows.device)

    def _uniform(self, rows: Tensor, shape: tuple[int, ...]) -> Tensor:
        import torch

        chosen, count = rows.cpu(), math.prod(shape)
        numbers = self._used[chosen, None] + torch.arange(1, count + 1)
        self._used[chosen] += count
        mixed = _mix(self._keys[chosen, None] + numbers * _signed(GOLDEN))
        return (_shifted(mixed, 11).to(torch.float64) * 2.0**-53).reshape(len(chosen), *shape)


def _mix(z: Tensor) -> Tensor:
    """The finaliser of SplitMix64, modulo 2^64."""
    z = (z ^ _shifted(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shifted(z, 27)) * _signed(0x94D049BB133111EB)
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, places: int) -> Tensor:
    """z shifted right by some places as if it had no sign."""
    return (z >> places) & ((1 << (64 - places)) - 1)


def _signed(value: int) -> int:
    """The whole number with the same 64 bits and a sign."""
    return value - (1 << 64) if value >= 1 << 63 else value
