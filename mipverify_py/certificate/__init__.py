"""Certificates: answers that prove themselves, and a checker that needs nothing but Python.

Names are imported on first use, so that the checker runs where nothing but Python is installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mipverify_py.certificate._document import Rejected
    from mipverify_py.certificate._write import Certificate, CertificateError, certify
    from mipverify_py.certificate.checker import Statement, check

_HOMES = {
    "Certificate": "_write",
    "CertificateError": "_write",
    "Rejected": "_document",
    "Statement": "checker",
    "certify": "_write",
    "check": "checker",
}

__all__ = ["Certificate", "CertificateError", "Rejected", "Statement", "certify", "check"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
