"""Reading a certificate for the checker: a file with limits, and the network in it. Python's standard library alone.

Whatever does not have the form it should have raises some exception, and to the checker every exception is a rejection.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise, product
from typing import Any, NamedTuple

MOST_BYTES, MOST_LISTS, MOST_COMMAS, MOST_DIGITS = 2**28, 2**23, 2**23, 60
"""Limits of a file: bytes when unpacked, lists and objects, commas, digits of a whole number."""
MOST_NODES, MOST_ENTRIES, MOST_SPAN = 10_000, 2**23, 512
"""Limits of a network: nodes; weights (a convolution's once per use) and values; bits that a node's weights span."""
MOST_BITS, MOST_MEMORY = 2**16, 2**31
"""Limits of a vector while it is computed with: bits of an entry, and of all entries together."""
GRID = 64
"""Bounds are multiples of 2**-GRID."""

FORMATS = {"f4": "f", "f8": "d", "i4": "i"}
"""How `struct` calls what packed arrays hold."""

Row = tuple[Sequence[int], Sequence[int]]
"""Columns and weights of one output of a map; the columns are a `range` where the row is full."""

Unit = tuple[int, int]
"""A node and one of its entries."""
Terms = dict[Unit, int]
"""Coefficients of entries."""


class Rejected(Exception):  # noqa: N818 - a verdict, not an error of the program
    """The certificate is malformed, or what it states does not follow."""


def read(data: bytes) -> Any:
    """The document in a gzip file: JSON without floats, without double keys, and not too large."""
    return parsed(unpacked(data), integer)


def unpacked(data: bytes) -> str:
    """The text in a gzip file."""
    unpacker = zlib.decompressobj(wbits=31)
    text = unpacker.decompress(data, MOST_BYTES)
    require(unpacker.eof and not unpacker.unused_data, "The file is cut off, too large, or goes on after its end.")
    lists, commas = text.count(b"[") + text.count(b"{"), text.count(b",")
    require(lists <= MOST_LISTS and commas <= MOST_COMMAS, "The file has too many entries.")
    return str(text, "ascii")


def parsed(text: str, parse_int: Callable[[str], int]) -> Any:
    """The document in a text."""
    return json.loads(text, object_pairs_hook=unique, parse_int=parse_int, parse_float=number, parse_constant=number)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, whose keys must all be different."""
    require(len(dict(pairs)) == len(pairs), "An object has a key twice.")
    return dict(pairs)


def integer(text: str) -> int:
    """A whole number, which must not be too long."""
    require(len(text) <= MOST_DIGITS, "A whole number has too many digits.")
    return int(text)


def require(condition: bool, message: str) -> None:
    """Raises Rejected unless the condition holds."""
    if not condition:
        raise Rejected(message)


def fields(value: Any, names: str, **fixed: Any) -> list[Any]:
    """The values of some keys of an object, which has no others but those of `fixed`, with the values given there."""
    wanted = {*names.split(), *fixed}
    require(value.keys() == wanted, f"An object has the keys {sorted(value)}, not {sorted(wanted)}.")
    require(
        all(type(value[key]) is type(fixed[key]) and value[key] == fixed[key] for key in fixed),
        f"The file is none with {fixed}.",
    )
    return [value[key] for key in names.split()]


def whole(value: Any, end: int, start: int = 0) -> int:
    """The value, which must be a whole number from `start` to `end` - 1."""
    require(type(value) is int and start <= value < end, f"A number is not a whole one from {start} to {end - 1}.")
    return int(value)


def number(value: str) -> Fraction:
    """A finite float64, written as a hexadecimal one; decimal floats are no floats here."""
    require("0x" in value and len(value) < 40, "A float is not written as a hexadecimal one.")
    return Fraction(float.fromhex(value))


def array(value: str, length: int, kinds: Sequence[str] = ("f4", "f8")) -> tuple[Any, ...]:
    """A packed array of finite numbers: "f4:", "f8:" or "i4:", and little-endian bytes in base64."""
    kind, packed = value.split(":")
    data = base64.b64decode(packed, validate=True)
    require(kind in kinds and len(data) == length * int(kind[1]), f"An array is not {length} numbers {kinds}.")
    entries = struct.unpack(f"<{length}{FORMATS[kind]}", data)
    require(all(x - x == 0 for x in entries), "An array has entries that are not finite.")
    return entries


def down(value: Fraction) -> int:
    """The value in units of 2**-GRID, rounded down."""
    return (value.numerator << GRID) // value.denominator


class Work:
    """What may still be spent, in products of 64 bits."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, products: int, bits: int) -> None:
        """Takes products with numbers of so many bits from what is left."""
        self.left -= (products + 1) * (1 + bits // 64)
        require(self.left >= 0, "The certificate takes more work than is allowed.")

    def vector(self, entries: int, bits: int) -> None:
        """Takes a vector from what is left."""
        require(bits <= MOST_BITS and entries * bits <= MOST_MEMORY, "Numbers become longer than is allowed.")
        self.spend(entries, bits)

    def measured(self, *vectors: list[int]) -> None:
        """Takes vectors that are there from what is left, by the length of their longest entry."""
        self.vector(sum(map(len, vectors)), max((v.bit_length() for vector in vectors for v in vector), default=0))


# --------------------------------------------------------------------------------------------------------- the network


class Affine(NamedTuple):
    """value = bias + sum over parts of  rows * (value of the source),  all numbers in units of 2**-exponent."""

    parts: list[tuple[int, list[Row]]]
    bias: list[int]
    exponent: int


class Network:
    """`nodes` in topological order: None for the input, an `Affine`, or for a ReLU the number of the node it reads."""

    def __init__(self, value: Any) -> None:
        digest, nodes = fields(value, "digest nodes")
        require(len(nodes) <= MOST_NODES, "The network has too many nodes.")
        self.nodes: list[Affine | int | None] = [None]
        self.known: dict[tuple[Unit, frozenset[int]], tuple[Terms, int, int]] = {}
        self.room = MOST_ENTRIES
        self.sizes = [whole(fields(nodes[0], "input")[0], MOST_ENTRIES, 1)]
        self.left, self.hash = MOST_ENTRIES, hashlib.sha256(repr(("Input", (), self.sizes[0])).encode())
        for index, node in enumerate(nodes[1:], 1):
            if "relu" in node:
                source = whole(fields(node, "relu")[0], index)
                self.nodes.append(source)
                self.sizes.append(self.sizes[source])
                self.hash.update(repr(("Relu", (source,), self.sizes[-1])).encode())
            else:
                self.nodes.append(self.affine(index, *fields(node, "affine size bias")))
            self.allow(self.sizes[-1])
        self.read_by_relu = {node for node in self.nodes if isinstance(node, int)}
        self.digest = self.hash.hexdigest()
        require(digest == self.digest, "The network is not the one that its digest names.")

    def affine(self, index: int, parts: list[Any], size: Any, bias: Any) -> Affine:
        """Node `index`, an affine map of earlier ones."""
        self.sizes.append(whole(size, MOST_ENTRIES, 1))
        named = [fields(part, "from map") for part in parts]
        sources = tuple(whole(source, index) for source, _ in named)
        self.hash.update(repr(("Affine", sources, size)).encode())
        maps = [self.rows(value, self.sizes[s], size) for s, (_, value) in zip(sources, named, strict=True)]
        offsets = array(bias, size)
        self.hash.update(struct.pack(f"<{size}d", *offsets))
        return self.scaled(index, list(zip(sources, maps, strict=True)), offsets)

    def scaled(self, index: int, parts: list[tuple[int, list[tuple[Any, Any]]]], offsets: Sequence[float]) -> Affine:
        """Node `index`, its floats made integers times one power of two."""
        ratios = {w: w.as_integer_ratio() for ws in (offsets, *(ws for _, rows in parts for _, ws in rows)) for w in ws}
        exponent = max(bottom.bit_length() - 1 for _, bottom in ratios.values())
        exact = {w: top << (exponent - bottom.bit_length() + 1) for w, (top, bottom) in ratios.items()}
        span = max(abs(w).bit_length() for w in exact.values())
        require(max(span, exponent) <= MOST_SPAN, f"The weights of node {index} span more than {MOST_SPAN} bits.")
        exactly: list[list[Row]] = [[(columns, [exact[w] for w in ws]) for columns, ws in rows] for _, rows in parts]
        sources = [source for source, _ in parts]
        return Affine(list(zip(sources, exactly, strict=True)), [exact[b] for b in offsets], exponent)

    def rows(self, value: Any, n: int, m: int) -> list[tuple[Any, Any]]:
        """The rows of a linear map from n to m numbers, weights as floats; the hash takes in the map."""
        if "dense" in value:
            self.allow(n * m)
            weights = array(fields(value, "dense")[0], n * m)
            self.hash.update(repr(("dense", m, n)).encode() + struct.pack(f"<{n * m}d", *weights))
            return [(range(n), weights[n * i : n * i + n]) for i in range(m)]
        if "convolution" in value:
            return self.convolution(n, m, *fields(value, "convolution kernel input strides pads dilations groups"))
        data, starts, columns = fields(value, "sparse starts columns")
        start = array(starts, m + 1, ("i4",))
        self.allow(whole(start[-1], MOST_ENTRIES))
        weights, column = array(data, start[-1]), array(columns, start[-1], ("i4",))
        sound = start[0] == 0 and all(a <= b for a, b in pairwise(start)) and all(0 <= j < n for j in column)
        require(sound, "The rows of a sparse map overlap, or read what does not exist.")
        layout = struct.pack(f"<{m + 1}q", *start) + struct.pack(f"<{len(column)}q", *column)
        self.hash.update(repr(("sparse", m, n)).encode() + layout + struct.pack(f"<{len(weights)}d", *weights))
        return [(column[a:b], weights[a:b]) for a, b in pairwise(start)]

    def convolution(self, n: int, m: int, packed: Any, *shapes: Any) -> list[tuple[Any, Any]]:
        """y[o, p, q] = sum of  kernel[o, c, i, j] x[g C' + c, p s_h + i d_h - top, q s_w + j d_w - left]."""
        *lists, groups = shapes
        kernel, source, strides, pads, dilations = (tuple(whole(d, MOST_ENTRIES) for d in shape) for shape in lists)
        (outputs, depth, k_h, k_w), (channels, height, width), (s_h, s_w) = kernel, source, strides
        (top, left, bottom, right), (d_h, d_w) = pads, dilations
        out_h = (height + top + bottom - d_h * (k_h - 1) - 1) // s_h + 1
        out_w = (width + left + right - d_w * (k_w - 1) - 1) // s_w + 1
        fits = channels == depth * whole(groups, outputs + 1, 1) and outputs % groups == 0
        require(fits and min(*kernel, *dilations, out_h, out_w) > 0, "The shapes of a convolution do not fit.")
        require((channels * height * width, outputs * out_h * out_w) == (n, m), "A convolution has the wrong size.")
        self.allow(m * depth * k_h * k_w)
        weights = array(packed, outputs * depth * k_h * k_w)
        geometry = ("convolution", kernel, source, strides, pads, dilations, groups)
        self.hash.update(repr(geometry).encode() + struct.pack(f"<{len(weights)}d", *weights))
        result: list[tuple[list[int], list[float]]] = []
        for o, p, q in product(range(outputs), range(out_h), range(out_w)):
            result.append(([], []))
            first, at = o // (outputs // groups) * depth, o * depth * k_h * k_w
            for k, (c, i, j) in enumerate(product(range(depth), range(k_h), range(k_w)), at):
                y, x = p * s_h + i * d_h - top, q * s_w + j * d_w - left
                if 0 <= y < height and 0 <= x < width:
                    result[-1][0].append(((first + c) * height + y) * width + x)
                    result[-1][1].append(weights[k])
        return result

    def allow(self, entries: int) -> None:
        """Takes entries from what a network may have."""
        self.left -= entries
        require(self.left >= 0, "The network is too large.")

    def values(self, point: list[Fraction], work: Work) -> list[Fraction]:
        """The logits at a point."""
        exponent = max(x.denominator.bit_length() - 1 for x in point)
        found = [(exponent, [int(x * (1 << exponent)) for x in point])]
        for node in self.nodes[1:]:
            if isinstance(node, Affine):
                high = max([found[s][0] for s, _ in node.parts], default=0)
                work.vector(len(node.bias), high + node.exponent)
                total = [b << high for b in node.bias]
                for source, rows in node.parts:
                    exponent, entries = found[source]
                    for i, (columns, weights) in enumerate(rows):
                        work.spend(len(weights), exponent + node.exponent)
                        sum_ = sum(w * entries[j] for j, w in zip(columns, weights, strict=True))
                        total[i] += sum_ << (high - exponent)
                work.measured(total)
                found.append((high + node.exponent, total))
            else:
                assert node is not None
                found.append((found[node][0], [max(v, 0) for v in found[node][1]]))
        return [Fraction(v, 1 << found[-1][0]) for v in found[-1][1]]

    def direct(self, unit: Unit, work: Work, named: frozenset[int] = frozenset()) -> tuple[Terms, int, int]:
        """An entry of a node as  w v + b:  w by node and entry, b, the exponent of both.

        v are entries of the input, of ReLUs, and of the nodes that are `named`; all other affine nodes are multiplied
        out.
        """
        if (unit, named) in self.known:
            return self.known[unit, named]
        left: dict[int, tuple[int, dict[int, int]]] = {unit[0]: (0, {unit[1]: 1})}
        found, b, common, held = dict[int, tuple[int, dict[int, int]]](), 0, 0, 0
        while left:
            index = max(left)
            exponent, entries = left.pop(index)
            work.measured(list(entries.values()))
            node = self.nodes[index]
            if not isinstance(node, Affine) or index in named:
                found[index] = exponent, entries
                continue
            exponent += node.exponent
            work.vector(len(entries), exponent)
            if common < exponent:
                common, b = exponent, b << (exponent - common)
            for i, c in entries.items():
                b += c * node.bias[i] << (common - exponent)
                for source, rows in node.parts:
                    finer, kept = left.get(source, (exponent, {}))
                    if finer < exponent:
                        held += len(kept) * (exponent - finer)
                        finer, kept = exponent, {j: v << (exponent - finer) for j, v in kept.items()}
                        work.measured(list(kept.values()))
                    before, bits = len(kept), finer + c.bit_length()
                    work.vector(len(rows[i][0]), bits)
                    for j, weight in zip(*rows[i], strict=True):
                        kept[j] = kept.get(j, 0) + (c * weight << (finer - exponent))
                    held += (len(kept) - before) * bits
                    require(held <= MOST_MEMORY, "Numbers become more than is allowed.")
                    left[source] = finer, kept
        w = {(p, j): c << (common - e) for p, (e, entries) in found.items() for j, c in entries.items()}
        work.measured(list(w.values()), [b])
        self.room -= sum(1 + c.bit_length() // 64 for c in w.values())
        if self.room < 0:
            self.known, self.room = {}, MOST_ENTRIES
        self.known[unit, named] = w, b, common
        return self.known[unit, named]
