"""Thousands of forged certificates: what the checker accepts is true, and it never takes long to say so."""

from __future__ import annotations

import copy
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction

import numpy as np
import pytest

from mipverify_py.certificate import Rejected, Statement, check
from tests.helpers.certificates import assert_true, closed, opened
from tests.helpers.forged_files import BYTE_CHANGES
from tests.helpers.forgeries import (
    FORMED,
    PROOF_CHANGES,
    STATEMENT_CHANGES,
    Original,
    break_parts,
    break_tree,
    forged,
    network_of,
    originals,
    weigh_too_much,
)
from tests.helpers.rationals import Question, exact_nearest

SECONDS = 5.0
"""Processor time that a check may take; the files are small, and so is the work that is allowed."""
WORK = 2**22


class TooLongError(BaseException):
    """A check does not end; the checker takes every `Exception` for a malformed file."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raises TooLongError after so much processor time."""

    def alarm(*_: object) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGVTALRM, alarm)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)


class Truths:
    """Exact distances of questions, each computed once."""

    def __init__(self) -> None:
        self._known: dict[Statement, Fraction | None] = {}

    def about(self, data: bytes, found: Statement) -> Fraction | None:
        """The distance of what an accepted file is about; its network is read without the checker."""
        key = found._replace(robust=False, radius=None, distance=None)
        if key not in self._known:
            network = network_of(opened(data))
            assert network.digest == found.digest
            ends = found.x0, found.lower, found.upper
            self._known[key] = exact_nearest(Question(network, *ends, found.reference, found.targets, found.margin))
        return self._known[key]


def campaign(true: list[Original], count: int, seed: int) -> tuple[Counter[str], Counter[str]]:
    """How many forgeries of each kind were made, and how many of them accepted; all of these state something true."""
    rng, truths, tried, accepted = np.random.default_rng(seed), Truths(), Counter[str](), Counter[str]()
    for number in range(count):
        original = true[int(rng.integers(len(true)))]
        kind, data = forged(rng, original)
        tried[kind] += 1
        try:
            with limited(SECONDS):
                found = check(data, most_products=WORK)
        except Rejected:
            continue
        accepted[kind] += 1
        try:
            assert_true(found, truths.about(data, found))
        except AssertionError as error:
            raise AssertionError(f"{original.name}, seed {seed}, number {number}, {kind}: {found}") from error
    return tried, accepted


@pytest.fixture(scope="module")
def few() -> list[Original]:
    """True certificates of a few networks."""
    return originals(range(2))


def test_a_few_forgeries_prove_nothing_false(few: list[Original]) -> None:
    assert len(few) >= 8
    for original in few:
        assert check(closed(original.document)).robust
    tried, accepted = campaign(few, 400, seed=0)
    assert tried.total() == 400 and accepted.total() < 200
    assert accepted.total() > 0  # harmless changes keep a certificate valid, so the oracle has been asked


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 7))
def test_thousands_of_forgeries_prove_nothing_false(seed: int) -> None:
    true = originals(range(8 * seed, 8 * seed + 8))
    tried, accepted = campaign(true, 1000, seed)
    for kind in sorted(tried):
        sys.stdout.write(f"{kind:32} {tried[kind]:5} made, {accepted[kind]:5} accepted and true\n")
    sys.stdout.write(f"{len(true)} certificates: {tried.total()} forgeries, {accepted.total()} accepted and true\n")
    assert tried.total() == 1000
    assert set(PROOF_CHANGES) | set(STATEMENT_CHANGES) | set(BYTE_CHANGES) <= set(tried)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_no_choice_proves_a_radius_that_is_too_large(seed: int) -> None:
    """The radius is the distance itself or the next float above it; most proofs keep their form, so all rules count."""
    rng = np.random.default_rng(seed)
    true = [one for one in originals(range(4 * seed, 4 * seed + 4)) if one.truth]
    changes = (*FORMED, weigh_too_much, break_tree, break_parts)
    for number in range(1000):
        document = copy.deepcopy(true[number % len(true)].document)
        radius = float(true[number % len(true)].truth)
        while Fraction(radius) < true[number % len(true)].truth:
            radius = float(np.nextafter(radius, np.inf))
        document["robust"]["radius"] = radius.hex()
        for _ in range(int(rng.integers(1, 6))):
            with suppress(IndexError, ValueError):  # there may be no unit, no tree left
                changes[int(rng.integers(len(changes)))](rng, document)
        with limited(SECONDS), pytest.raises(Rejected):
            check(closed(document), most_products=WORK)
