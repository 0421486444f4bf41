"""The fast checker says what the plain one says, and counts the same work, of true, forged and hostile files."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mipverify_py import LinfBall, Objective, Options, Query, verify
from mipverify_py.certificate import CertificateError, Rejected, Statement, certify, checker, fast
from mipverify_py.certificate import _fast_planes as planes
from mipverify_py.certificate import _fast_region as region
from onnx_models import DenseMap, NetworkBuilder, ReluNetwork
from tests.helpers.certificates import Document, closed, digit_certificate, opened
from tests.helpers.forgeries import Original, floats, forged, network_of, originals, packed
from tests.helpers.networks import networks
from tests.helpers.queries import random_query

WORK = 2**22
Check = Callable[..., Statement]


@pytest.fixture(params=["batches of any size", "small batches", "as it is"])
def batches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The networks here are so small that the plain rules would be taken for nearly all of their parts."""
    if request.param != "as it is":
        monkeypatch.setattr(region, "WORTH", 0)
        monkeypatch.setattr(planes, "SHORT", 0)
    if request.param == "small batches":
        monkeypatch.setattr(region, "MOST_PARTS", 2)


@pytest.fixture
def spent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[checker.Work]]:
    """What the checks have left of the work that they may do, the last one last."""
    found: list[checker.Work] = []

    class Noted(checker.Work):
        def __init__(self, left: int) -> None:
            super().__init__(left)
            found.append(self)

    monkeypatch.setattr(checker, "Work", Noted)
    return iter([found])


def said(check: Check, data: bytes, most_products: int = WORK) -> Statement | None:
    """What a checker says; None if it rejects."""
    try:
        return check(data, most_products=most_products)
    except Rejected:
        return None


def assert_same(data: bytes, works: list[checker.Work], most_products: int = 2**36) -> Statement:
    """Both accept the same, take the same work for it, and reject it with any less."""
    plain = checker.check(data, most_products=most_products)
    assert fast.check(data, most_products=most_products) == plain
    assert works[-1].left == works[-2].left
    exactly = most_products - works[-1].left
    assert said(fast.check, data, exactly) == plain
    assert said(fast.check, data, exactly - 1) is None
    return plain


@pytest.fixture(scope="module")
def tiny() -> list[Original]:
    """Certificates of tiny networks of every family, by every engine."""
    return originals(range(1))


@pytest.fixture(scope="module")
def digit() -> bytes:
    """A certificate with splits, planes, tightenings and a witness."""
    return digit_certificate()


@pytest.mark.usefixtures("batches")
def test_it_accepts_what_holds(tiny: list[Original], digit: bytes, spent: Iterator[list[checker.Work]]) -> None:
    works = next(spent)
    for original in tiny:
        assert_same(closed(original.document), works)
    found = assert_same(digit, works)
    assert found.robust and found.distance is not None


@pytest.mark.usefixtures("batches")
@settings(max_examples=5)
@given(network=networks(max_relus=6), seed=st.integers(0, 999))
def test_any_network(network: ReluNetwork, seed: int) -> None:
    query = random_query(network, seed)
    try:
        data = certify(query, verify(query, Options(engine="duals", time_limit=5.0))).data
    except CertificateError:
        return
    assert fast.check(data) == checker.check(data)


def test_a_network_with_wide_layers(spent: Iterator[list[checker.Work]]) -> None:
    """More products per sum than are added up at once, and parts of a box with many units."""
    rng, builder = np.random.default_rng(5), NetworkBuilder((1500,))
    weights = rng.normal(size=(40, 1500)) / 40.0
    hidden = builder.relu(builder.affine([0], [DenseMap(weights)], rng.normal(size=40)))
    hidden = builder.relu(builder.affine([hidden], [DenseMap(rng.normal(size=(30, 40)) / 6.0)]))
    network = builder.build(builder.affine([hidden], [DenseMap(rng.normal(size=(3, 30)))]))
    query = Query(network, rng.random(1500), LinfBall(2e-3), Objective.FEASIBILITY)
    result = verify(query)
    assert_same(certify(query, result).data, next(spent))


def campaign(true: list[Original], count: int, seed: int) -> Counter[str]:
    """Both checkers say the same of so many forgeries; how often they accept, and reject."""
    rng, found = np.random.default_rng(seed), Counter[str]()
    for _ in range(count):
        kind, data = forged(rng, true[int(rng.integers(len(true)))])
        plain = said(checker.check, data)
        assert said(fast.check, data) == plain, kind
        found["rejected" if plain is None else "accepted"] += 1
    return found


@pytest.mark.usefixtures("batches")
def test_it_accepts_and_rejects_the_same_forgeries(tiny: list[Original]) -> None:
    found = campaign(tiny, 120, 0)
    assert min(found["accepted"], found["rejected"]) > 10


@pytest.mark.slow
@pytest.mark.usefixtures("batches")
@pytest.mark.parametrize("seed", range(3))
def test_it_accepts_and_rejects_the_same_of_thousands(seed: int) -> None:
    found = campaign(originals(range(10 * seed + 2, 10 * seed + 8)), 1500, seed)
    sys.stdout.write(f"{dict(found)}\n")
    assert min(found["accepted"], found["rejected"]) > 100


