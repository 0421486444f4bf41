"""Reading TOML tables strictly: a wrong key or value is one sentence that names the key and its place."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from onnx_models.errors import InputError

_Value = TypeVar("_Value")


class SpecError(InputError):
    """Something in a spec file is wrong; the message begins with its place."""


def at(place: str, make: Callable[[], _Value]) -> _Value:
    """What `make` makes; an InputError that does not name its place in the file gets this one."""
    try:
        return make()
    except SpecError:
        raise
    except InputError as error:
        raise SpecError(f"{place}: {error}") from None


def finite(value: float) -> bool:
    """Whether it is a finite number: what every number of a table has to be."""
    return math.isfinite(value)


@dataclass(frozen=True, slots=True)
class Table:
    """A table and where it stands.

    Attributes:
        content: its keys and values.
        place: for messages: "campaign.toml, query number 2".
        defaults: where keys are looked up that are not in this table.

    Each reader gives `default` where the key is missing, and raises SpecError for a value of another type.
    """

    content: Mapping[str, Any]
    place: str
    defaults: Table | None = None

    def only(self, *keys: str) -> None:
        """Raises SpecError for a key that is none of these."""
        for key in self.content:
            if key not in keys:
                near = difflib.get_close_matches(key, keys, 1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; it may have {', '.join(keys)}."
                raise SpecError(f"{self.place}: there is no key {key!r}{hint}")

    def __contains__(self, key: str) -> bool:
        return key in self.content or (self.defaults is not None and key in self.defaults)

    def __getitem__(self, key: str) -> Any:
        return self._home(key).content[key]

    def wrong(self, key: str, expected: str) -> SpecError:
        """The error that says what the key, which is there, should have been."""
        home = self._home(key)
        return SpecError(f"{home.place}: {key} = {_shown(home.content[key])} is not allowed; it must be {expected}.")

    def text(self, key: str, default: str | None = None, *, among: Sequence[str] = ()) -> str | None:
        """A text, one of `among` unless that is empty."""
        expected = f"one of {', '.join(among)}" if among else "a text in quotes"

        def fits(value: Any) -> bool:
            return isinstance(value, str) and bool(value) and (not among or value in among)

        return self._value(key, default, fits, expected)

    def texts(self, key: str, default: tuple[str, ...] = (), *, among: Sequence[str] = ()) -> tuple[str, ...]:
        """Different texts, one at least; one alone may stand without brackets."""
        expected = (f"one or more of {', '.join(among)}" if among else "a text or a list of texts") + ", each once"

        def fits(value: Any) -> bool:
            return isinstance(value, str) and bool(value) and (not among or value in among)

        return self._several(key, default, fits, expected)

    def number(
        self, key: str, default: float | None, expected: str, fits: Callable[[float], bool] = finite
    ) -> float | None:
        """A finite number that `fits`; `expected` says what that means."""
        found = self._value(key, default, lambda value: _is_number(value) and fits(value), expected)
        return None if found is None else float(found)

    def numbers(self, key: str, expected: str, fits: Callable[[float], bool] = finite) -> tuple[float, ...]:
        """Different finite numbers that all `fits`; one alone may stand without brackets; none where the key misses."""
        nothing: tuple[float, ...] = ()
        found: tuple[float, ...] = self._several(
            key, nothing, lambda value: _is_number(value) and fits(value), f"{expected}, or a list of such"
        )
        return tuple(float(value) for value in found)

    def whole(self, key: str, default: int, expected: str, fits: Callable[[int], bool]) -> int:
        """A whole number that `fits`."""
        found = self._value(key, default, lambda value: is_whole(value) and fits(value), expected)
        assert found is not None
        return found

    def flag(self, key: str, *, default: bool) -> bool:
        """true or false."""
        found = self._value(key, default, lambda value: isinstance(value, bool), "true or false")
        assert found is not None
        return found

    def table(self, key: str) -> Table | None:
        """The table under this key."""
        if key not in self:
            return None
        value = self[key]
        if not isinstance(value, Mapping):
            raise self.wrong(key, f"a table, [{key}] or {{ ... }}")
        return Table(value, f"{self.place}, {key}")

    def tables(self, key: str) -> list[Table] | None:
        """The tables under this key, [[key]]."""
        if key not in self:
            return None
        value = self[key]
        if not isinstance(value, list) or not value or not all(isinstance(entry, Mapping) for entry in value):
            raise SpecError(f"{self.place}: {key} must be one or more tables; write each as [[{key}]].")
        return [Table(entry, f"{self.place}, {key} number {i}") for i, entry in enumerate(value, start=1)]

    def _home(self, key: str) -> Table:
        """The table that the key stands in."""
        return self if key in self.content or self.defaults is None else self.defaults

    def _value(self, key: str, default: _Value | None, fits: Callable[[Any], bool], expected: str) -> _Value | None:
        if key not in self:
            return default
        value = self[key]
        if not fits(value):
            raise self.wrong(key, expected)
        found: _Value = value
        return found

    def _several(
        self, key: str, default: tuple[_Value, ...], fits: Callable[[Any], bool], expected: str
    ) -> tuple[_Value, ...]:
        if key not in self:
            return default
        value = self[key]
        found = value if isinstance(value, list) else [value]
        if not found or not all(fits(entry) for entry in found) or len(set(found)) < len(found):
            raise self.wrong(key, expected)
        return tuple(found)


def is_whole(value: Any) -> bool:
    """Whether it is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and finite(value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
