"""The answer about a parametric set from the answer about its parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from mipverify_py._enums import Objective
from mipverify_py._image import float_above, float_below
from mipverify_py._options import Options
from mipverify_py._parameter_query import searched
from mipverify_py._parametric import Parameters
from mipverify_py._query import Query
from mipverify_py._result import Bracket, Result, Statistics
from mipverify_py._witness import Witness

Listener = Callable[[Bracket], None]


def over_parameters(
    query: Query, over: Query, options: Options, listener: Listener | None
) -> tuple[Options, Listener | None]:
    """Options and listener for `over`, the query that is searched for `query`, where its unit of distance is another.

    That is the case for the distance in a set of one parameter.
    """
    unit = _unit(query, over)
    if unit is None:
        return options, listener
    gap = options.gap_absolute / max(1.0, float(unit))
    if listener is None:
        return replace(options, gap_absolute=gap), None

    def heard(bracket: Bracket) -> None:
        low = None if bracket.lower is None else float_below(Fraction(bracket.lower) * unit)
        high = None if bracket.upper is None else float_above(Fraction(bracket.upper) * unit * (1 + Fraction(2) ** -50))
        listener(Bracket(low, high))

    return replace(options, gap_absolute=gap), heard


def in_images(query: Query, over: Query, result: Result) -> Result:
    """`result` of `over`, the query that was searched, as one of `query`: images instead of parameters.

    The proof stays what it is: one about the network of `over`, over the parameters.
    """
    if not isinstance(over.perturbation, Parameters):
        witness = None if result.witness is None else Witness(query, result.witness.point)
        return replace(result, witness=witness, predicted=query.predicted, bounds=None)
    parameters, unit = result.point, _unit(query, over)
    point = None if parameters is None else over.perturbation.image.rounded(parameters)
    if result.witness is not None:
        assert point is not None
        result = replace(result, witness=Witness(query, point, result.witness.point))
    if unit is not None:
        lower = None if result.lower is None else float_below(Fraction(result.lower) * unit)
        result = replace(result, lower=lower, upper=None if result.witness is None else result.witness.distance)
    return replace(
        result,
        point=point,
        parameters=parameters,
        bounds=None,  # they hold for images of the parameters, not for a box of inputs
        predicted=query.predicted,
        statistics=_renumbered(result.statistics),
    )


def as_searched(query: Query, result: Result) -> tuple[Query, Result]:
    """The query over the parameters, and a lower end of the distance in its unit that bears out that of `result`."""
    over = searched(query)
    unit = _unit(query, over)
    if unit is None or result.lower is None:
        return over, result
    return over, replace(result, lower=float_above(Fraction(result.lower) / unit) if unit else 0.0)


def _unit(query: Query, over: Query) -> Fraction | None:
    """How far apart, at least, images are whose parameters are 1 apart; None where distances are those of images."""
    if query.objective is not Objective.CLOSEST or over.measured is not None:
        return None
    if not isinstance(over.perturbation, Parameters):
        return None
    return over.perturbation.image.stretch(query.norm)


def _renumbered(statistics: Statistics) -> Statistics:
    """The image is node 1 of the network over the parameters, and the input node 0 of the network itself."""
    return replace(statistics, layers=tuple(replace(layer, node=layer.node - 1) for layer in statistics.layers))
