"""Detectors from classifiers and classifiers from detectors, with the risks that the reductions relate (Tramer 2022).

>>> from counter_attack.reductions import classifier_from_detector, detector_from_classifier, threshold_detector
>>> detector_from_classifier(network, eps=0.1)(images)                                    # doctest: +SKIP
>>> classifier_from_detector(threshold_detector(network, 5.0), eps=0.1)(images)           # doctest: +SKIP
"""

from counter_attack.reductions._ask import Basis, Setting
from counter_attack.reductions._claim import Claim, Comparison, compare_claim
from counter_attack.reductions._curve import RiskProgress, RiskRow, constructed_risk, plot_risks, risk_rows
from counter_attack.reductions._decoder import (
    AttackDecoder,
    Decoded,
    Decoding,
    ExactDecoder,
    Nearest,
    classifier_from_detector,
)
from counter_attack.reductions._detector import (
    Answer,
    AttackDetector,
    Detected,
    Detection,
    ExactDetector,
    detector_from_classifier,
)
from counter_attack.reductions._finite import REJECTED, FiniteSpace
from counter_attack.reductions._known import DATA_SETS, KNOWN, KnownResult
from counter_attack.reductions._reject import RejectNetwork, threshold_detector
from counter_attack.reductions._risk import DetectionRisk, Rate, decoder_risk, detection_risk, risk, robust_risk

__all__ = [
    "DATA_SETS",
    "KNOWN",
    "REJECTED",
    "Answer",
    "AttackDecoder",
    "AttackDetector",
    "Basis",
    "Claim",
    "Comparison",
    "Decoded",
    "Decoding",
    "Detected",
    "Detection",
    "DetectionRisk",
    "ExactDecoder",
    "ExactDetector",
    "FiniteSpace",
    "KnownResult",
    "Nearest",
    "Rate",
    "RejectNetwork",
    "RiskProgress",
    "RiskRow",
    "Setting",
    "classifier_from_detector",
    "compare_claim",
    "constructed_risk",
    "decoder_risk",
    "detection_risk",
    "detector_from_classifier",
    "plot_risks",
    "risk",
    "risk_rows",
    "robust_risk",
    "threshold_detector",
]
