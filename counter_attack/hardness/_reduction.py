"""From a formula to a network that has an adversarial example exactly if the formula is satisfiable.

The source: Marro and Lombardi, Computational Asymmetries in Robust Classification (2023), where 3-SAT is reduced to an
untargeted attack on a ReLU classifier. Their inputs are discrete, with least difference mu, so that two ReLUs are a
step function. Ours are real numbers, where a step has a slope between its two values, and a value between 0 and 1 must
not make a clause true that no assignment makes true. With one step per variable it would: halfway up, x and not x are
both 1/2, and any clause of two literals adds up to 1. Hence two one-sided steps per variable,

    t_i(x) = clip((x_i - 1/2) / mu, 0, 1)        "variable i is true"
    n_i(x) = clip((1/2 - x_i) / mu, 0, 1)        "variable i is false"

of which one is 0 at every x. With c_k(x) the sum of t_i or n_i over the different literals of clause k, the logits are

    f_0(x) = sum over k of relu(1 - c_k(x)),     f_1(x) = 1/2.

**Theorem.** Let x0 = (1/2, ..., 1/2), 0 < mu <= 1/2, and let there be m >= 1 clauses. f_0(x0) = m > f_1(x0), so x0 has
class 0. Some real x in [0, 1]^n, that is with |x - x0|_inf <= 1/2, has f_1(x) >= f_0(x) if and only if the formula is
satisfiable. Moreover the largest f_1 - f_0 over the cube is 1/2 if it is, and at most -1/2 if it is not.

*Proof.* If an assignment a satisfies the formula, take x = a in {0, 1}^n: t_i = a_i and n_i = 1 - a_i, every clause
has c_k >= 1, and f_1 - f_0 = 1/2, which is the most that f_1 - f_0 can be. Conversely let x be any point and a_i =
(x_i > 1/2). If c_k(x) > 0, some literal of clause k has a positive term: t_i(x) > 0, so x_i > 1/2 and a_i is true, or
n_i(x) > 0, so x_i < 1/2 and a_i is false; either way a satisfies clause k. So if a does not satisfy the formula, some
c_k(x) = 0 and f_0(x) >= 1: f_1 - f_0 <= -1/2. In particular f_1(x) >= f_0(x) implies that a satisfies the formula. []

The gap of 1 between both cases is far beyond rounding. Neither a literal and its negation in one clause, nor an empty
clause (c_k = 0), nor a variable in no clause needs special care; without clauses f_0 = 0 < f_1 everywhere, x0
included.

**Distance.** Within the ball of radius d around x0, t_i and n_i are at most min(d / mu, 1), and both that bound and
the sign can be had for every variable at once. With N_k(a) the number of true literals in clause k, the distance to
the boundary is therefore mu * tau, tau the least s in [0, 1] for which some assignment a has sum over k of max(0, 1 -
s N_k(a)) <= 1/2. **MaxSAT.** f_0 falls as x moves outwards, so its minimum over the cube is taken in a corner, where
it counts clauses that fail: the largest margin is 1/2 less the least number of failing clauses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from counter_attack.hardness._formula import Assignment, Formula
from mipverify_py._arguments import instance, real_number
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork
from onnx_models.errors import InputError

CENTRE = 0.5
"""Every entry of x0, and the radius of the ball."""

FINEST = 2.0**-16
"""The least mu: float32 has 24 bits, and weights of 1 / mu have to leave some for the input."""

MOST_ENTRIES = 20_000_000
"""Coefficients that a layer may have."""


@dataclass(frozen=True, slots=True, eq=False)
class Reduction:
    """The network of a formula and the input to attack.

    Attributes:
        formula: the formula.
        mu: the width of a step; the steps are exact at every input that is a multiple of mu.
        network: logits (f_0, f_1) of n inputs, n the number of variables, or 1 if there are none.
        x0: (1/2, ..., 1/2), shape (n,); the attack may move it by 1/2 in L-infinity.
    """

    formula: Formula
    mu: float
    network: ReluNetwork
    x0: Array

    def assignment(self, x: ArrayLike) -> Assignment:
        """The assignment that an input, shape (n,), stands for: variable i is true if x_i > 1/2."""
        flat = self.network.flatten_input(x)
        return tuple(bool(value > CENTRE) for value in flat[: self.formula.variables])


def reduce_formula(formula: Formula, *, mu: float = 0.5) -> Reduction:
    """The network that can be attacked within 1/2 of x0 exactly if the formula is satisfiable; see the module.

    Its weights and biases are whole numbers and halves, so a float32 file holds them exactly.

    Args:
        formula: with clauses of any length.
        mu: the width of a step: 1 / mu is an even whole number, so that 0, 1/2 and 1 lie on the grid of multiples of
            mu; 2**-16 <= mu <= 1/2. At 1/2 a step needs one ReLU instead of two.

    Raises:
        InputError: another mu, or a formula too large for dense layers.
    """
    instance(Formula, formula, "The formula")
    width = grid_steps(mu, least=2)
    if width % 2:
        raise InputError(f"mu is {mu}; 1 / mu has to be even, so that 1/2 is a multiple of mu.")
    inputs = max(formula.variables, 1)
    builder = NetworkBuilder((inputs,))
    node, failing = clause_failures(builder, formula, width)
    logits = np.vstack([failing, np.zeros_like(failing)])
    output = builder.affine((node,), (DenseMap(logits),), np.array([0.0, CENTRE]), name="logits")
    return Reduction(formula, 1 / width, builder.build(output, fuse=False), np.full(inputs, CENTRE))


def clause_failures(builder: NetworkBuilder, formula: Formula, width: int) -> tuple[int, Array]:
    """Adds relu(1 - c_k) for every clause; returns a node and the row vector r with sum over k = r . (its value)."""
    literals = sorted({literal for clause in formula.clauses for literal in clause})
    if not formula.clauses:
        return 0, np.zeros(builder.size(0))
    if max(len(literals) * builder.size(0), 2 * len(formula.clauses) * len(literals)) > MOST_ENTRIES:
        raise InputError(f"{formula!r} is too large: a layer would have more than {MOST_ENTRIES:,} coefficients.")
    column = {literal: k for k, literal in enumerate(literals)}
    member = np.zeros((len(formula.clauses), len(literals)))
    for row, clause in enumerate(formula.clauses):
        member[row, [column[literal] for literal in clause]] = 1.0
    node, value = literal_steps(builder, literals, width) if literals else (0, np.zeros((0, builder.size(0))))
    missing = builder.affine((node,), (DenseMap(-member @ value),), 1.0, name="missing")
    return builder.relu(missing, name="fails"), np.ones(len(formula.clauses))


def literal_steps(builder: NetworkBuilder, literals: list[int], width: int, *, clip: bool = True) -> tuple[int, Array]:
    """Adds clip(width * (x_i - 1/2), 0, 1) for each literal +i, clip(width * (1/2 - x_i), 0, 1) for each -i.

    Returns a node and the matrix that turns its value into those steps, in the order of `literals`. Without `clip` they
    go on rising beyond 1.
    """
    count = len(literals)
    slope = np.zeros((count, builder.size(0)))
    slope[np.arange(count), [abs(literal) - 1 for literal in literals]] = width * np.sign(literals)
    offset = -CENTRE * width * np.sign(literals).astype(np.float64)
    if width == 2 or not clip:  # with slope 2 a step is at most 1 in the cube
        node = builder.affine((0,), (DenseMap(slope),), offset, name="literals")
        return builder.relu(node, name="steps"), np.eye(count)
    both = builder.affine(
        (0,), (DenseMap(np.vstack([slope, slope])),), np.concatenate([offset, offset - 1.0]), name="literals"
    )
    return builder.relu(both, name="steps"), np.hstack([np.eye(count), -np.eye(count)])


def grid_steps(mu: float, *, least: int = 1) -> int:
    """1 / mu as a whole number; raises InputError where it is none, is below `least` or above 2**16."""
    value = real_number(mu, "mu")
    steps = round(1 / value) if FINEST <= value <= 1 / least else 0
    if steps < least or abs(steps * value - 1) > 1e-9:
        raise InputError(f"mu is {mu}; it must be 1 divided by a whole number from {least} to {round(1 / FINEST)}.")
    return steps
