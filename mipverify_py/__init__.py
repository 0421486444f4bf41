"""Exact answers about ReLU classifiers: is there an adversarial example, and how near is the nearest one?

    >>> from onnx_models import load_onnx
    >>> from mipverify_py import distance
    >>> result = distance(load_onnx("model.onnx"), image)      # doctest: +SKIP
    >>> result.lower, result.upper, result.evidence            # doctest: +SKIP

Names are imported on first use: importing this package loads neither torch nor a solver.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mipverify_py._encode import Encoding, encode
    from mipverify_py._enums import Evidence, Norm, Objective, StopReason, Tightening, Verdict
    from mipverify_py._options import Options
    from mipverify_py._perturbation import Box, LinfBall, PerturbationSet, Unrestricted
    from mipverify_py._query import Query, Targets
    from mipverify_py._result import Bracket, Result, Statistics
    from mipverify_py._verify import distance, verify
    from mipverify_py._witness import NotAdversarialError, Replay, Witness
    from mipverify_py.proof import Proof, ReplayReport, replay

_HOMES = {
    "Encoding": "_encode",
    "encode": "_encode",
    "Evidence": "_enums",
    "Norm": "_enums",
    "Objective": "_enums",
    "StopReason": "_enums",
    "Tightening": "_enums",
    "Verdict": "_enums",
    "Options": "_options",
    "Box": "_perturbation",
    "LinfBall": "_perturbation",
    "PerturbationSet": "_perturbation",
    "Unrestricted": "_perturbation",
    "Query": "_query",
    "Targets": "_query",
    "Bracket": "_result",
    "Result": "_result",
    "Statistics": "_result",
    "distance": "_verify",
    "verify": "_verify",
    "NotAdversarialError": "_witness",
    "Replay": "_witness",
    "Witness": "_witness",
    "Proof": "proof",
    "ReplayReport": "proof",
    "replay": "proof",
}

__all__ = [
    "Box",
    "Bracket",
    "Encoding",
    "Evidence",
    "LinfBall",
    "Norm",
    "NotAdversarialError",
    "Objective",
    "Options",
    "PerturbationSet",
    "Proof",
    "Query",
    "Replay",
    "ReplayReport",
    "Result",
    "Statistics",
    "StopReason",
    "Targets",
    "Tightening",
    "Unrestricted",
    "Verdict",
    "Witness",
    "distance",
    "encode",
    "replay",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
