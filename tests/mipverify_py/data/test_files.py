"""Input files: what NumPy and Pillow write is read back; anything hostile or damaged is a named error."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from mipverify_py.data import InputFile, read_input
from onnx_models.errors import InputError

dtypes = st.sampled_from(["<f8", ">f8", "<f4", "<f2", "u1", "<i4", ">i2", "?"])


@settings(max_examples=40)
@given(hnp.arrays(dtypes, hnp.array_shapes(min_dims=1, max_dims=4, max_side=4)), st.booleans())
def test_arrays_come_back_as_saved(tmp_path_factory: pytest.TempPathFactory, array: Any, column_major: bool) -> None:
    path = tmp_path_factory.getbasetemp() / "x.npy"
    np.save(path, np.asfortranarray(array) if column_major else array)
    found = read_input(path).values
    assert found is not None
    assert found.shape == array.shape
    assert np.array_equal(found, array.astype(np.float64), equal_nan=True)


def test_one_array_of_an_archive(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, x=np.arange(4.0))
    found = read_input(path)
    assert found.values is not None
    assert found.values.tolist() == [0, 1, 2, 3]
    assert found.name == "x.npz:x"


def test_an_archive_of_several_arrays_asks_for_a_name(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, x=np.arange(4.0), y=np.arange(2))
    with pytest.raises(InputError, match=r"holds 2 arrays \(x, y\); pick one, as in .*x\.npz:NAME"):
        read_input(path)
    assert read_input(path, array="y").fitted((2,)).tolist() == [[0, 1]]
    with pytest.raises(InputError, match="no array named 'z'; it holds x, y"):
        read_input(path, array="z")


def test_text(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("\ufeff0.5, 1e-3,-2\n\n1,2,3\n", encoding="utf-8")
    found = read_input(path).values
    assert found is not None
    assert found.tolist() == [[0.5, 0.001, -2], [1, 2, 3]]
    path.write_text("1,2,3")
    assert read_input(path).fitted((1, 3)).tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_png_fits_grey_and_colour_models(tmp_path: Path, mode: str, channels: int) -> None:
    colours = np.zeros((4, 5, 3), np.uint8)
    colours[1, 2] = 255  # one white pixel is white in every mode
    path = tmp_path / "x.png"
    Image.fromarray(colours).convert(mode).save(path)
    fitted = read_input(path).fitted((channels, 4, 5))
    expected = np.zeros((1, channels, 4, 5))
    expected[0, :, 1, 2] = 1.0
    assert np.array_equal(fitted, expected)


def test_pixels_are_divided_in_float32(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(path)
    expected = (np.arange(256, dtype=np.float32) / np.float32(255)).astype(np.float64)
    assert np.array_equal(read_input(path).fitted((256,))[0], expected)


def test_channels_first_and_last(tmp_path: Path) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    path = tmp_path / "x.png"
    Image.fromarray(colours).save(path)
    first, last = read_input(path).fitted((3, 4, 5))[0], read_input(path).fitted((4, 5, 3))[0]
    assert np.array_equal(first, last.transpose(2, 0, 1))
    assert np.array_equal(np.rint(last * 255), colours)


def test_jpeg(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    Image.fromarray(np.full((8, 8), 128, np.uint8)).save(path)
    assert np.allclose(read_input(path).fitted((1, 8, 8)), 128 / 255, atol=2 / 255)


def npy(header: str, payload: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """A file in NumPy's format with any header one likes."""
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header.encode() + payload


