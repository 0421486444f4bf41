"""A query about a parametric set as one about its parameters, and others as what engines can search."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bounds import Bounds
from mipverify_py._contest import contested
from mipverify_py._enums import Norm, Objective
from mipverify_py._image import composed
from mipverify_py._parametric import Parameters, ParametricSet
from mipverify_py._perturbation import Box
from mipverify_py._query import Query, Targets


def relaxed(query: Query, over: Query) -> Query | None:
    """The question about a box that contains the set of `query`, if the set of `over`, which is searched, is no box.

    A box of parameters, or for parameters with a given sum, of which their box knows nothing, a box of images.
    """
    known = over.perturbation
    if known.is_box:
        return None
    base = query if isinstance(known, Parameters) and known.total is not None else over
    return replace(base, perturbation=Box(base.box))


def searched(query: Query) -> Query:
    """The query that engines search: `query` itself or, for a parametric set, the one over the parameters.

    Where targets have to win it is about a network one of whose outputs is the largest of the others, see `contested`.
    The query over the parameters is about the network after the image. Distances are measured between images; for a
    single parameter t, between parameters: the distance between images is |t - t0| times `AffineImage.stretch`.
    """
    if len(query.rivals) > 1:
        return searched(contested(query))
    if not isinstance(query.perturbation, ParametricSet):
        return query
    known = query.perturbation.parameters(query.x0, query.input_domain)
    low, high = known.ranges.lower, known.ranges.upper
    plain = len(low) == 1 and query.objective is Objective.CLOSEST
    return Query(
        composed(known.image, query.network),
        known.identity,
        perturbation=known,
        objective=query.objective,
        label=query.reference,
        targets=Targets.only(query.target_classes),
        margin=query.margin,
        norm=Norm.LINF if plain else query.norm,
        domain=Bounds(np.minimum(low, known.identity), np.maximum(high, known.identity)),
        measured=None if plain else known.image,
    )
