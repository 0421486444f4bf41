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
    from mipverify_py._accuracy import AccuracyBounds, adversarial_accuracy, fraction_correct
    from mipverify_py._agreement import AgreementReport, BackendAnswer, compare_backends
    from mipverify_py._all_targets import distance_per_target, verify_per_target
    from mipverify_py._balls import L1Ball, L2Ball
    from mipverify_py._blur import Blur
    from mipverify_py._bounds_file import load_bounds, save_bounds
    from mipverify_py._brightness import Brightness, BrightnessContrast, Contrast
    from mipverify_py._counterexample import Counterexample, RuntimeReplay
    from mipverify_py._encode import Encoding, encode
    from mipverify_py._enums import Evidence, Norm, Objective, StopReason, Tightening, Verdict
    from mipverify_py._layout import ImageShape, Layout
    from mipverify_py._options import Options
    from mipverify_py._parametric import ParametricSet
    from mipverify_py._perturbation import Box, LinfBall, PerturbationSet, Unrestricted
    from mipverify_py._property import CaseResult, PropertyResult, PropertyStatus, verify_property
    from mipverify_py._query import Query, Targets
    from mipverify_py._result import Bracket, LayerStatistics, Result, Statistics
    from mipverify_py._sparse import Sparse
    from mipverify_py._verify import distance, verify
    from mipverify_py._witness import NotAdversarialError, Replay, Witness
    from mipverify_py._witnesses import WitnessList, witnesses
    from mipverify_py.proof import Proof, ReplayReport, replay

_HOMES = {
    "WitnessList": "_witnesses",
    "witnesses": "_witnesses",
    "load_bounds": "_bounds_file",
    "save_bounds": "_bounds_file",
    "distance_per_target": "_all_targets",
    "verify_per_target": "_all_targets",
    "AgreementReport": "_agreement",
    "BackendAnswer": "_agreement",
    "compare_backends": "_agreement",
    "AccuracyBounds": "_accuracy",
    "adversarial_accuracy": "_accuracy",
    "fraction_correct": "_accuracy",
    "Counterexample": "_counterexample",
    "RuntimeReplay": "_counterexample",
    "CaseResult": "_property",
    "PropertyResult": "_property",
    "PropertyStatus": "_property",
    "verify_property": "_property",
    "Blur": "_blur",
    "Brightness": "_brightness",
    "BrightnessContrast": "_brightness",
    "Contrast": "_brightness",
    "ImageShape": "_layout",
    "Layout": "_layout",
    "ParametricSet": "_parametric",
    "Sparse": "_sparse",
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
    "L1Ball": "_balls",
    "L2Ball": "_balls",
    "LinfBall": "_perturbation",
    "PerturbationSet": "_perturbation",
    "Unrestricted": "_perturbation",
    "Query": "_query",
    "Targets": "_query",
    "Bracket": "_result",
    "LayerStatistics": "_result",
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
    "AccuracyBounds",
    "AgreementReport",
    "BackendAnswer",
    "Blur",
    "Box",
    "Bracket",
    "Brightness",
    "BrightnessContrast",
    "CaseResult",
    "Contrast",
    "Counterexample",
    "Encoding",
    "Evidence",
    "ImageShape",
    "L1Ball",
    "L2Ball",
    "LayerStatistics",
    "Layout",
    "LinfBall",
    "Norm",
    "NotAdversarialError",
    "Objective",
    "Options",
    "ParametricSet",
    "PerturbationSet",
    "Proof",
    "PropertyResult",
    "PropertyStatus",
    "Query",
    "Replay",
    "ReplayReport",
    "Result",
    "RuntimeReplay",
    "Sparse",
    "Statistics",
    "StopReason",
    "Targets",
    "Tightening",
    "Unrestricted",
    "Verdict",
    "Witness",
    "WitnessList",
    "adversarial_accuracy",
    "compare_backends",
    "distance",
    "distance_per_target",
    "encode",
    "fraction_correct",
    "load_bounds",
    "replay",
    "save_bounds",
    "verify",
    "verify_per_target",
    "verify_property",
    "witnesses",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
