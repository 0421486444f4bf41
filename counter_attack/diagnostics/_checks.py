"""Signs that gradients of a model mislead attacks rather than that the model is robust.

Athalye, Carlini and Wagner 2018 ("Obfuscated gradients give a false sense of security", section 3.1) list behaviours
that a model with good gradients does not show. Each check here counts, over the same inputs,

    a   those for which what ought to be weaker finds an example and the gradient attack does not,
    b   those for which it is the other way round,

and says what it counted. Rates are compared by the sign test: a warning needs a > b, and a that large has to have a
probability of at most 5 % if either were as likely (binomial with p = 1/2). So few inputs cannot warn: five with b = 0
do, four do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from counter_attack._share import Share
from counter_attack._subject import Subject
from counter_attack.attacks._epsilon import EpsilonAttack
from counter_attack.attacks._gradient import BIM, FGSM
from counter_attack.attacks._noise import UniformNoise
from counter_attack.attacks._square import Square
from counter_attack.diagnostics._curves import at_radius
from counter_attack.transfer import oracle_of, train_substitute, transfer
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from counter_attack.detection import ExactResult

SIGNIFICANCE = 0.05
"""The largest probability of the sign test that is taken for a sign."""

CLEAR = 0.9
"""An example counts as clearly missed from this share of eps downwards: steps of finite length miss the rest."""

GROWTH = (0.5, 1.0, 2.0, 4.0)
"""The radii, as multiples of eps, at which success has to grow; the domain's width comes last."""


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """What one check found.

    Attributes:
        name: short: "one-step", "black-box", "unbounded", "sampling", "growth" or "exact".
        asks: what behaviour was looked for.
        warns: whether it is there.
        text: the numbers in a sentence.
        numbers: the same by name; counts of inputs, shares and probabilities.
        rows: the inputs behind a warning, their numbers in the subject, for the checks that name inputs.
    """

    name: str
    asks: str
    warns: bool
    text: str
    numbers: Mapping[str, float]
    rows: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What the checks run.

    Attributes:
        eps: radius, > 0, in the subject's norm.
        attack: the attack by gradients that is looked at, in the subject's norm; its eps and step size are replaced,
            see `at_radius`. BIM has no random start, which would hide that gradients vanish.
        samples: random points per input, >= 1.
        queries: of the black-box attack Square per input, >= 1.

    Raises:
        InputError: a value out of range.
    """

    eps: float
    attack: EpsilonAttack = field(default_factory=lambda: BIM(steps=100))
    samples: int = 1000
    queries: int = 1000

    def __post_init__(self) -> None:
        if not self.eps > 0 or self.samples < 1 or self.queries < 1:
            raise InputError(
                f"The checks need eps > 0, and at least 1 sample and 1 query; got {self.eps}, {self.samples} and "
                f"{self.queries}."
            )


def diagnose(
    subject: Subject,
    plan: Plan,
    exact: ExactResult | None = None,
    *,
    tell: Callable[[str], None] | None = None,
) -> Iterator[Finding]:
    """The findings of all checks one after the other; the sixth only with exact distances.

    1. one-step: FGSM is better than the attack.
    2. black-box: Square (not in L1), or examples of a substitute trained on the model's answers to these inputs, are
       better.
    3. unbounded: within a ball as wide as the domain the attack does not fool all inputs.
    4. sampling: random points of the ball are examples where the attack finds none.
    5. growth: a larger ball does not give more success.
    6. exact: the attack fails although there is a checked example well within eps, a proof instead of a sign.

    Args:
        subject: the model and inputs that it gets right.
        plan: what to run.
        exact: brackets of the exact distances of all inputs, from `ExactAttack`; also takes inputs that are proved to
            have no example at all out of checks 3 and 5.
        tell: told what is being done.

    Raises:
        InputError: an attack that does not work in the subject's norm.
    """
    checks = _Checks(subject, plan, exact)
    steps: list[tuple[str, Callable[[], Finding]]] = [
        ("one step against many", checks.one_step),
        ("black-box attacks", checks.black_box),
        ("the widest ball", checks.unbounded),
        ("random points", checks.sampling),
        ("growing balls", checks.growth),
    ]
    if exact is not None:
        steps.append(("exact distances", checks.exact_misses))
    for text, step in steps:
        if tell is not None:
            tell(text)
        yield step()


def sign_test(a: int, b: int) -> float:
    """P(A >= a) for A ~ Binomial(a + b, 1/2); 1 for a = b = 0."""
    from scipy.stats import binomtest

    return 1.0 if a + b == 0 else float(binomtest(a, a + b, 0.5, alternative="greater").pvalue)


class _Checks:
    """The checks; the attack runs once at each radius."""

    def __init__(self, subject: Subject, plan: Plan, exact: ExactResult | None) -> None:
        if plan.attack.norm is not subject.norm:
            raise InputError(
                f"{plan.attack.name} works in {plan.attack.norm.value}, the radius is in {subject.norm.value}; make "
                "them agree."
            )
        self.subject, self.plan, self.exact = subject, plan, exact
        self._runs: dict[float, NDArray[np.bool_]] = {}

    def fooled(self, eps: float) -> NDArray[np.bool_]:
        """Which inputs the attack fools within eps."""
        if eps not in self._runs:
            found = self.subject.attacked(at_radius(self.plan.attack, eps))
            self._runs[eps] = self.subject.within(found, eps)
        return self._runs[eps]

    @property
    def _attackable(self) -> NDArray[np.bool_]:
        """Inputs that are not proved to have no example at all."""
        return np.ones(len(self.subject), dtype=bool) if self.exact is None else np.isfinite(self.exact.lower)

    def one_step(self) -> Finding:
        eps = self.plan.eps
        once = self.subject.within(self.subject.attacked(FGSM(norm=self.subject.norm, eps=eps)), eps)
        return self._duel("one-step", "one step beats many", {"FGSM": once})

    def black_box(self) -> Finding:
        subject, eps = self.subject, self.plan.eps
        rivals = {}
        if subject.norm in Square.norms:
            square = Square(norm=subject.norm, eps=eps, queries=self.plan.queries)
            rivals["Square"] = subject.within(subject.attacked(square), eps)
        oracle, classes = oracle_of(subject.classifier), int(subject.problem().is_target.shape[1])
        copy = train_substitute(oracle, subject.x, classes=classes, domain=subject.domain)
        rivals["substitute"] = transfer(subject, "substitute", copy.classifier, eps).on_target
        return self._duel("black-box", "black-box attacks beat the attack by gradients", rivals)

    def _duel(self, name: str, asks: str, rivals: Mapping[str, NDArray[np.bool_]]) -> Finding:
        """Every rival against the attack; a sign of one is enough, at a level shared among them (Bonferroni)."""
        ours, warns, texts, numbers = self.fooled(self.plan.eps), False, [], dict[str, float]()
        for rival, theirs in rivals.items():
            a, b = int((theirs & ~ours).sum()), int((ours & ~theirs).sum())
            chance = sign_test(a, b)
            warns |= a > b and chance * len(rivals) <= SIGNIFICANCE
            texts.append(
                f"{rival} {int(theirs.sum())}, {self.plan.attack.name} {_said(ours)}; "
                f"alone {a} and {b}, p = {chance:.2g}"
            )
            key = rival.lower()
            numbers |= {f"{key}_fools": int(theirs.sum()), f"only_{key}": a, f"not_{key}": b, f"{key}_chance": chance}
        numbers["attack_fools"] = int(ours.sum())
        return Finding(name, asks, warns, "; ".join(texts), numbers)

    def unbounded(self) -> Finding:
        counts = self._attackable
        left = counts & ~self.fooled(self.subject.width)
        none = int((~counts).sum())
        proof = f"; {none} are proved to have no example" if none else ""
        return Finding(
            "unbounded",
            "an attack without bound does not always succeed",
            bool(left.any()),
            f"within {self.subject.width:g}, the domain's width, {self.plan.attack.name} fools "
            f"{int(counts.sum() - left.sum())} of {int(counts.sum())}{proof}",
            {"fooled": int(counts.sum() - left.sum()), "of": int(counts.sum()), "without_example": none},
            tuple(np.flatnonzero(left).tolist()),
        )

    def sampling(self) -> Finding:
        eps, ours = self.plan.eps, self.fooled(self.plan.eps)
        drawn = self.subject.attacked(UniformNoise(norm=self.subject.norm, eps=eps, runs=self.plan.samples))
        theirs = self.subject.within(drawn, eps)
        only = theirs & ~ours
        return Finding(
            "sampling",
            "random points are examples where the attack finds none",
            bool(only.any()),
            f"{self.plan.samples:,} random points each fool {_said(theirs)}, of which {self.plan.attack.name} misses "
            f"{int(only.sum())}",
            {"samples": self.plan.samples, "sampling_fools": int(theirs.sum()), "missed": int(only.sum())},
            tuple(np.flatnonzero(only).tolist()),
        )

    def growth(self) -> Finding:
        width = self.subject.width
        radii = [*(factor * self.plan.eps for factor in GROWTH if factor * self.plan.eps < width), width]
        runs = [self.fooled(eps) for eps in radii]
        counts = [int(run.sum()) for run in runs]
        falls = []
        for small, large in pairwise(runs):
            a, b = int((small & ~large).sum()), int((large & ~small).sum())
            falls.append(a > b and sign_test(a, b) <= SIGNIFICANCE)
        flat = counts[-1] <= counts[0] < int(self._attackable.sum())
        shown = ", ".join(f"{count} at {eps:g}" for count, eps in zip(counts, radii, strict=True))
        return Finding(
            "growth",
            "a larger bound does not mean more success",
            flat or any(falls),
            f"{self.plan.attack.name} fools of {len(self.subject)} inputs: {shown}",
            {**{f"fooled_at_{eps:g}": count for count, eps in zip(counts, radii, strict=True)}, "falls": sum(falls)},
        )

    def exact_misses(self) -> Finding:
        assert self.exact is not None
        eps, upper = self.plan.eps, self.exact.upper
        there = upper <= eps
        missed = there & ~self.fooled(eps)
        clear = missed & (upper <= CLEAR * eps)
        nearest = f", the nearest at {upper[missed].min():.4g}" if missed.any() else ""
        numbers: dict[str, float] = {
            "with_example": int(there.sum()),
            "missed": int(missed.sum()),
            "clearly": int(clear.sum()),
        }
        if missed.any():
            numbers["nearest"] = float(upper[missed].min())
        return Finding(
            "exact",
            f"the attack fails where there is a checked example within {CLEAR:g} eps",
            bool(clear.any()),
            f"{int(there.sum())} of {len(upper)} have an example within {eps:g}, "
            f"{int((upper <= CLEAR * eps).sum())} within {CLEAR * eps:g}; "
            f"{self.plan.attack.name} misses {int(missed.sum())} and {int(clear.sum())}{nearest}",
            numbers,
            tuple(np.flatnonzero(clear).tolist()),
        )


def _said(which: NDArray[np.bool_]) -> str:
    share = Share.true(which)
    return f"{share.count} of {share.of}"
