"""Values as they stand in a store: arrays, JSON, numbers."""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mipverify_py.campaigns._errors import CampaignError
from mipverify_py.campaigns._records import canonical_json
from onnx_models import Array

_BEYOND = 2**63
"""The first whole number that SQLite lacks."""

_LEVEL = 6
"""Of zlib: images shrink to a tenth, and a higher level gains nothing on them."""


class Packed(NamedTuple):
    """An array as three columns.

    Attributes:
        shape: JSON list.
        data: the entries in C order, little-endian float64, compressed by zlib.
        checksum: SHA-256 of the entries before compression, in hexadecimal.
    """

    shape: str
    data: bytes
    checksum: str


def pack(array: Array, what: str) -> Packed:
    """The array as columns.

    Raises:
        CampaignError: it holds NaN or an infinity, or no numbers; `what` says whose array it is.
    """
    kind = np.asarray(array).dtype
    if kind.kind not in "biuf":
        raise CampaignError(f"{what}: an array of real numbers is needed, not one of {kind}.")
    plain = np.ascontiguousarray(array, dtype="<f8").reshape(np.shape(array))
    if not np.isfinite(plain).all():
        raise CampaignError(f"{what}: the array holds NaN or an infinity; a store keeps finite numbers only.")
    raw = plain.tobytes()
    return Packed(canonical_json(list(plain.shape)), zlib.compress(raw, _LEVEL), hashlib.sha256(raw).hexdigest())


def unpack(packed: Packed, what: str) -> Array:
    """The array of three columns, float64, writeable.

    Raises:
        CampaignError: the columns do not fit together, so the store is damaged; `what` says where.
    """
    try:
        shape = tuple(json.loads(packed.shape))
        raw = zlib.decompress(packed.data)
        if hashlib.sha256(raw).hexdigest() == packed.checksum:
            return np.frombuffer(raw, dtype="<f8").astype(np.float64).reshape(shape)
    except (zlib.error, ValueError, TypeError) as error:
        raise CampaignError(f"{what} is damaged in the store ({error}). Restore the file from a copy.") from error
    raise CampaignError(f"{what} is damaged in the store (its checksum differs). Restore the file from a copy.")


def checked_bytes(data: bytes, checksum: str, what: str) -> bytes:
    """The bytes, if their SHA-256 is `checksum`; otherwise raises CampaignError."""
    if hashlib.sha256(data).hexdigest() != checksum:
        raise CampaignError(f"{what} is damaged in the store (its checksum differs). Restore the file from a copy.")
    return data


def to_json(value: object, what: str) -> str:
    """Canonical JSON.

    Raises:
        CampaignError: the value, called `what`, holds something else than what JSON has, or NaN or an infinity.
    """
    try:
        return canonical_json(dict(value) if isinstance(value, Mapping) else value)
    except (TypeError, ValueError) as error:
        raise CampaignError(f"{what} cannot be written as JSON ({error}); use plain finite values.") from error


def from_json(text: str, what: str) -> Any:
    """The value of a JSON column."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise CampaignError(f"{what} is damaged in the store ({error}). Restore the file from a copy.") from error


def number(value: float, what: str) -> float:
    """A finite number as a plain float.

    Raises:
        CampaignError: it is NaN, infinite or no number.
    """
    try:
        plain = float(value)
    except (TypeError, ValueError):
        plain = math.nan
    if not math.isfinite(plain):
        raise CampaignError(f"{what} is {value!r}; a store keeps finite numbers only (None where there is none).")
    return plain


def number_or_none(value: float | None, what: str) -> float | None:
    """The same, with None for an absent value."""
    return None if value is None else number(value, what)


def whole(value: int, what: str) -> int:
    """A whole number as a plain int.

    Raises:
        CampaignError: it is none, or needs more than 64 bits.
    """
    try:
        plain = int(value)
    except (TypeError, ValueError, OverflowError):
        plain = _BEYOND
    if plain != value or not -_BEYOND <= plain < _BEYOND:
        raise CampaignError(f"{what} is {value!r}; a store keeps whole numbers of 64 bits there.")
    return plain


def whole_or_none(value: int | None, what: str) -> int | None:
    """The same, with None for an absent value."""
    return None if value is None else whole(value, what)


def printable(text: str) -> str:
    """The text with escapes for what UTF-8 lacks, such as bytes of a file's name that are no text."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def digest(value: object, what: str) -> str:
    """SHA-256 of the canonical JSON of a value, in hexadecimal; raises CampaignError where that has none."""
    return hashlib.sha256(to_json(value, what).encode()).hexdigest()
