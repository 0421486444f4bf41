"""The comparison of branching rules: whatever a rule splits, the same targets are proved, and the trees hold."""

from __future__ import annotations

import pytest

from mipverify_py.engines import _dual_lane
from mipverify_py.engines._dual_bound import DualBounder
from mipverify_py.engines._dual_search import DualSearch
from mipverify_py.engines._target import Status
from tests.benchmarks import deep_branching
from tests.benchmarks.mnist_networks import subject
from tests.helpers.duals import failures

RADIUS = 0.12


@pytest.mark.parametrize("index", [0, 2])
@pytest.mark.parametrize("rule", deep_branching.RULES)
def test_trees_of_every_rule_hold(rule: str, index: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The images are robust to their targets at this radius."""
    known = subject("zoo:digits_dense_standard")
    x, label = known.data.image(index).reshape(-1), int(known.data.labels[index])
    problem = deep_branching.open_problem(known.network, x, label, RADIUS)
    assert problem is not None
    monkeypatch.setattr(_dual_lane, "Branching", deep_branching.RULES[rule])
    sizes = []
    for target in problem.targets:
        search = DualSearch(problem, target, 0.0, DualBounder(problem))
        search.advance(100, None)
        assert search.status is Status.PROVED and failures(problem, search.tree) == []
        sizes.append(len(search.tree.nodes))
    assert max(sizes) > 1


def test_the_table_has_a_line_per_rule_and_the_engine_s_own_rule_is_back(capsys: pytest.CaptureFixture[str]) -> None:
    usual = _dual_lane.Branching
    run = ["--networks", "zoo:digits_dense_standard", "--images", "0", "--radius", str(RADIUS), "--nodes", "20"]
    assert deep_branching.main(run) == 0
    printed = capsys.readouterr().out
    assert all(rule in printed for rule in deep_branching.RULES) and _dual_lane.Branching is usual
