"""The problem one level up: can a detector that looks around each input (Counter-Attack) be fooled?

Counter-Attack with radius eps lets an input x pass if no x'' within eps of it has another class than x. To fool it
from x0 with an attack of radius gamma is to solve

    is there x' with |x' - x0| <= gamma and class(x') != class(x0)
    such that every x'' with |x'' - x'| <= eps has class(x'') = class(x')?              (L-infinity, all in [0, 1]^n)

Marro and Lombardi (2023) show that this is hard for the second level of the polynomial hierarchy, Sigma_2^P: "there
is" followed by "for all". The problem of reference for that level is: given a formula in conjunctive normal form whose
variables are split in two, is there an assignment y of the first, such that for all assignments z of the others the
formula is *false*? `fooling_network` builds a network for it.

**Construction.** Let A be the first variables and B the others, A not empty, and e_i = |x_i - 1/2|. With one-sided
steps of width 1/8 (see `reduce_formula`), and c_k as there,

    u_i = relu(1 - 4 e_i) for i in A,   w_i = relu(4 e_i - 1) for i in B,   s = relu(1 - sum over k of relu(1 - c_k))
    f_0 = sum of all u_i, all w_i and s,   f_1 = 1/2,

gamma = 1/2, eps = 1/4, x0 = (1/2, ..., 1/2), whose class is 0 because u_i = 1 there. Class 1 means f_0 < 1/2.

**Theorem.** Counter-Attack can be fooled from x0, over real inputs as well as over those whose entries are multiples
of 1/4, if and only if some y makes the formula false for all z.

*Proof.* Given such a y, let x' be y on A and 1/2 on B. Every x'' within 1/4 has e_i >= 1/4 on A, so u_i = 0 and the
steps read y, and e_i <= 1/4 on B, so w_i = 0. Were s > 0, every c_k > 0, and (as in `reduce_formula`) y with the z
that x'' reads would make the formula true. So s = 0 and f_0 = 0: x'' has class 1 like x', and x0 has class 0.
Conversely let x' fool it: f_0 < 1/2 at every x'' within 1/4, x' included. If e_i <= 3/8 at x' for some i in A, moving
it by at most 1/4 brings e_i down to 1/8 or less and u_i up to 1/2 or more; so e_i > 3/8 on A. If e_i >= 1/8 at x' for
some i in B, moving it outwards by 1/4, or to the end, brings e_i up to 3/8 or more and w_i up to 1/2 or more; so e_i <
1/8 on B. Let y be read off x' (y_i is true if x'_i > 1/2) and suppose that some z makes the formula true with it. Move
every i in B by 1/4 towards z_i: it ends more than 1/8 from 1/2 on the right side, so its step is 1; on A the steps are
1 already. All literals of y and z that are true have the value 1, every c_k >= 1, s = 1 and f_0 >= 1 at that x'',
which is a contradiction. The same x' and x'' serve on the grid: there e_i is 0, 1/4 or 1/2, so x'_i is 0 or 1 on A and
1/2 on B. []
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from counter_attack.hardness._formula import Assignment, Formula
from counter_attack.hardness._reduction import CENTRE, clause_failures, literal_steps
from mipverify_py._arguments import instance, whole_number
from onnx_models import Array, DenseMap, NetworkBuilder, ReluNetwork
from onnx_models.errors import InputError

STEP_WIDTH, GUARD_WIDTH = 8, 4
"""1 / width of the steps that read literals, and of those that keep coordinates in their place."""

MOST_ASSIGNMENTS = 2**22
"""How many assignments `false_for_all` tries."""


@dataclass(frozen=True, slots=True, eq=False)
class FoolingInstance:
    """A network whose detector can be fooled exactly if the formula can be made false for all z.

    Attributes:
        formula: the formula.
        outer: how many variables, the first ones, are chosen first.
        network: logits (f_0, f_1) of n inputs.
        x0: (1/2, ..., 1/2), shape (n,).
        gamma, eps: radii of the attack and of the detector.
        mu: the grid on which the theorem holds as well as over real inputs.
    """

    formula: Formula
    outer: int
    network: ReluNetwork
    x0: Array
    gamma: float = 0.5
    eps: float = 0.25
    mu: float = 0.25


def fooling_network(formula: Formula, outer: int) -> FoolingInstance:
    """The network of a formula with `outer` first variables; raises InputError unless 1 <= outer <= variables."""
    inputs = _check(formula, outer)
    builder = NetworkBuilder((inputs,))
    node, failing = clause_failures(builder, formula, STEP_WIDTH)
    holds = builder.relu(builder.affine((node,), (DenseMap(-failing[None]),), 1.0, name="formula"), name="holds")
    first, others = list(range(1, outer + 1)), list(range(outer + 1, inputs + 1))
    parts = [holds]
    for variables, sign, offset, name in ((first, -1.0, 1.0, "undecided"), (others, 1.0, -1.0, "decided")):
        if variables:
            steps, value = literal_steps(builder, [*variables, *(-v for v in variables)], GUARD_WIDTH, clip=False)
            both = value[: len(variables)] + value[len(variables) :]
            parts.append(builder.relu(builder.affine((steps,), (DenseMap(sign * both),), offset), name=name))
    maps = [DenseMap(np.vstack([np.ones(builder.size(k)), np.zeros(builder.size(k))])) for k in parts]
    output = builder.affine(parts, maps, np.array([0.0, CENTRE]), name="logits")
    return FoolingInstance(formula, outer, builder.build(output, fuse=False), np.full(inputs, CENTRE))


def false_for_all(formula: Formula, outer: int) -> Assignment | None:
    """The first y, values of the `outer` first variables, that makes the formula false for every z; None without one.

    Every y is tried with every z: 2**variables assignments at most.

    Raises:
        InputError: unless 1 <= outer <= variables, or for more than 2**22 assignments.
    """
    variables = _check(formula, outer)
    if 2**variables > MOST_ASSIGNMENTS:
        raise InputError(f"{formula!r} has 2**{variables} assignments; at most {MOST_ASSIGNMENTS:,} are tried.")
    for y in product((False, True), repeat=outer):
        if not any(formula.holds((*y, *z)) for z in product((False, True), repeat=variables - outer)):
            return y
    return None


def _check(formula: Formula, outer: int) -> int:
    instance(Formula, formula, "The formula")
    if not 1 <= whole_number(outer, "The number of outer variables") <= formula.variables:
        raise InputError(f"There are {outer} outer variables; 1 to {formula.variables}, the variables, are possible.")
    return formula.variables
