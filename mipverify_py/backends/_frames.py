"""Messages between this process and a solver's: length-prefixed JSON and npz, nothing that could run code.

A frame is the bytes  b"MVF1" | length of the head (8 bytes, big endian) | length of the body | head | body.  The head
is a JSON object whose entry "kind" names the message; the body is an npz archive, read with allow_pickle=False. The
head's entry "number" says which request the message belongs to, so that what one solve says is never taken for another.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from scipy import sparse

from bounds import MipModel, QuadraticRow
from mipverify_py.backends._base import Answer, SolveLimits, SolveProgress, SolveStatus
from onnx_models import Array

MAGIC = b"MVF1"
PREFIX = struct.Struct(">4sQQ")
SCRATCH = "MIPVERIFY_SCRATCH"
"""Environment variable that tells a worker its folder for temporary files, made for it alone."""

LARGEST = 2**36
"""No sane frame is longer than 64 GiB: a longer one is garbage that happens to begin with the magic bytes."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message: its kind, its plain values and its arrays."""

    kind: str
    head: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, np.ndarray] = field(default_factory=dict)

    def pack(self) -> bytes:
        """The message as bytes."""
        head = json.dumps({"kind": self.kind, **self.head}, default=_plain).encode()
        buffer = io.BytesIO()
        if self.body:
            np.savez(buffer, **self.body)  # type: ignore[arg-type]
        body = buffer.getvalue()
        return PREFIX.pack(MAGIC, len(head), len(body)) + head + body

    @property
    def number(self) -> int:
        """The request that the message makes or belongs to, counted from 1; 0 if it belongs to none."""
        number: int = self.head.get("number", 0)
        return number

    def numbered(self, number: int) -> Frame:
        """The same message as one that belongs to a request."""
        return Frame(self.kind, {**self.head, "number": number}, self.body)

    def optional(self, name: str) -> Array | None:
        """An array of the body, None if it is not there."""
        return self.body.get(name)


class FrameReader:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete once `data` has arrived; raises ValueError if the stream is not ours."""
        self._pending += data
        while len(self._pending) >= PREFIX.size:
            magic, head, body = PREFIX.unpack_from(self._pending)
            if magic != MAGIC or head + body > LARGEST:
                raise ValueError(f"not a frame: {bytes(self._pending[:40])!r}")
            end = PREFIX.size + head + body
            if len(self._pending) < end:
                return
            middle = PREFIX.size + head
            frame = _parse(bytes(self._pending[PREFIX.size : middle]), bytes(self._pending[middle:end]))
            del self._pending[:end]
            yield frame
        if not MAGIC.startswith(self._pending[: len(MAGIC)]):
            raise ValueError(f"not a frame: {bytes(self._pending[:40])!r}")


def _plain(value: object) -> object:
    """Numpy's scalars as Python's: a limit may well be an np.int64."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be sent to a solver's process")


def _parse(head: bytes, body: bytes) -> Frame:
    try:
        values = json.loads(head)
        arrays: dict[str, np.ndarray] = {}
        if body:
            with np.load(io.BytesIO(body), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        return Frame(values.pop("kind"), values, arrays)
    except (AttributeError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"unreadable frame: {error}") from error


def request(model: MipModel, limits: SolveLimits) -> Frame:
    """The message that asks for a solve."""
    plain = {name: value for name, value in asdict(limits).items() if name != "start"}
    body = {
        "data": model.matrix.data,
        "indices": model.matrix.indices,
        "indptr": model.matrix.indptr,
        "row_lower": model.row_lower,
        "row_upper": model.row_upper,
        "column_lower": model.column_lower,
        "column_upper": model.column_upper,
        "cost": model.cost,
        "integer": model.integer,
    }
    if limits.start is not None:
        body["start"] = np.asarray(limits.start, np.float64)
    if model.quadratic is not None:
        body["quadratic"] = model.quadratic
    for k, row in enumerate(model.quadratic_rows):
        body[f"row{k}_columns"], body[f"row{k}_weights"] = row.columns, row.weights
    head = {
        "limits": plain,
        "offset": model.offset,
        "names": list(model.names),
        "quadratic_rows": [row.upper for row in model.quadratic_rows],
    }
    return Frame("solve", head, body)


def read_request(frame: Frame) -> tuple[MipModel, SolveLimits]:
    """The model and limits of a `request`."""
    b = frame.body
    shape = (len(b["row_lower"]), len(b["column_lower"]))
    model = MipModel(
        matrix=sparse.csr_array((b["data"], b["indices"], b["indptr"]), shape=shape),
        row_lower=b["row_lower"],
        row_upper=b["row_upper"],
        column_lower=b["column_lower"],
        column_upper=b["column_upper"],
        cost=b["cost"],
        offset=frame.head["offset"],
        integer=b["integer"],
        names=tuple(frame.head["names"]),
        quadratic=frame.optional("quadratic"),
        quadratic_rows=tuple(
            QuadraticRow(b[f"row{k}_columns"], b[f"row{k}_weights"], upper)
            for k, upper in enumerate(frame.head["quadratic_rows"])
        ),
    )
    return model, SolveLimits(**frame.head["limits"], start=frame.optional("start"))


def progress_frame(progress: SolveProgress) -> Frame:
    """The message that tells of a running solve's progress."""
    head = {"dual_bound": progress.dual_bound, "objective": progress.objective}
    return Frame("progress", head, {} if progress.point is None else {"point": progress.point})


def read_progress(frame: Frame) -> SolveProgress:
    """The progress in a `progress_frame`."""
    return SolveProgress(frame.head["dual_bound"], frame.head["objective"], frame.optional("point"))


def answer_frame(answer: Answer) -> Frame:
    """The message that ends a solve."""
    counts = {"nodes": int(answer.nodes), "iterations": int(answer.iterations)}
    head = {"status": answer.status.name, "dual_bound": answer.dual_bound, **counts}
    arrays = {"point": answer.point, "row_duals": answer.row_duals}
    return Frame("answer", head, {k: np.asarray(v, np.float64) for k, v in arrays.items() if v is not None})


def read_answer(frame: Frame) -> Answer:
    """The answer in an `answer_frame`."""
    head = frame.head
    return Answer(
        status=SolveStatus[head["status"]],
        point=frame.optional("point"),
        dual_bound=head["dual_bound"],
        row_duals=frame.optional("row_duals"),
        nodes=head["nodes"],
        iterations=head["iterations"],
    )
