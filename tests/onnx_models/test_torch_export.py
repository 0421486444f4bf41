"""from_torch gives the module's function, leaves the module alone, and says what it cannot take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from onnx_models import ReluNetwork, from_torch
from onnx_models import _torch_export as export_module
from onnx_models.errors import CrossCheckError, InputError, ModelError, UnsupportedModelError
from onnx_models.zoo._architectures import Residual

SHAPE = (1, 6, 6)


class Reshaping(nn.Module):
    """Reads the batch length from its input, scales it, and reshapes with `view`."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(36, 3)

    def forward(self, batch: Tensor) -> Tensor:
        result: Tensor = self.layer(batch.view(batch.size(0), -1) * 2 - 1)
        return result


class Returning(nn.Module):
    """Gives whatever a function makes of the flattened batch."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, batch: Tensor) -> Any:
        return self.function(batch.flatten(1))


def branching(batch: Tensor) -> Tensor:
    return batch if batch.sum() > 0 else -batch


def convolutional() -> nn.Sequential:
    """Every kind of layer at once, with batch statistics and weights that are not the initial ones."""
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, stride=2),
        nn.BatchNorm2d(4),
        Residual(nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.ReLU()),
        nn.MaxPool2d(2, stride=1),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(4, 5),
        nn.LeakyReLU(0.1),
        nn.Linear(5, 3),
    )
    norm = module[1]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    return module


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def assert_same_function(module: nn.Module, network: ReluNetwork, *, tolerance: float = 1e-5) -> None:
    """Compares on inputs other than those that from_torch uses itself, in float64."""
    batch = np.random.default_rng(99).normal(size=(50, *SHAPE))
    with torch.no_grad():
        expected = module.eval().double()(torch.tensor(batch)).numpy()
    np.testing.assert_allclose(network.forward_batch(batch), expected, rtol=0, atol=tolerance)


def test_a_module_of_many_layers_keeps_its_function_and_its_state() -> None:
    module = convolutional()
    module[6].eval()  # a state that is training in some parts and not in others
    flags = {name: part.training for name, part in module.named_modules()}
    values = {name: value.clone() for name, value in module.state_dict().items()}
    network = from_torch(module, SHAPE)
    assert {name: part.training for name, part in module.named_modules()} == flags
    assert all(torch.equal(value, values[name]) for name, value in module.state_dict().items())
    assert network.input_shape == SHAPE and network.output_size == 3
    assert_same_function(module, network)


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(Reshaping, id="view"),
        pytest.param(lambda: Returning(lambda x: torch.clamp(x, 0.2, 0.7)[:, :4]), id="clamp and slice"),
    ],
)
def test_other_ways_of_writing_a_model(module: Callable[[], nn.Module]) -> None:
    made = module()
    assert_same_function(made, from_torch(made, SHAPE))


def test_double_precision_weights_are_kept_exactly() -> None:
    module = Reshaping().double()
    assert_same_function(module, from_torch(module, SHAPE), tolerance=1e-13)


def test_a_final_softmax_is_left_out_and_noted() -> None:
    linear = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    network = from_torch(nn.Sequential(linear, nn.LogSoftmax(dim=1)), SHAPE)
    assert any("LogSoftmax" in note for note in network.notes)
    assert_same_function(linear, network)


def test_the_result_can_be_replayed_in_onnxruntime() -> None:
    module = Reshaping()
    network = from_torch(module, [1, 6, 6])
    assert network.source is not None and network.source.name == "Reshaping"
    batch = np.random.default_rng(0).random((3, *SHAPE), dtype=np.float32)
    np.testing.assert_allclose(network.source.logits(batch), network.forward_batch(batch), atol=1e-5)


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(Reshaping, id="dense"),
        pytest.param(lambda: Reshaping().double(), id="double precision"),
        pytest.param(convolutional, id="convolutional"),
        pytest.param(lambda: nn.Sequential(Reshaping(), nn.Softmax(dim=1)), id="softmax left out"),
    ],
)
def test_the_exported_model_keeps_to_the_standard(module: Callable[[], nn.Module]) -> None:
    """Other readers than onnxruntime want the type of the output, and the full check infers every shape."""
    made = module()
    source = from_torch(made, SHAPE).source
    assert source is not None
    onnx.checker.check_model(source.data, full_check=True)
    (output,) = onnx.load_from_string(source.data).graph.output
    dtype = next(made.parameters()).dtype
    assert onnx.helper.tensor_dtype_to_np_dtype(output.type.tensor_type.elem_type) == np.dtype(str(dtype)[6:])
    assert output.type.tensor_type.shape.dim[1].dim_value == 3
    assert source.logits(np.zeros((4, *SHAPE))).shape == (4, 3)


@pytest.mark.parametrize("input_shape", [(), (0,), (1, -6, 6), (1.5,), "166", None, 36])
def test_what_is_not_a_shape_is_refused(input_shape: Any) -> None:
    with pytest.raises(InputError, match="positive integers such as"):
        from_torch(Reshaping(), input_shape)


@pytest.mark.parametrize("input_shape", [(1, 6, 7), (2, 1, 6, 6), (7,)])
def test_a_shape_that_the_module_does_not_take_is_refused(input_shape: Sequence[int]) -> None:
    with pytest.raises(InputError, match=r"Reshaping does not take a batch of shape \(2, .*Check input_shape"):
        from_torch(Reshaping(), input_shape)


def test_what_is_not_a_module_is_refused() -> None:
    with pytest.raises(InputError, match=r"takes a torch\.nn\.Module; what arrived is of type function"):
        from_torch(branching, SHAPE)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: (x, x), "gives a tuple"),
        (lambda x: x.reshape(1, -1), r"gives shape \(1, 72\) for a batch of shape \(2, 1, 6, 6\)"),
        (lambda x: x[:, 0], r"gives shape \(2,\)"),
        (branching, "cannot be exported to ONNX: Could not guard on data-dependent expression"),
        (torch.sigmoid, "Sigmoid is not supported"),
    ],
    ids=["tuple", "one row", "no outputs", "branch", "sigmoid"],
)
def test_modules_that_are_no_relu_networks_are_refused(function: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        from_torch(Returning(function), SHAPE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_refused(dtype: torch.dtype) -> None:
    with pytest.raises(UnsupportedModelError, match=r"convert all of them with module\.float\(\)"):
        from_torch(Reshaping().to(dtype), SHAPE)


def test_convolutions_in_double_precision_are_refused_with_a_way_out() -> None:
    """onnxruntime cannot replay them, and without a replay nothing is loaded."""
    with pytest.raises(UnsupportedModelError, match=r"convert them with module\.float\(\)"):
        from_torch(convolutional().double(), SHAPE)


def test_weights_of_several_types_are_refused() -> None:
    with pytest.raises(UnsupportedModelError, match=r"torch\.float32, torch\.float64"):
        from_torch(nn.Sequential(Reshaping(), nn.Linear(3, 2).double()), SHAPE)


def test_weights_computed_outside_the_forward_pass_are_refused() -> None:
    module = Reshaping()
    module.derived = module.layer.weight * 2
    with pytest.raises(UnsupportedModelError, match="Keep weights as parameters or buffers"):
        from_torch(module, SHAPE)


def test_a_missing_onnxscript_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "find_spec", lambda *_: None)
    with pytest.raises(ModelError, match="pip install onnxscript"):
        from_torch(Reshaping(), SHAPE)


def test_a_network_that_is_not_the_module_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of differing: other values, another number of outputs."""
    module, other = Reshaping(), from_torch(Reshaping(), SHAPE)
    monkeypatch.setattr(export_module, "_export", lambda *_: (b"", "Gemm"))
    monkeypatch.setattr(export_module, "load_onnx_bytes", lambda *_, **__: other)
    with pytest.raises(CrossCheckError, match="Reshaping and the module differ by"):
        from_torch(module, SHAPE)
    module.layer = nn.Linear(36, 4)
    with pytest.raises(CrossCheckError, match="has 3 outputs, the module 4"):
        from_torch(module, SHAPE)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_module_on_a_gpu_stays_there() -> None:
    module = convolutional().cuda()
    network = from_torch(module, SHAPE)
    assert {value.device.type for value in module.state_dict().values()} == {"cuda"}
    assert_same_function(module.cpu(), network)
