"""Pickles as Python 2 wrote them, which no Python 3 does: the published batches of CIFAR-10 are such."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


class _Writer:
    """Protocol 2 of cPickle: str as strings of bytes, the memo counted from 1."""

    def __init__(self) -> None:
        self.out = b"\x80\x02"
        self.slots = 0

    def put(self) -> None:
        self.slots += 1
        self.out += b"q" + bytes([self.slots]) if self.slots < 256 else b"r" + struct.pack("<I", self.slots)

    def text(self, text: str) -> None:
        self.out += b"U" + bytes([len(text)]) + text.encode()
        self.put()

    def number(self, number: int) -> None:
        self.out += b"K" + bytes([number]) if number < 256 else b"M" + struct.pack("<H", number)

    def items(self, items: list[Any], write: Callable[[Any], None]) -> None:
        self.out += b"]"
        self.put()
        for start in range(0, len(items), 1000):
            part = items[start : start + 1000]
            self.out += b"(" if len(part) > 1 else b""
            for item in part:
                write(item)
            self.out += b"e" if len(part) > 1 else b"a"

    def array(self, rows: NDArray[np.uint8]) -> None:
        self.out += b"cnumpy.core.multiarray\n_reconstruct\n"
        self.put()
        self.out += b"cnumpy\nndarray\n"
        self.put()
        self.out += b"K\x00\x85"
        self.put()
        self.out += b"U\x01b\x87R("
        self.number(1)
        for size in rows.shape:
            self.number(size)
        self.out += b"\x86cnumpy\ndtype\n"
        self.put()
        self.text("u1")
        self.out += b"K\x00K\x01\x87R"
        self.put()
        self.out += b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        self.out += b"T" + struct.pack("<i", rows.size) + rows.tobytes()
        self.out += b"tb"

    def batch(self, batch: dict[str, Any]) -> bytes:
        self.out += b"}"
        self.put()
        self.out += b"("
        for key, value in batch.items():
            self.text(key)
            if isinstance(value, str):
                self.text(value)
            elif isinstance(value, np.ndarray):
                self.array(value)
            else:
                self.items(value, self.number if key == "labels" else self.text)
        return self.out + b"u."


def python2_pickle(batch: dict[str, Any]) -> bytes:
    """A dict whose values are text, lists of text, small numbers (under "labels") or an array of bytes."""
    return _Writer().batch(batch)
