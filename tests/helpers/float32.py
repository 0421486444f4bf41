"""Float32 evaluations of small ONNX models, one rounding at a time, in as many ways as there are.

Written from the ONNX standard alone: it shares nothing with the importer or the error bounds that are tested with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

F32 = NDArray[np.float32]
ORDERS = ("as written", "reversed", "shuffled", "ascending", "signs apart", "pairwise")
_SMALLEST_NORMAL = np.float32(np.finfo(np.float32).tiny)


@dataclass
class Evaluator:
    """One way to evaluate a model: the order of sums, fused multiply-add or not, subnormal numbers flushed or not.

    With `folded`, a BatchNormalization is merged into the Conv before it, as inference engines do.
    """

    rng: np.random.Generator
    order: str = "as written"
    fused: bool = False
    flush: bool = False
    folded: bool = False

    def __call__(self, data: bytes, x: NDArray[Any]) -> NDArray[np.float64]:
        """The outputs for one input, as float64 numbers that float32 holds."""
        model = onnx.load_model_from_string(data)
        values: dict[str, Any] = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
        shape = [max(d.dim_value, 1) for d in model.graph.input[0].type.tensor_type.shape.dim]
        values[model.graph.input[0].name] = self._kept(np.asarray(x, np.float32).reshape(shape))
        nodes = list(model.graph.node)
        for index, node in enumerate(nodes):
            arguments = [values[name] if name else None for name in node.input]
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            previous = nodes[index - 1] if index else None
            if self.folded and node.op_type == "BatchNormalization" and previous and previous.op_type == "Conv":
                values[node.output[0]] = self._merged(previous, values, arguments, attributes)
            else:
                values[node.output[0]] = getattr(self, "_" + node.op_type.lower())(arguments, attributes)
        return np.asarray(values[model.graph.output[0].name], np.float64).reshape(-1)

    def _kept(self, values: Any) -> F32:
        """Rounded to float32; subnormal numbers taken for zero if they are flushed."""
        rounded = np.asarray(values).astype(np.float32)
        return np.where(np.abs(rounded) < _SMALLEST_NORMAL, np.float32(0), rounded) if self.flush else rounded

    def _dot(self, a: F32, b: F32, start: F32 | None = None) -> np.float32:
        """sum of a * b, plus `start`, in the order that this evaluator has."""
        pairs = [(self._kept(p), self._kept(q)) for p, q in zip(a.reshape(-1), b.reshape(-1), strict=True)]
        pairs += [] if start is None else [(np.float32(1), self._kept(start))]
        pairs = [pairs[k] for k in self._ordered(np.array([float(p) * float(q) for p, q in pairs]))]
        if self.order == "pairwise":
            return self._pairwise([self._kept(p * q) for p, q in pairs])
        total = np.float32(0)
        for p, q in pairs:
            if self.fused:  # the product of two float32 numbers is exact in float64
                total = self._kept(np.float64(p) * np.float64(q) + np.float64(total))[()]
            else:
                total = self._kept(total + self._kept(p * q))[()]
        return total

    def _ordered(self, products: NDArray[np.float64]) -> NDArray[np.intp]:
        count = len(products)
        if self.order == "reversed":
            return np.arange(count)[::-1]
        if self.order == "shuffled":
            return self.rng.permutation(count)
        if self.order == "ascending":
            return np.argsort(np.abs(products), kind="stable")
        if self.order == "signs apart":
            return np.argsort(-products, kind="stable")
        return np.arange(count)

    def _pairwise(self, terms: list[Any]) -> np.float32:
        while len(terms) > 1:
            odd = terms[-1:] if len(terms) % 2 else []
            terms = [self._kept(p + q) for p, q in zip(terms[::2], terms[1::2], strict=False)] + odd
        return np.float32(terms[0]) if terms else np.float32(0)

    def _gemm(self, arguments: list[Any], attributes: dict[str, Any]) -> F32:
        a, b = arguments[:2]
        a = a.T if attributes.get("transA") else a
        b = b.T if attributes.get("transB") else b
        alpha, beta = np.float32(attributes.get("alpha", 1.0)), np.float32(attributes.get("beta", 1.0))
        c = np.zeros((1, 1), np.float32) if arguments[2:] == [] else np.asarray(arguments[2])
        c = self._kept(np.broadcast_to(c, (a.shape[0], b.shape[1])) * beta)
        if alpha == 1:
            return np.array([[self._dot(a[i], b[:, j], c[i, j]) for j in range(b.shape[1])] for i in range(len(a))])
        product = np.array([[self._dot(a[i], b[:, j]) for j in range(b.shape[1])] for i in range(len(a))])
        return self._kept(self._kept(product * alpha) + c)

    def _matmul(self, arguments: list[Any], attributes: dict[str, Any]) -> F32:
        return self._gemm(arguments, {})

    def _conv(self, arguments: list[Any], attributes: dict[str, Any]) -> F32:
        x, weight = arguments[:2]
        bias = arguments[2] if len(arguments) > 2 else None
        top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
        (s_h, s_w), (k_h, k_w) = attributes.get("strides", [1, 1]), weight.shape[2:]
        assert attributes.get("group", 1) == 1 and list(attributes.get("dilations", [1, 1])) == [1, 1]
        x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
        rows, columns = (x.shape[2] - k_h) // s_h + 1, (x.shape[3] - k_w) // s_w + 1
        result = np.zeros((1, len(weight), rows, columns), np.float32)
        for o, i, j in np.ndindex(len(weight), rows, columns):
            window = x[0, :, i * s_h : i * s_h + k_h, j * s_w : j * s_w + k_w]
            result[0, o, i, j] = self._dot(window, weight[o], None if bias is None else bias[o])
        return result

    def _factors(self, arguments: list[Any], attributes: dict[str, Any]) -> tuple[F32, F32]:
        """factor and offset of a normalisation: y = factor x + offset."""
        scale, bias, mean, variance = arguments[1:5]
        root = np.sqrt(self._kept(variance + np.float32(attributes.get("epsilon", 1e-5))))
        factor = self._kept(scale / root)
        return factor, self._kept(bias - self._kept(mean * factor))

    def _batchnormalization(self, arguments: list[Any], attributes: dict[str, Any]) -> F32:
        shape = (1, -1, *[1] * (arguments[0].ndim - 2))
        if self.rng.random() < 0.5:
            factor, offset = (v.reshape(shape) for v in self._factors(arguments, attributes))
            return self._kept(self._kept(arguments[0] * factor) + offset)
        scale, bias, mean, variance = (v.reshape(shape) for v in arguments[1:5])
        inverse = self._kept(
            np.float32(1) / np.sqrt(self._kept(variance + np.float32(attributes.get("epsilon", 1e-5))))
        )
        return self._kept(self._kept(self._kept(arguments[0] - mean) * self._kept(inverse * scale)) + bias)

    def _merged(self, conv: onnx.NodeProto, values: dict[str, Any], arguments: list[Any], attributes: Any) -> F32:
        """A convolution whose weights have been multiplied by the factors of the normalisation after it."""
        factor, offset = self._factors(arguments, attributes)
        given = [values[name] for name in conv.input]
        weight = self._kept(given[1] * factor.reshape(-1, 1, 1, 1))
        bias = offset if len(given) < 3 else self._kept(self._kept(given[2] * factor) + offset)
        return self._conv(
            [given[0], weight, bias], {a.name: onnx.helper.get_attribute_value(a) for a in conv.attribute}
        )

    def _relu(self, arguments: list[Any], attributes: dict[str, Any]) -> F32:
        return self._kept(np.maximum(arguments[0], np.float32(0)))

    def _leakyrelu(self, arguments: list[Any], attributes: dict[str, Any]) -> F32:
        x, alpha = arguments[0], np.float32(attributes.get("alpha", 0.01))
        return self._kept(np.where(x >= 0, x, x * alpha))

    def _windows(self, x: F32, attributes: dict[str, Any]) -> Iterator[tuple[tuple[int, ...], F32]]:
        assert not any(attributes.get("pads", [0]))
        k_h, k_w = attributes["kernel_shape"]
        s_h, s_w = attributes.get("strides", [1, 1])
        rows, columns = (x.shape[2] - k_h) // s_h + 1, (x.shape[3] - k_w) // s_w + 1
        for c, i, j in np.ndindex(x.shape[1], rows, columns):
            yield (0, c, i, j), x[0, c, i * s_h : i * s_h + k_h, j * s_w : j * s_w + k_w]

    def _collected(self, parts: list[tuple[tuple[int, ...], Any]]) -> F32:
        result = np.zeros([max(place[k] for place, _ in parts) + 1 for k in range(4)], np.float32)
        for place, value in parts:
            result[place] = value
        return result

    def _maxpool(self, arguments: list[Any], attributes: dict[str, Any]) -> F32:
        return self._collected([(place, self._largest(w)) for place, w in self._windows(arguments[0], attributes)])

    def _largest(self, window: F32) -> np.float32:
        """By comparison, or as relu(a - b) + b, each step of which rounds."""
        if self.rng.random() < 0.5:
            return np.float32(window.max())
        best, *others = window.reshape(-1)
        for other in others:
            best = self._kept(np.maximum(self._kept(best - other), np.float32(0)) + other)[()]
        return np.float32(best)

    def _averagepool(self, arguments: list[Any], attributes: dict[str, Any]) -> F32:
        parts = []
        for place, window in self._windows(arguments[0], attributes):
            total, count = self._dot(window, np.ones_like(window)), np.float32(window.size)
            inverse = self._kept(np.float32(1) / count)
            parts.append((place, self._kept(total / count) if self.rng.random() < 0.5 else self._kept(total * inverse)))
        return self._collected(parts)

    def _add(self, arguments: list[Any], attributes: dict[str, Any]) -> F32:
        return self._kept(arguments[0] + arguments[1])

    def _sub(self, arguments: list[Any], attributes: dict[str, Any]) -> F32:
        return self._kept(arguments[0] - arguments[1])

    def _mul(self, arguments: list[Any], attributes: dict[str, Any]) -> F32:
        return self._kept(arguments[0] * arguments[1])

    def _div(self, arguments: list[Any], attributes: dict[str, Any]) -> F32:
        if self.rng.random() < 0.5:
            return self._kept(arguments[0] * self._kept(np.float32(1) / arguments[1]))
        return self._kept(arguments[0] / arguments[1])

    def _flatten(self, arguments: list[Any], attributes: dict[str, Any]) -> F32:
        return arguments[0].reshape(1, -1)


def evaluators(rng: np.random.Generator) -> list[Evaluator]:
    """One of every kind."""
    return [
        Evaluator(rng, order, fused, flush, folded)
        for order in ORDERS
        for fused in (False, True)
        for flush in (False, True)
        for folded in (False, True)
        if not (fused and order == "pairwise")
    ]


def any_evaluator(rng: np.random.Generator) -> Evaluator:
    """One drawn at random."""
    return Evaluator(rng, str(rng.choice(ORDERS)), *(bool(b) for b in rng.integers(0, 2, 3)))
