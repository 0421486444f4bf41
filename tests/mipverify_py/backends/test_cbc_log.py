"""CBC's log: figures are read to the safe side of their rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mipverify_py.backends._cbc_log import CbcLog
from mipverify_py.backends.cbc import read_saved_solution
from onnx_models.errors import BackendCrashError

VALUES = st.floats(-1e9, 1e9).filter(lambda v: v == 0 or abs(v) > 1e-9)


@given(value=VALUES)
def test_a_printed_bound_is_never_above_the_bound_meant(value: float) -> None:
    """The three places where CBC prints a bound, with the C formats it uses: %.8g, %.6g and %.3f."""
    lines = {
        f"Cbc0010I After 1000 nodes, 14 on tree, 1e+50 best solution, best possible {value:.8g} (1.82 seconds)": 2e-7,
        f"Cbc0005I Partial search - best objective 6 (best possible {value:.8g}), took 99 iterations": 2e-7,
        f"Continuous objective value is {value:.6g} - 0.00 seconds": 2e-5,
    }
    for line, share in lines.items():
        log = CbcLog()
        assert log.read(line)
        assert log.bound is not None and value - share * abs(value) <= log.bound <= value
    log = CbcLog()
    assert log.read(f"Lower bound:                    {value:.3f}")
    assert log.bound is not None and value - 2e-3 - 1e-12 * abs(value) <= log.bound <= value


@given(value=VALUES)
def test_a_printed_objective_is_never_below_the_one_meant(value: float) -> None:
    log = CbcLog()
    assert log.read(f"Cbc0016I Integer solution of {value:.8g} found by strong branching after 14001 iterations")
    assert log.objective is not None and value <= log.objective <= value + 2e-7 * abs(value)


def test_a_whole_log() -> None:
    log = CbcLog()
    for line in """
        Continuous objective value is 3 - 0.00 seconds
        Cbc0012I Integer solution of 15 found by feasibility pump after 0 iterations and 0 nodes (0.04 seconds)
        Cbc0010I After 0 nodes, 1 on tree, 15 best solution, best possible 3.5 (0.16 seconds)
        Cbc0016I Integer solution of 7 found by strong branching after 3216 iterations and 1070 nodes (0.58 seconds)
        Cbc0011I Exiting as integer gap of 4 less than 1e-10 or 60%
        Cbc0001I Search completed - best objective 7, took 91835 iterations and 37037 nodes (0.58 seconds)
        Result - Optimal solution found (within gap tolerance)
        Lower bound:                    3.000
        Enumerated nodes:               37037
    """.splitlines():
        log.read(line.strip())
    assert log.bound == pytest.approx(3.5) and log.bound < 3.5
    assert log.objective == pytest.approx(7) and log.gap == pytest.approx(4) and log.gap >= 4
    assert (log.nodes, log.result) == (37037, "Optimal solution found (within gap tolerance)")
    assert not log.infeasible


def test_repetition_is_no_news() -> None:
    log = CbcLog()
    line = "Cbc0010I After 0 nodes, 1 on tree, 1e+50 best solution, best possible -2.5e-05 (0.19 seconds)"
    assert log.read(line) and not log.read(line) and not log.read("Cbc0031I 9 added rows had average density of 21.4")


def test_infeasible_line() -> None:
    log = CbcLog()
    log.read("Problem is infeasible - tightenPrimalBounds!")
    assert log.infeasible


def test_saved_solution(tmp_path: Path) -> None:
    path = tmp_path / "solution.bin"
    numbers = np.arange(1.0, 11.0)
    path.write_bytes(np.array([2, 3], "<i4").tobytes() + np.float64(0.5).tobytes() + numbers.astype("<f8").tobytes())
    activity, duals, point, reduced = read_saved_solution(path)
    assert (activity.tolist(), duals.tolist()) == ([1, 2], [3, 4])
    assert (point.tolist(), reduced.tolist()) == ([5, 6, 7], [8, 9, 10])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BackendCrashError, match="95 bytes that cannot be read"):
        read_saved_solution(path)
