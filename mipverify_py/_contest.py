"""A query whose targets have to win against all other classes, as one whose targets only have to reach one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from mipverify_py._query import Query, Targets
from onnx_models import Affine, Node, Relu, ReluNetwork, SparseMap


def contested(query: Query) -> Query:
    """The same question about a network whose output c is the largest of all classes that are no targets."""
    network = with_largest(query.network, query.rivals, query.reference)
    plain = Targets.only(query.target_classes)
    return replace(query, network=network, label=query.reference, targets=plain)


def with_largest(network: ReluNetwork, classes: tuple[int, ...], place: int) -> ReluNetwork:
    """The network with the output `place` replaced by the largest of the outputs `classes`, which is exact.

    By max(p, q) = p + relu(q - p), pair after pair. The network's own nodes stay as they are.
    """
    nodes: list[Node] = list(network.nodes)
    logits, count = len(nodes) - 1, network.output_size
    nodes.append(Affine((logits,), (SparseMap.selection(np.array(classes), count),), np.zeros(len(classes)), "rivals"))
    size = len(classes)
    while size > 1:
        size = halve(nodes, size)
    kept = sparse.diags_array((np.arange(count) != place).astype(np.float64), format="csr")
    put = sparse.csr_array(([1.0], ([place], [0])), shape=(count, 1))
    maps = SparseMap(sparse.csr_array(kept)), SparseMap(put)
    nodes.append(Affine((logits, len(nodes) - 1), maps, np.zeros(count), "contest"))
    return ReluNetwork(tuple(nodes), network.notes)


def halve(nodes: list[Node], size: int) -> int:
    """Adds nodes after which half as many values are left: of every two the larger one. Returns their number."""
    source, pairs, left = len(nodes) - 1, size // 2, (size + 1) // 2
    first = 2 * np.arange(pairs)
    row, ones = np.arange(pairs), np.ones(pairs)
    difference = SparseMap(
        sparse.csr_array(
            (np.concatenate([ones, -ones]), (np.concatenate([row, row]), np.concatenate([first + 1, first]))),
            shape=(pairs, size),
        )
    )
    nodes.append(Affine((source,), (difference,), np.zeros(pairs), "difference"))
    nodes.append(Relu(len(nodes) - 1, pairs, "excess"))
    kept = SparseMap.selection(2 * np.arange(left), size)
    added = SparseMap(sparse.csr_array((ones, (row, row)), shape=(left, pairs)))
    nodes.append(Affine((source, len(nodes) - 1), (kept, added), np.zeros(left), "largest"))
    return left
