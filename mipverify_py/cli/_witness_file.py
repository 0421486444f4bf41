"""Writing witnesses: .npz holds them exactly, .png is to look at."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mipverify_py._query import Query
from mipverify_py._result import Result
from mipverify_py._witness import Witness
from mipverify_py.cli._inputs import Inputs
from mipverify_py.cli._questions import ClassOf, Place, index_of
from onnx_models import Array
from onnx_models.errors import InputError

_PANEL = 224
"""Side, in pixels, that small images are enlarged to (by a whole factor, without smoothing)."""

_SEAM = 8
"""Width, in pixels, of the white seam between the panels."""


class WitnessFile:
    """Where the witnesses of a run go: FILE itself for one image, FILE-0017.npz for index 17 of several.

    With --all-targets they go to FILE-0017-class3.npz. Indices are written with as many digits as the largest needs,
    at least four. An existing file is replaced.
    """

    def __init__(self, path: Path, places: Sequence[Place]) -> None:
        self._path, self._several = path, len(places) > 1
        self._digits = max(4, len(str(max(index_of(place) for place in places))))

    def path(self, place: Place) -> Path:
        """The file for an image, or a class of it."""
        if not self._several:
            return self._path
        of_class = f"-class{place.target}" if isinstance(place, ClassOf) else ""
        return self._path.with_stem(f"{self._path.stem}-{index_of(place):0{self._digits}d}{of_class}")

    def check(self, inputs: Inputs, query: Query) -> None:
        """Raises InputError if witnesses of such inputs cannot be shown as an image and a .png is asked for."""
        if not self._is_png:
            return
        _as_image(query.x0, inputs)
        box = query.input_domain
        if box.lower.min() < 0 or box.upper.max() > 1:
            raise InputError("A .png shows values from 0 to 1 and the domain goes beyond; save the witness as .npz.")

    def save(self, place: Place, inputs: Inputs, result: Result) -> Path | None:
        """Writes the result's witness and returns the file, None if there is no witness.

        Raises:
            InputError: the file cannot be written.
        """
        witness = result.witness
        if witness is None:
            return None
        if not self._is_png:
            return self._written(place, lambda stream: np.savez(stream, **_arrays(witness)))
        return self._written(place, lambda stream: _panels(witness, inputs).save(stream, "PNG"))

    def write(self, place: Place, arrays: Mapping[str, Any]) -> Path:
        """Writes arrays as .npz and returns the file.

        Raises:
            InputError: the file cannot be written.
        """
        return self._written(place, lambda stream: np.savez(stream, **arrays))

    def put(self, place: Place, data: bytes) -> Path:
        """Writes these bytes and returns the file.

        Raises:
            InputError: the file cannot be written.
        """

        def write(stream: IO[bytes]) -> None:
            stream.write(data)

        return self._written(place, write)

    def _written(self, place: Place, write: Callable[[IO[bytes]], None]) -> Path:
        path = self.path(place)
        temporary = path.with_name(f".{path.name}.part")  # so that a file of the right name is always whole
        try:
            with temporary.open("wb") as stream:
                write(stream)
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise InputError(f"{path}: the witness cannot be written ({error.strerror or error}).") from error
        return path

    @property
    def _is_png(self) -> bool:
        return self._path.suffix.lower() == ".png"


def _arrays(witness: Witness) -> dict[str, Any]:
    """What the .npz holds, in float64; x0 and witness in the model's input shape."""
    query, shape = witness.query, witness.query.network.input_shape
    return {
        "x0": query.x0.reshape(shape),
        "witness": witness.point.reshape(shape),
        "distance": np.float64(witness.distance),
        "norm": np.str_(query.norm.value),
        "reference": np.int64(query.reference),
        "target": np.int64(witness.target),
        "predicted": np.int64(witness.predicted),
        "logits": witness.logits,
        "digest": np.str_(query.network.digest),
        **({} if witness.parameters is None else {"parameters": witness.parameters}),
    }


def _panels(witness: Witness, inputs: Inputs) -> Any:
    """Original, adversarial example, and their difference (mid-grey is none, scaled to the largest), side by side."""
    from PIL import Image

    difference = witness.point - witness.query.x0
    largest = np.abs(difference).max(initial=0.0)
    shown = 0.5 + (0.5 * difference / largest if largest > 0 else 0.0 * difference)
    panels = [_enlarged(_as_image(x, inputs)) for x in (witness.query.x0, witness.point, shown)]
    seam = np.full((panels[0].shape[0], _SEAM, *panels[0].shape[2:]), 255, np.uint8)
    return Image.fromarray(np.concatenate([panels[0], seam, panels[1], seam, panels[2]], axis=1))


def _enlarged(image: Array) -> NDArray[np.uint8]:
    factor = max(1, _PANEL // max(image.shape[:2]))
    pixels = np.rint(image * 255).astype(np.uint8)
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def _as_image(x: Array, inputs: Inputs) -> Array:
    """A flat input as (H, W) or (H, W, 3); raises InputError where the model's input is no image."""
    shape = inputs.shape
    core = tuple(d for d in shape if d != 1)
    if len(core) == 2:
        return x.reshape(core)
    if len(shape) == 3 and shape[0] == 3:
        return x.reshape(shape).transpose(1, 2, 0)
    if len(shape) == 3 and shape[2] == 3:
        return x.reshape(shape)
    if inputs.image_size is not None and math.prod(inputs.image_size) == x.size:
        return x.reshape(inputs.image_size)
    raise InputError(f"The model's input has shape {shape}, which is no image; save the witness as .npz.")
