"""Arguments as users give them, checked and made plain: numpy and torch scalars in, Python numbers and enums out."""

from __future__ import annotations

import operator
from enum import Enum
from numbers import Real
from typing import Any, TypeVar

import numpy as np

from onnx_models.errors import InputError

_Choice = TypeVar("_Choice", bound=Enum)


def whole_number(value: Any, what: str) -> int:
    """`value` as an int; raises InputError, naming `what`, for anything else, truth values included."""
    try:
        if not isinstance(value, bool | np.bool_):
            return operator.index(value)
    except TypeError:
        pass
    raise InputError(f"{what} is {value!r}; it must be a whole number.")


def real_number(value: Any, what: str) -> float:
    """`value` as a float (infinite and NaN ones pass); raises InputError, naming `what`, if it is no real number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"{what} is {value!r}; it must be a number.")
    return float(value)


def choice(kind: type[_Choice], value: Any, what: str) -> _Choice:
    """`value`, a member of `kind` or the value of one, as a member; raises InputError, listing them, for others."""
    try:
        return kind(value)
    except ValueError as error:
        known = ", ".join(f"{kind.__name__}.{member.name}" for member in kind)
        raise InputError(f"{what} is {value!r}; it must be one of {known}.") from error


def instance(kind: type, value: object, what: str) -> None:
    """Raises InputError, naming `what`, unless `value` is a `kind`."""
    if not isinstance(value, kind):
        raise InputError(f"{what} is of type {type(value).__name__}; it must be of type {kind.__name__}.")
