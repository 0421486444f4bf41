"""The table of supported operators. An operator is a function with a registration; nothing else knows its name.

    @operator("Transpose", attributes={"perm": ANY})
    def transpose(call: Call) -> Value:
        ...

The registration says what the whole-graph check needs: which attributes (and which values of them) the function
understands, which inputs must be constants, how many outputs it gives. The function then lowers one `Call` to affine
and ReLU nodes, and computes the result itself where all its inputs are constants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Final, TypeVar

from onnx_models.importer._call import Call
from onnx_models.importer._node import NodeInfo
from onnx_models.importer._values import Value

Handler = Callable[[Call], Value | Sequence[Value]]

HandlerT = TypeVar("HandlerT", bound=Handler)

Rule = Callable[[NodeInfo, Sequence[bool]], str | None]
"""Given a node and which of its inputs depend on the network's input: what is wrong with that, or None."""

ANY: Final = None
"""Marks an attribute of which every value is supported."""


class Role(Enum):
    """What the whole-graph check must know about an operator beyond its own attributes and inputs."""

    ORDINARY = auto()
    KEEPS_ENTRIES = auto()
    """The output has the entries of the first input in the same order: such nodes may follow a final Softmax."""
    MEASURES = auto()
    """The output is a constant even where the input is not (Shape)."""
    FINAL = auto()
    """Allowed only where nothing but shape changes follows (Softmax)."""


def any_input(_node: NodeInfo, _varying: Sequence[bool]) -> str | None:
    """Every input may depend on the network's input."""
    return None


def constants_from(first: int) -> Rule:
    """Only inputs before position `first` may depend on the network's input."""

    def rule(node: NodeInfo, varying: Sequence[bool]) -> str | None:
        late = [k for k, v in enumerate(varying) if v and k >= first]
        return _must_be_constant(node, late[0]) if late else None

    return rule


def constant_at(position: int) -> Rule:
    """The input at `position` must not depend on the network's input."""

    def rule(node: NodeInfo, varying: Sequence[bool]) -> str | None:
        wrong = position < len(varying) and varying[position]
        return _must_be_constant(node, position) if wrong else None

    return rule


def one_factor(_node: NodeInfo, varying: Sequence[bool]) -> str | None:
    """At most one of the first two inputs may depend on the network's input."""
    if len(varying) > 1 and all(varying[:2]):
        return "it multiplies two values that both depend on the network's input, which is not piecewise linear"
    return None


def constants_only(_node: NodeInfo, varying: Sequence[bool]) -> str | None:
    """No input may depend on the network's input; the operator is only evaluated at load time."""
    if any(varying):
        return "it is supported for constants only, not for values that depend on the network's input"
    return None


def _must_be_constant(node: NodeInfo, position: int) -> str:
    return f"its input {position} ({node.inputs[position]!r:.80}) depends on the network's input but must be a constant"


@dataclass(frozen=True)
class Operator:
    """A supported operator.

    Attributes:
        name: as in the standard ONNX operator set.
        handler: lowers one call.
        attributes: those it understands, each with the values supported, `ANY` for all.
        rule: which inputs may depend on the network's input.
        outputs: how many outputs may be used; None for any number.
        role: see `Role`.
    """

    name: str
    handler: Handler
    attributes: Mapping[str, tuple[object, ...] | None]
    rule: Rule
    outputs: int | None
    role: Role


_OPERATORS: dict[str, Operator] = {}


def operator(
    name: str,
    *,
    attributes: Mapping[str, tuple[object, ...] | None] | None = None,
    rule: Rule = any_input,
    outputs: int | None = 1,
    role: Role = Role.ORDINARY,
) -> Callable[[HandlerT], HandlerT]:
    """Registers the decorated function for the ONNX operator `name`; arguments as in `Operator`."""

    def register(handler: HandlerT) -> HandlerT:
        assert name not in _OPERATORS, name
        _OPERATORS[name] = Operator(name, handler, dict(attributes or {}), rule, outputs, role)
        return handler

    return register


def registry() -> Mapping[str, Operator]:
    """All operators registered so far, by name, read-only. Look them up in `operators`, which registers them all."""
    return MappingProxyType(_OPERATORS)
