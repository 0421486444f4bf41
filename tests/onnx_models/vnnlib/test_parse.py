"""Reading VNN-LIB text: what it means, and how anything else is refused."""

from __future__ import annotations

import contextlib
import gzip
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_models.errors import InputError
from onnx_models.vnnlib import parse_vnnlib, read_vnnlib
from tests.helpers.properties import random_property

DECLARED = "(declare-const X_0 Real)\n(declare-const X_1 Real)\n(declare-const Y_0 Real)\n(declare-const Y_1 Real)\n"
BOX = "(assert (and (>= X_0 0) (<= X_0 1) (>= X_1 -1) (<= X_1 2)))\n"


def prop(*formulas: str):
    return parse_vnnlib(DECLARED + BOX + "".join(f"(assert {formula})\n" for formula in formulas))


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 3))
def test_a_parsed_property_holds_where_its_text_does(seed: int, inputs: int, outputs: int) -> None:
    rng = np.random.default_rng(seed)
    formula = random_property(rng, inputs, outputs)
    parsed = parse_vnnlib(formula.text)
    assert (parsed.inputs, parsed.outputs) == (inputs, outputs)
    ends = [Fraction(0), *(end for case in parsed.cases for i in case.intervals for end in (i.low, i.high, i.middle))]
    for _ in range(40):
        x = [ends[int(k)] for k in rng.integers(len(ends), size=inputs)]
        y = [Fraction(int(v), 10) for v in rng.integers(-30, 31, size=outputs)]
        assert parsed.holds(x, y) == formula.meaning(x, y)


def test_a_comparison_of_two_outputs_becomes_one_constraint() -> None:
    (case,) = prop("(<= Y_1 (+ Y_0 -2.5))").cases
    ((constraint,),) = case.clauses
    assert constraint.coefficients.tolist() == [1.0, -1.0]
    assert constraint.constant == -2.5 and not constraint.strict
    assert case.lower.tolist() == [0.0, -1.0] and case.upper.tolist() == [1.0, 2.0]


def test_boxes_that_are_the_same_share_a_case() -> None:
    boxes = "(or (and (>= X_0 0.5) (<= X_0 1)) (and (>= X_0 0) (<= X_0 0.25)))"
    parsed = prop(boxes, "(or (<= Y_0 Y_1) (and (<= Y_0 1) (>= Y_1 2)))")
    assert [len(case.clauses) for case in parsed.cases] == [2, 2]
    assert [len(clause) for clause in parsed.cases[0].clauses] == [1, 2]


@pytest.mark.parametrize(
    ("formula", "cases", "clauses"),
    [
        ("(<= 1 2)", 1, [((),)]),
        ("(or (<= 2 1) (< 1 1))", 0, []),
        ("(and (<= X_0 -1) (<= Y_0 0))", 0, []),
        ("(and (< X_0 0.5) (> X_0 0.5))", 0, []),
        ("(= X_0 0.5)", 1, [((),)]),
        ("(or (<= Y_0 1) (<= 0 0))", 1, None),
    ],
)
def test_constants_and_empty_boxes_are_folded(formula: str, cases: int, clauses: list[object] | None) -> None:
    found = prop(formula).cases
    assert len(found) == cases
    assert clauses is None or [case.clauses for case in found] == clauses


def test_equality_of_outputs_is_two_constraints() -> None:
    parsed = prop("(= Y_0 0.1)")
    assert parsed.holds([0, 0], [Fraction(1, 10), 0])
    assert not parsed.holds([0, 0], [0.1, 0])  # the float is another number than the decimal


def test_strict_comparisons_are_kept() -> None:
    parsed = prop("(< Y_0 1)", "(> X_0 0.5)")
    assert not parsed.holds([0.5, 0], [0, 0]) and not parsed.holds([0.75, 0], [1, 0])
    assert parsed.holds([0.75, 0], [0, 0])
    low, high = parsed.cases[0].inner(np.float64)
    assert low[0] == np.nextafter(0.5, 1) and high[0] == 1.0
    assert parsed.cases[0].lower[0] == 0.5


@given(st.integers(0, 2**32 - 1))
def test_boxes_of_floats_lie_around_and_inside_the_exact_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low, high = sorted((repr(float(rng.normal())), f"{rng.normal():.20f}"), key=Fraction)
    text = f"(declare-const X_0 Real)(declare-const Y_0 Real)(assert (and (>= X_0 {low}) (<= X_0 {high})))"
    (case,) = parse_vnnlib(text).cases
    (interval,) = case.intervals
    assert (interval.low, interval.high) == (Fraction(low), Fraction(high))
    assert Fraction(case.lower[0]) <= interval.low <= Fraction(np.nextafter(case.lower[0], math.inf))
    assert Fraction(case.upper[0]) >= interval.high >= Fraction(np.nextafter(case.upper[0], -math.inf))
    for kind in (np.float32, np.float64):
        inner_low, inner_high = (kind(end[0]) for end in case.inner(kind))
        assert interval.low <= Fraction(float(inner_low)) and interval.high >= Fraction(float(inner_high))
        assert Fraction(float(np.nextafter(inner_low, kind(-math.inf)))) < interval.low
        assert Fraction(float(np.nextafter(inner_high, kind(math.inf)))) > interval.high


