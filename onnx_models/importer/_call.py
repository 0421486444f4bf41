"""What an operator's function is given: the node, its inputs' values, and the network under construction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from onnx_models._builder import NetworkBuilder
from onnx_models.errors import UnsupportedModelError
from onnx_models.importer._limits import MAX_RANK, MAX_WORDS
from onnx_models.importer._node import NodeInfo
from onnx_models.importer._values import BATCH, Tensor, Value
from onnx_models.importer._words import dimensions


class Budget:
    """Counts the memory that lowering has written out, over the whole model, in words of 8 bytes."""

    def __init__(self) -> None:
        self._spent = 0

    def spend(self, words: int) -> bool:
        """Whether `words` more are within the limit; ask before allocating them."""
        self._spent += words
        return self._spent <= MAX_WORDS


@dataclass(frozen=True, eq=False)
class Call:
    """One node about to be lowered.

    Attributes:
        model: what messages call the model.
        node: operator, name, attributes.
        inputs: its inputs' values; None for an optional input that is not given.
        builder: where affine and ReLU nodes are added.
        batched: whether axis 0 of every tensor is a dynamic batch dimension.
        opset: version of the operator set, which decides between forms of the same operator.
        budget: what may still be written out.
    """

    model: str
    node: NodeInfo
    inputs: tuple[Value | None, ...]
    builder: NetworkBuilder
    batched: bool
    opset: int
    budget: Budget

    @property
    def name(self) -> str:
        """Name for the nodes that are added: the ONNX value they stand for."""
        return next(filter(None, self.node.outputs), self.node.name)

    def refuse(self, reason: str) -> NoReturn:
        """Ends the import; `reason` continues a sentence that begins with the model's and the node's name."""
        raise UnsupportedModelError(f"{self.model}: {self.node.label} {reason}.")

    def spend(self, shape: Sequence[int], words: int = 1) -> None:
        """Refuses the node if `words` words per entry of this shape exceed what the whole model may still write out."""
        if len(shape) > MAX_RANK or not self.budget.spend(math.prod(shape) * words):
            self.refuse(
                f"needs a tensor of shape {dimensions(shape)}; a whole model may write out {MAX_WORDS} words "
                f"of memory, in tensors of at most {MAX_RANK} dimensions"
            )

    def attribute(self, name: str, default: Any) -> Any:
        """The attribute's value, `default` where the node does not set it."""
        return self.node.attributes.get(name, default)

    def given(self, position: int) -> bool:
        """Whether the input at `position` is present."""
        return position < len(self.inputs) and self.inputs[position] is not None

    def value(self, position: int) -> Value:
        """The input at `position`, which must be present."""
        if not self.given(position):
            self.refuse(f"lacks its input {position}")
        value = self.inputs[position]
        assert value is not None
        return value

    @property
    def values(self) -> tuple[Value, ...]:
        """All inputs, which must be present."""
        return tuple(self.value(k) for k in range(len(self.inputs)))

    def tensor(self, position: int = 0) -> Tensor:
        """The input at `position`, which must depend on the network's input."""
        value = self.value(position)
        if not isinstance(value, Tensor):
            self.refuse("is applied to a constant; fold constants before exporting (for example with onnxsim)")
        return value

    def numbers(self, position: int) -> NDArray[np.float64]:
        """The constant at `position` as float64."""
        return self.as_numbers(self.value(position))

    def number(self, position: int) -> float:
        """The constant at `position`, a single number."""
        numbers = self.numbers(position)
        if numbers.size != 1:
            self.refuse(f"has {numbers.size} numbers as its input {position}; one is expected")
        return float(numbers.item())

    def as_numbers(self, value: Value) -> NDArray[np.float64]:
        """A constant as float64; refuses tensors, values that contain the batch size, and anything not finite."""
        if isinstance(value, Tensor):
            self.refuse("needs a constant where it is given a value that depends on the network's input")
        if value.dtype == object:
            self.refuse("computes with the size of the dynamic batch; export the model with a fixed batch of 1")
        numbers = value.astype(np.float64, copy=False)
        if not np.all(np.isfinite(numbers)):
            self.refuse("leads to NaN or infinite constants")
        return numbers

    def entries(self, position: int) -> list[Any]:
        """A one-dimensional constant as a list of integers, `BATCH` among them where the batch size stands."""
        value = self.value(position)
        if isinstance(value, Tensor) or value.ndim > 1:
            self.refuse(f"needs a constant list of integers as its input {position}")
        return [entry if entry is BATCH else int(entry) for entry in value.reshape(-1)]

    def integers(self, position: int) -> list[int]:
        """A constant list of integers that does not contain the batch size."""
        entries = self.entries(position)
        if BATCH in entries:
            self.refuse("uses the size of the dynamic batch as a number; export the model with a fixed batch of 1")
        return entries

    def optional_integers(self, position: int, attribute: str) -> list[int] | None:
        """Integers given as the input at `position` or, in older opsets, as an attribute; None where neither is."""
        if self.given(position):
            return self.integers(position)
        value = self.attribute(attribute, None)
        return None if value is None else [int(v) for v in value]

    def axis(self, axis: int, rank: int, *, batch_allowed: bool = False) -> int:
        """`axis` counted from the front; refuses one out of range, and the batch dimension of a dynamic batch."""
        if not -rank <= axis < rank:
            self.refuse(f"has axis {axis}, out of range for {rank} dimensions")
        if self.batched and axis % rank == 0 and not batch_allowed:
            self.refuse_batch()
        return axis % rank

    def refuse_batch(self) -> NoReturn:
        """Ends the import because the node would mix, move or drop the batch dimension."""
        self.refuse(
            "mixes, moves or drops the batch dimension (axis 0), so inputs would not be independent of each other; "
            "export the model with a fixed batch of 1, or keep the batch dimension in front"
        )
