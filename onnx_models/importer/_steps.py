"""The operators of a model one by one, each with the affine and ReLU nodes it became and how floats evaluate it.

What an error bound of float32 evaluation needs to know: the network after fusing is one function of real numbers, but
an evaluator rounds after every operator of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from onnx_models._network import Node, ReluNetwork
from onnx_models.errors import InputError


@dataclass(frozen=True, eq=False)
class Step:
    """One operator whose result depends on the network's input.

    Attributes:
        label: what messages call it.
        moves: whether its results are entries of inputs, their negatives or stored constants, none of them rounded.
        nodes: the builder's nodes that it became; none where it passes its input on.
        extra: how many roundings a path may take part in beside those of the operator's sum.
        spread: at least 1 and at least every product of factors that occur on the way to its coefficients.
    """

    label: str
    moves: bool
    nodes: range
    extra: int
    spread: float


@dataclass(frozen=True, eq=False)
class Steps:
    """A model before fusing.

    Attributes:
        nodes: node 0 is the input; every other belongs to one step.
        steps: in topological order.
        output: the node whose value are the logits.
    """

    nodes: Sequence[Node]
    steps: tuple[Step, ...]
    output: int


_CACHE: WeakKeyDictionary[ReluNetwork, Steps] = WeakKeyDictionary()


def float32_steps(network: ReluNetwork) -> Steps:
    """The operators of the ONNX model that `network` came from; read again on first use.

    Raises:
        InputError: the network came from no ONNX model, or is not the network of its model.
        UnsupportedModelError: the model does not compute in float32, or holds an operator for which no error bound is
            known; the message names it.
    """
    if network not in _CACHE:
        from onnx_models.importer._read_steps import read_steps

        if network.source is None:
            raise InputError("The network came from no ONNX model, so it has no float32 evaluation; load a file.")
        _CACHE[network] = read_steps(network.source, network.digest)
    return _CACHE[network]
