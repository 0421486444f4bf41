"""Which networks can be trained: the published ones by name, and any torch module by where its factory is."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING

from counter_attack.training._data import CLASSES
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import nn

_MNIST = {
    "A": "dense 784-100-10",
    "B": "conv 4 (5x5, stride 3), dense 10",
    "C": "conv 8 (5x5, stride 4), dense 10",
}
ARCHITECTURES = MappingProxyType(
    {
        "digits": {
            "A": "dense 64-32-10",
            "B": "conv 4 (3x3, stride 2), dense 10",
            "C": "conv 8 (3x3, stride 2), dense 10",
        },
        "mnist": _MNIST,
        "fashion-mnist": _MNIST,
        "cifar10": {
            "A": "conv 8 (3x3, stride 2), dense 10",
            "B": "conv 20 (5x5, stride 4), dense 10",
            "C": "conv 8 (5x5, stride 4), conv 8 (3x3, stride 2), dense 10",
        },
    }
)
"""Architectures of each data set by name, in words; ReLUs stand between the layers, nothing is padded."""


def build_architecture(dataset: str, name: str, *, seed: int = 0) -> nn.Sequential:
    """The architecture with fresh weights, a function of `seed`; it takes images and gives 10 logits.

    Raises:
        InputError: the data set has no architecture of that name.
    """
    names = ARCHITECTURES.get(dataset, {})
    if name not in names:
        known = ", ".join(f"{key} ({words})" for key, words in names.items())
        raise InputError(f"Architecture {name!r} is unknown for {dataset!r}; it has {known or 'none'}.")
    with _seeded(seed):
        return _layers(dataset, name)


def build_module(place: str, shape: tuple[int, ...], *, seed: int = 0) -> nn.Module:
    """What the factory at `place` returns when called without arguments, its weights a function of `seed`.

    Args:
        place: "package.module:factory"; the module is imported.
        shape: of one image; the module has to turn a batch of them into logits for 10 classes.
        seed: of torch's random numbers while the factory runs.

    Raises:
        InputError: nothing there can be imported or called, or what it gives is no such module.
    """
    from torch import nn

    factory = _found(place)
    with _seeded(seed):
        try:
            module = factory()
        except (TypeError, ValueError, RuntimeError, AttributeError, NameError) as error:
            raise InputError(f"{place} cannot be called without arguments: {_first_line(error)}") from error
    if not isinstance(module, nn.Module):
        raise InputError(f"{place} returns a {type(module).__name__}; a torch.nn.Module is expected.")
    check_module(module, shape, place)
    return module


def check_module(module: nn.Module, shape: tuple[int, ...], name: str) -> None:
    """Raises InputError unless the module has weights to train and turns two images into 10 logits each."""
    import torch

    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise InputError(f"{name} has no parameters to train.")
    training = module.training
    try:
        with torch.no_grad():
            logits = module.eval()(torch.zeros(2, *shape))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise InputError(f"{name} does not take images of shape {shape}: {_first_line(error)}") from error
    finally:
        module.train(training)
    found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if found != (2, CLASSES):
        raise InputError(f"{name} gives {found} for 2 images of shape {shape}; (2, {CLASSES}) is expected.")


def _found(place: str) -> Callable[[], object]:
    module, colon, name = place.partition(":")
    if not (module and colon and name):
        raise InputError(f"{place!r} names no factory; write it as package.module:factory.")
    try:
        factory = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise InputError(f"{place}: {module} cannot be imported ({_first_line(error)}).") from error
    except AttributeError:
        raise InputError(f"{place}: {module} has nothing called {name}.") from None
    if not callable(factory):
        raise InputError(f"{place} is a {type(factory).__name__}; a function that returns a module is expected.")
    called: Callable[[], object] = factory
    return called


def _layers(dataset: str, name: str) -> nn.Sequential:
    from torch import nn

    if dataset == "cifar10" and name == "C":
        first, second = nn.Conv2d(3, 8, 5, stride=4), nn.Conv2d(8, 8, 3, stride=2)
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(72, CLASSES))
    if name == "A" and dataset != "cifar10":
        inputs, hidden = (64, 32) if dataset == "digits" else (784, 100)
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, CLASSES))
    inputs, channels, kernel, stride, cells = _CONVOLUTIONS[dataset, name]
    convolution = nn.Conv2d(inputs, channels, kernel, stride=stride)
    return nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), nn.Linear(channels * cells, CLASSES))


_CONVOLUTIONS = MappingProxyType(
    {
        ("digits", "B"): (1, 4, 3, 2, 9),
        ("digits", "C"): (1, 8, 3, 2, 9),
        ("mnist", "B"): (1, 4, 5, 3, 64),
        ("mnist", "C"): (1, 8, 5, 4, 36),
        ("fashion-mnist", "B"): (1, 4, 5, 3, 64),
        ("fashion-mnist", "C"): (1, 8, 5, 4, 36),
        ("cifar10", "A"): (3, 8, 3, 2, 225),
        ("cifar10", "B"): (3, 20, 5, 4, 49),
    }
)
"""Channels in and out, kernel, stride, and positions of the kernel."""


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """torch's random numbers on the CPU begin at `seed` inside the block and are as before after it."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
