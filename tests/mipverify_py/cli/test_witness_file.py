"""The pictures: three panels, of which the first two are the image and the witness to within 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mipverify_py import Query, Targets, distance
from mipverify_py.cli._inputs import Inputs
from mipverify_py.cli._witness_file import WitnessFile
from mipverify_py.data import DataSet, InputFile
from onnx_models import DenseMap, NetworkBuilder, ReluNetwork

PANEL, SEAM = 224, 8


def brightness(shape: tuple[int, ...]) -> ReluNetwork:
    """Two classes: dark if the mean of all entries is below 0.6, bright above."""
    size = int(np.prod(shape))
    builder = NetworkBuilder(shape)
    rows = np.stack([np.zeros(size), np.full(size, 1.0 / size)])
    output = builder.affine((0,), (DenseMap(rows),), np.array([0.6, 0.0]))
    return builder.build(output)


def panels(path: Path, height: int, width: int) -> list[NDArray[np.uint8]]:
    """The three panels of a picture, reduced to one pixel per pixel of the image."""
    factor = PANEL // max(height, width)
    with Image.open(path) as image:
        picture = np.asarray(image)
    assert picture.shape[:2] == (height * factor, 3 * width * factor + 2 * SEAM)
    starts = [k * (width * factor + SEAM) for k in range(3)]
    found = [picture[:, start : start + width * factor] for start in starts]
    reduced = [panel[::factor, ::factor] for panel in found]
    for panel, small in zip(found, reduced, strict=True):
        assert np.array_equal(panel, small.repeat(factor, axis=0).repeat(factor, axis=1))
    return reduced


@pytest.mark.parametrize(
    ("shape", "to_image"),
    [
        ((1, 4, 6), lambda x: x.reshape(4, 6)),
        ((4, 6, 1), lambda x: x.reshape(4, 6)),
        ((3, 4, 6), lambda x: x.reshape(3, 4, 6).transpose(1, 2, 0)),
        ((4, 6, 3), lambda x: x.reshape(4, 6, 3)),
    ],
)
def test_panels_show_image_witness_and_difference(tmp_path: Path, shape: tuple[int, ...], to_image: object) -> None:
    x = np.random.default_rng(3).random(shape) * 0.5
    result = distance(brightness(shape), x)
    assert result.witness is not None
    inputs = Inputs(InputFile("x.npy", values=x), shape, None)
    path = WitnessFile(tmp_path / "w.png", [0]).save(0, inputs, result)
    assert path == tmp_path / "w.png"
    original, witness, difference = panels(path, 4, 6)
    assert callable(to_image)
    assert np.abs(original / 255 - to_image(x)).max() <= 0.5 / 255 + 1e-12
    assert np.abs(witness / 255 - to_image(result.witness.point)).max() <= 0.5 / 255 + 1e-12
    change = to_image(result.witness.point - x.reshape(-1))
    assert np.array_equal(difference > 128, np.rint((0.5 + 0.5 * change / np.abs(change).max()) * 255) > 128)


def test_a_flat_model_is_shown_in_the_shape_of_its_data(tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 100, (1, 1, 4, 6), dtype=np.uint8)
    data = DataSet("small", pixels, np.array([0]))
    inputs = Inputs(data, (24,), None)
    result = distance(brightness((24,)), inputs[0])
    path = WitnessFile(tmp_path / "w.png", [0]).save(0, inputs, result)
    assert path is not None
    assert np.array_equal(panels(path, 4, 6)[0], pixels[0, 0])


def test_an_image_that_is_adversarial_itself_has_a_grey_difference(tmp_path: Path) -> None:
    x = np.full((1, 4, 6), 0.5)
    result = distance(brightness((1, 4, 6)), x, label=1)
    inputs = Inputs(InputFile("x.npy", values=x), (1, 4, 6), None)
    path = WitnessFile(tmp_path / "w.png", [0]).save(0, inputs, result)
    assert path is not None
    assert set(panels(path, 4, 6)[2].reshape(-1).tolist()) == {128}


def test_large_images_are_not_enlarged(tmp_path: Path) -> None:
    x = np.full((1, 300, 2), 0.5)
    result = distance(brightness((1, 300, 2)), x, label=1)
    inputs = Inputs(InputFile("x.npy", values=x), (1, 300, 2), None)
    path = WitnessFile(tmp_path / "w.png", [0]).save(0, inputs, result)
    assert path is not None
    with Image.open(path) as image:
        assert image.size == (3 * 2 + 2 * SEAM, 300)


@pytest.mark.parametrize(
    ("indices", "names"),
    [([3], ["w.npz"]), ([3, 17], ["w-0003.npz", "w-0017.npz"]), ([0, 12345], ["w-00000.npz", "w-12345.npz"])],
)
def test_names(tmp_path: Path, indices: list[int], names: list[str]) -> None:
    file = WitnessFile(tmp_path / "w.npz", indices)
    assert [file.path(index).name for index in indices] == names


def test_targets_are_kept_in_the_arrays(tmp_path: Path) -> None:
    network = brightness((1, 4, 6))
    query = Query(network, np.full(24, 0.25), targets=Targets.only(1))
    result = distance(network, query.x0, targets=query.targets)
    inputs = Inputs(InputFile("x.npy", values=np.full((1, 4, 6), 0.25)), (1, 4, 6), None)
    path = WitnessFile(tmp_path / "w.npz", [0]).save(0, inputs, result)
    assert path is not None
    saved = np.load(path)
    # The mean must rise from 0.25 to 0.6, most cheaply by 0.35 everywhere.
    assert float(saved["distance"]) == pytest.approx(0.35, abs=1e-6)
    assert (int(saved["target"]), int(saved["reference"])) == (1, 0)
    assert np.allclose(saved["witness"], 0.6, atol=1e-6)
