"""Sizes and counts of a search as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mipverify_py._result import Statistics


def statistics_record(s: Statistics) -> dict[str, Any]:
    """Every field of the statistics, under its name."""
    return {
        "layers": [asdict(layer) for layer in s.layers],
        "unstable": list(s.unstable),
        "stable": list(s.stable),
        "columns": s.columns,
        "rows": s.rows,
        "binaries": s.binaries,
        "nonzeros": s.nonzeros,
        "nodes": s.nodes,
        "iterations": s.iterations,
        "trees": s.trees,
        "rounds": s.rounds,
        "cuts": s.cuts,
        "open_targets": list(s.open_targets),
        "bound_solves": dict(s.bound_solves),
        "bound_skips": dict(s.bound_skips),
        "bound_seconds": dict(s.bound_seconds),
        "solve_seconds": s.solve_seconds,
        "phase_seconds": dict(s.phase_seconds),
    }
