"""Black-box attacks: substitutes trained on a model's answers, ensembles, and what their examples do to the model.

    >>> from counter_attack.diagnostics import Subject
    >>> from counter_attack.transfer import oracle_of, train_substitute, transfer
    >>> target = Subject.of(network, images, labels)                                          # doctest: +SKIP
    >>> copy = train_substitute(oracle_of(target.classifier), others, classes=10)             # doctest: +SKIP
    >>> transfer(target, "substitute", copy.classifier, eps=0.1).share                        # doctest: +SKIP

Names are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from counter_attack.transfer._ensemble import ensemble
    from counter_attack.transfer._push import Transfer, push, transfer
    from counter_attack.transfer._substitute import (
        Oracle,
        Substitute,
        SubstitutePlan,
        oracle_of,
        train_substitute,
    )

_HOMES = {
    "Oracle": "_substitute",
    "Substitute": "_substitute",
    "SubstitutePlan": "_substitute",
    "Transfer": "_push",
    "ensemble": "_ensemble",
    "oracle_of": "_substitute",
    "push": "_push",
    "train_substitute": "_substitute",
    "transfer": "_push",
}

__all__ = [
    "Oracle",
    "Substitute",
    "SubstitutePlan",
    "Transfer",
    "ensemble",
    "oracle_of",
    "push",
    "train_substitute",
    "transfer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
