"""Input files: NumPy arrays, comma-separated text, PNG and JPEG images."""

from __future__ import annotations

import io
import math
import tokenize
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from mipverify_py.data._bytes import LARGEST, opened, read_all, read_text, read_up_to
from mipverify_py.data._dataset import scale_pixels
from mipverify_py.data._fit import Shape, channels_of, fit_arrays, fit_images
from onnx_models import Array
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

LARGEST_IMAGE = 2**24
"""Pixels of the largest image that is decoded; a small compressed file can declare billions."""


@dataclass(frozen=True, slots=True, eq=False)
class InputFile:
    """What an input file holds, before it is known which shape a model wants.

    Attributes:
        name: the file's name, for messages.
        values: the numbers of an array or table, float64, in the file's own shape; None for an image file.
        pixels: an image file's pixels, uint8, shape (H, W) if grey and (H, W, 3) if in colour; None otherwise.
    """

    name: str
    values: Array | None = None
    pixels: NDArray[np.uint8] | None = None

    def fitted(self, shape: Shape) -> Array:
        """The inputs as an array of shape (N, *shape); N is 1 for an image file.

        Arrays and tables follow `fit_arrays` and are not scaled. An image is converted to grey or colour as the model
        needs, follows `fit_images`, and becomes pixel / 255.

        Raises:
            InputError: the contents do not fit the shape.
        """
        if self.values is not None:
            return fit_arrays(self.values, shape, name=self.name)
        assert self.pixels is not None
        pixels = _with_channels(self.pixels, channels_of(shape, *self.pixels.shape[:2]))
        return fit_images(scale_pixels(pixels)[None], shape, name=self.name)


def read_input(path: Path, *, array: str | None = None) -> InputFile:
    """The contents of a .npy, .npz, .png, .jpg or .csv file; `array` names one of several arrays in a .npz file.

    Raises:
        InputError: the file is missing, damaged, too large or of another kind, or holds no real numbers.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path}: files ending in {path.suffix or 'nothing'!r} are not read; use one of {', '.join(SUFFIXES)}."
        )
    return reader(path, array)


def _read_npy(path: Path, _: str | None) -> InputFile:
    with opened(path) as stream:
        return InputFile(path.name, values=_read_array(stream, str(path)))


def _read_npz(path: Path, array: str | None) -> InputFile:
    try:
        with opened(path) as stream, zipfile.ZipFile(stream) as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            if array is None and len(members) != 1:
                names = ", ".join(members) or "none"
                raise InputError(f"{path}: holds {len(members)} arrays ({names}); pick one, as in {path}:NAME.")
            chosen = next(iter(members)) if array is None else array
            if chosen not in members:
                raise InputError(f"{path}: has no array named {chosen!r}; it holds {', '.join(members)}.")
            with archive.open(members[chosen]) as member:
                return InputFile(f"{path.name}:{chosen}", values=_read_array(member, f"{path}:{chosen}"))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:  # the last: an encrypted member
        raise InputError(f"{path}: is not a sound .npz file ({error}).") from error


def _read_array(stream: IO[bytes], name: str) -> Array:
    """An array in NumPy's format, version 1 or 2; the header is judged before memory is taken for the entries."""
    try:
        version = npy.read_magic(stream)
        reader = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if reader is None:
            raise ValueError(f"version {version} of the format is not read; save it again with numpy.save")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a header that Python 2 wrote
            shape, column_major, dtype = reader(stream)
        if min(shape, default=0) < 0:
            raise ValueError(f"it declares shape {shape}")
    except (ValueError, SyntaxError, tokenize.TokenError) as error:  # NumPy parses the header as a Python literal
        raise InputError(f"{name}: is not a sound array in NumPy's format ({_first_line(error)}).") from error
    if dtype.hasobject or dtype.kind not in "fiub":
        kind = "Python objects, which are never unpickled" if dtype.hasobject else f"entries of type {dtype}"
        raise InputError(f"{name}: holds {kind}; save an array of real numbers.")
    size = math.prod(shape) * dtype.itemsize
    if size > LARGEST:
        raise InputError(f"{name}: declares shape {shape}, {size} bytes; at most {LARGEST} are accepted.")
    data = read_up_to(stream, size)
    if len(data) < size:
        raise InputError(f"{name}: declares shape {shape}, {size} bytes, but holds {len(data)}; the file is cut off.")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if column_major else "C")
    return np.ascontiguousarray(array).astype(np.float64).reshape(shape)


def _read_csv(path: Path, _: str | None) -> InputFile:
    lines = enumerate(read_text(path).splitlines(), start=1)
    rows = [_row(path, number, line) for number, line in lines if line.strip()]
    if not rows:
        raise InputError(f"{path}: is empty; expected lines of numbers separated by commas.")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            raise InputError(
                f"{path}: row {number} has {len(row)} numbers and row 1 has {len(rows[0])}; make them equal."
            )
    table = np.array(rows)
    return InputFile(path.name, values=table[0] if len(table) == 1 else table)


def _row(path: Path, number: int, line: str) -> list[float]:
    values = []
    for column, field in enumerate(line.split(","), start=1):
        try:
            values.append(float(field))
        except ValueError:
            shown = field.strip()[:20]
            raise InputError(f"{path}, line {number}, column {column}: {shown!r} is not a number.") from None
    return values


def _read_image(path: Path, _: str | None) -> InputFile:
    from PIL import Image, UnidentifiedImageError

    data = read_all(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is judged below
            with Image.open(io.BytesIO(data), formats=["PNG", "JPEG"]) as image:
                _check_image(image, path)
                return InputFile(path.name, pixels=_pixels(image, path))
    except UnidentifiedImageError:
        raise InputError(f"{path}: is not a PNG or JPEG image, whatever its name says.") from None
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: the image is damaged or too large ({_first_line(error)}).") from error


def _check_image(image: Image.Image, path: Path) -> None:
    width, height = image.size
    if width * height > LARGEST_IMAGE:
        raise InputError(f"{path}: has {width} x {height} pixels; at most {LARGEST_IMAGE} are accepted.")
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        raise InputError(f"{path}: has pixel format {image.mode}; save it with 8 bits per channel, grey or RGB.")


def _pixels(image: Image.Image, path: Path) -> NDArray[np.uint8]:
    """Grey images as (H, W), others as (H, W, 3); an alpha channel must be opaque throughout."""
    if image.mode in ("LA", "RGBA") or "transparency" in image.info:
        alpha = np.asarray(image.convert("RGBA"))[:, :, 3]
        if alpha.min() < 255:
            raise InputError(f"{path}: is partly transparent; put it on an opaque background.")
    return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))


def _with_channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """The image as (channels, H, W): colour to grey by Pillow's ITU-R 601-2 luma, grey to colour by repetition."""
    from PIL import Image

    converted = np.asarray(Image.fromarray(pixels).convert("L" if channels == 1 else "RGB"))
    return converted[None] if channels == 1 else converted.transpose(2, 0, 1)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


_READERS: Final[dict[str, Callable[[Path, str | None], InputFile]]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".csv": _read_csv,
    ".png": _read_image,
    ".jpg": _read_image,
    ".jpeg": _read_image,
}
SUFFIXES: Final = tuple(_READERS)
"""Endings of the files that are read."""
