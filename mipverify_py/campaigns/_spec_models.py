"""The models of a campaign: names and places, patterns, and reading them with their cards."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from mipverify_py.campaigns._records import ModelRecord
from mipverify_py.campaigns._spec_table import SpecError, Table
from onnx_models import ReluNetwork
from onnx_models.errors import InputError, ModelFileError

ZOO: Final = "zoo:"
"""What the place of a bundled model begins with."""


@dataclass(frozen=True, slots=True, eq=False)
class OpenModel:
    """A model that was read: the network, and what a store keeps of it."""

    network: ReluNetwork
    record: ModelRecord


def open_model(configuration: str, place: str) -> OpenModel:
    """The model of a configuration.

    Args:
        configuration: its name.
        place: path of an .onnx file, beside which FILE.json may be its card; or zoo:NAME.

    Raises:
        ModelError: the file cannot be used.
        InputError: the zoo has no such model, or the card is not JSON.
    """
    from onnx_models.zoo import zoo_card, zoo_path

    bundled = place.startswith(ZOO)
    path = zoo_path(place.removeprefix(ZOO)) if bundled else Path(place)
    data, network = _read(path)
    card = asdict(zoo_card(path.stem)) if bundled else _card(path.with_suffix(".json"))
    return OpenModel(network, ModelRecord(network.digest, configuration, data, card))


def _read(path: Path) -> tuple[bytes, ReluNetwork]:
    """The network, and bytes that it can be loaded from anywhere: those of the file, external data put into them."""
    from onnx_models.importer import load_onnx_bytes
    from onnx_models.importer._read import parse, read_bytes

    data = read_bytes(path)
    try:
        return data, load_onnx_bytes(data, path.name)
    except ModelFileError:
        whole = parse(data, path.name, path.parent).SerializeToString(deterministic=True)
        return whole, load_onnx_bytes(whole, path.name)


def _card(path: Path) -> dict[str, Any]:
    """What is known about a model; nothing where there is no file."""
    if not path.is_file():
        return {}
    try:
        card = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the card beside the model cannot be read ({error}).") from None
    if not isinstance(card, dict):
        raise InputError(f"{path}: the card beside the model must be a JSON object.")
    return card


def read_models(table: Table, folder: Path) -> dict[str, str]:
    """Configuration -> place, from the key `models` of a spec; paths are relative to `folder`.

    Raises:
        InputError: a value of another kind, a pattern that nothing matches, or a configuration twice.
    """
    value = table["models"]
    if isinstance(value, dict):
        named = Table(value, f"{table.place}, models")
        if not value:
            raise SpecError(f"{named.place}: there is no model; write NAME = 'FILE.onnx' or NAME = 'zoo:NAME'.")
        return {name: _absolute(named.text(name) or "", folder) for name in value}
    found: dict[str, str] = {}
    for pattern in table.texts("models"):
        for place in expand(pattern, folder, table.place):
            name = place.removeprefix(ZOO) if place.startswith(ZOO) else Path(place).stem
            if name in found:
                raise SpecError(
                    f"{table.place}: the configuration {name!r} is there twice, {found[name]} and {place}; give them "
                    f"names in a table: models = {{ NAME = 'FILE.onnx', ... }}."
                )
            found[name] = place
    return found


def expand(pattern: str, folder: Path, place: str) -> list[str]:
    """The places that a pattern means (*, ? and [...] as in file names), ascending; a plain place stands for itself.

    Raises:
        InputError: nothing matches; the message begins with `place`.
    """
    if not any(sign in pattern for sign in "*?["):
        return [_absolute(pattern, folder)]
    if pattern.startswith(ZOO):
        from onnx_models.zoo import zoo_models

        matching: Iterable[str] = fnmatch.filter(zoo_models(), pattern.removeprefix(ZOO))
        found = [f"{ZOO}{name}" for name in matching]
    else:
        start = Path(pattern).expanduser()
        matches = (folder / start.anchor).glob(str(start.relative_to(start.anchor)))
        found = sorted(str(path) for path in matches if path.suffix == ".onnx")
    if not found:
        raise SpecError(f"{place}: no model matches {pattern!r}.")
    return found


def _absolute(place: str, folder: Path) -> str:
    return place if place.startswith(ZOO) else str(folder / Path(place).expanduser())
