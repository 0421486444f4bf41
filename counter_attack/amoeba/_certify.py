"""What is proved of a box: that the class is kept in all of it, or that it is not."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bounds import Bounds
from counter_attack.amoeba._box import UNIT, AsymmetricBox, Domain
from onnx_models import Array, ReluNetwork
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from mipverify_py import Options, Query, Result
    from mipverify_py.certificate import Certificate

MOST_SHRINKS = 60
"""How often `shrink_to_certified` shrinks a box before it gives up."""


@dataclass(frozen=True, slots=True, eq=False)
class Certification:
    """What the exact engine says of one box.

    Attributes:
        box: the box.
        query: the question that was asked: is there an x' in the box with f_j(x') >= f_c(x') for some j other than c?
        result: its answer, with the proof or the checked counterexample.
        shrinks: how often the box was shrunk before.
        seconds: wall-clock time of all that.
    """

    box: AsymmetricBox
    query: Query
    result: Result
    shrinks: int
    seconds: float

    @property
    def certified(self) -> bool:
        """Whether the class is proved to be kept in the whole box, by our own proof and not by a solver's word."""
        return is_proved(self.result)

    @property
    def counterexample(self) -> Array | None:
        """A checked input of the box with another class (or a tie), shape (n,); None where none was found."""
        return None if self.result.witness is None else self.result.witness.point

    def certificate(self) -> Certificate:
        """The certificate file that the box is robust, checked in exact arithmetic.

        Raises:
            CertificateError: the box is not certified, or exact arithmetic does not confirm the proof.
        """
        from mipverify_py.certificate import CertificateError, certify

        if not self.certified:
            raise CertificateError("There is nothing to certify: the box is not proved robust.")
        return certify(self.query, self.result)


def certify_box(
    network: ReluNetwork,
    box: AsymmetricBox,
    label: int | None = None,
    *,
    domain: Domain = UNIT,
    options: Options | None = None,
) -> Certification:
    """Whether the network keeps its class in the box: outward-rounded bounds first, the exact engine if they fail.

    Args:
        network: the classifier.
        box: a box in the domain.
        label: the class to keep; None: the class that the model predicts for x.
        domain: the least and the largest valid input.
        options: limits and choices of the engine; None means `Options()`.

    Raises:
        InputError: the box does not fit the network or reaches out of the domain.
    """
    from mipverify_py import verify

    began, whole = time.monotonic(), domain_bounds(domain, box.size)
    if not (whole.contains(box.lower) and whole.contains(box.upper)):
        raise InputError("The box reaches out of the domain; cut it off there with AsymmetricBox.clipped.")
    query = question(network, box.x, Bounds(box.lower, box.upper), label, whole)
    return Certification(box, query, verify(query, options), 0, time.monotonic() - began)


def question(network: ReluNetwork, x: Array, region: Bounds, label: int | None, domain: Bounds) -> Query:
    """Is there an x' in the region, which need not contain x, with f_j(x') >= f_c(x') for some j other than c?"""
    from mipverify_py import Box, Objective, Query

    return Query(network, x, perturbation=Box(region), objective=Objective.FEASIBILITY, label=label, domain=domain)


def is_proved(result: Result) -> bool:
    """Whether there is no such x', by our own proof and not by a solver's word."""
    from mipverify_py import Evidence, Verdict

    return result.verdict is Verdict.ROBUST and result.evidence not in {None, Evidence.SOLVER_CLAIM}


def shrink_to_certified(
    network: ReluNetwork,
    box: AsymmetricBox,
    label: int | None = None,
    *,
    tau: float = 0.99,
    domain: Domain = UNIT,
    options: Options | None = None,
) -> Certification:
    """The certification of the first of box, tau box, tau^2 box, ... that is certified.

    It stops early where x itself has another class, on Ctrl-C, and after 60 boxes: look at `certified`. The time limit
    of `options` is for all of them together.
    """
    from mipverify_py import Options, StopReason

    began, limits = time.monotonic(), options or Options()
    found = certify_box(network, box, label, domain=domain, options=limits)
    for shrinks in range(1, MOST_SHRINKS + 1):
        at_x = found.counterexample is not None and np.array_equal(found.counterexample, box.x)
        if found.certified or at_x or found.result.stop_reason is StopReason.INTERRUPTED:
            break
        if options is not None and options.time_limit is not None:
            left = began + options.time_limit - time.monotonic()
            if left <= 0:
                break
            limits = replace(options, time_limit=left)
        found = certify_box(network, found.box.scaled(tau), label, domain=domain, options=limits)
        found = replace(found, shrinks=shrinks)
    return replace(found, seconds=time.monotonic() - began)


def domain_bounds(domain: Domain, size: int) -> Bounds:
    """The domain as bounds of `size` features."""
    low, high = (np.broadcast_to(np.asarray(end, dtype=np.float64), (size,)) for end in domain)
    return Bounds(np.array(low), np.array(high))
