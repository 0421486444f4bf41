"""Buffers in JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from counter_attack.detection._buffers import LineBuffer, buffer_kind
from onnx_models.errors import InputError

FORMAT = "counter-attack buffer"
VERSION = 1
"""Grows when a field changes its meaning or goes, not when one is added."""

_FIELDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "kind": (str, "a text"),
    "parameters": (dict, "an object"),
    "slope": ((int, float), "a number"),
    "intercept": ((int, float), "a number"),
    "pairs": (int, "a whole number"),
}


def buffer_record(buffer: LineBuffer) -> dict[str, Any]:
    """The buffer as plain values; floats in JSON are the shortest decimals that read back as them."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "kind": buffer.kind.name,
        "parameters": buffer.kind.parameters,
        "slope": buffer.slope,
        "intercept": buffer.intercept,
        "pairs": buffer.pairs,
    }


def save_buffer(buffer: LineBuffer, path: str | Path) -> None:
    """Writes the buffer to a JSON file, which `load_buffer` reads back exactly; raises InputError where it cannot."""
    if not isinstance(buffer, LineBuffer):
        raise InputError(f"A {type(buffer).__name__} cannot be saved; fitted buffers (LineBuffer) can.")
    try:
        Path(path).write_text(json.dumps(buffer_record(buffer), allow_nan=False, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: the buffer cannot be written ({error.strerror}).") from error


def load_buffer(path: str | Path) -> LineBuffer:
    """The buffer in a JSON file of `save_buffer`.

    Raises:
        InputError: the file cannot be read, is no such file or of a later version, or has a field that makes no sense.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: the buffer cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}. Make a buffer with counter-attack fit-buffer.") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise InputError(f'{path} is no buffer: "format" is not {FORMAT!r}. Make one with counter-attack fit-buffer.')
    if record.get("version") != VERSION:
        raise InputError(f"{path} is a buffer of version {record.get('version')!r}; this program reads {VERSION}.")
    for name, (kind, words) in _FIELDS.items():
        if not isinstance(record.get(name), kind) or isinstance(record[name], bool):
            raise InputError(f"{path}: {name!r} is {record.get(name)!r}; expected {words}.")
    if record["pairs"] < 0:
        raise InputError(f"{path}: 'pairs' is {record['pairs']}; expected at least 0.")
    try:
        how = buffer_kind(record["kind"], **record["parameters"])
        return LineBuffer(how, record["slope"], record["intercept"], record["pairs"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except OverflowError as error:  # JSON has whole numbers of any length
        raise InputError(f"{path}: has a number that is too large ({error}).") from error
