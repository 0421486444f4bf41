"""Lower bounds of margins over boxes of inputs, differentiable in the ends of the boxes.

The same two bounds as in the package `bounds`, without its outward rounding, through which there are no gradients: they
guide an optimiser, and prove nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bounds import BatchedNetwork
from counter_attack.amoeba._kinds import BoundKind
from onnx_models import Affine, Relu, ReluNetwork
from onnx_models.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


class MarginBounds:
    """Lower bounds of f_c - f_j over B boxes at once.

    With intervals (as in the paper) each ReLU unit is bounded from the interval of its inputs, and the rows f_c - f_j
    are taken through the last affine map, so that what the two classes share cancels. With linear bounds (CROWN: Zhang
    et al., 2018) the rows are taken back to the input, each ReLU replaced by a line, and pre-activations that intervals
    leave unstable are bounded in the same way. The margin's bound is then the larger of the two, since neither is
    always the better one.
    """

    def __init__(self, network: ReluNetwork, kind: BoundKind = BoundKind.CROWN, device: str = "cpu") -> None:
        """`kind` is INTERVAL or CROWN; `device` is "cpu" or "cuda" (or "cuda:1", ...)."""
        if kind is BoundKind.EXACT:
            raise InputError("Exact answers have no gradient; choose interval or crown bounds.")
        self.network, self.kind, self.device = network, kind, device
        self._maps = BatchedNetwork(network, device)

    def margins(self, lower: Tensor, upper: Tensor, classes: Tensor) -> Tensor:
        """Lower bounds of f_c - f_j for all other classes j, ascending.

        Args:
            lower: lower ends of the boxes, shape (B, n), float64.
            upper: upper ends.
            classes: c of each box, shape (B,), whole numbers.

        Returns:
            shape (B, number of classes - 1).
        """
        import torch

        walk = _Walk(self.network, self._maps, lower, upper)
        for index, node in enumerate(self.network.nodes):
            if isinstance(node, Affine):
                walk.transform(index, node)
                if self.kind is BoundKind.CROWN and self._needs_lines(index, node):
                    walk.refine(index)
            elif isinstance(node, Relu):
                walk.low.append(walk.low[node.input].clamp(min=0.0))
                walk.high.append(walk.high[node.input].clamp(min=0.0))
        last, rows = len(self.network.nodes) - 1, margin_rows(classes, self.network.output_size)
        bound = walk.least(last, rows, lines=False)
        return torch.maximum(bound, walk.least(last, rows, lines=True)) if self.kind is BoundKind.CROWN else bound

    def _needs_lines(self, index: int, node: Affine) -> bool:
        """Whether the node is a pre-activation whose interval is not exact already."""
        feeds = any(isinstance(self.network.nodes[k], Relu) for k in self.network.consumers[index])
        return feeds and any(source != 0 for source in node.inputs)


def margin_rows(classes: Tensor, count: int) -> Tensor:
    """Rows over the logits that give f_c - f_j for all other classes j; shape (B, count - 1, count)."""
    import torch

    every = torch.eye(count, dtype=torch.float64, device=classes.device)
    differences = every[classes][:, None, :] - every[None]
    others = torch.arange(count, device=classes.device)[None] != classes[:, None]
    return differences[others].view(len(classes), count - 1, count)


class _Walk:
    """Bounds of the nodes so far over B boxes, and the way back from a node to the input."""

    def __init__(self, network: ReluNetwork, maps: BatchedNetwork, lower: Tensor, upper: Tensor) -> None:
        self._network, self._maps = network, maps
        self.low, self.high = [lower], [upper]

    def transform(self, index: int, node: Affine) -> None:
        """Interval bounds of affine node `index`, by middles and radii:  M v + b  is in  M m + b -+ |M| r."""
        import torch

        centre = self._maps.bias(index).expand(len(self.low[0]), -1)
        spread = torch.zeros_like(centre)
        for source, linear_map in zip(node.inputs, self._maps.maps(index), strict=True):
            middle = 0.5 * (self.low[source] + self.high[source])
            centre = centre + linear_map.apply(middle)
            spread = spread + linear_map.absolute(self.high[source] - middle)
        self.low.append(centre - spread)
        self.high.append(centre + spread)

    def refine(self, index: int) -> None:
        """Bounds the units of node `index` that are unstable in some box by lines, too."""
        import torch

        low, high = self.low[index], self.high[index]
        units = torch.nonzero(((low < 0) & (high > 0)).any(0)).flatten()
        if not len(units):
            return
        chosen = torch.eye(low.shape[1], dtype=low.dtype, device=low.device)[units]
        rows = torch.cat([chosen, -chosen]).expand(len(low), -1, -1)
        bound = self.least(index, rows, lines=True)
        below, above = bound[:, : len(units)], -bound[:, len(units) :]
        self.low[index] = low.index_copy(1, units, torch.maximum(low[:, units], below))
        self.high[index] = high.index_copy(1, units, torch.minimum(high[:, units], above))

    def least(self, index: int, rows: Tensor, *, lines: bool) -> Tensor:
        """Lower bounds of rows, shape (B, R, m), over the values of node `index`; shape (B, R).

        Args:
            index: a node.
            rows: what to bound.
            lines: go on through ReLUs by their lines, to the input; otherwise stop at their intervals.
        """
        coefficients, total = {index: rows}, rows.new_zeros(rows.shape[:2])
        while coefficients:
            at = max(coefficients)
            part, node = coefficients.pop(at), self._network.nodes[at]
            passed: list[tuple[int, Tensor]] = []
            if isinstance(node, Affine):
                total = total + part @ self._maps.bias(at)
                flat = part.reshape(-1, node.size)
                for source, linear_map in zip(node.inputs, self._maps.maps(at), strict=True):
                    passed.append((source, linear_map.transposed(flat).view(*part.shape[:2], -1)))
            elif isinstance(node, Relu) and lines:
                through, lost = self._through(node, part)
                total = total + lost
                passed.append((node.input, through))
            else:
                total = total + _over_box(part, self.low[at], self.high[at])
            for source, through in passed:
                coefficients[source] = coefficients[source] + through if source in coefficients else through
        return total

    def _through(self, node: Relu, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Rows over the pre-activations of a ReLU node, and a constant, that give less than `rows` over its values.

        For an unstable unit  alpha z <= max(z, 0) <= u (z - l) / (u - l),  alpha 1 where u > -l and 0 elsewhere.
        """
        import torch

        low, high = self.low[node.input], self.high[node.input]
        unstable = (low < 0) & (high > 0)
        fixed = (low >= 0).to(low.dtype)
        slope = torch.where(unstable, high / torch.where(unstable, high - low, torch.ones_like(low)), fixed)
        intercept = torch.where(unstable, -slope * low, torch.zeros_like(low))
        alpha = torch.where(unstable, (high > -low).to(low.dtype), fixed)
        positive, negative = rows.clamp(min=0.0), rows.clamp(max=0.0)
        return positive * alpha[:, None] + negative * slope[:, None], (negative * intercept[:, None]).sum(2)


def _over_box(rows: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """min of rows @ v over low <= v <= high, shapes (B, R, m), (B, m) and (B, R)."""
    return (rows.clamp(min=0.0) * low[:, None] + rows.clamp(max=0.0) * high[:, None]).sum(2)
