"""VNN-LIB text of random properties, what it means by direct evaluation, and whether it can hold, by brute force."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy.optimize import linprog

from onnx_models import ReluNetwork
from onnx_models.vnnlib import Property
from tests.helpers.oracles import pieces

Meaning = Callable[[Sequence[Fraction], Sequence[Fraction]], bool]
"""Whether a formula holds for an input and its outputs."""


@dataclass(frozen=True)
class Formula:
    """Text and what it means, made together."""

    text: str
    meaning: Meaning


def decimal(rng: np.random.Generator, digits: int = 3) -> str:
    """A number of -2 to 2 in one of the ways that files write them."""
    value = round(float(rng.uniform(-2, 2)), digits)
    return str(rng.choice([f"{value}", f"{value:e}", f"{value:.{digits}f}", f"{value:+.{digits}f}"]))


def comparison(rng: np.random.Generator, outputs: int) -> Formula:
    """A random comparison of linear expressions in the outputs."""
    sign = str(rng.choice(["<=", ">=", "<", ">"]))
    left, right = _expression(rng, outputs), _expression(rng, outputs)
    tests: dict[str, Callable[[Fraction, Fraction], bool]] = {
        "<=": lambda a, b: a <= b,
        ">=": lambda a, b: a >= b,
        "<": lambda a, b: a < b,
        ">": lambda a, b: a > b,
    }
    return Formula(f"({sign} {left[0]} {right[0]})", lambda _, y: tests[sign](left[1](y), right[1](y)))


def _expression(rng: np.random.Generator, outputs: int) -> tuple[str, Callable[[Sequence[Fraction]], Fraction]]:
    kind, index = int(rng.integers(6)), int(rng.integers(outputs))
    if kind == 0:
        text = decimal(rng)
        return text, lambda _: Fraction(text)
    if kind == 1:
        first, second = _expression(rng, outputs), _expression(rng, outputs)
        return f"(+ {first[0]} {second[0]})", lambda y: first[1](y) + second[1](y)
    if kind == 2:
        first, second = _expression(rng, outputs), _expression(rng, outputs)
        return f"(- {first[0]} {second[0]})", lambda y: first[1](y) - second[1](y)
    if kind == 3:
        factor, part = decimal(rng, 1), _expression(rng, outputs)
        return f"(* {factor} {part[0]})", lambda y: Fraction(factor) * part[1](y)
    return f"Y_{index}", lambda y: y[index]


def interval(rng: np.random.Generator, index: int) -> Formula:
    """Both bounds of an input, in one of the orders that files use; sometimes it is empty, or a single number."""
    low, high = sorted((decimal(rng, 1), decimal(rng, 1)), key=Fraction)
    if rng.random() < 0.1:
        return Formula(f"(= X_{index} {low})", lambda x, _: x[index] == Fraction(low))
    above = str(rng.choice([f"(>= X_{index} {low})", f"(<= {low} X_{index})", f"(<= (* -2 X_{index}) (* {low} -2))"]))
    below, strict = f"(<= X_{index} {high})", rng.random() < 0.2
    if strict:
        below = f"(> {high} X_{index})"
    return Formula(
        f"(and {above} {below})",
        lambda x, _: (
            Fraction(low) <= x[index] and (x[index] < Fraction(high) if strict else x[index] <= Fraction(high))
        ),
    )


def joined(rng: np.random.Generator, formulas: Sequence[Formula]) -> Formula:
    """The formulas under one `and` or `or`."""
    if rng.random() < 0.5:
        return Formula(
            f"(and {' '.join(f.text for f in formulas)})", lambda x, y: all(f.meaning(x, y) for f in formulas)
        )
    return Formula(f"(or {' '.join(f.text for f in formulas)})", lambda x, y: any(f.meaning(x, y) for f in formulas))


def random_property(rng: np.random.Generator, inputs: int, outputs: int) -> Formula:
    """A whole file: one box or an OR of boxes, some with constraints of their own, and nested constraints beside."""
    boxes = []
    for _ in range(int(rng.integers(1, 4))):
        parts = [interval(rng, k) for k in range(inputs)]
        if rng.random() < 0.3:
            parts.append(comparison(rng, outputs))
        boxes.append(_and(parts))
    box = Formula(f"(or {' '.join(b.text for b in boxes)})", lambda x, y: any(b.meaning(x, y) for b in boxes))
    nested = [
        joined(rng, [joined(rng, [comparison(rng, outputs) for _ in range(2)]), comparison(rng, outputs)])
        for _ in range(int(rng.integers(0, 3)))
    ]
    whole = [box, *nested]
    lines = [f"(declare-const X_{k} Real)" for k in range(inputs)] + [
        f"(declare-const Y_{k} Real)" for k in range(outputs)
    ]
    lines += [f"(assert {formula.text}) ; a comment (" for formula in whole]
    return Formula("\n".join(lines), lambda x, y: all(f.meaning(x, y) for f in whole))


def _and(formulas: Sequence[Formula]) -> Formula:
    return Formula(f"(and {' '.join(f.text for f in formulas)})", lambda x, y: all(f.meaning(x, y) for f in formulas))


def largest_slack(network: ReluNetwork, prop: Property) -> float:
    """The largest t for which some case has an input where all constraints of a clause exceed t; -inf without cases.

    Brute force over all activation patterns, one linear program each: the property can hold if t > 0, and cannot if
    t < 0; scipy's tolerance decides nothing else.
    """
    best = -np.inf
    for case in prop.cases:
        limits = [*((float(i.low), float(i.high)) for i in case.intervals), (None, 1e6)]
        for g, h, f, k in pieces(network):
            for clause in case.clauses:
                rows, right = [np.hstack([g, np.zeros((len(g), 1))])], [h]
                for constraint in clause:  # t <= a . (F x + k) + b
                    a = constraint.coefficients
                    rows.append(np.append(-a @ f, 1.0)[None])
                    right.append(np.array([a @ k + constraint.constant]))
                cost = np.append(np.zeros(network.input_size), -1.0)
                answer = linprog(cost, A_ub=np.vstack(rows), b_ub=np.concatenate(right), bounds=limits, method="highs")
                if answer.status == 0:
                    best = max(best, -answer.fun)
    return float(best)
