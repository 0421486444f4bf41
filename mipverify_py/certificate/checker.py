"""The checker of certificates: exact, small, and nothing but Python's standard library.

    python -m mipverify_py.certificate.checker FILE

A certificate states, for a ReLU network f that it contains, a reference class c and target classes j,

    f_j(x) - f_c(x) < margin    for every j and every x with  lower <= x <= upper  and  |x - x0| <= radius;

it may also hold a witness, a point of the box at which some target reaches the margin. `check` returns the statement if
it follows from what is in the file, and raises `Rejected` otherwise. docs/reference/certificate-format.md lists the
fields, docs/explanation/certificates.md says why the rules prove what they claim; the numbers of rules are those there.

Numbers are integers times powers of two: bounds are in units of 2**-GRID and rounded outward, all between two roundings
is exact. Nothing in the file is taken for true: it holds choices, and for every choice the rules give a true bound.

This file has the statement, `_rules` beside it the rules, `_document` reads; none imports anything else of the package.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from mipverify_py.certificate._document import (
    MOST_BYTES,
    Network,
    Rejected,
    Work,
    array,
    down,
    fields,
    number,
    read,
    require,
    whole,
)
from mipverify_py.certificate._rules import MOST_STATES, Ends, Region

MOST_PRODUCTS = 2**36
"""Limit of the work that a check may take: products of 64 bits."""
Floats = Sequence[float]
"""An array as it stands in the file."""


class Statement(NamedTuple):
    """What a certificate proves.

    `robust`: that no x of the set reaches the margin. `radius` is None where the set is all of the box. `distance` is
    that of the witness, None without one.
    """

    digest: str
    reference: int
    targets: tuple[int, ...]
    margin: Fraction
    x0: Floats
    lower: Floats
    upper: Floats
    robust: bool
    radius: Fraction | None
    distance: Fraction | None


def check(data: bytes, *, most_products: int = MOST_PRODUCTS) -> Statement:
    """What the bytes of a certificate prove. Raises Rejected if that is nothing, or takes more work than is allowed."""
    return checked(lambda: read(data), most_products, Network, Region)


def checked(document: Callable[[], Any], most_products: int, network: type[Network], region: type[Region]) -> Statement:
    """`check` with what reads the file, a class that reads networks, and one that derives bounds and walks trees."""
    try:
        value, question, robust, witness = fields(
            document(), "network question robust witness", format="mipverify-certificate", version=1
        )
        return statement(network(value), question, robust, witness, Work(most_products), region)
    except Rejected:
        raise
    except Exception as error:
        raise Rejected(f"The file is malformed: {type(error).__name__}: {error}") from error


def statement(
    network: Network, question: Any, robust: Any, witness: Any, work: Work, region: type[Region]
) -> Statement:
    """Checks the parts of a certificate about a network."""
    names = "x0 lower upper reference targets margin"
    *packed, reference, targets, margin = fields(question, names)
    x0, lower, upper = (array(part, network.sizes[0]) for part in packed)
    classes = network.sizes[-1]
    c, margin, targets = whole(reference, classes), number(margin), [whole(j, classes) for j in targets]
    require(targets == sorted(set(targets)) != [], "Targets are some classes, in ascending order.")
    radius, distance = None, None
    if robust is not None:
        given, regions = fields(robust, "radius regions")
        radius = None if given is None else number(given)
        box = ends(lower, upper, x0, radius)
        prove(network, work, box, (c, targets, margin), regions[::-1], region)
    if witness is not None:
        point = [Fraction(x) for x in array(witness, network.sizes[0])]
        inside = all(a <= x <= b for a, x, b in zip(lower, point, upper, strict=True))
        logits = network.values(point, work)
        reached = inside and max(logits[j] for j in targets) - logits[c] >= margin
        require(reached, "The witness lies outside the box or does not reach the margin.")
        distance = max(abs(x - Fraction(y)) for x, y in zip(point, x0, strict=True))
    require(robust is not None or witness is not None, "The certificate states nothing.")
    return Statement(network.digest, c, tuple(targets), margin, x0, lower, upper, robust is not None, radius, distance)


def ends(lower: Floats, upper: Floats, x0: Floats, radius: Fraction | None) -> Ends:
    """The set that the statement is about, which is a box, in units of 2**-GRID and rounded outward."""
    low, high = [Fraction(v) for v in lower], [Fraction(v) for v in upper]
    if radius is not None:
        low = [max(v, Fraction(x) - radius) for v, x in zip(low, x0, strict=True)]
        high = [min(v, Fraction(x) + radius) for v, x in zip(high, x0, strict=True)]
    return [down(v) for v in low], [-down(-v) for v in high]


def prove(
    network: Network,
    work: Work,
    box: Ends,
    claim: tuple[int, list[int], Fraction],
    waiting: list[Any],
    kind: type[Region] = Region,
) -> None:
    """Rule 8. A target that is excluded on a box, or on both parts of a box that is cut, is excluded on the box.

    `waiting` has the parts of the proof, the first one last: a part is followed by the parts of its halves, or by one
    about the same box again, with bounds of its own for the targets that are left.
    """
    reference, targets, margin = claim
    left = [(box, set(targets))]
    while left:
        (low, high), open_targets = left.pop()
        units, steps, trees, cut = fields(waiting.pop(), "units steps trees cut")
        if all(a <= b for a, b in zip(low, high, strict=True)):
            region = kind(network, work, (low, high), units)
            if steps != [] or trees != []:
                region.derive(steps)
                open_targets -= region.exclude(reference, margin, trees)
        else:
            open_targets.clear()
        if cut == "again":
            left.append(((low, high), open_targets))
        elif cut is not None:
            axis, place = whole(cut[0], len(low)), down(number(cut[1]))
            work.spend(len(low) + len(targets), 0)
            require(len(left) <= MOST_STATES // (len(low) + len(targets)), "The cuts are too deep.")
            left.append((([*low[:axis], max(low[axis], place), *low[axis + 1 :]], high), open_targets.copy()))
            left.append(((low, [*high[:axis], min(high[axis], place + 1), *high[axis + 1 :]]), open_targets.copy()))
        require(cut is not None or not open_targets, f"Targets {sorted(open_targets)} are not proved on a part.")
    require(not waiting, "There are parts that belong nowhere.")


def contents(path: Path) -> bytes:
    """The bytes of a file, of which no more are read than a certificate may have."""
    with path.open("rb") as file:
        return file.read(MOST_BYTES + 1)


def main(arguments: list[str], check: Callable[[bytes], Statement] = check) -> int:
    """Checks the files; prints what each proves, or why it proves nothing, and returns 1 if one proves nothing."""
    failed = 0
    for name in arguments:
        try:
            said = f"PROVED. {describe(check(contents(Path(name))))}"
        except Rejected as error:
            said, failed = f"REJECTED. {error}", 1
        sys.stdout.write(f"{name}: {said}\n")
    return failed


def describe(found: Statement) -> str:
    """The statement in words."""
    what = f"f_j - f_{found.reference} >= {float(found.margin)!r} for some j of {list(found.targets)}"
    said = []
    if found.robust:
        where = "in the box" if found.radius is None else f"of the box within {float(found.radius)!r} of x0"
        said.append(f"No x {where} has {what}.")
    if found.distance is not None:
        said.append(f"A point of the box at distance {float(found.distance):.9g} of x0 has {what}.")
    return " ".join((*said, f"Network {found.digest}."))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
