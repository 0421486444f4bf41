"""Python batches of CIFAR-10, read without unpickling them.

A pickle is a program for a small stack machine, and `pickle.load` runs it, with whatever functions it names. Here
`pickletools.genops` only splits the file into instructions, and the machine below carries out those few of them that
make a dict of numbers, words and arrays of bytes: as Python 2 wrote the published files (protocol 2) and as Python 3
writes such a dict today (protocols 2 to 5). The names in a file are looked up in a table of seven and stand for
themselves; nothing is imported or called on their behalf. Everything else is an InputError that says what it is.

What a file can cost is bounded by its size, which is bounded too: an instruction moves values that are there already,
no array is larger than the bytes in the file, and the turning of text into bytes has a budget.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mipverify_py.data._bytes import read_all
from onnx_models.errors import InputError

_LARGEST = 2**28
"""Bytes of a file. The published batches, 10,000 images each, have 31 million; all 60,000 images would have 186."""

_MOST_INSTRUCTIONS = 2**20
"""Protocol 2 of Python 3 spends about nine on the label and the file name of an image, the others three."""

_MOST_DIMENSIONS = 4
_LONGEST_WORD = 100
"""Characters of a key, and of what a message quotes from a file."""

_PROTOCOLS = range(2, 6)
_ADVICE = "nothing in it was run; the binary version (cifar-10-binary.tar.gz) has the same images"


class _Known(Enum):
    """What the names in a batch stand for; UINT8 is what numpy.dtype gives for the only type of array that is read."""

    RECONSTRUCT = "an empty array, filled by BUILD"
    FROMBUFFER = "an array from its bytes"
    NDARRAY = "the type of arrays"
    DTYPE = "the type of an array's entries, from its code"
    ENCODE = "bytes from text: how Python 3 writes bytes in protocol 2"
    UINT8 = "entries of one byte"


# numpy.core became numpy._core in version 2; Python 2 knew only the former.
_NAMES = {
    ("numpy", "ndarray"): _Known.NDARRAY,
    ("numpy", "dtype"): _Known.DTYPE,
    ("numpy.core.multiarray", "_reconstruct"): _Known.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _Known.RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): _Known.FROMBUFFER,
    ("numpy._core.numeric", "_frombuffer"): _Known.FROMBUFFER,
    ("_codecs", "encode"): _Known.ENCODE,
}

_ARGUMENTS = frozenset({
    *("BININT", "BININT1", "BININT2"),
    *("SHORT_BINSTRING", "BINSTRING"),  # Python 2's str: text here, each byte one character
    *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
})  # fmt: skip
"""Instructions that push their argument."""

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(slots=True, eq=False)
class _Array:
    """An array of bytes; `entries` is absent until BUILD fills it, in place because the memo may hold it already."""

    entries: NDArray[np.uint8] | None = None


def read_python_batch(path: Path) -> dict[str, object]:
    """The entries of a pickled dict by name; arrays of bytes arrive as NDArray[np.uint8], maybe read-only.

    Other values may be numbers, text, bytes, None, and tuples, lists and dicts of values, in any nesting: check them
    before use, and without recursion. A key that is bytes, as in Python 2, is given as text.

    Raises:
        InputError: the file cannot be read, is damaged, is no pickled dict, or has an instruction or a name that
            batches of CIFAR-10 do not consist of.
    """
    data = read_all(path, _LARGEST)
    if data[:1] != b"\x80" or data[1:2] not in {bytes([p]) for p in _PROTOCOLS}:
        raise InputError(
            f"{path}: starts with {data[:2].hex() or 'nothing'}; a python batch of CIFAR-10 starts with 8002 to 8005, "
            "so the file is something else or damaged."
        )
    machine = _Machine(path, len(data))
    for name, argument, position in _instructions(path, data):
        machine.step(name, argument, position)
    return machine.result()


def _instructions(path: Path, data: bytes) -> Iterator[tuple[str, object, int]]:
    """Name, argument and position of each instruction after the first, which is PROTO, and before STOP."""
    position = -1
    try:
        for opcode, argument, place in pickletools.genops(data):
            position = -1 if place is None else place
            if opcode.name != "STOP" and position > 0:
                yield opcode.name, argument, position
    except (ValueError, Warning) as error:  # a warning, turned into an error by -W, about the escapes of old protocols
        raise InputError(f"{path}: is damaged or cut off ({_quoted(str(error))}).") from None
    if position != len(data) - 1:
        raise InputError(f"{path}: goes on for {len(data) - 1 - position} bytes after its end, so it is damaged.")


class _Machine:
    """The stack machine of pickles, with few instructions and no means to act."""

    def __init__(self, path: Path, budget: int) -> None:
        self._path = path
        self._position = 0
        self._steps = 0
        self._budget = budget  # characters that may still be turned into bytes: genuine files turn each only once
        self._stack: list[object] = []
        self._below: list[list[object]] = []  # the stacks under each open MARK
        self._memo: dict[int, object] = {}

    def step(self, name: str, argument: object, position: int) -> None:
        """Carries out one instruction, given by its name in pickletools."""
        self._position, self._steps = position, self._steps + 1
        if self._steps > _MOST_INSTRUCTIONS:
            raise self._error(f"has more than {_MOST_INSTRUCTIONS} pickle instructions, more than any CIFAR-10 batch")
        if name in _ARGUMENTS:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            self._stack.append(tuple(self._pop_last(_TUPLES[name])))
        else:
            self._act(name, argument)

    def result(self) -> dict[str, object]:
        """The dict that the instructions have made; to be called after the last of them."""
        made = self._pop()
        if self._stack or self._below or not isinstance(made, dict):
            raise self._error("does not hold one dict, as a CIFAR-10 batch does")
        return {key: value.entries if isinstance(value, _Array) else value for key, value in made.items()}

    def _act(self, name: str, argument: object) -> None:
        match name, argument:
            case "FRAME", _:
                pass  # says how far to read ahead; the file is in memory
            case "EMPTY_DICT", _:
                self._stack.append({})
            case "EMPTY_LIST", _:
                self._stack.append([])
            case "MARK", _:
                self._below.append(self._stack)
                self._stack = []
            case "TUPLE", _:
                items = self._pop_to_mark()
                self._stack.append(tuple(items))
            case "APPEND", _:
                self._extend([self._pop()])
            case "APPENDS", _:
                self._extend(self._pop_to_mark())
            case "SETITEM", _:
                self._set(self._pop_last(2))
            case "SETITEMS", _:
                self._set(self._pop_to_mark())
            case (("BINPUT" | "LONG_BINPUT"), int(slot)):
                self._memo[slot] = self._top()
            case "MEMOIZE", _:
                self._memo[len(self._memo)] = self._top()
            case (("BINGET" | "LONG_BINGET"), int(slot)):
                self._stack.append(self._recall(slot))
            case "GLOBAL", str(words):
                module, _, attribute = words.partition(" ")  # a newline in the file, a space in the argument
                self._stack.append(self._known(module, attribute))
            case "STACK_GLOBAL", _:
                self._stack.append(self._known(*self._pop_last(2)))
            case "REDUCE", _:
                self._stack.append(self._reduced(*self._pop_last(2)))
            case "BUILD", _:
                state = self._pop()
                self._build(self._top(), state)
            case _:
                raise self._error(f"has the pickle instruction {name}, which no CIFAR-10 batch needs")

    # ------------------------------------------------------------------------------------------------------ the stack

    def _error(self, reason: str) -> InputError:
        return InputError(f"{self._path}, byte {self._position}: {reason}; {_ADVICE}.")

    def _top(self) -> object:
        if not self._stack:
            raise self._error("uses a value that is not there, so it is damaged")
        return self._stack[-1]

    def _pop(self) -> object:
        self._top()
        return self._stack.pop()

    def _pop_last(self, count: int) -> list[object]:
        items = [self._pop() for _ in range(count)]
        return items[::-1]

    def _pop_to_mark(self) -> list[object]:
        if not self._below:
            raise self._error("closes a MARK that is not open, so it is damaged")
        items, self._stack = self._stack, self._below.pop()
        return items

    def _recall(self, slot: int) -> object:
        if slot not in self._memo:
            raise self._error(f"uses entry {slot} of its memo, which is empty, so it is damaged")
        return self._memo[slot]

    def _extend(self, items: list[object]) -> None:
        target = self._top()
        if not isinstance(target, list):
            raise self._error("appends to what is no list")
        target.extend(items)

    def _set(self, items: list[object]) -> None:
        target = self._top()
        if not isinstance(target, dict) or len(items) % 2:
            raise self._error("sets entries of what is no dict, or a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            word = _word(key)
            if word is None or word in target:
                problem = "a key that is no word" if word is None else f"the key {_quoted(word)} twice"
                raise self._error(f"has a dict with {problem}")
            target[word] = value

    # ------------------------------------------------------------------------------------------------------ the names

    def _known(self, module: object, attribute: object) -> _Known:
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise self._error("names a global by what is no text, so it is damaged")
        known = _NAMES.get((module, attribute))
        if known is None:
            raise self._error(f"names {_quoted(f'{module}.{attribute}')}, which no CIFAR-10 batch needs")
        return known

    def _reduced(self, function: object, arguments: object) -> object:
        """What the call of a known name would give; only the calls that numpy and pickle write are recognised."""
        if not isinstance(arguments, tuple):
            raise self._error("calls a function on what is no tuple")
        match function, arguments:
            case _Known.ENCODE, (str(text), str("latin1")):
                return self._encoded(text)
            case _Known.DTYPE, (str("u1"), int(0), int(1)):  # numbers in Python 2, False and True in Python 3
                return _Known.UINT8
            case _Known.RECONSTRUCT, (_Known.NDARRAY, (0,), str("b") | bytes(b"b")):
                return _Array()
            case _Known.FROMBUFFER, (bytes() | bytearray() as raw, _Known.UINT8, shape, str("C" | "F" as order)):
                return _Array(self._entries(shape, raw, order))
            case _Known.DTYPE, (str(code), *_):
                raise self._error(f"has an array of type {_quoted(code)}; CIFAR-10 images are of type u1")
            case _:
                raise self._error("calls a function in a way that makes no array of bytes")

    def _build(self, target: object, state: object) -> None:
        """Fills a new array; the state of the type of its entries says nothing new and has to be just that."""
        match target, state:
            case _Known.UINT8, (3, str("|"), None, None, None, -1, -1, 0):
                pass
            case _Array(entries=None), (1, shape, _Known.UINT8, bool(columns), bytes() | str() as raw):
                target.entries = self._entries(shape, raw, "F" if columns else "C")
            case _:
                raise self._error("sets the state of what is no new array of bytes")

    def _entries(self, shape: object, raw: bytes | bytearray | str, order: str) -> NDArray[np.uint8]:
        """The array over its bytes, which are in memory already: nothing is allocated for the shape it declares."""
        sizes = shape if isinstance(shape, tuple) and len(shape) <= _MOST_DIMENSIONS else ()
        if not sizes or not all(type(size) is int and size > 0 for size in sizes):
            raise self._error(f"has an array whose shape is not 1 to {_MOST_DIMENSIONS} positive numbers")
        if math.prod(sizes) != len(raw):
            raise self._error(f"declares an array of shape {sizes}, {math.prod(sizes)} bytes, but holds {len(raw)}")
        data = self._encoded(raw) if isinstance(raw, str) else raw
        return np.frombuffer(data, np.uint8).reshape(sizes, order="F" if order == "F" else "C")

    def _encoded(self, text: str) -> bytes:
        """One byte per character. The memo makes it cheap to name a long text often, so that the total is bounded."""
        self._budget -= len(text)
        if self._budget < 0:
            raise self._error("turns more text into bytes than it holds")
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError:
            raise self._error("has text where bytes are expected") from None


def _word(key: object) -> str | None:
    """A key as text; None if it is neither text nor bytes, or longer than any word."""
    if not isinstance(key, str | bytes) or len(key) > _LONGEST_WORD:
        return None
    return key if isinstance(key, str) else key.decode("latin-1")


def _quoted(text: str) -> str:
    """Text from a file as one line of a message, cut after a hundred characters."""
    shown = text[:_LONGEST_WORD]
    return repr(shown)[1:-1] + ("..." if len(text) > len(shown) else "")
