"""The packaged models are what their cards and the page in the reference say."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from onnx_models.errors import InputError
from onnx_models.zoo import ZooCard, digits_test, load_zoo, zoo_card, zoo_models, zoo_path
from onnx_models.zoo._page import reference_page

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "onnx_models" / "zoo"
KILOBYTE, MEGABYTE = 10**3, 10**6

OPERATORS = {
    "small": {"Flatten": 1, "Gemm": 2, "Relu": 1},
    "dense": {"Flatten": 1, "Gemm": 3, "Relu": 2},
    "conv": {"Conv": 2, "Flatten": 1, "Gemm": 1, "Relu": 2},
    "pool": {"Conv": 1, "BatchNormalization": 1, "MaxPool": 1, "Flatten": 1, "Gemm": 1, "Relu": 1},
    "residual": {"Conv": 3, "BatchNormalization": 2, "Add": 1, "Flatten": 1, "Gemm": 1, "Relu": 2},
}


def test_every_architecture_comes_standard_and_adversarial() -> None:
    assert zoo_models() == tuple(f"digits_{a}_{t}" for a in OPERATORS for t in ("standard", "adversarial"))


def test_the_folder_holds_these_models_and_no_others() -> None:
    for suffix in (".onnx", ".json"):
        assert {path.stem for path in FOLDER.glob(f"*{suffix}")} == set(zoo_models())


def test_files_are_small() -> None:
    sizes = [zoo_path(name).stat().st_size for name in zoo_models()]
    assert max(sizes) < 300 * KILOBYTE and sum(sizes) < 3 * MEGABYTE


@pytest.mark.parametrize("name", zoo_models())
def test_file_has_the_layers_as_operators_and_plain_inputs(name: str) -> None:
    model = onnx.load(zoo_path(name))
    onnx.checker.check_model(model, full_check=True)
    assert Counter(node.op_type for node in model.graph.node) == OPERATORS[name.split("_")[1]]
    (source,), (logits,) = model.graph.input, model.graph.output
    assert (source.name, logits.name) == ("input", "logits")
    dims = source.type.tensor_type.shape.dim
    assert dims[0].dim_param and [d.dim_value for d in dims[1:]] == [1, 8, 8]
    weights = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    assert {weight.dtype for weight in weights} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", zoo_models())
def test_card_describes_the_file(name: str) -> None:
    card, network = zoo_card(name), load_zoo(name)
    assert card.name == name
    assert card.sha256 == hashlib.sha256(zoo_path(name).read_bytes()).hexdigest()
    assert card.relus == network.relu_count
    assert 20 <= card.relus <= 300
    assert (card.eps is None) == (card.training == "standard") == name.endswith("standard")
    assert network.input_shape == (1, 8, 8) and network.output_size == 10
    assert network.source is not None and network.source.name == f"{name}.onnx"


@pytest.mark.parametrize("name", zoo_models())
def test_accuracy_on_the_card_is_the_accuracy_of_the_file(name: str) -> None:
    images, labels = digits_test()
    card = zoo_card(name)
    session = onnxruntime.InferenceSession(zoo_path(name).read_bytes(), providers=["CPUExecutionProvider"])
    (single,) = session.run(None, {"input": images})
    double = load_zoo(name).forward_batch(images)
    np.testing.assert_allclose(single, double, rtol=1e-4, atol=1e-4)
    for logits in (single, double):
        assert np.mean(logits.argmax(axis=1) == labels) == card.accuracy
    assert card.accuracy > (0.95 if card.training == "standard" else 0.90)


def test_adversarial_training_helps() -> None:
    cards = {name: zoo_card(name) for name in zoo_models()}
    for architecture in OPERATORS:
        standard, adversarial = (cards[f"digits_{architecture}_{t}"] for t in ("standard", "adversarial"))
        assert adversarial.eps == adversarial.attack_eps == standard.attack_eps
        assert standard.attacked_accuracy + 0.1 < adversarial.attacked_accuracy <= adversarial.accuracy


def test_the_page_in_the_reference_shows_the_cards() -> None:
    page = (ROOT / "docs" / "reference" / "zoo.md").read_text("utf-8")
    assert page == reference_page(map(zoo_card, zoo_models()))


@pytest.mark.parametrize("function", [zoo_path, zoo_card, load_zoo])
@pytest.mark.parametrize("name", ["digits", "", "../errors", "digits_dense_standard.onnx"])
def test_unknown_names_are_refused_with_the_known_ones(function: object, name: str) -> None:
    assert callable(function)
    with pytest.raises(InputError, match=r"it has digits_small_standard, .*digits_residual_adversarial"):
        function(name)


def test_a_card_survives_writing_and_reading(tmp_path: Path) -> None:
    card = zoo_card("digits_conv_adversarial")
    assert isinstance(card, ZooCard)
    card.write(tmp_path / "card.json")
    assert (tmp_path / "card.json").read_bytes() == (FOLDER / "digits_conv_adversarial.json").read_bytes()
