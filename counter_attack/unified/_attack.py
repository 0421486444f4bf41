"""The linearised attack: its parameters, and what they may be together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from counter_attack.attacks._epsilon import AttackAt, EpsilonAttack
from counter_attack.attacks._problem import AttackProblem
from counter_attack.unified._groups import GROUPS
from counter_attack.unified._objectives import OBJECTIVES
from counter_attack.unified._settings import PRESETS
from mipverify_py import Norm
from onnx_models.errors import InputError

PROBLEMS = ("constrained", "minimum")
"""The largest linearised objective within eps; or the smallest perturbation with a linearised margin of 0."""


@dataclass(frozen=True)
class LinearisedAttack(EpsilonAttack):
    """Linearises an objective, solves the linearised problem in closed form, and repeats at the point where that led.

    After Balda, Behboodi and Mathar (2019, "Perturbation analysis of learning algorithms: a unifying perspective on
    generation of adversarial examples"; 2018, "On generation of adversarial examples using convex programming"). With L
    the objective, g its gradient at the current point x_t and T the number of steps, a step is

        constrained:  argmax of <g, eta> over |eta|_p <= step_size, or eps / T without one
        minimum:      argmin of |eta|_p with L + <g, eta> >= 0

    where an objective of several targets takes the one whose linearised value ends largest (constrained) or whose
    boundary is nearest (minimum). `constrained` steps of a given size are projected onto the ball of radius eps; steps
    of eps / T cannot leave it. `minimum` goes to x + (1 + overshoot) times the sum of its steps, and ends at the first
    point that has a margin of at least 0; a step goes at least a hundred-thousandth of the distance so far, as in
    `DeepFool`.

    With `subsets`, only the entries of so many groups change: those with the largest closed-form gain at x, which
    are kept in later steps. `PRESETS` has the parameters of known attacks.

    Attributes:
        eps: radius of the ball in `norm`, > 0; None: the least one at which the attack succeeds, for each input. Only
            for `constrained`.
        search: how that is found; without a meaning otherwise.
        objective: one of `OBJECTIVES`; for `minimum` a margin ("margin" or "targeted").
        problem: "constrained" or "minimum".
        steps: T, for each input at most, >= 1.
        step_size: length of a `constrained` step in `norm`, > 0; None: eps / T.
        random_start: whether `constrained` starts from a uniform draw from the ball.
        dither: half the width of uniform noise at which each gradient is taken instead of x_t, in units of x, >= 0; the
            value is that at x_t. Noise is kept in the domain and in the groups that are changed.
        box: whether the linearised problem knows the domain. If not, points are clipped to it, but in L1 it does
            always: a step there would move a single entry, and past its end. Not for "output-change", whose points
            are clipped.
        groups: "entries", or "pixels": the channels of a pixel together.
        subsets: how many groups may change, >= 1; None: all.
        candidates: classes that margins look at, the reference and the likeliest targets, >= 2.
        overshoot: by which share of the sum of the steps `minimum` goes beyond the boundary, >= 0.
        output_norm: the norm q of "output-change".
        preset: what results call the attack; it changes nothing else.
    """

    name: ClassVar[str] = "linearised"
    norms: ClassVar[tuple[Norm, ...]] = (Norm.LINF, Norm.L1, Norm.L2)

    objective: str = "margin"
    problem: str = "minimum"
    steps: int = 50
    step_size: float | None = None
    random_start: bool = False
    dither: float = 0.0
    box: bool = True
    groups: str = "entries"
    subsets: int | None = None
    candidates: int = 10
    overshoot: float = 1e-5
    output_norm: Norm = Norm.L2
    preset: str = "linearised"

    def __post_init__(self) -> None:
        super().__post_init__()
        wrong = next(self._wrong(), None)
        if wrong is not None:
            raise InputError(f"The attack {self.preset} {wrong}.")
        object.__setattr__(self, "name", self.preset)
        if self.subsets is not None:  # a file may write 3.0
            object.__setattr__(self, "subsets", int(self.subsets))

    def _wrong(self) -> Iterator[str]:
        """What cannot be, as ends of sentences."""
        for field, known in (("objective", OBJECTIVES), ("problem", PROBLEMS), ("groups", GROUPS)):
            if getattr(self, field) not in known:
                yield f"has one of {', '.join(known)} as its {field}; got {getattr(self, field)!r}"
        if self.steps < 1 or self.candidates < 2 or not self.overshoot >= 0 or not self.dither >= 0:
            yield (
                f"needs at least 1 step and 2 candidates, and an overshoot and dither of at least 0; got {self.steps}, "
                f"{self.candidates}, {self.overshoot} and {self.dither}"
            )
        if self.step_size is not None and not self.step_size > 0:
            yield f"needs a step_size above 0, or None for eps / steps; got {self.step_size}"
        if self.subsets is not None and not (self.subsets >= 1 and float(self.subsets).is_integer()):
            yield f"changes at least 1 group, a whole number, or with None all; got subsets={self.subsets}"
        if self.subsets is None and self.groups != "entries":
            yield f"has groups={self.groups!r}, which need `subsets`, how many of them may change"
        if self.subsets is not None and self.random_start:
            yield "changes few groups of entries; a random start changes all, so leave it out"
        if self.problem == "minimum":
            yield from self._wrong_in_minimum()

    def _wrong_in_minimum(self) -> Iterator[str]:
        if self.objective not in ("margin", "targeted"):
            yield f"looks for a boundary with problem='minimum', and {self.objective} has none; choose a margin"
        if self.eps is not None or self.step_size is not None or self.random_start:
            yield "makes the norm small with problem='minimum'; eps, step_size and random_start are for 'constrained'"

    def prepare(self, problem: AttackProblem) -> AttackAt:
        """What the steps at all radii share; see `EpsilonAttack`."""
        from counter_attack.unified._constrained import Constrained

        return Constrained(self, problem).attack_at

    def run(self, problem: AttackProblem) -> None:
        """Attacks at `eps`, searches for the least one, or looks for the smallest perturbation."""
        from counter_attack.unified._minimum import minimum

        if self.problem == "constrained":
            super().run(problem)
        else:
            minimum(self, problem)


def preset_attack(name: str, norm: Norm = Norm.LINF, **changes: Any) -> LinearisedAttack:
    """The linearised attack with the parameters of a known one.

    Args:
        name: one of `PRESETS`.
        norm: of the perturbation.
        changes: parameters that differ.

    Raises:
        InputError: no such preset or parameter, or a value out of range.
    """
    if name not in PRESETS:
        raise InputError(f"There is no preset {name!r}; there are {', '.join(PRESETS)}.")
    known = [field.name for field in fields(LinearisedAttack)]
    unknown = changes.keys() - set(known)
    if unknown:
        raise InputError(f"The linearised attack has no parameter {min(unknown)!r}; it has {', '.join(known)}.")
    return LinearisedAttack(**{"preset": name, **PRESETS[name], "norm": norm, **changes})