def test_bounds_beyond_float32_have_an_inner_box_all_the_same() -> None:
    text = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (<= X_0 1e200))(assert (>= X_0 -1e-200))"
    (case,) = parse_vnnlib(text).cases
    low, high = case.inner(np.float32)
    assert low[0] == 0 and high[0] == np.finfo(np.float32).max


REFUSED = [
    ("(assert (<= X_0", 6, "never closed"),
    (")", 6, "no opening"),
    ("X_0", 6, "expected a command in brackets, got 'X_0'"),
    ("(assert (<= Y_0 1) (<= Y_1 1))", 6, "one formula in assert, got 2"),
    ("(assert Y_0)", 6, "expected a formula in brackets, got 'Y_0'"),
    ("(assert (not (<= Y_0 1)))", 6, "expected and, or,"),
    ("(assert (and))", 6, "an empty formula"),
    ("(assert (!= Y_0 1))", 6, "got (!= ...)"),
    ("(assert (<= Y_0))", 6, "expected two sides of <=, got 1"),
    ("(assert\n (<= Y_2 1))", 7, "declared variable, got 'Y_2'"),
    ("(assert (<= Y_0 1.5.2))", 6, "expected a number or a declared variable"),
    ("(assert (<= Y_0 nan))", 6, "expected a number or a declared variable"),
    ("(assert (<= Y_0 1e99999))", 6, "expected a number"),
    ("(assert (<= Y_0 1e301))", 6, "beyond the range"),
    ("(assert (<= (* 1e-200 X_0) 1e200))", 6, "bounds of 1e300 and more"),
    (f"(assert (<= (* {' '.join(['1e900'] * 4)}) 1))", 6, "beyond what float64"),
    ("(assert (<= (* Y_0 Y_1) 1))", 6, "products of variables"),
    ("(assert (<= (/ Y_0 2) 1))", 6, "got (/ ...)"),
    ("(assert (<= X_0 Y_0))", 6, "mixes inputs with outputs"),
    ("(assert (<= X_0 X_1))", 6, "several inputs"),
    ("(declare-const Y_1 Real)", 6, "declared twice"),
    ("(declare-const Y_3 Real)", None, "without gaps"),
    ("(declare-const Z_0 Real)", 6, "X_i or Y_i of type Real"),
    ("(declare-const Y_2 Int)", 6, "X_i or Y_i of type Real"),
    ("(define-fun f () Real 1)", 6, "got (define-fun ...)"),
    ("(assert (<= Y_0 [0]))", None, "expected"),
    ('(assert (<= Y_0 "1"))', 6, "expected a number"),
    ("(" * 200, 6, "nest deeper"),
]


@pytest.mark.parametrize(("line", "number", "message"), REFUSED)
def test_what_is_not_read_is_refused_with_its_line(line: str, number: int | None, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_vnnlib(DECLARED + BOX + line, name="p.vnnlib")
    assert message in str(caught.value)
    assert str(caught.value).startswith("p.vnnlib, line ")
    assert number is None or f"line {number}:" in str(caught.value)


WORDS = [
    "(",
    ")",
    "assert",
    "and",
    "or",
    "<=",
    "<",
    "=",
    "X_0",
    "Y_0",
    "Y_1",
    "1",
    "-0.5",
    "1e9",
    "+",
    "*",
    "-",
    ";",
    "\n",
]
WORDS += ["[0]", '"a"', "declare-const", "Real", "vnnlib-version", "<2.0>", "declare-network", "declare-input"]


@given(st.lists(st.sampled_from(WORDS), max_size=40), st.booleans())
def test_any_text_is_read_or_refused(words: list[str], declared: bool) -> None:
    text = " ".join(words)
    with contextlib.suppress(InputError):
        parse_vnnlib(DECLARED + BOX + text if declared else text)


@given(st.lists(st.sampled_from(WORDS[2:13]), max_size=8), st.integers(0, 3))
def test_any_formula_is_read_or_refused(words: list[str], depth: int) -> None:
    text = f"(assert (<= {'(+ ' * depth}{' '.join(words)}{')' * depth} Y_0))"
    with contextlib.suppress(InputError):
        assert parse_vnnlib(DECLARED + BOX + text).inputs == 2


def test_an_input_without_a_bound_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="input X_1 has no upper bound"):
        parse_vnnlib(DECLARED + "(assert (and (>= X_0 0) (<= X_0 1) (>= X_1 -1)))")
    with pytest.raises(InputError, match="no assertion"):
        parse_vnnlib(DECLARED)


