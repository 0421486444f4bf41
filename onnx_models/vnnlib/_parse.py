"""From the text of a VNN-LIB file to a property.

What is read, `*` for any number of, `|` for or, `;` begins a comment:

    file        ::=  version? declaration* assertion*
    declaration ::=  (declare-const NAME Real) | (declare-fun NAME () Real)              VNN-LIB 1.0
                  |  (declare-network NAME (declare-input TENSOR) (declare-output TENSOR))       2.0
    version     ::=  (vnnlib-version <2.0>)
    TENSOR      ::=  NAME TYPE [SIZES] "ONNX NAME"?
    assertion   ::=  (assert formula)
    formula     ::=  (and formula formula*) | (or formula formula*) | (COMPARISON sum sum)
    COMPARISON  ::=  <= | >= | < | > | = | ==
    sum         ::=  NUMBER | VARIABLE | (+ sum sum*) | (- sum sum*) | (* sum sum*)

In VNN-LIB 1.0 (Demarchi et al., The VNN-LIB standard, 2023) the inputs are called X_0, X_1, ... and the outputs Y_0,
Y_1, ..., in row-major order of the tensor. In 2.0 an entry is NAME[i,j]; only queries about one network with one input
and one output are read. A comparison has either one input in it, which it bounds, or outputs only; a product has at
most one factor with variables. `set-logic`, `set-info`, `check-sat`, `get-model` and `exit` say nothing about the
property and are skipped.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from onnx_models.errors import InputError
from onnx_models.vnnlib._linear import Names
from onnx_models.vnnlib._normal_form import Formulas
from onnx_models.vnnlib._property import Property, Tensor
from onnx_models.vnnlib._reader import Expression, Group, Source, Word, read_groups

SKIPPED = ("set-logic", "set-info", "check-sat", "get-model", "exit")
MAX_ENTRIES = 1_000_000
"""Entries of a declared tensor."""

_VARIABLE = re.compile(r"([XY])_(0|[1-9]\d{0,8})")
_TENSOR_TYPE = re.compile(r"(real|float(?:16|32|64)?)\[((?:\d+(?:,\d+)*)?)\]", re.IGNORECASE)


def parse_vnnlib(
    text: str, inputs: int | None = None, outputs: int | None = None, *, name: str = "property"
) -> Property:
    """The property that VNN-LIB text states.

    Decimals are read exactly. Strict comparisons are kept as such. ORs within ANDs are multiplied out.

    Args:
        text: the content of a .vnnlib file.
        inputs: how many the network has; None takes what the text declares.
        outputs: likewise.
        name: what messages call the text.

    Raises:
        InputError: anything that the grammar (see this module) does not have, an input without both bounds, another
            number of inputs or outputs; with the line, what came and what was expected.
    """
    source = Source(text, name)
    groups = [group for group in read_groups(source) if group.head not in SKIPPED]
    assertions = [group for group in groups if group.head == "assert"]
    rest = [group for group in groups if group.head != "assert"]
    if any(group.head in ("vnnlib-version", "declare-network") for group in rest):
        tensors = _tensors(source, rest)
        names, sizes = _entries(tensors), (tensors[0].size, tensors[1].size)
    else:
        tensors = None
        names, sizes = _variables(source, rest)
    for what, declared, expected in (("inputs", sizes[0], inputs), ("outputs", sizes[1], outputs)):
        if expected is not None and declared != expected:
            raise InputError(f"{name} declares {declared} {what}, the network has {expected}.")
    if not assertions:
        raise source.error(len(text), "there is no assertion; expected (assert ...).")
    formulas = Formulas(source, Names(source, names), *sizes)
    parts = [formulas.disjunction(_only(source, group)) for group in assertions]
    base, others = formulas.multiplied(assertions[-1], parts)
    return Property(*sizes, formulas.cases(base, others), tensors)


def _only(source: Source, assertion: Group) -> Expression:
    if len(assertion.items) != 2:
        raise source.error(assertion, f"expected one formula in assert, got {len(assertion.items) - 1}.")
    return assertion.items[1]


def _variables(source: Source, declarations: Sequence[Group]) -> tuple[dict[str, int], tuple[int, int]]:
    """Columns by name, and the numbers of inputs and outputs, as VNN-LIB 1.0 declares them."""
    found: dict[str, set[int]] = {"X": set(), "Y": set()}
    for group in declarations:
        if group.head not in ("declare-const", "declare-fun"):
            what = f"({group.head} ...)" if group.head else "(...)"
            raise source.error(group, f"expected declare-const, declare-fun or assert, got {what}.")
        words = [item.text for item in group.items if isinstance(item, Word)]
        empty = [item for item in group.items if isinstance(item, Group) and not item.items]
        plain = len(words) == 3 and len(empty) == len(group.items) - 3 == (group.head == "declare-fun")
        match = _VARIABLE.fullmatch(words[1]) if plain else None
        if match is None or words[2] != "Real":
            got = " ".join(words[1:]) or "nothing"
            raise source.error(group, f"expected a variable X_i or Y_i of type Real, got {got}.")
        if int(match[2]) in found[match[1]]:
            raise source.error(group, f"{words[1]} is declared twice.")
        found[match[1]].add(int(match[2]))
    for letter, what in (("X", "input"), ("Y", "output")):
        if found[letter] != set(range(len(found[letter]))) or not found[letter]:
            raise source.error(len(source.text), f"expected {what}s {letter}_0, {letter}_1, ... without gaps.")
    n, m = len(found["X"]), len(found["Y"])
    return {f"X_{i}": i for i in range(n)} | {f"Y_{i}": n + i for i in range(m)}, (n, m)


def _tensors(source: Source, declarations: Sequence[Group]) -> tuple[Tensor, Tensor]:
    """Input and output, as VNN-LIB 2.0 declares them."""
    version = declarations[0]
    if version.head != "vnnlib-version" or [getattr(item, "text", "") for item in version.items[1:]] != ["<2.0>"]:
        raise source.error(version, "expected (vnnlib-version <2.0>) first.")
    networks = declarations[1:]
    if len(networks) != 1 or networks[0].head != "declare-network":
        where = networks[1] if len(networks) > 1 else version
        raise source.error(where, f"expected one (declare-network ...), got {len(networks)} declarations.")
    parts = networks[0].items[2:]
    kinds = [part.head if isinstance(part, Group) else part.text for part in parts]
    if kinds != ["declare-input", "declare-output"]:
        got = ", ".join(kinds) or "nothing"
        raise source.error(networks[0], f"expected one declare-input and one declare-output, got {got}.")
    first, second = (_tensor(source, part) for part in parts if isinstance(part, Group))
    if first.name == second.name:
        raise source.error(networks[0], f"input and output are both called {first.name}.")
    return first, second


def _tensor(source: Source, group: Group) -> Tensor:
    words = [item.text for item in group.items[1:] if isinstance(item, Word)]
    match = _TENSOR_TYPE.fullmatch(words[1]) if len(words) >= 2 else None
    named = len(words) == 2 or (len(words) == 3 and words[2].startswith('"'))
    if match is None or not named or len(words) != len(group.items) - 1:
        raise source.error(
            group,
            f'expected a name, a type such as float32, [sizes] and at most an "ONNX name", '
            f"got {' '.join(words) or 'nothing'}.",
        )
    sizes = [part for part in match[2].split(",") if part]
    tensor = Tensor(words[0], match[1], tuple(int(size) for size in sizes if len(size) < 10))
    if len(tensor.shape) != len(sizes) or not 0 < tensor.size <= MAX_ENTRIES:
        raise source.error(group, f"expected 1 to {MAX_ENTRIES:,} entries, got shape [{match[2]}].")
    return tensor


def _entries(tensors: Sequence[Tensor]) -> dict[str, int]:
    """Columns by the names of the tensors' entries."""
    columns: dict[str, int] = {}
    for tensor in tensors:
        for position in itertools.product(*(range(size) for size in tensor.shape)):
            index = f"[{','.join(map(str, position))}]" if position else ""
            columns[tensor.name + index] = len(columns)
    return columns
