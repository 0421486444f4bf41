"""Forged certificates are rejected, or prove something that an independent oracle confirms."""

from __future__ import annotations

import copy
import gzip
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from mipverify_py import verify
from mipverify_py.certificate import Rejected, Statement, certify, check
from mipverify_py.certificate._encode import packed
from onnx_models import ReluNetwork
from tests.helpers.certificates import Document, assert_true, closed, digit_certificate, opened
from tests.helpers.networks import FAMILIES
from tests.helpers.queries import random_query
from tests.helpers.rationals import Question, exact_nearest

Change = Callable[[Document], None]


@pytest.fixture(scope="module")
def small() -> bytes:
    """The certificate of a digit."""
    return digit_certificate()


def radius_up(document: Document) -> None:
    radius = float.fromhex(document["robust"]["radius"])
    document["robust"]["radius"] = (1.001 * radius).hex()


def reference_changed(document: Document) -> None:
    question = document["question"]
    question["reference"], question["targets"][0] = question["targets"][0], question["reference"]
    question["targets"].sort()


def target_added(document: Document) -> None:
    question = document["question"]
    question["targets"] = sorted({*question["targets"], question["reference"]})
    question["margin"] = (0.0).hex()


def target_left_out(document: Document) -> None:
    document["robust"]["regions"][0]["trees"].pop()


def margin_lower(document: Document) -> None:
    document["question"]["margin"] = (-0.5).hex()


def bias_changed(document: Document) -> None:
    node = document["network"]["nodes"][1]
    node["bias"] = document["network"]["nodes"][-1]["bias"]


def digest_changed(document: Document) -> None:
    document["network"]["digest"] = "0" * 64


def weights_changed(document: Document) -> None:
    layer = document["network"]["nodes"][-1]["affine"][0]["map"]
    layer["dense"] = layer["dense"][:20] + "AAAA" + layer["dense"][24:]


def largest_tree(document: Document) -> Document:
    return max((tree for _, tree in document["robust"]["regions"][0]["trees"]), key=lambda tree: len(tree["nodes"]))


def leaves(document: Document) -> list[Document]:
    return [node for node in largest_tree(document)["nodes"] if node.get("close")]


def leaf_dropped(document: Document) -> None:
    largest_tree(document)["nodes"].pop()


def first_leaf_dropped(document: Document) -> None:
    nodes = largest_tree(document)["nodes"]
    nodes.remove(next(node for node in nodes if "close" in node))


def leaf_twice(document: Document) -> None:
    nodes = largest_tree(document)["nodes"]
    nodes.append(nodes[-1])


def leaf_called_empty(document: Document) -> None:
    leaves(document)[0]["close"] = None


def split_changed(document: Document) -> None:
    nodes = largest_tree(document)["nodes"]
    nodes[:] = [{"split": -1} if "split" in node else node for node in nodes]


def slope_above_one(document: Document) -> None:
    leaf = leaves(document)[0]["close"]
    leaf["alpha"] = [(1 << leaf["bits"]) + 1]


def slope_negative(document: Document) -> None:
    leaves(document)[0]["close"]["alpha"] = [-1]


def weight_negative(document: Document) -> None:
    leaves(document)[0]["close"]["planes"] = [[0, -1]]


def weights_above_one(document: Document) -> None:
    one = 1 << leaves(document)[0]["close"]["bits"]
    for leaf in leaves(document):
        leaf["close"]["planes"] = [[k, one] for k in range(len(largest_tree(document)["planes"]))] * 2
        leaf["close"]["bits"] = leaves(document)[0]["close"]["bits"]


def gamma_negative(document: Document) -> None:
    tree = largest_tree(document)
    tree["nodes"][:0] = [{"tighten": [[0, 1, -1]], "bits": 0, "by": leaves(document)[0]["close"]}]


def unit_unknown(document: Document) -> None:
    leaves(document)[0]["close"]["rho"] = [[10**6, 1]]


def rho_enormous(document: Document) -> None:
    leaves(document)[0]["close"]["rho"] = [[0, 10**50]]


def bits_enormous(document: Document) -> None:
    leaves(document)[0]["close"]["bits"] = 10**9


def bool_for_number(document: Document) -> None:
    document["question"]["reference"] = True


def float_for_number(document: Document) -> None:
    document["question"]["targets"][0] = float(document["question"]["targets"][0]) + 0.5


def margin_nan(document: Document) -> None:
    document["question"]["margin"] = "nan"


def margin_infinite(document: Document) -> None:
    document["question"]["margin"] = "0x1p+99999"


def margin_decimal(document: Document) -> None:
    document["question"]["margin"] = "0.0"


def x0_moved(document: Document) -> None:
    document["question"]["x0"] = document["question"]["upper"]


def x0_not_finite(document: Document) -> None:
    size = document["network"]["nodes"][0]["input"]
    document["question"]["x0"] = packed(np.full(size, np.nan))


def witness_moved(document: Document) -> None:
    document["witness"] = document["question"]["x0"]


