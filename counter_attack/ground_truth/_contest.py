"""A network on which any attack can be asked, for many inputs at once, for target classes that win."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from mipverify_py._contest import halve
from onnx_models import Affine, Node, ReluNetwork, SparseMap


def one_against_all(network: ReluNetwork) -> ReluNetwork:
    """The network with 2K outputs instead of its K logits: those, then for each class the largest of all others.

    Class t wins, ties counted, where output t reaches output K + t. So an attack that takes K + t for the class and t
    for the target looks for an input of class t.
    """
    count = network.output_size
    width = 1 << max(count - 2, 0).bit_length()
    rivals = [[j for j in range(count) if j != target] for target in range(count)]
    padded = np.array([some + some[-1:] * (width - len(some)) for some in rivals])  # the same twice is as large
    nodes: list[Node] = list(network.nodes)
    logits = len(nodes) - 1
    nodes.append(Affine((logits,), (SparseMap.selection(padded.ravel(), count),), np.zeros(padded.size), "rivals"))
    size = padded.size
    while size > count:  # pairs never cross from one class to the next: the width is a power of two
        size = halve(nodes, size)
    eye, nothing = sparse.eye_array(count, format="csr"), sparse.csr_array((count, count))
    above = SparseMap(sparse.csr_array(sparse.vstack([eye, nothing], format="csr")))
    below = SparseMap(sparse.csr_array(sparse.vstack([nothing, eye], format="csr")))
    nodes.append(Affine((logits, len(nodes) - 1), (above, below), np.zeros(2 * count), "one against all"))
    return ReluNetwork(tuple(nodes), network.notes)
