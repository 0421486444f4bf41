"""Which native engine searches which target."""

from __future__ import annotations

from bounds import NetworkBounds
from mipverify_py._options import Options
from mipverify_py.engines._cut_search import CutSearch
from mipverify_py.engines._dual_bound import DualBounder
from mipverify_py.engines._dual_search import DualSearch
from mipverify_py.engines._problem import Problem
from mipverify_py.engines._target import TargetSearch

WIDE_FIELD = 100
"""Networks whose first hidden layer reads more inputs than this go to the batched duals.

There a dense linear program is slow, and first-order steps do well. Smaller receptive fields go to branch and cut,
whose bounds are exact."""

MANY_UNITS = 400
"""So do networks with more unstable units: 1,300 of WK17a's allow one linear program a second, or a hundred nodes."""


class Searches:
    """Opens searches for the targets of one problem, and moves what they share to a smaller box."""

    def __init__(self, problem: Problem, threshold: float, options: Options) -> None:
        self._problem, self._threshold = problem, threshold
        self.bounder = DualBounder(problem, options.device)
        self._duals = options.engine == "duals" or (options.engine == "auto" and _suits_duals(problem))

    def open(self, target: int) -> TargetSearch:
        """A search that has bounded nothing yet."""
        if self._duals:
            return DualSearch(self._problem, target, self._threshold, self.bounder)
        return CutSearch(self._problem, target, self._threshold)

    def move(self, bounds: NetworkBounds) -> None:
        """Goes on with a smaller box; the searches themselves are restricted by who owns them."""
        self.bounder.move(bounds.nodes[0])


def _suits_duals(problem: Problem) -> bool:
    if not problem.layers:
        return False
    first = problem.layers[0]
    wide = first.affine_in_input and first.weight.nnz > WIDE_FIELD * first.size
    return wide or problem.unit_count > MANY_UNITS