def test_too_many_conjunctions_are_refused_before_they_are_made() -> None:
    either = "(or (<= Y_0 1) (<= Y_1 1))"
    with pytest.raises(InputError, match="conjunctions"):
        prop(*[either] * 40)
    with pytest.raises(InputError, match="conjunctions"):
        prop(f"(and {' '.join([either] * 40)})")


def test_another_number_of_inputs_is_refused() -> None:
    text = DECLARED + BOX
    assert parse_vnnlib(text, 2, 2).inputs == 2
    with pytest.raises(InputError, match="declares 2 inputs, the network has 3"):
        parse_vnnlib(text, 3)
    with pytest.raises(InputError, match="declares 2 outputs, the network has 5"):
        parse_vnnlib(text, 2, 5)


SECOND = """(vnnlib-version <2.0>)
(declare-network f
    (declare-input X float32 [1, 2] "in")
    (declare-output Y Real [2]))
"""


def test_version_2_gives_the_same_property_as_version_1() -> None:
    text = SECOND + "(assert (and (>= X[0,0] 0) (<= X[0,0] 1) (>= X [0, 1] -1) (<= X[0,1] 2) (== Y[1] 3) (< Y[0] 1)))"
    parsed = parse_vnnlib(text)
    assert parsed.tensors is not None
    assert [(t.name, t.element, t.shape) for t in parsed.tensors] == [("X", "float32", (1, 2)), ("Y", "Real", (2,))]
    same = prop("(and (= Y_1 3) (< Y_0 1))")
    assert parsed.cases[0].intervals == same.cases[0].intervals
    assert sorted(map(repr, parsed.cases[0].clauses[0])) == sorted(map(repr, same.cases[0].clauses[0]))


def test_a_scalar_tensor_has_no_index() -> None:
    text = "(vnnlib-version <2.0>)(declare-network f (declare-input X real []) (declare-output Y real []))"
    parsed = parse_vnnlib(text + "(assert (<= X 1))(assert (>= X 0))(assert (> Y X0))".replace("X0", "0.5"))
    assert parsed.holds([1], [0.75]) and not parsed.holds([1], [0.5])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(vnnlib-version <3.0>)", "expected (vnnlib-version <2.0>)"),
        ("(vnnlib-version <2.0>)", "one (declare-network ...)"),
        (SECOND + "(declare-network g (declare-input A real [1]) (declare-output B real [1]))", "got 2 declarations"),
        (SECOND.replace("f\n", "f (equal-to g)\n"), "got equal-to, declare-input"),
        (SECOND.replace("[1, 2]", "[1, 0]"), "got shape [1,0]"),
        (SECOND.replace("[1, 2]", "[1,, 2]"), "a type such as float32"),
        (SECOND.replace("float32", "int8"), "a type such as float32"),
        (SECOND.replace("Y Real", "X Real"), "both called X"),
        (SECOND + "(assert (<= X[0,2] 1))", "declared variable, got 'X[0,2]'"),
    ],
)
def test_other_queries_of_version_2_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_vnnlib(text)
    assert message in str(caught.value)


def test_files_may_be_compressed(tmp_path: Path) -> None:
    plain, packed = tmp_path / "p.vnnlib", tmp_path / "q.vnnlib"
    plain.write_text(DECLARED + BOX)
    packed.write_bytes(gzip.compress((DECLARED + BOX).encode()))
    assert repr(read_vnnlib(plain)) == repr(read_vnnlib(packed)) == "Property(2 -> 2, 1 cases, 1 clauses)"


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    binary, cut = tmp_path / "b.vnnlib", tmp_path / "c.vnnlib.gz"
    binary.write_bytes(b"\xff\xfe\x00")
    cut.write_bytes(gzip.compress((DECLARED + BOX).encode())[:30])
    for path in (binary, cut):
        with pytest.raises(InputError, match="expected VNN-LIB text"):
            read_vnnlib(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_vnnlib(tmp_path / "none.vnnlib")


@pytest.mark.slow
def test_every_competition_file_is_read(shared_data: Path) -> None:
    files = sorted((shared_data / "vnncomp").glob("*/*.vnnlib"))
    assert len(files) == 40
    for file in files:
        parsed = read_vnnlib(file)
        expected = (5, 5) if file.parent.name == "acasxu" else (784, 10)
        assert (parsed.inputs, parsed.outputs) == expected
        assert len(parsed.cases) == (2 if file.stem == "prop_6" else 1)


def test_a_competition_file_means_what_it_says(shared_data: Path) -> None:
    parsed = read_vnnlib(shared_data / "vnncomp" / "acasxu" / "prop_7.vnnlib")
    (case,) = parsed.cases
    assert case.intervals[0].low == Fraction("-0.328422877") and case.intervals[0].high == Fraction("0.679857769")
    corner = [interval.low for interval in case.intervals]
    assert parsed.holds(corner, [1, 1, 1, 0, 5]) and parsed.holds(corner, [1, 1, 1, 5, 1])
    assert not parsed.holds(corner, [1, 1, 1, 2, 2]) and not parsed.holds([0, 0, 0, 0, 1], [1, 1, 1, 0, 5])
