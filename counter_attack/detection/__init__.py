"""Counter-Attack: inputs that are not robust, told by an attack's distance and a buffer fitted on exact ones.

>>> from counter_attack.detection import CounterAttack, Quantile
>>> detector = CounterAttack(pool, Quantile(0.01), eps=0.05, model=network)     # doctest: +SKIP
>>> detector.fit(images, exact_distances).detect(others).non_robust             # doctest: +SKIP
"""

from counter_attack.detection._buffer_file import load_buffer, save_buffer
from counter_attack.detection._buffers import (
    KINDS,
    Avoid,
    Buffer,
    BufferKind,
    ChanceConstrained,
    FunctionBuffer,
    LeastSquares,
    LineBuffer,
    Multiplicative,
    Quantile,
    Zero,
    buffer_kind,
    fit_buffer,
)
from counter_attack.detection._curves import F1Curve, RocCurve, f1_curve, plot_f1, plot_roc, roc_curve
from counter_attack.detection._detector import NON_ROBUST, ROBUST, CounterAttack, Detection
from counter_attack.detection._exact import ExactAttack, ExactResult
from counter_attack.detection._files import Choice, PairsFile, read_exact, read_pairs, write_pairs
from counter_attack.detection._fooling import FoolingAttack, FoolingResult, fooling_rates
from counter_attack.detection._fooling_exact import FoolingBound, FoolingLimits, FoolingStop, largest_distance
from counter_attack.detection._pairs import Pairs
from counter_attack.detection._rejecting import Decision, RejectingClassifier
from counter_attack.detection._validation import FoldScore, Validation, validate

__all__ = [
    "KINDS",
    "NON_ROBUST",
    "ROBUST",
    "Avoid",
    "Buffer",
    "BufferKind",
    "ChanceConstrained",
    "Choice",
    "CounterAttack",
    "Decision",
    "Detection",
    "ExactAttack",
    "ExactResult",
    "F1Curve",
    "FoldScore",
    "FoolingAttack",
    "FoolingBound",
    "FoolingLimits",
    "FoolingResult",
    "FoolingStop",
    "FunctionBuffer",
    "LeastSquares",
    "LineBuffer",
    "Multiplicative",
    "Pairs",
    "PairsFile",
    "Quantile",
    "RejectingClassifier",
    "RocCurve",
    "Validation",
    "Zero",
    "buffer_kind",
    "f1_curve",
    "fit_buffer",
    "fooling_rates",
    "largest_distance",
    "load_buffer",
    "plot_f1",
    "plot_roc",
    "read_exact",
    "read_pairs",
    "roc_curve",
    "save_buffer",
    "validate",
    "write_pairs",
]
