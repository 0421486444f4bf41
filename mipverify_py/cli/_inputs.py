"""Which images a command line means, and the shape and labels they come in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from bounds import Bounds
from mipverify_py.cli._arguments import Arguments
from mipverify_py.cli._check import ZOO_PREFIX, split_location
from mipverify_py.cli._parse import Domain
from mipverify_py.data import DataSet, InputFile, fit_images, read_cifar10, read_digits, read_input, read_mnist
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError, InvalidBoundsError
from onnx_models.importer import load_onnx
from onnx_models.zoo import load_zoo

Source = DataSet | InputFile


def open_source(a: Arguments) -> Source:
    """The data set or the input file, read before the model is: most mistakes are in it and it is quick."""
    if a.dataset is None:
        assert a.input is not None
        path, array = split_location(a.input)
        return read_input(path, array=array)
    if a.dataset == "digits":
        return read_digits()
    assert a.data_dir is not None
    return read_mnist(Path(a.data_dir)) if a.dataset == "mnist" else read_cifar10(Path(a.data_dir))


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs of a source in a model's shape, with the labels to use.

    Attributes:
        source: where they come from.
        shape: the model's input shape.
        label: the label given on the command line; it goes before the data set's.
    """

    source: Source
    shape: tuple[int, ...]
    label: int | None

    @property
    def name(self) -> str:
        """The data set or file."""
        return self.source.name

    @cached_property
    def _fitted(self) -> Array:
        assert isinstance(self.source, InputFile)
        return self.source.fitted(self.shape)

    def __len__(self) -> int:
        return len(self.source) if isinstance(self.source, DataSet) else len(self._fitted)

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width where the source holds images, None where it holds mere arrays."""
        if isinstance(self.source, DataSet):
            return self.source.pixels.shape[2], self.source.pixels.shape[3]
        return None if self.source.pixels is None else (self.source.pixels.shape[0], self.source.pixels.shape[1])

    def chosen(self, a: Arguments) -> list[int]:
        """The positions asked for; all of a file without `--index`."""
        return list(range(len(self))) if a.index is None else a.index.resolve(len(self), self.name)

    def __getitem__(self, index: int) -> Array:
        """One input, shape `shape`."""
        one: Array
        if isinstance(self.source, DataSet):
            one = fit_images(self.source.image(index)[None], self.shape, name=f"An image of {self.name}")[0]
        else:
            one = self._fitted[index]
        return one

    def label_of(self, index: int) -> int | None:
        """The label given on the command line, else the data set's, else None: the predicted class is the reference."""
        if self.label is not None or not isinstance(self.source, DataSet):
            return self.label
        return int(self.source.labels[index])


def read_domain(domain: Domain | None, network: ReluNetwork) -> Bounds | None:
    """The model's valid inputs, None for [0, 1].

    Raises:
        InputError: the file's arrays do not fit the model or each other.
    """
    if domain is None:
        return None
    if domain.file is None:
        assert domain.low is not None and domain.high is not None
        return Bounds(np.full(network.input_size, domain.low), np.full(network.input_size, domain.high))
    ends = [read_input(Path(domain.file), array=name).fitted(network.input_shape) for name in ("lower", "upper")]
    if any(len(end) != 1 or not np.all(np.isfinite(end)) for end in ends):
        raise InputError(f"{domain.file}: lower and upper must be one finite bound per entry of the model's input.")
    try:
        return Bounds.of(*ends)
    except InvalidBoundsError as error:
        raise InputError(f"{domain.file}: {error}") from error


def load_model(name: str) -> ReluNetwork:
    """The network in an .onnx file, or a bundled one for zoo:NAME."""
    return load_zoo(name.removeprefix(ZOO_PREFIX)) if name.startswith(ZOO_PREFIX) else load_onnx(Path(name))
