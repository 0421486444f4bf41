"""A fast checker of certificates, with the same rules and limits as the plain one, and as exact.

    python -m mipverify_py.certificate.fast FILE

It reads the file with the plain checker's code and accepts what that accepts. What differs is how sums are computed:
for many parts of a proof at once, on whole numbers in float64 that stay so small that no operation rounds; see
`_fast_digits`. It needs numpy and scipy. Who wants to trust as little as possible takes the plain checker.
"""

from __future__ import annotations

import sys
from typing import Any

from mipverify_py.certificate._document import MOST_DIGITS, integer, parsed, unpacked
from mipverify_py.certificate._fast_network import FastNetwork
from mipverify_py.certificate._fast_region import FastRegion
from mipverify_py.certificate.checker import MOST_PRODUCTS, Statement, checked, main

ALIKE = bytes(ord("0") if chr(byte).isdecimal() and byte < 128 else ord(" ") for byte in range(256))
"""Makes all digits the same, and all else spaces."""


def check(data: bytes, *, most_products: int = MOST_PRODUCTS) -> Statement:
    """What the bytes of a certificate prove. Raises Rejected if that is nothing, or takes more work than is allowed."""
    return checked(lambda: _read(data), most_products, FastNetwork, FastRegion)


def _read(data: bytes) -> Any:
    """The document in a file; where so many digits are nowhere in a row, no number needs to be looked at."""
    text = unpacked(data)
    long = b"0" * MOST_DIGITS in text.encode("ascii").translate(ALIKE)
    return parsed(text, integer if long else int)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], check))
