"""The process in which CP-SAT runs: formulas as lines of JSON on stdin, an answer to each on stdout.

`python -m counter_attack.hardness._cp_sat_worker`, started by `_cp_sat.py` and by nothing else: the libraries of
OR-Tools bring a HiGHS of their own, which must not meet ours in one process.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The fields of `CpSatAnswer` that CP-SAT knows.

    Args:
        request: `variables`, `clauses` (lists of literals), `seconds` (a limit or None) and `seed`.
    """
    from ortools.sat.python import cp_model  # here, so that to import this module loads nothing heavy

    model = cp_model.CpModel()
    variables = [model.new_bool_var(f"x{k + 1}") for k in range(request["variables"])]
    for clause in request["clauses"]:
        model.add_bool_or([variables[abs(v) - 1] if v > 0 else ~variables[abs(v) - 1] for v in clause])
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = request["seed"]
    if request["seconds"] is not None:
        solver.parameters.max_time_in_seconds = request["seconds"]
    status = solver.status_name(solver.solve(model))
    found = status in {"OPTIMAL", "FEASIBLE"}
    return {
        "status": status,
        "assignment": [solver.boolean_value(variable) for variable in variables] if found else None,
        "seconds": solver.wall_time,
        "branches": solver.num_branches,
        "conflicts": solver.num_conflicts,
    }


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(json.loads(line))) + "\n")
        sys.stdout.flush()
