"""Certificates of small questions, opened and closed again, and what must be true of an accepted one."""

from __future__ import annotations

import gzip
import json
from fractions import Fraction
from typing import Any

from mipverify_py import Query, verify
from mipverify_py.certificate import Statement, certify
from mipverify_py.data import read_digits
from onnx_models.zoo import load_zoo

Document = dict[str, Any]


def query_about(model: str, index: int) -> Query:
    """The distance of a digit."""
    return Query(load_zoo(model), read_digits().images[index].reshape(-1))


def opened(data: bytes) -> Document:
    return json.loads(gzip.decompress(data))


def closed(document: Any) -> bytes:
    return gzip.compress(json.dumps(document).encode())


def digit_certificate() -> bytes:
    """The certificate of a distance with splits, planes and a witness."""
    query = query_about("digits_conv_standard", 0)
    return certify(query, verify(query)).data


def assert_true(found: Statement, truth: Fraction | None) -> None:
    """`truth` is the exact distance of the question."""
    if found.robust and found.radius is not None:
        assert truth is None or found.radius < truth
    elif found.robust:
        assert truth is None
    if found.distance is not None:
        assert truth is not None and found.distance >= truth
