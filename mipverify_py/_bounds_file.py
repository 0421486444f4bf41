"""Bounds of a network's nodes as a .npz file."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bounds import Bounds, NetworkBounds
from mipverify_py._assumed import AssumedBounds, layer_name
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError, InvalidBoundsError

FORMAT = "mipverify-bounds"
VERSION = 1


def save_bounds(path: str | Path, network: ReluNetwork, bounds: NetworkBounds) -> None:
    """Writes bounds of every node of `network` to a .npz file, for `load_bounds`.

    The file holds `format`, `version`, `digest` (of the network), `names` (of the nodes, for readers) and, for every
    node i, the arrays `lower_<i>` and `upper_<i>`, float64. Node 0 is the input: its pair is the box of inputs for
    which the bounds hold. An existing file is replaced; a file of this name is always whole.

    Raises:
        InputError: the bounds do not fit the network, or the file cannot be written.
    """
    AssumedBounds(network, bounds)  # for its checks
    target = Path(path)
    arrays: dict[str, NDArray[np.generic]] = {
        "format": np.array(FORMAT),
        "version": np.array(VERSION),
        "digest": np.array(network.digest),
        "names": np.array([node.name for node in network.nodes], dtype=np.str_),
    }
    for index, pair in enumerate(bounds.nodes):
        arrays[f"lower_{index}"], arrays[f"upper_{index}"] = pair.lower, pair.upper
    temporary = target.with_name(f".{target.name}.part")
    try:
        with temporary.open("wb") as stream:
            np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"{target}: the bounds cannot be written ({error.strerror or error}).") from error


def load_bounds(path: str | Path, network: ReluNetwork) -> NetworkBounds:
    """The bounds in a file of `save_bounds`; those of node 0 are the box of inputs for which they hold.

    They are an assumption: nothing in the file shows that they are true. `verify` takes them with `bounds=...`.

    Raises:
        InputError: the file cannot be read, is no such file, or is about another network.
    """
    arrays = _arrays(path)
    if str(arrays.get("format")) != FORMAT:
        raise InputError(f"{path}: this is no file of bounds; --save-bounds and save_bounds write them.")
    if str(arrays.get("version")) != str(VERSION):
        raise InputError(f"{path}: version {arrays.get('version')} of the format is unknown; this is {VERSION}.")
    if str(arrays.get("digest")) != network.digest:
        raise InputError(f"{path}: these bounds are about another network (digest {arrays.get('digest')}).")
    found = NetworkBounds(tuple(_pair(arrays, index, network, path) for index in range(len(network.nodes))))
    AssumedBounds(network, found)  # for its checks
    return found


def _arrays(path: str | Path) -> dict[str, Array]:
    """All arrays of a .npz file."""
    try:
        with Path(path).open("rb") as stream:  # opened here: numpy leaves a file that it cannot read open
            archive = np.load(stream, allow_pickle=False)
            if isinstance(archive, np.lib.npyio.NpzFile):
                return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise InputError(f"{path}: the bounds cannot be read ({error.strerror or error}).") from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: this is no .npz file of bounds ({error}).") from error
    raise InputError(f"{path}: this is no .npz file of bounds; it holds a single array.")


def _pair(arrays: dict[str, Array], index: int, network: ReluNetwork, path: str | Path) -> Bounds:
    """The bounds of one node."""
    name = layer_name(network, index)
    ends = [arrays.get(f"{end}_{index}") for end in ("lower", "upper")]
    for end in ends:
        if end is None or end.dtype != np.float64 or end.ndim != 1:
            raise InputError(f"{path}: the bounds of {name} are missing, or are not float64 numbers in a row.")
    lower, upper = ends
    assert lower is not None and upper is not None
    try:
        return Bounds(lower, upper)
    except InvalidBoundsError as error:
        raise InputError(f"{path}: the bounds of {name} make no sense. {error}") from error
