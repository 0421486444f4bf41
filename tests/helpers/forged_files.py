"""Files of certificates, spoiled as bytes or as text."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import numpy as np


def flip_bits(rng: np.random.Generator, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        changed[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def cut_off(rng: np.random.Generator, data: bytes) -> bytes:
    return data[: int(rng.integers(len(data)))]


def go_on(rng: np.random.Generator, data: bytes) -> bytes:
    return data + (data, b"\0", b"\n", data[:10])[int(rng.integers(4))]


def change_text(rng: np.random.Generator, data: bytes) -> bytes:
    text, alphabet = bytearray(gzip.decompress(data)), b'0123456789abcdefp+-.,:[]{}"e '
    start = text.index(b'"question"')
    for _ in range(int(rng.integers(1, 4))):
        text[int(rng.integers(start, len(text)))] = alphabet[int(rng.integers(len(alphabet)))]
    return gzip.compress(bytes(text), 1)


def write_otherwise(rng: np.random.Generator, data: bytes) -> bytes:
    """Numbers and keys as certificates do not write them: twice, with zeros in front, of other types or signs."""
    text = gzip.decompress(data).decode()
    old, new = REWRITTEN[int(rng.integers(len(REWRITTEN)))]
    places = [k for k in range(len(text)) if text.startswith(old, k)]
    at = places[int(rng.integers(len(places)))] if places else 0
    return gzip.compress((text[:at] + new + text[at + len(old) :]).encode("utf-8", "surrogatepass"), 1)


REWRITTEN = (
    ('"version": 1', '"version": 1, "version": 1'), ('"version": 1', '"version": true'),
    ('"version": 1', '"version": 1.0'), ("1", "01"), ("1", "1.0"), ("1", "1e0"), ("1", "1e400"), ("1", "NaN"),
    ("1", "-Infinity"), ("1", "\u0661"), ("0", "-0"), ("0", "-1"), ("[]", "[null]"), ("[]", "{}"), ("null", "0"),
    ("null", "true"), ("{", '{"": 0, '), ("[", "[" * 3000), ("1", "1" * 5000), ("p-", "p-9999999999"), ("=", ""),
    ("0x1", "0X1"), ("0x1", "-0x1"), (" ", "\n"),
)  # fmt: skip

BYTE_CHANGES: dict[str, Callable[[np.random.Generator, bytes], bytes]] = {
    change.__name__: change for change in (flip_bits, cut_off, go_on, change_text, write_otherwise)
}
