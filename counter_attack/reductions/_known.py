"""Robust accuracies of known classifiers: what a detector's claim is held against."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from mipverify_py import Norm

_ROBUSTBENCH = "RobustBench model zoo, README at commit dc70160 (2023; AutoAttack)"
_AUTOATTACK = "AutoAttack, README at commit 0185c79 (2020; AA+)"


@dataclass(frozen=True, slots=True)
class KnownResult:
    """What one classifier is known to withstand: an upper end, by attacks, of its robust accuracy.

    Attributes:
        data_set: "mnist", "cifar10", "cifar100" or "imagenet".
        norm: of the attacks.
        eps: their radius; pixels in [0, 1].
        clean: share of the test images that are classified correctly.
        robust: share that stays so.
        name: the classifier.
        paper: its paper on arXiv.
        source: where both figures stand.
    """

    data_set: str
    norm: Norm
    eps: Fraction
    clean: Fraction
    robust: Fraction
    name: str
    paper: str
    source: str


def _row(data_set: str, norm: Norm, eps: Fraction, figures: tuple[str, str], who: tuple[str, str, str]) -> KnownResult:
    clean, robust = (Fraction(figure) / 100 for figure in figures)
    return KnownResult(data_set, norm, eps, clean, robust, *who)


KNOWN: tuple[KnownResult, ...] = (
    _row(
        "mnist",
        Norm.LINF,
        Fraction(3, 10),
        ("98.38", "93.95"),
        ("Zhang et al. 2020 (CROWN-IBP)", "arXiv 1906.06316", _AUTOATTACK),
    ),
    _row(
        "cifar10",
        Norm.LINF,
        Fraction(8, 255),
        ("92.23", "66.56"),
        ("Rebuffi et al. 2021, WRN-70-16", "arXiv 2103.01946", _ROBUSTBENCH),
    ),
    _row(
        "cifar10",
        Norm.LINF,
        Fraction(8, 255),
        ("93.25", "70.69"),
        ("Wang et al. 2023, WRN-70-16", "arXiv 2302.04638", _ROBUSTBENCH),
    ),
    _row(
        "cifar10",
        Norm.L2,
        Fraction(1, 2),
        ("95.74", "82.32"),
        ("Rebuffi et al. 2021, WRN-70-16", "arXiv 2103.01946", _ROBUSTBENCH),
    ),
    _row(
        "cifar10",
        Norm.L2,
        Fraction(1, 2),
        ("95.54", "84.97"),
        ("Wang et al. 2023, WRN-70-16", "arXiv 2302.04638", _ROBUSTBENCH),
    ),
    _row(
        "cifar100",
        Norm.LINF,
        Fraction(8, 255),
        ("69.15", "36.88"),
        ("Gowal et al. 2020, WRN-70-16", "arXiv 2010.03593", _ROBUSTBENCH),
    ),
    _row(
        "cifar100",
        Norm.LINF,
        Fraction(8, 255),
        ("75.22", "42.67"),
        ("Wang et al. 2023, WRN-70-16", "arXiv 2302.04638", _ROBUSTBENCH),
    ),
    _row(
        "imagenet",
        Norm.LINF,
        Fraction(4, 255),
        ("68.46", "38.14"),
        ("Salman et al. 2020, WRN-50-2", "arXiv 2007.08489", _ROBUSTBENCH),
    ),
    _row(
        "imagenet",
        Norm.LINF,
        Fraction(4, 255),
        ("78.92", "59.56"),
        ("Liu et al. 2023, Swin-L", "arXiv 2302.14301", _ROBUSTBENCH),
    ),
)
"""Two per benchmark where the source has them: the best when the paper on detection was written, and a later one."""

DATA_SETS = tuple(dict.fromkeys(row.data_set for row in KNOWN))
"""The data sets with known results."""
