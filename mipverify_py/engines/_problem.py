"""A query over one box, with everything stable substituted away: what the native engines search."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bounds import Bounds, NetworkBounds
from bounds._direct import DirectInputs, direct_inputs
from mipverify_py.proof import Index, RefinedUnits, Stage, Units, without_trees
from mipverify_py.proof._refinement import refined_bounds
from onnx_models import Affine, Array, Input, Relu, ReluNetwork


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """The unstable units of one ReLU node over columns v = [x, y_1, y_2, ...]: inputs, then all unstable outputs.

    Attributes:
        relu: index of the ReLU node.
        units: positions in the node, shape (K,).
        first: number of its first unit among all unstable units; its outputs are columns n + first, ...
        weight: z = weight @ v[: n + first] + bias, shape (K, n + first).
        bias: shape (K,).
        affine_in_input: whether z depends on the input's columns alone.
        direct: the direct inputs of the node.
        source: the direct inputs as an affine function of the columns, shape (size of v_direct, n + first); None where
            they are the network's input itself.
        source_constant: its constant, shape (size of v_direct,).
    """

    relu: int
    units: Index
    first: int
    weight: sparse.csr_array
    bias: Array
    affine_in_input: bool
    direct: DirectInputs
    source: sparse.csr_array | None
    source_constant: Array

    @property
    def size(self) -> int:
        """Number of units K."""
        return len(self.units)


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """max over the box of f_j - f_c for several targets j, over the unstable units only.

    Computed in floats, so it serves to search; what is found is proved on the network itself (`replay`).

    Attributes:
        network: the network.
        reference: c.
        targets: the classes j.
        bounds: outward-rounded bounds of all nodes over the box.
        layers: ReLU nodes with unstable units, in topological order.
        margin: f_j - f_c = margin[j's position] @ v + margin_constant, shape (targets, columns).
        margin_constant: shape (targets,).
        refinements: with which `bounds` are proved; over a smaller box they serve again.
    """

    network: ReluNetwork
    reference: int
    targets: tuple[int, ...]
    bounds: NetworkBounds
    layers: tuple[Layer, ...]
    margin: Array
    margin_constant: Array
    refinements: tuple[RefinedUnits, ...] = ()

    def stage(self, bounds: NetworkBounds, threshold: float) -> Stage:
        """A stage of a proof over the box of `bounds`: this problem's, or later ones."""
        first = bounds is self.bounds
        return Stage(bounds.nodes[0], threshold, self.refinements if first else without_trees(self.refinements))

    @property
    def box(self) -> Bounds:
        """The box of inputs."""
        return self.bounds.nodes[0]

    @property
    def inputs(self) -> int:
        """Number of inputs n."""
        return self.network.input_size

    @property
    def unit_count(self) -> int:
        """Number of unstable units."""
        return sum(layer.size for layer in self.layers)

    @property
    def tree_units(self) -> tuple[Units, ...]:
        """How a proof tree numbers the units."""
        return tuple(Units(layer.relu, layer.units) for layer in self.layers)

    def unit_bounds(self, bounds: NetworkBounds) -> Bounds:
        """Pre-activation bounds of all unstable units, in the tree's numbering, taken from bounds of the network."""
        parts = [bounds.pre_activation(self.network, layer.relu) for layer in self.layers]
        pick = [layer.units for layer in self.layers]
        empty = np.zeros(0)
        return Bounds(
            np.concatenate([empty, *(p.lower[k] for p, k in zip(parts, pick, strict=True))]),
            np.concatenate([empty, *(p.upper[k] for p, k in zip(parts, pick, strict=True))]),
        )


def compile_problem(
    network: ReluNetwork,
    reference: int,
    targets: tuple[int, ...],
    region: Bounds,
    bounds: NetworkBounds | None = None,
    refinements: tuple[RefinedUnits, ...] = (),
) -> Problem:
    """The problem over the box `region`; `bounds` are those of `refined_bounds` if they are at hand."""
    known = refined_bounds(network, region, refinements) if bounds is None else bounds
    return replace(_Compiler(network, known).run(reference, targets), refinements=refinements)


def receptive_fields(matrix: sparse.csr_array) -> tuple[Array, NDArray[np.int64], Array]:
    """The rows' stored entries, their columns, and 1 where there is one; all padded to equal width with 0."""
    lengths = np.diff(matrix.indptr)
    shape = (matrix.shape[0], int(lengths.max(initial=0)))
    place = np.arange(matrix.nnz) - np.repeat(matrix.indptr[:-1], lengths)
    rows = np.repeat(np.arange(shape[0]), lengths)
    weight, columns, mask = np.zeros(shape), np.zeros(shape, np.int64), np.zeros(shape)
    weight[rows, place], columns[rows, place], mask[rows, place] = matrix.data, matrix.indices, 1.0
    return weight, columns, mask


class _Compiler:
    """Expresses every node as matrix @ v + constant; unstable units are columns, active ones are substituted."""

    def __init__(self, network: ReluNetwork, bounds: NetworkBounds) -> None:
        self._network, self._bounds = network, bounds
        self._layers: list[Layer] = []
        unstable = [bounds.pre_activation(network, i).straddles_zero.sum() for i in network.relu_indices]
        self._columns = network.input_size + int(sum(unstable))
        self._units = 0
        self._matrices: list[sparse.csr_array] = []
        self._constants: list[Array] = []

    def run(self, reference: int, targets: tuple[int, ...]) -> Problem:
        for index, node in enumerate(self._network.nodes):
            if isinstance(node, Input):
                matrix, constant = self._selection(np.arange(node.size), node.size, 0), np.zeros(node.size)
            elif isinstance(node, Affine):
                matrix, constant = self._affine(node)
            else:
                matrix, constant = self._relu(node, index)
            self._matrices.append(matrix)
            self._constants.append(constant)
        logits, constant = self._matrices[-1].toarray(), self._constants[-1]
        chosen = list(targets)
        return Problem(
            self._network,
            reference,
            targets,
            self._bounds,
            tuple(self._layers),
            logits[chosen] - logits[reference],
            constant[chosen] - constant[reference],
        )

    def _selection(self, rows: Index, size: int, first: int) -> sparse.csr_array:
        """Rows `rows` of a (size, columns) matrix read columns first, first + 1, ..."""
        ones, columns = np.ones(len(rows)), first + np.arange(len(rows))
        return sparse.csr_array((ones, (rows, columns)), shape=(size, self._columns))

    def _affine(self, node: Affine) -> tuple[sparse.csr_array, Array]:
        matrix, constant = sparse.csr_array((node.size, self._columns)), node.bias.copy()
        for source, linear_map in zip(node.inputs, node.maps, strict=True):
            weights = linear_map.to_sparse()
            matrix = matrix + weights @ self._matrices[source]
            constant = constant + weights @ self._constants[source]
        return sparse.csr_array(matrix), constant

    def _relu(self, node: Relu, index: int) -> tuple[sparse.csr_array, Array]:
        pre = self._bounds.nodes[node.input]
        z, z_constant = self._matrices[node.input], self._constants[node.input]
        units, active = np.flatnonzero(pre.straddles_zero), (pre.lower >= 0).astype(np.float64)
        n, first = self._network.input_size, self._units
        if len(units):
            weight = sparse.csr_array(z[units][:, : n + first])
            self._layers.append(self._layer(index, units, weight, z_constant[units]))
            self._units += len(units)
        kept = sparse.diags_array(active) @ z + self._selection(units, node.size, n + first)
        return sparse.csr_array(kept), active * z_constant

    def _layer(self, index: int, units: Index, weight: sparse.csr_array, bias: Array) -> Layer:
        direct = direct_inputs(self._network, index)
        columns = self._network.input_size + self._units
        source, constant = None, np.zeros(self._network.input_size)
        if direct.sources != (0,):
            empty = sparse.csr_array((0, columns))
            parts = [sparse.csr_array(self._matrices[s][:, :columns]) for s in direct.sources]
            source = sparse.csr_array(sparse.vstack([empty, *parts], format="csr"))
            constant = np.concatenate([np.zeros(0), *(self._constants[s] for s in direct.sources)])
        inputs_only = weight.nnz == 0 or int(weight.indices.max()) < self._network.input_size
        return Layer(index, units, self._units, weight, bias, inputs_only, direct, source, constant)
