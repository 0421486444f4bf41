"""Hardness, made runnable: formulas as networks, decided by the exact engine; the problem one level up on small grids.

    >>> from counter_attack.hardness import Formula, solve
    >>> solve(Formula(2, ((1, 2), (-1, 2), (1, -2)))).assignment
    (True, True)

After Marro and Lombardi, Computational Asymmetries in Robust Classification (2023). Names are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from counter_attack.hardness._cp_sat import CpSat, CpSatAnswer, solve_cp_sat
    from counter_attack.hardness._defences import DEFENCES, Defence
    from counter_attack.hardness._export import export_reduction
    from counter_attack.hardness._formula import (
        Assignment,
        Formula,
        parse_dimacs,
        random_formula,
        read_dimacs,
    )
    from counter_attack.hardness._grid import GridFooling, fool_on_grid
    from counter_attack.hardness._growth import (
        GrowthRow,
        GrowthSummary,
        growth,
        summarise_growth,
    )
    from counter_attack.hardness._growth_plot import plot_growth
    from counter_attack.hardness._reduction import Reduction, reduce_formula
    from counter_attack.hardness._second_level import FoolingInstance, false_for_all, fooling_network
    from counter_attack.hardness._solve import ContradictionError, Satisfiability, query_of, solve

_HOMES = {
    "Assignment": "_formula",
    "ContradictionError": "_solve",
    "CpSat": "_cp_sat",
    "CpSatAnswer": "_cp_sat",
    "DEFENCES": "_defences",
    "Defence": "_defences",
    "FoolingInstance": "_second_level",
    "Formula": "_formula",
    "GridFooling": "_grid",
    "GrowthRow": "_growth",
    "GrowthSummary": "_growth",
    "Reduction": "_reduction",
    "Satisfiability": "_solve",
    "export_reduction": "_export",
    "false_for_all": "_second_level",
    "fool_on_grid": "_grid",
    "fooling_network": "_second_level",
    "growth": "_growth",
    "parse_dimacs": "_formula",
    "plot_growth": "_growth_plot",
    "query_of": "_solve",
    "random_formula": "_formula",
    "read_dimacs": "_formula",
    "reduce_formula": "_reduction",
    "solve": "_solve",
    "solve_cp_sat": "_cp_sat",
    "summarise_growth": "_growth",
}

__all__ = [
    "DEFENCES",
    "Assignment",
    "ContradictionError",
    "CpSat",
    "CpSatAnswer",
    "Defence",
    "FoolingInstance",
    "Formula",
    "GridFooling",
    "GrowthRow",
    "GrowthSummary",
    "Reduction",
    "Satisfiability",
    "export_reduction",
    "false_for_all",
    "fool_on_grid",
    "fooling_network",
    "growth",
    "parse_dimacs",
    "plot_growth",
    "query_of",
    "random_formula",
    "read_dimacs",
    "reduce_formula",
    "solve",
    "solve_cp_sat",
    "summarise_growth",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
