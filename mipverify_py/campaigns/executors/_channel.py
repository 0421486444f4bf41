"""Messages over a socket pair, in a way that a worker that is stopped or talks nonsense cannot block its executor.

A frame is  b"MVC1" | length (8 bytes, big endian) | pickle. Both ends are our own processes on one machine, so a pickle
is as trustworthy as the code.
"""

from __future__ import annotations

import pickle
import socket
import struct
from collections.abc import Iterator
from typing import BinaryIO

MAGIC = b"MVC1"
PREFIX = struct.Struct(">4sQ")

LARGEST = 2**36
"""No sane frame is longer than 64 GiB: a longer one is garbage that happens to begin with the magic bytes."""

CHUNK = 1 << 20


class BrokenMessageError(Exception):
    """What arrived is no message of ours."""


def frame(message: object) -> bytes:
    """The message as bytes."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return PREFIX.pack(MAGIC, len(data)) + data


class Channel:
    """The executor's end: it never waits, neither for bytes nor for room."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self._incoming, self._outgoing = bytearray(), bytearray()
        self._ended = False

    @property
    def has_more_to_send(self) -> bool:
        """Whether to call `flush` when the socket can take bytes."""
        return bool(self._outgoing)

    def send(self, data: bytes) -> None:
        """Sends a frame, as soon as the socket takes it."""
        self._outgoing += data
        self.flush()

    def flush(self) -> None:
        """Sends what the socket takes now; that nobody reads it any more will be noticed on reading."""
        try:
            while self._outgoing:
                del self._outgoing[: self.connection.send(memoryview(self._outgoing)[:CHUNK].tobytes())]
        except BlockingIOError:
            return
        except OSError:
            self._outgoing.clear()

    def receive(self) -> list[object]:
        """The messages that have arrived.

        Raises:
            EOFError: the worker has hung up, and all its messages have been read.
            BrokenMessageError: what arrived is no message of ours.
        """
        self._read()
        messages = list(self._messages())
        if self._ended and not messages:
            raise EOFError
        return messages

    def _read(self) -> None:
        try:
            data = self.connection.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._incoming += data
        self._ended = not data

    def _messages(self) -> Iterator[object]:
        while len(self._incoming) >= PREFIX.size:
            length = _length(bytes(self._incoming[: PREFIX.size]))
            if len(self._incoming) < PREFIX.size + length:
                return
            data = bytes(self._incoming[PREFIX.size : PREFIX.size + length])
            del self._incoming[: PREFIX.size + length]
            yield _message(data)
        if not MAGIC.startswith(self._incoming[: len(MAGIC)]):
            raise BrokenMessageError(f"it sent {bytes(self._incoming[:20])!r}, which is no message")

    def close(self) -> None:
        """Hangs up."""
        self.connection.close()


def read_message(stream: BinaryIO) -> object:
    """The worker's end: waits for the next message; raises EOFError when the executor has hung up."""
    head = stream.read(PREFIX.size)
    if len(head) < PREFIX.size:
        raise EOFError
    length = _length(head)
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return _message(data)


def _length(head: bytes) -> int:
    magic, length = PREFIX.unpack(head)
    if magic != MAGIC or length > LARGEST:
        raise BrokenMessageError(f"it sent {head!r}, which is no message")
    assert isinstance(length, int)
    return length


def _message(data: bytes) -> object:
    try:
        message: object = pickle.loads(data)  # noqa: S301 - from our own process
    except Exception as error:  # unpickling garbage raises anything
        raise BrokenMessageError(f"it sent a message that cannot be read: {type(error).__name__}: {error}") from error
    return message
