"""The MNIST networks of the comparisons, trained on first use: `python -m tests.benchmarks.mnist_networks`.

    A   784-100-10, dense
    B   convolution to 4 channels, 5 x 5, stride 3 (256 units), dense output
    C   convolution to 8 channels, 5 x 5, stride 4 (288 units), dense output

each once with standard training and once with adversarial training (Madry et al., 2018: projected gradient ascent,
radius 0.05), and once more towards few unstable ReLUs (method relu of `counter_attack.training`, pruned); these,
`A-relu` and so on, take part where they are named. All learn from rows 2000 to 9999 of the MNIST test set, so that rows
0 to 1999 are new to them. Files live outside the repository, in ~/.cache/mipverify-py/benchmarks or the folder that
MIPVERIFY_CACHE names; another recipe makes other files. One thread and fixed seeds: the same versions on the same
machine give the same files.

    python -m tests.benchmarks.mnist_networks [--networks A-standard,B-standard]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from counter_attack.training import Job, Recipe, preset, read_training_data, train
from mipverify_py.data import DataSet, read_digits, read_mnist
from onnx_models import ReluNetwork, load_onnx
from onnx_models.errors import InputError
from onnx_models.zoo import load_zoo, zoo_path

if TYPE_CHECKING:
    import torch
    from torch import nn

MNIST = Path(__file__).resolve().parents[3] / "shared" / "data" / "mnist"
TEST_ROWS = 2000
"""The first so many rows of the MNIST test set are kept for measuring; the networks learn from the others."""
ACCURACY = (0.85, 0.97)
"""What small networks trained on 8,000 images reach; anything else means that training went wrong."""

NAMES = tuple(f"{shape}-{training}" for shape in "ABC" for training in ("standard", "adversarial"))
RELU_NAMES = ("A-relu", "B-relu", "C-relu")
BATCH, LEARNING_RATE = 64, 1e-3
EPOCHS = {"A": 20, "B": 30, "C": 30}
EPS, STEPS, STEP = 0.05, 7, 0.0125
RECIPE = f"1: Adam {LEARNING_RATE}, batch {BATCH}, epochs {EPOCHS}, attack {EPS} {STEPS} {STEP}, rows {TEST_ROWS}"


class Subject(NamedTuple):
    """A network to measure, with the images that it is asked about.

    Attributes:
        name: one of `NAMES` or `RELU_NAMES`, `zoo:` and a model of the zoo, or the path of an ONNX model for MNIST.
        path: the ONNX file.
    """

    name: str
    path: Path
    network: ReluNetwork
    data: DataSet


def load(name: str) -> ReluNetwork:
    """The network of that name, trained first if it is not there yet."""
    return load_onnx(path(name))


def path(name: str) -> Path:
    """The ONNX file of that network, trained first if it is not there yet; raises InputError for unknown names."""
    if name not in NAMES + RELU_NAMES:
        raise InputError(f"Network {name!r} is unknown; choose one of {', '.join(NAMES + RELU_NAMES)}.")
    by_relu = name in RELU_NAMES
    words = f"{RECIPE}; {_relu_recipe(name[0])}" if by_relu else RECIPE
    recipe = hashlib.sha256(words.encode()).hexdigest()[:8]
    file = cache_folder() / f"{name}-{recipe}.onnx"
    if not file.is_file():
        print(f"Training {name}, once, into {file}", file=sys.stderr)
        data = _relu_trained(name[0]) if by_relu else _to_onnx(_train(name), name)
        file.parent.mkdir(parents=True, exist_ok=True)
        # Written whole or not at all: two scripts may train the same network at the same time.
        with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as part:
            part.write(data)
        Path(part.name).replace(file)
    return file


@cache
def subject(name: str) -> Subject:
    """What `name` stands for: see `Subject`. Raises InputError or ModelFileError where it stands for nothing."""
    if name.startswith("zoo:"):
        model = name.removeprefix("zoo:")
        return Subject(name, zoo_path(model), load_zoo(model), read_digits())
    file = path(name) if name in NAMES + RELU_NAMES else Path(name)
    if file.suffix != ".onnx":
        names = ", ".join(NAMES + RELU_NAMES)
        raise InputError(f"{name!r} is none of {names}, and neither zoo:NAME nor the path of an ONNX file.")
    return Subject(name, file, load_onnx(file), _mnist())


@cache
def _mnist() -> DataSet:
    return read_mnist(MNIST)


def cache_folder() -> Path:
    """Where trained networks are kept."""
    named = os.environ.get("MIPVERIFY_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "mipverify-py" / "benchmarks"


def accuracy(network: ReluNetwork, data: DataSet, rows: int = TEST_ROWS) -> float:
    """Share of the first `rows` images that the network classifies correctly."""
    predicted = network.forward_batch(data.images[:rows].reshape(rows, -1)).argmax(axis=1)
    return float(np.mean(predicted == data.labels[:rows]))


def _architecture(shape: str) -> nn.Sequential:
    from torch import nn

    if shape == "A":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))
    channels, stride, cells = {"B": (4, 3, 64), "C": (8, 4, 36)}[shape]
    convolution = nn.Conv2d(1, channels, 5, stride=stride)
    return nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), nn.Linear(channels * cells, 10))


def _train(name: str) -> nn.Sequential:
    """The trained module; torch's number of threads is restored afterwards."""
    import torch
    from torch.nn import functional

    shape, _, training = name.partition("-")
    data, threads = _mnist(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        images = torch.from_numpy(data.images[TEST_ROWS:].astype(np.float32))
        labels = torch.from_numpy(data.labels[TEST_ROWS:])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = _architecture(shape)
        generator = torch.Generator().manual_seed(1)
        optimiser = torch.optim.Adam(module.parameters(), lr=LEARNING_RATE)
        for _ in range(EPOCHS[shape]):
            for rows in torch.split(torch.randperm(len(labels), generator=generator), BATCH):
                batch = images[rows]
                if training == "adversarial":
                    batch = _attacked(module, batch, labels[rows], generator)
                optimiser.zero_grad()
                functional.cross_entropy(module(batch), labels[rows]).backward()
                optimiser.step()
    finally:
        torch.set_num_threads(threads)
    return module


def _relu_recipe(shape: str) -> Recipe:
    """The published weights of the losses and the published pruning, with the short schedule of the other networks."""
    schedule = {"epochs": EPOCHS[shape], "learning_rate": LEARNING_RATE, "batch_size": BATCH}
    attack = {"eps": EPS, "attack_iterations": STEPS, "attack_step": STEP / EPS}
    return preset("mnist", "relu", translation=0.0, rotation=0.0, **schedule, **attack)


def _relu_trained(shape: str) -> bytes:
    """The ONNX model, with masked ReLUs."""
    data = read_training_data("mnist", MNIST, split=(TEST_ROWS, len(_mnist())))
    return train(Job(data, shape, _relu_recipe(shape))).onnx


def _attacked(
    module: nn.Module, images: torch.Tensor, labels: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Images that raise the loss, within L-infinity distance EPS and in [0, 1]; random start, sign steps."""
    import torch
    from torch.nn import functional

    moved = EPS * (2 * torch.rand(images.shape, generator=generator) - 1)
    for _ in range(STEPS):
        moved.requires_grad_()
        loss = functional.cross_entropy(module((images + moved).clamp(0, 1)), labels)
        (gradient,) = torch.autograd.grad(loss, moved)
        moved = (moved.detach() + STEP * gradient.sign()).clamp(-EPS, EPS)
    return (images + moved).clamp(0, 1).detach()


def _to_onnx(module: nn.Sequential, name: str) -> bytes:
    """The module as a checked ONNX model, one operator per layer, so that the file depends on no exporter's version."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from torch import nn

    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    value = "input"
    for position, layer in enumerate(module):
        operator, attributes = {
            nn.Linear: ("Gemm", {"transB": 1}),
            nn.Conv2d: ("Conv", {"strides": getattr(layer, "stride", ())}),
            nn.ReLU: ("Relu", {}),
            nn.Flatten: ("Flatten", {}),
        }[type(layer)]
        parameters = [f"{position}.{key}" for key, _ in layer.named_parameters()]
        for key, tensor in layer.named_parameters():
            weights.append(numpy_helper.from_array(tensor.detach().numpy(), f"{position}.{key}"))
        output = "logits" if position == len(module) - 1 else f"value_{position}"
        nodes.append(helper.make_node(operator, [value, *parameters], [output], **attributes))
        value = output
    shapes = {"input": ["N", 1, 28, 28], "logits": ["N", 10]}
    inputs, outputs = ([helper.make_tensor_value_info(k, TensorProto.FLOAT, s)] for k, s in shapes.items())
    model = helper.make_model(
        helper.make_graph(nodes, name, inputs, outputs, weights),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        doc_string=RECIPE,
    )
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains what is missing and prints the table; returns 1 if an accuracy is not what such networks reach."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description="The MNIST networks of the comparisons.")
    parser.add_argument("--networks", default=",".join(NAMES), help="comma list, default all but those with relu")
    options = parser.parse_args(arguments)
    table, wrong = Table(title=f"Accuracy on MNIST test rows 0 to {TEST_ROWS - 1}"), 0
    for heading in ("network", "ReLUs", "accuracy", "digest", "file"):
        table.add_column(heading, justify="right" if heading in ("ReLUs", "accuracy") else "left", overflow="fold")
    for name in options.networks.split(","):
        network = load(name)
        share = accuracy(network, _mnist())
        wrong += not ACCURACY[0] <= share <= ACCURACY[1]
        table.add_row(name, str(network.relu_count), f"{share:.4f}", network.digest[:12], str(path(name)))
    Console(width=160).print(table)
    if wrong:
        print(f"{wrong} networks outside {ACCURACY[0]} to {ACCURACY[1]}: training went wrong.", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