def rescaled(document: Document, places: int) -> Document:
    """The network with the weights of its first affine node times 2**places, and those that follow divided by it."""
    result = copy.deepcopy(document)
    affine = [node for node in result["network"]["nodes"] if "affine" in node]
    for k, node in enumerate(affine):
        shift = places if k == 0 else 0 if k < len(affine) - 1 else -places
        for part in node["affine"]:
            (name,) = {"dense", "sparse", "convolution"} & set(part["map"])
            part["map"][name] = packed(np.ldexp(floats(part["map"][name]), shift))
        if k < len(affine) - 1:
            node["bias"] = packed(np.ldexp(floats(node["bias"]), places))
    result["network"]["digest"] = network_of(result).digest
    return result


@pytest.mark.usefixtures("batches")
@pytest.mark.parametrize("places", [40, -40, 180, -180, 450, -450])
def test_numbers_that_are_too_long_for_digits(tiny: list[Original], places: int) -> None:
    accepted = 0
    for original in tiny[::3]:
        try:
            data = closed(rescaled(original.document, places))
        except (KeyError, ValueError):
            continue
        plain = said(checker.check, data)
        assert said(fast.check, data) == plain
        accepted += plain is not None
    assert accepted or abs(places) > 200


HOSTILE: dict[str, Callable[[Document], object]] = {
    "a tree that ends early": lambda d: _nodes(d).pop(),
    "a tree that goes on": lambda d: _nodes(d).append({"close": None}),
    "splits without end": lambda d: _nodes(d).__setitem__(slice(None), [{"split": 0}] * 20_000),
    "tightenings without end": lambda d: _nodes(d).__setitem__(
        slice(0, 0), [{"tighten": [], "bits": 0, "by": _choice()}] * 60
    ),
    "a slope that is no whole number": lambda d: _nodes(d).__setitem__(slice(None), [{"close": _choice(alpha=[True])}]),
    "slopes in an object": lambda d: _nodes(d).__setitem__(slice(None), [{"close": _choice(alpha={})}]),
    "a multiplier of 80 bits": lambda d: _nodes(d).__setitem__(
        slice(None), [{"close": _choice(rho=[[0, 2**80 - 1]], bits=59)}]
    ),
    "a plane over nothing": lambda d: _planes(d, []),
    "planes over the unit itself": lambda d: _planes(d, [[d["network"]["nodes"][2]["relu"], [0], [None]]]),
    "a plane with a list too short": lambda d: _planes(d, [[0, [0, 1], [1]]]),
    "a plane with an entry twice": lambda d: _planes(d, [[0, [1, 1], [1, 2]]]),
    "a plane with a huge coefficient": lambda d: _planes(d, [[0, [0, 1], [2**79, -(2**79)]]]),
    "a plane whose node is a text": lambda d: _planes(d, [["0", [0], [1]]]),
    "weights that add up to too much": lambda d: _planes(d, [[0, [0], [None]]], weights=[1] * 40),
}


def _choice(**given: object) -> Document:
    return {"bits": 0, "alpha": [], "rho": [], "planes": [], **given}


def _nodes(document: Document) -> list[Document]:
    return document["robust"]["regions"][0]["trees"][0][1]["nodes"]


def _planes(document: Document, terms: list[object], weights: tuple[int, ...] | list[int] = (1,)) -> None:
    tree = document["robust"]["regions"][0]["trees"][0][1]
    units = sum(len(entries) for _, entries in document["robust"]["regions"][0]["units"])
    tree["planes"] = [{"unit": u, "bits": 3, "terms": terms} for u in range(units)]
    listed = [[u, weight] for u in range(units) for weight in weights]
    tree["nodes"] = [{"close": _choice(planes=listed)}]


@pytest.mark.usefixtures("batches")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_proofs(digit: bytes, name: str) -> None:
    """With the margin so large that a proof may hold, and as it is."""
    for margin in (None, 1e6):
        document = opened(digit)
        HOSTILE[name](document)
        if margin is not None:
            document["question"]["margin"] = margin.hex()
            document["witness"] = None
        data = closed(document)
        assert said(fast.check, data, 2**26) == said(checker.check, data, 2**26)


def test_numbers_with_many_digits_are_refused_alike(digit: bytes) -> None:
    document = opened(digit)
    for value in (10**58, -(10**58), 10**59, -(10**59), 10**70):
        document["robust"]["regions"][0]["trees"][0][1]["nodes"] = [{"close": _choice(rho=[[0, value]])}]
        data = closed(document)
        assert said(fast.check, data) == said(checker.check, data)


def test_the_command(digit: bytes, tmp_path: Path) -> None:
    file = tmp_path / "digit.cert"
    for data, code, word in ((digit, 0, "PROVED"), (digit[:-1], 1, "REJECTED")):
        file.write_bytes(data)
        command = [sys.executable, "-m", "mipverify_py.certificate.fast", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code and word in done.stdout, done.stderr