def key_added(document: Document) -> None:
    document["remark"] = "trust me"


def version_changed(document: Document) -> None:
    document["version"] = 2


def part_added(document: Document) -> None:
    document["robust"]["regions"].append(document["robust"]["regions"][0])


def half_dropped(document: Document) -> None:
    whole = document["robust"]["regions"][0]
    cut = {"units": [], "steps": [], "trees": [], "cut": [0, (0.5).hex()]}
    document["robust"]["regions"] = [cut, whole]


def again_without_end(document: Document) -> None:
    document["robust"]["regions"][-1]["cut"] = "again"


def nothing_stated(document: Document) -> None:
    document["robust"] = document["witness"] = None


FORGERIES: list[Change] = [
    radius_up,
    reference_changed,
    target_added,
    target_left_out,
    margin_lower,
    bias_changed,
    digest_changed,
    weights_changed,
    leaf_dropped,
    first_leaf_dropped,
    leaf_twice,
    leaf_called_empty,
    split_changed,
    slope_above_one,
    slope_negative,
    weight_negative,
    weights_above_one,
    gamma_negative,
    unit_unknown,
    rho_enormous,
    bits_enormous,
    bool_for_number,
    float_for_number,
    margin_nan,
    margin_infinite,
    margin_decimal,
    x0_moved,
    x0_not_finite,
    witness_moved,
    key_added,
    version_changed,
    part_added,
    half_dropped,
    again_without_end,
    nothing_stated,
]


@pytest.mark.parametrize("change", FORGERIES, ids=lambda change: change.__name__)
def test_a_forgery_is_rejected(small: bytes, change: Change) -> None:
    document = opened(small)
    assert check(closed(document)).robust
    changed = copy.deepcopy(document)
    change(changed)
    assert changed != document
    with pytest.raises(Rejected):
        check(closed(changed))


def test_files_that_are_no_certificates_are_rejected(small: bytes) -> None:
    text = gzip.decompress(small)
    twice = text.replace(b'"version":1', b'"version":1,"version":1')
    digits = text.replace(b'"version":1', b'"version":' + b"1" * 5000)
    for data in (
        b"",
        b"certificate",
        small[:-9],
        small[: len(small) // 2],
        small + small,
        small + b"\0",
        gzip.compress(b""),
        gzip.compress(b"[" * 100_000),
        gzip.compress(twice),
        gzip.compress(digits),
        gzip.compress(text.replace(b'"version":1', b'"version":NaN')),
        gzip.compress(text.replace(b'"version":1', b'"version":1e400')),
        gzip.compress(b"null"),
        gzip.compress(b"[]"),
        gzip.compress("\u20ac".encode("utf-16")),
    ):
        with pytest.raises(Rejected):
            check(data)


def test_a_small_file_cannot_ask_for_much_memory_or_time(small: bytes) -> None:
    bomb = gzip.compress(b" " * (2**28 + 1), 9)
    assert len(bomb) < 300_000
    with pytest.raises(Rejected, match="too large"):
        check(bomb)
    with pytest.raises(Rejected, match="entries"):
        check(gzip.compress(b"[" + b"[]," * 2**23 + b"[]]"))
    with pytest.raises(Rejected, match="work"):
        check(small, most_products=10_000)
    for size in (2**23 - 1, 2**40):
        document = opened(small)
        document["network"]["nodes"] = [{"input": size}, {"relu": 0}, {"relu": 1}, {"relu": 2}]
        with pytest.raises(Rejected):
            check(closed(document))
    document = opened(small)
    layer = document["network"]["nodes"][1]["affine"][0]["map"]
    layer |= {"convolution": "f4:", "kernel": [2**20, 2**20, 1, 1], "input": [2**20, 8, 8]}
    with pytest.raises(Rejected):
        check(closed(document))


@pytest.mark.parametrize("family", FAMILIES)
def test_changed_bytes_are_never_accepted_for_something_false(family: str) -> None:
    rng = np.random.default_rng(1)
    network = FAMILIES[family](rng, max_relus=3)
    while network.input_size > 6:  # the oracle takes long
        network = FAMILIES[family](rng, max_relus=3)
    query = random_query(network, 1)
    text, accepted = gzip.decompress(certify(query, verify(query)).data), 0
    nearest = cache(exact_nearest)
    places = np.arange(text.index(b'"question"'), len(text))
    for _ in range(200):
        forged = bytearray(text)
        for place in rng.choice(places, size=int(rng.integers(1, 4))):
            forged[place] = int(rng.choice(np.frombuffer(b'0123456789abcdef-,]}"', np.uint8)))
        try:
            found = check(gzip.compress(bytes(forged), 1))
        except Rejected:
            continue
        accepted += 1
        assert_true(found, nearest(question_of(found, network)))
    assert accepted < 100


def question_of(found: Statement, network: ReluNetwork) -> Question:
    """The question that a statement answers."""
    assert found.digest == network.digest
    return Question(network, found.x0, found.lower, found.upper, found.reference, found.targets, found.margin)
