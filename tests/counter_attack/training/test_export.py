"""Exported models: torch, onnxruntime and the lowered network agree, masks included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from counter_attack.training import ARCHITECTURES, build_architecture, build_module
from counter_attack.training import _export as exporting
from counter_attack.training._export import export
from counter_attack.training._layers import MaskedRelu
from onnx_models import load_onnx
from onnx_models.errors import CrossCheckError, InputError

SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "fashion-mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
UNITS = {
    ("digits", "A"): 32,
    ("digits", "B"): 36,
    ("digits", "C"): 72,
    ("mnist", "A"): 100,
    ("mnist", "B"): 256,
    ("mnist", "C"): 288,
    ("cifar10", "A"): 1800,
    ("cifar10", "B"): 980,
    ("cifar10", "C"): 392 + 72,
}


def images(shape: tuple[int, ...], count: int = 6) -> torch.Tensor:
    return torch.rand((count, *shape), generator=torch.Generator().manual_seed(0))


def with_masks(module: nn.Sequential, batch: torch.Tensor, seed: int = 0) -> tuple[nn.Sequential, int]:
    """The module with random masks in place of its ReLUs, and how many units stay ReLUs."""
    generator, layers, left = torch.Generator().manual_seed(seed), [], 0
    for layer in module:
        if isinstance(layer, nn.ReLU):
            mask = torch.randint(-1, 2, tuple(batch.shape[1:]), generator=generator)
            left += int((mask == 0).sum())
            layers.append(MaskedRelu(mask))
        else:
            layers.append(layer)
        batch = layer(batch)
    return nn.Sequential(*layers), left


@pytest.mark.parametrize(("dataset", "name"), UNITS)
@pytest.mark.parametrize("masked", [False, True])
def test_torch_onnxruntime_and_the_lowered_network_agree(dataset: str, name: str, masked: bool, tmp_path: Path) -> None:
    batch = images(SHAPES[dataset])
    module = build_architecture(dataset, name, seed=1)
    units = UNITS[dataset, name]
    if masked:
        module, units = with_masks(module, batch)
    data, _ = export(module.eval(), batch, "net", "a test")
    (tmp_path / "net.onnx").write_bytes(data)
    network = load_onnx(tmp_path / "net.onnx")
    assert network.input_shape == SHAPES[dataset] and network.relu_count == units
    with torch.no_grad():
        expected = module.double()(batch.double()).numpy()
    # The lowered network is the module with the same weights in float64, so they agree to float64's rounding.
    np.testing.assert_allclose(network.forward_batch(batch.double().numpy().reshape(6, -1)), expected, atol=1e-12)
    assert network.source is not None
    np.testing.assert_allclose(network.source.logits(batch.numpy()), expected, atol=1e-5)


def test_the_same_weights_give_the_same_bytes() -> None:
    first, second = (
        export(with_masks(build_architecture("digits", "B", seed=1), images((1, 8, 8)))[0], images((1, 8, 8)), "n", "d")
        for _ in range(2)
    )
    assert first[0] == second[0]


def test_architectures_take_what_they_say_and_depend_on_the_seed_alone() -> None:
    for dataset, names in ARCHITECTURES.items():
        for name in names:
            one, two, other = (build_architecture(dataset, name, seed=seed) for seed in (0, 0, 1))
            assert one(images(SHAPES[dataset])).shape == (6, 10)
            assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
            assert not torch.equal(next(one.parameters()), next(other.parameters()))
    before = torch.get_rng_state()
    build_architecture("mnist", "A", seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(InputError, match=r"'D' is unknown for 'cifar10'; it has A \(conv 8"):
        build_architecture("cifar10", "D")
    with pytest.raises(InputError, match="it has none"):
        build_architecture("svhn", "A")


def test_a_disagreement_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "_written", lambda *_: _other_model())
    with pytest.raises(CrossCheckError, match="differ by"):
        export(build_architecture("digits", "A", seed=0), images((1, 8, 8)), "net", "")


def _other_model() -> bytes:
    monkey = build_architecture("digits", "A", seed=1)
    graph = exporting._Graph()
    value = "input"
    for layer in monkey:
        value = graph.add(layer, value)
    graph.nodes[-1].output[0] = "logits"
    helper, float32 = exporting.helper, exporting.TensorProto.FLOAT
    ends = [
        [helper.make_tensor_value_info(k, float32, s)] for k, s in (("input", ["N", 1, 8, 8]), ("logits", ["N", 10]))
    ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "net", *ends, graph.constants),
        opset_imports=[helper.make_opsetid("", exporting.OPSET)],
        ir_version=exporting.IR_VERSION,
    )
    return model.SerializeToString()


MODULES = """
import torch
from torch import nn
class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Linear(27, 10)
    def forward(self, x):
        return self.last(torch.relu(nn.functional.max_pool2d(self.norm(self.first(x)), 2)).flatten(1))
def plain(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 10))
def wide(): return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
def few(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
def bare(): return nn.Flatten()
def number(): return 3
def needs(argument): return argument
value = 4
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The name of a module of its own for every test."""
    name = f"nets_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(MODULES)
    monkeypatch.syspath_prepend(tmp_path)
    return name


@pytest.mark.slow
def test_a_module_with_other_layers_goes_through_the_exporter_of_torch(place: str) -> None:
    module = build_module(f"{place}:Pooled", (1, 8, 8), seed=1).eval()
    _, network = export(module, images((1, 8, 8)), "net", "")
    with torch.no_grad():
        expected = module(images((1, 8, 8))).double().numpy()
    found = network.forward_batch(images((1, 8, 8)).double().numpy().reshape(6, -1))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("wide", r"does not take images of shape \(1, 8, 8\)"),
        ("few", r"gives \(2, 3\) for 2 images"),
        ("bare", "no parameters to train"),
        ("number", "returns a int; a torch.nn.Module"),
        ("needs", "cannot be called without arguments"),
        ("value", "is a int; a function"),
        ("absent", "has nothing called absent"),
    ],
)
def test_factories_that_give_no_classifier_are_named(place: str, factory: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_module(f"{place}:{factory}", (1, 8, 8))


@pytest.mark.parametrize("name", ["nothing", ":a", "a:", "no.such.module:factory"])
def test_places_that_name_nothing_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"names no factory|cannot be imported"):
        build_module(name, (1, 8, 8))


def test_a_factory_has_seeded_weights(place: str) -> None:
    one, two, other = (build_module(f"{place}:plain", (1, 8, 8), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one[1].weight, two[1].weight) and not torch.equal(one[1].weight, other[1].weight)