def png(width: int, height: int) -> bytes:
    """A PNG file that declares a size and holds hardly any data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    save(stream)
    return stream.getvalue()


HEADER = "{'descr': %r, 'fortran_order': False, 'shape': %r, }\n"
OBJECTS = saved(lambda stream: np.save(stream, np.array([{}], object), allow_pickle=True))
SOUND = saved(lambda stream: np.save(stream, np.arange(9.0)))


def zipped(**members: bytes) -> bytes:
    def save(stream: io.BytesIO) -> None:
        with zipfile.ZipFile(stream, "w") as archive:
            for name, data in members.items():
                archive.writestr(f"{name}.npy", data)

    return saved(save)


HOSTILE = {
    "not an array": ("x.npy", b"hello, world", "not a sound array in NumPy's format"),
    "empty": ("x.npy", b"", "not a sound array in NumPy's format"),
    "objects": ("x.npy", OBJECTS, "Python objects, which are never unpickled"),
    "objects in an archive": ("x.npz", zipped(x=OBJECTS), "Python objects, which are never unpickled"),
    "text entries": ("x.npy", saved(lambda s: np.save(s, np.array(["a"]))), "entries of type <U1"),
    "complex entries": ("x.npy", saved(lambda s: np.save(s, np.array([1j]))), "entries of type complex128"),
    "larger than memory": ("x.npy", npy(HEADER % ("<f8", (2**40, 2**20))), "at most 1073741824 are accepted"),
    "negative size": ("x.npy", npy(HEADER % ("<f8", (-1, 4))), "it declares shape (-1, 4)"),
    "cut off": ("x.npy", SOUND[:-8], "but holds 64; the file is cut off"),
    "header that is code": ("x.npy", npy("__import__('os').getcwd()\n"), "not a sound array in NumPy's format"),
    "future version": (
        "x.npy",
        npy(HEADER % ("<f8", (1,)), version=b"\x03\x00"),
        "version (3, 0) of the format is not read",
    ),
    "not an archive": ("x.npz", b"PK nonsense", "not a sound .npz file"),
    "archive of nothing": ("x.npz", zipped(), "holds 0 arrays (none)"),
    "damaged archive": ("x.npz", zipped(x=SOUND).replace(SOUND[-16:], bytes(16), 1), "not a sound .npz file"),
    "empty table": ("x.csv", b"\n\n", "is empty"),
    "header in a table": ("x.csv", b"p0,p1\n1,2", "line 1, column 1: 'p0' is not a number"),
    "ragged table": ("x.csv", b"1,2\n3\n", "row 2 has 1 numbers and row 1 has 2"),
    "table of bytes": ("x.csv", b"\xff\xfe\x00", "is not text"),
    "trailing comma": ("x.csv", b"1,2,", "column 3: '' is not a number"),
    "not an image": ("x.png", b"hello, world", "is not a PNG or JPEG image"),
    "another kind of image": (
        "x.png",
        saved(lambda s: Image.new("L", (2, 2)).save(s, "GIF")),
        "is not a PNG or JPEG image",
    ),
    "image of many pixels": ("x.png", png(30_000, 30_000), "x.png"),
    "image of too many pixels": ("x.png", png(8_192, 4_096), "at most 16777216 are accepted"),
    "image cut off": ("x.png", png(64, 64), "the image is damaged"),
    "sixteen bits": (
        "x.png",
        saved(lambda s: Image.fromarray(np.zeros((2, 2), np.uint16)).save(s, "PNG")),
        "8 bits per channel",
    ),
    "transparent": ("x.png", saved(lambda s: Image.new("RGBA", (2, 2)).save(s, "PNG")), "partly transparent"),
    "unknown ending": ("x.txt", b"1,2", "files ending in '.txt' are not read"),
}


@pytest.mark.parametrize(("name", "data", "fragment"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_and_damaged_files(tmp_path: Path, name: str, data: bytes, fragment: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_input(path)
    assert fragment in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        read_input(tmp_path / "x.npy")
    (tmp_path / "y.npy").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        read_input(tmp_path / "y.npy")


SAMPLES = {
    "x.npy": SOUND,
    "x.npz": zipped(x=SOUND),
    "x.csv": b"1,2.5,-3e2\n4,5,6\n",
    "x.png": saved(lambda s: Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4)).save(s, "PNG")),
    "x.jpg": saved(lambda s: Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4)).save(s, "JPEG")),
}


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=75)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    content = bytearray(SAMPLES[name])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / f"damaged-{name}"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    outcome: object
    try:
        outcome = read_input(path)
    except InputError as error:
        outcome = error
    if isinstance(outcome, InputFile):
        assert (outcome.values is None) != (outcome.pixels is None)
    else:
        assert str(path) in str(outcome)
