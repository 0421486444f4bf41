"""Forged certificates of tiny networks: true ones, changed in form, in their numbers, in what they state, as bytes.

Every change draws from a numpy `Generator`. Changes of a proof put in random splits, tightenings, planes, steps and
cuts of the documented form, or break that form; changes of the statement keep the digest right, so that only the proof
can give them away.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from mipverify_py import Options, verify
from mipverify_py.certificate import CertificateError, certify
from onnx_models import Affine, ConvolutionMap, DenseMap, Input, Relu, ReluNetwork, SparseMap
from onnx_models._maps import LinearMap
from tests.helpers.certificates import Document, closed, opened
from tests.helpers.forged_files import BYTE_CHANGES
from tests.helpers.networks import FAMILIES
from tests.helpers.queries import random_query
from tests.helpers.rationals import Question, exact_nearest

Change = Callable[[np.random.Generator, Document], None]


class Original(NamedTuple):
    """A certificate that holds, and the exact distance of its question."""

    name: str
    document: Document
    truth: Fraction | None


class Forgery(NamedTuple):
    """A file, and the last thing that was done to make it."""

    kind: str
    data: bytes


def originals(seeds: range) -> list[Original]:
    """True certificates with a proof, of tiny networks of every family and by every engine."""
    found = []
    for seed in seeds:
        for family, make in FAMILIES.items():
            network = make(np.random.default_rng(seed), max_relus=3)
            if network.input_size > 4:  # the oracle takes long
                continue
            query = random_query(network, seed)
            for engine in ("cuts", "duals", "boxes"):
                try:
                    document = opened(certify(query, verify(query, Options(engine=engine))).data)
                except CertificateError:
                    continue
                if document["robust"] is not None:
                    truth = exact_nearest(Question.of(query))
                    found.append(Original(f"{family}-{engine}-{seed}", document, truth))
    return found


def forged(rng: np.random.Generator, original: Original) -> Forgery:
    """A random forgery: a false radius or none, then one to four changes, now and then as bytes."""
    document = copy.deepcopy(original.document)
    false = original.truth is not None and rng.random() < 0.5
    if false:
        raise_radius(rng, document, original.truth)
    names, changes = list[str](), PROOF_CHANGES if false else {**PROOF_CHANGES, **STATEMENT_CHANGES}
    for _ in range(int(rng.integers(1, 5))):
        name = str(rng.choice(list(changes)))
        names.append(name)
        try:
            changes[name](rng, document)
        except (IndexError, KeyError, TypeError, AttributeError, ValueError):
            names[-1] += " (in vain)"  # an earlier change has taken away what this one is about
    if rng.random() < 0.8:
        return Forgery(names[-1], closed(document))
    name = str(rng.choice(list(BYTE_CHANGES)))
    return Forgery(name, BYTE_CHANGES[name](rng, closed(document)))


def network_of(document: Document) -> ReluNetwork:
    """The network in a document, read without the checker."""
    nodes: list[Any] = []
    for node in document["network"]["nodes"]:
        if "input" in node:
            nodes.append(Input(node["input"]))
        elif "relu" in node:
            nodes.append(Relu(node["relu"], nodes[node["relu"]].size))
        else:
            maps = tuple(_map(p["map"], nodes[p["from"]].size, node["size"]) for p in node["affine"])
            nodes.append(Affine(tuple(p["from"] for p in node["affine"]), maps, floats(node["bias"])))
    return ReluNetwork(tuple(nodes), (nodes[0].size,))


def _map(value: Document, n: int, m: int) -> LinearMap:
    if "dense" in value:
        return DenseMap(floats(value["dense"]).reshape(m, n))
    if "convolution" in value:
        kernel = floats(value["convolution"]).reshape(value["kernel"])
        shapes = {key: tuple(value[key]) for key in ("strides", "pads", "dilations")}
        return ConvolutionMap(kernel, tuple(value["input"]), groups=value["groups"], **shapes)
    from scipy.sparse import csr_array

    ends = [np.frombuffer(base64.b64decode(value[key][3:]), "<i4") for key in ("columns", "starts")]
    return SparseMap(csr_array((floats(value["sparse"]), *ends), shape=(m, n)))


def floats(text: str) -> np.ndarray:
    """The numbers of a packed array."""
    kind, packed = text.split(":")
    return np.frombuffer(base64.b64decode(packed), f"<{kind}").astype(np.float64)


def packed(values: np.ndarray) -> str:
    return "f8:" + base64.b64encode(np.asarray(values, "<f8").tobytes()).decode("ascii")


# -------------------------------------------------------------------------------------------------- what is in a proof


def regions(document: Document) -> list[Document]:
    return document["robust"]["regions"]


def trees(document: Document) -> list[Document]:
    """The trees of all parts, those of steps with a limit included."""
    found = [tree for region in regions(document) for _, tree in region["trees"]]
    return found + [step["proof"] for region in regions(document) for step in region["steps"] if step["below"]]


def choices(document: Document) -> list[Document]:
    """The choices of all bounds."""
    nodes = [node for tree in trees(document) for node in tree["nodes"]]
    found = [node.get("close") or node.get("by") for node in nodes]
    found += [step["proof"] for region in regions(document) for step in region["steps"] if not step["below"]]
    return [choice for choice in found if choice]


def one_of(rng: np.random.Generator, values: Any) -> Any:
    values = list(values)
    return values[int(rng.integers(len(values)))]


def relus(document: Document) -> list[tuple[int, int]]:
    """ReLU nodes and their sizes."""
    network = network_of(document)
    return [(k, network.nodes[k].size) for k in network.relu_indices]


def spread(rng: np.random.Generator, end: int) -> int:
    """A whole number from 0 to `end`, often one of both."""
    return one_of(rng, (0, end, int(rng.integers(end + 1))))


def random_choices(rng: np.random.Generator, units: int, planes: int) -> Document:
    """Choices that have the right form."""
    bits = int(rng.integers(0, 8))
    one = 1 << bits
    return {
        "bits": bits,
        "alpha": [one_of(rng, (None, spread(rng, one))) for _ in range(int(rng.integers(units + 1)))],
        "rho": [[int(rng.integers(units)), int(rng.integers(-9 * one, 9 * one))] for _ in range(2) if units],
        "planes": [[int(rng.integers(planes)), spread(rng, one)] for _ in range(2) if planes],
    }


def count(document: Document) -> int:
    """The number of units that every part of a proof names."""
    return min(sum(len(entries) for _, entries in region["units"]) for region in regions(document))


# ----------------------------------------------------------------------------------------------- changes of the proof


def put_units(rng: np.random.Generator, document: Document) -> None:
    for region in regions(document):
        relu, size = one_of(rng, relus(document))
        region["units"].append([relu, [int(rng.integers(size)) for _ in range(3)]])


def put_choices(rng: np.random.Generator, document: Document) -> None:
    for tree in trees(document):
        for node in tree["nodes"]:
            if node.get("close") and rng.random() < 0.7:
                node["close"] = random_choices(rng, count(document), len(tree["planes"]))


def put_planes(rng: np.random.Generator, document: Document) -> None:
    tree, sizes = one_of(rng, trees(document)), [node.size for node in network_of(document).nodes]
    for _ in range(3):
        source = int(rng.integers(len(sizes)))
        entries = [int(rng.integers(sizes[source])) for _ in range(2)]
        values = [one_of(rng, (None, int(rng.integers(-64, 65)))) for _ in entries]
        terms = [[source, entries, values]]
        tree["planes"].append({"unit": int(rng.integers(count(document))), "bits": 4, "terms": terms})
    put_choices(rng, document)


def put_split(rng: np.random.Generator, document: Document) -> None:
    nodes = one_of(rng, trees(document))["nodes"]
    place = one_of(rng, [k for k, node in enumerate(nodes) if "close" in node])
    other = one_of(rng, ({"close": None}, nodes[place]))
    nodes[place : place + 1] = [{"split": int(rng.integers(count(document)))}, nodes[place], other]


def put_tightening(rng: np.random.Generator, document: Document) -> None:
    tree = one_of(rng, trees(document))
    gammas = [[int(rng.integers(count(document))), int(rng.integers(2)), spread(rng, 1000)] for _ in range(3)]
    by = random_choices(rng, count(document), len(tree["planes"]))
    place = int(rng.integers(len(tree["nodes"])))
    tree["nodes"].insert(place, {"tighten": gammas, "bits": int(rng.integers(8)), "by": by})


def put_step(rng: np.random.Generator, document: Document) -> None:
    node, size = one_of(rng, list(enumerate(n.size for n in network_of(document).nodes)))
    step = {"node": node, "unit": int(rng.integers(size)), "sign": int(rng.integers(2)), "below": None}
    proof = random_choices(rng, one_of(rng, (0, count(document))), 0)
    if rng.random() < 0.6:
        step["below"] = float(rng.normal()).hex()
        proof = {"planes": [], "nodes": [{"close": one_of(rng, (None, proof))}]}
    for region in regions(document):
        region["steps"].append({**step, "proof": proof})
        region["steps"].sort(key=lambda step: step["node"])


def put_cut(rng: np.random.Generator, document: Document) -> None:
    parts = regions(document)
    place = one_of(rng, [k for k, region in enumerate(parts) if region["cut"] is None])
    lower, upper = floats(document["question"]["lower"]), floats(document["question"]["upper"])
    axis = int(rng.integers(lower.size))
    at = one_of(rng, (lower[axis], upper[axis], float(rng.uniform(lower[axis], upper[axis])), -1.0, 9.0))
    empty = {"units": [], "steps": [], "trees": [], "cut": [axis, float(at).hex()]}
    half = one_of(rng, (parts[place], {**empty, "cut": None}))
    parts[place : place + 1] = [{**one_of(rng, (empty, parts[place])), "cut": empty["cut"]}, parts[place], half]


def change_numbers(rng: np.random.Generator, document: Document) -> None:
    """Some numbers of the proof become others: near, out of range, negative, enormous, or no whole numbers."""
    for _ in range(int(rng.integers(1, 4))):
        places = [(holder, key) for holder, key, _ in leaves(one_of(rng, (document["robust"], choices(document))))]
        holder, key = one_of(rng, places)
        old = holder[key]
        near = [old + 1, old - 1, -old, 2 * old] if type(old) is int else [0, 1]
        holder[key] = one_of(rng, (*near, *STRANGE))


STRANGE: tuple[Any, ...] = (
    -1, 2**30, 2**59, 2**60, 10**59, -(2**80), 10**70, True, False, None, 1.0, 0.5, -0.0, float("nan"), float("inf"),
    1e300, "", "1", "0x1p-1", "nan", "inf", "0x1p+99999", "\u0661", [], [0], {}, [[]], {"split": 0},
)  # fmt: skip


def leaves(value: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Holder, key and value of everything in a document that is no list or object."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        if isinstance(inner, (dict, list)):
            yield from leaves(inner)
        else:
            yield value, key, inner


def break_tree(rng: np.random.Generator, document: Document) -> None:
    nodes = one_of(rng, trees(document))["nodes"]
    first, second = (int(rng.integers(len(nodes))) for _ in range(2))
    way = int(rng.integers(6))
    if way == 0:
        nodes.pop(first)
    elif way == 1:
        nodes.insert(first, nodes[second])
    elif way == 2:
        nodes[first], nodes[second] = nodes[second], nodes[first]
    elif way == 3:
        nodes[first] = {"close": None}
    elif way == 4:
        nodes[first] = {"split": int(rng.integers(count(document)))}
    else:
        nodes[:] = [{"close": None}]


def break_parts(rng: np.random.Generator, document: Document) -> None:
    parts = regions(document)
    first, second = (int(rng.integers(len(parts))) for _ in range(2))
    listed, way = parts[first]["trees"], int(rng.integers(7))
    if way == 0:
        parts.pop(first)
    elif way == 1:
        parts[first], parts[second] = parts[second], parts[first]
    elif way == 2:
        parts[first]["cut"] = None
    elif way == 3:
        parts.insert(first, parts[second])
    elif way == 4:
        listed.pop(int(rng.integers(len(listed))))
    elif way == 5:
        entry = one_of(rng, listed)
        entry[0] = int(rng.integers(3))
    else:
        parts[first]["cut"] = [int(rng.integers(2)), float(rng.random()).hex()]


def weigh_too_much(rng: np.random.Generator, document: Document) -> None:
    """Slopes, weights and gammas at or beyond the ends of their ranges, prices of either sign: each could help."""
    way, units = int(rng.integers(4)), count(document)
    for choice in choices(document):
        if way == 0:
            choice["bits"] = 0
            choice["alpha"] = [one_of(rng, (-1, 0, 1, 2)) for _ in range(units)]
        elif way == 1:
            one = 1 << choice["bits"] % 60  # it may have become enormous
            choice["planes"] = [[0, one_of(rng, (one, one + 1, -one))]] * int(rng.integers(1, 4))
        elif way == 2:
            choice["rho"] = [[int(rng.integers(units)), one_of(rng, (-(2**79), 2**79, 2**80))]]
    if way == 3:
        tree = one_of(rng, trees(document))
        gammas = [[u, sign, one_of(rng, (-1, -(2**20)))] for u in range(units) for sign in (0, 1)]
        by = random_choices(rng, units, 0)
        tree["nodes"].insert(0, {"tighten": gammas, "bits": 4, "by": by})


# ------------------------------------------------------------------------------------------- changes of the statement


def raise_radius(rng: np.random.Generator, document: Document, truth: Fraction | None) -> None:
    """The radius becomes one that is not below the exact distance."""
    assert truth is not None
    radius = float(truth) * (1 + one_of(rng, (0.0, 1e-15, 1e-12, 1e-6, 1e-3, 0.1, 1.0)))
    while Fraction(radius) < truth:
        radius = float(np.nextafter(radius, np.inf))
    document["robust"]["radius"] = radius.hex()


def change_radius(rng: np.random.Generator, document: Document) -> None:
    old = float.fromhex(document["robust"]["radius"])
    factor = one_of(rng, (0.0, -1.0, 0.5, 0.99, 1 + 1e-9, 1 + 1e-5, 1.01, 2.0, 1e300))
    document["robust"]["radius"] = one_of(rng, (None, (old * factor).hex(), old.hex().replace("p-", "p-9")))


def change_question(rng: np.random.Generator, document: Document) -> None:
    question, way = document["question"], int(rng.integers(5))
    if way == 0:
        question["reference"] = int(rng.integers(3))
    elif way == 1:
        question["targets"] = sorted({int(j) for j in rng.integers(0, 3, size=2)})
    elif way == 2:
        margin = float.fromhex(question["margin"])
        question["margin"] = (margin + one_of(rng, (-1.0, -1e-3, -1e-9, 1e-3, 1.0, -1e300))).hex()
    else:
        name = one_of(rng, ("x0", "lower", "upper"))
        values = floats(question[name])
        values[int(rng.integers(values.size))] += one_of(rng, (-1.0, -1e-3, 1e-9, 1e-3, 0.1, 1.0))
        question[name] = packed(values)


def change_weights(rng: np.random.Generator, document: Document) -> None:
    """Another network, with its own digest."""
    node = one_of(rng, [node for node in document["network"]["nodes"] if "affine" in node])
    holders = [(node, "bias")] + [(part["map"], key) for part in node["affine"] for key in part["map"]]
    holder, key = one_of(rng, [(h, k) for h, k in holders if k in ("bias", "dense", "convolution", "sparse")])
    values = floats(holder[key])
    values[int(rng.integers(values.size))] *= one_of(rng, (-1.0, 0.0, 0.9, 1.001, 1.1, 3.0, 2.0**-60))
    holder[key] = packed(values)
    document["network"]["digest"] = network_of(document).digest


def change_witness(rng: np.random.Generator, document: Document) -> None:
    values = floats(document["witness"])
    values[int(rng.integers(values.size))] += one_of(rng, (-1e-3, 1e-9, -1e-9, 1e-3, 1.0))
    document["witness"] = one_of(rng, (None, packed(values), document["question"]["x0"], packed(values * np.nan)))


def drop_proof(rng: np.random.Generator, document: Document) -> None:
    document["robust"] = None


FORMED: tuple[Change, ...] = (put_units, put_choices, put_planes, put_split, put_tightening, put_step, put_cut)
"""Changes of a proof that keep its form."""
PROOF_CHANGES: dict[str, Change] = {
    change.__name__: change for change in (*FORMED, change_numbers, break_tree, break_parts, weigh_too_much)
}
STATEMENT_CHANGES: dict[str, Change] = {
    change.__name__: change for change in (change_radius, change_question, change_weights, change_witness, drop_proof)
}
