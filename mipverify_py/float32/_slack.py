"""By how much rounding can change the margin of any input of a region."""

from __future__ import annotations

import numpy as np

from bounds import Bounds, float32_errors
from mipverify_py._query import Query


def rounding_slack(query: Query, region: Bounds) -> float:
    """At least |(y_j - y_c) - (f_j - f_c)| for every target j, rival c and float32 input in the box `region`.

    y are the outputs of any float32 evaluation of the model, f those of the network of real numbers; in logit units.

    Raises:
        InputError, UnsupportedModelError: there is no bound, see `bounds.float32_errors`.
    """
    pairs = [(j, c) for j in query.target_classes for c in query.rivals]
    rows = np.zeros((len(pairs), query.network.output_size))
    for row, (j, c) in zip(rows, pairs, strict=True):
        row[j], row[c] = 1.0, -1.0
    return float(float32_errors(query.network, region, rows).max())
