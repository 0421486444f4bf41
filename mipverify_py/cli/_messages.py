"""What a run and its worker processes send each other, as bytes; the network crosses once, with the setup."""

from __future__ import annotations

import io
import pickle
import traceback
from dataclasses import dataclass, replace
from typing import Any

from mipverify_py._options import Options
from onnx_models import ReluNetwork
from onnx_models.errors import MipverifyError

READY = "ready"
"""A worker's first message: it can be interrupted from now on."""


@dataclass(frozen=True, slots=True, eq=False)
class Setup:
    """The first message to a worker.

    Attributes:
        network: the model that all queries are about.
        options: how to search.
        with_replay: whether proofs are replayed.
        with_progress: whether brackets are of interest.
        float32: whether answers are about float32 evaluations, too.
        with_certificate: whether answers are certified.
        tolerance: with which distances are bisected; None: they are searched directly.
    """

    network: ReluNetwork
    options: Options
    with_replay: bool
    with_progress: bool
    float32: bool = False
    with_certificate: bool = False
    tolerance: float | None = None

    def pack(self) -> bytes:
        """The message as bytes, without what the network has cached: a session of onnxruntime cannot be sent."""
        source = None if self.network.source is None else replace(self.network.source)
        return pickle.dumps(replace(self, network=replace(self.network, source=source)))

    @classmethod
    def unpack(cls, data: bytes) -> Setup:
        """The setup in the bytes, which must come from our own process."""
        setup = pickle.loads(data)  # noqa: S301 - from the process that started us
        assert isinstance(setup, cls)
        return setup


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception that ended a worker's search and that the run has to raise.

    Attributes:
        error: the exception where it is addressed to the user, None for a bug.
        account: its traceback as text.
    """

    error: MipverifyError | None
    account: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """The failure that this exception is."""
        known = error if isinstance(error, MipverifyError) else None
        return cls(known, "".join(traceback.format_exception(error)))

    def as_exception(self) -> Exception:
        """What to raise."""
        return RuntimeError(f"a worker process failed:\n{self.account}") if self.error is None else self.error


def pack(message: object, network: ReluNetwork) -> bytes:
    """A query, `READY`, a bracket, answer or failure as bytes; `network`, wherever it occurs in it, is only named."""
    buffer = io.BytesIO()
    _Pickler(buffer, network).dump(message)
    return buffer.getvalue()


def unpack(data: bytes, network: ReluNetwork) -> Any:
    """The message in the bytes of `pack`, with this process's own copy of the network in its place."""
    return _Unpickler(io.BytesIO(data), network).load()


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, network: ReluNetwork) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._network = network

    def persistent_id(self, obj: object) -> str | None:
        return "network" if obj is self._network else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, network: ReluNetwork) -> None:
        super().__init__(file)
        self._network = network

    def persistent_load(self, pid: object) -> ReluNetwork:
        assert pid == "network"
        return self._network
