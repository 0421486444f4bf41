"""Amoeba: the largest box [x - e1, x + e2] around an input in which a classifier keeps its class.

    >>> from counter_attack.amoeba import BoundKind, FindSettings, find_boxes
    >>> for found in find_boxes(network, images, settings=FindSettings(kind=BoundKind.EXACT)):     # doctest: +SKIP
    ...     print(found.box.geometric_mean, found.certified, found.maximal.is_maximal)

Li et al., Towards Certifying the Asymmetric Robustness for Neural Networks: Quantification and Applications. Names are
imported on first use: importing this package loads neither torch nor a solver.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from counter_attack.amoeba._bounds import MarginBounds
    from counter_attack.amoeba._box import UNIT, AsymmetricBox, BoxShape, Domain
    from counter_attack.amoeba._certify import Certification, certify_box, shrink_to_certified
    from counter_attack.amoeba._exact import FaceEnd, FaceState, GrowSettings, MaximalBox, grow_box
    from counter_attack.amoeba._explorer import FeatureSkew, draw_maps, feature_table, map_skews, rank_features, skew
    from counter_attack.amoeba._explorer_stability import METHODS, draw_stability, embed_shapes, shape_vectors
    from counter_attack.amoeba._faces import Face
    from counter_attack.amoeba._find import FindSettings, FoundBox, find_boxes
    from counter_attack.amoeba._guided import Guide, guide, narrowest, shares
    from counter_attack.amoeba._guided_attack import GuidedAttack, GuidedResult
    from counter_attack.amoeba._guided_compare import GuidedRun, compare_guided, guided_table
    from counter_attack.amoeba._kinds import BoundKind
    from counter_attack.amoeba._metrics import PairMeans, ShapeComparison, compare_classes, compare_shapes, mean_side
    from counter_attack.amoeba._optimise import BoxSettings, Optimised, optimise_boxes
    from counter_attack.amoeba._plane import PLANE, PlaneData, draw_plane, train_plane

_HOMES = {
    "METHODS": "_explorer_stability",
    "PLANE": "_plane",
    "UNIT": "_box",
    "AsymmetricBox": "_box",
    "BoundKind": "_kinds",
    "BoxSettings": "_optimise",
    "BoxShape": "_box",
    "Certification": "_certify",
    "Domain": "_box",
    "Face": "_faces",
    "FaceEnd": "_exact",
    "FaceState": "_exact",
    "FeatureSkew": "_explorer",
    "FindSettings": "_find",
    "FoundBox": "_find",
    "GrowSettings": "_exact",
    "Guide": "_guided",
    "GuidedAttack": "_guided_attack",
    "GuidedResult": "_guided_attack",
    "GuidedRun": "_guided_compare",
    "MarginBounds": "_bounds",
    "MaximalBox": "_exact",
    "Optimised": "_optimise",
    "PairMeans": "_metrics",
    "PlaneData": "_plane",
    "ShapeComparison": "_metrics",
    "certify_box": "_certify",
    "compare_classes": "_metrics",
    "compare_guided": "_guided_compare",
    "compare_shapes": "_metrics",
    "draw_maps": "_explorer",
    "draw_plane": "_plane",
    "draw_stability": "_explorer_stability",
    "embed_shapes": "_explorer_stability",
    "feature_table": "_explorer",
    "find_boxes": "_find",
    "grow_box": "_exact",
    "guide": "_guided",
    "guided_table": "_guided_compare",
    "map_skews": "_explorer",
    "mean_side": "_metrics",
    "narrowest": "_guided",
    "optimise_boxes": "_optimise",
    "rank_features": "_explorer",
    "shape_vectors": "_explorer_stability",
    "shares": "_guided",
    "shrink_to_certified": "_certify",
    "skew": "_explorer",
    "train_plane": "_plane",
}

__all__ = [
    "METHODS",
    "PLANE",
    "UNIT",
    "AsymmetricBox",
    "BoundKind",
    "BoxSettings",
    "BoxShape",
    "Certification",
    "Domain",
    "Face",
    "FaceEnd",
    "FaceState",
    "FeatureSkew",
    "FindSettings",
    "FoundBox",
    "GrowSettings",
    "Guide",
    "GuidedAttack",
    "GuidedResult",
    "GuidedRun",
    "MarginBounds",
    "MaximalBox",
    "Optimised",
    "PairMeans",
    "PlaneData",
    "ShapeComparison",
    "certify_box",
    "compare_classes",
    "compare_guided",
    "compare_shapes",
    "draw_maps",
    "draw_plane",
    "draw_stability",
    "embed_shapes",
    "feature_table",
    "find_boxes",
    "grow_box",
    "guide",
    "guided_table",
    "map_skews",
    "mean_side",
    "narrowest",
    "optimise_boxes",
    "rank_features",
    "shape_vectors",
    "shares",
    "shrink_to_certified",
    "skew",
    "train_plane",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
