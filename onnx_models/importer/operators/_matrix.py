"""Matrix products with constant matrices: Gemm, MatMul."""

from __future__ import annotations

import numpy as np

from onnx_models.importer._call import Call
from onnx_models.importer._lowering import broadcast, combine, dense, rearrange, weighted_sum
from onnx_models.importer._registry import ANY, one_factor, operator
from onnx_models.importer._values import Constant, Tensor, Value


@operator("MatMul", rule=one_factor)
def matrix_product(call: Call) -> Value:
    """y = a b as numpy.matmul, of which at least one is a constant."""
    return _product(call, call.value(0), call.value(1))


@operator("Gemm", attributes={"alpha": ANY, "beta": ANY, "transA": ANY, "transB": ANY}, rule=one_factor)
def general_matrix_product(call: Call) -> Value:
    """y = alpha a' b' + beta c, where a' and b' are a and b, transposed if transA or transB says so."""
    first = _transposed(call, call.value(0)) if call.attribute("transA", 0) else call.value(0)
    second = _transposed(call, call.value(1)) if call.attribute("transB", 0) else call.value(1)
    if len(first.shape) != 2 or len(second.shape) != 2:
        call.refuse(f"multiplies shapes {first.shape} and {second.shape}; matrices are expected")
    product = _product(call, first, second)
    terms: list[tuple[Value, float]] = [(product, float(call.attribute("alpha", 1.0)))]
    if call.given(2):
        terms.append((call.value(2), float(call.attribute("beta", 1.0))))
    result = combine(call, terms)
    if result.shape != product.shape:
        call.refuse(f"adds shape {call.value(2).shape} to a product of shape {product.shape}")
    return result


def _transposed(call: Call, value: Value) -> Value:
    if isinstance(value, Tensor) and call.batched:
        call.refuse_batch()
    return rearrange(call, [value], lambda array: array.swapaxes(-1, -2) if array.ndim > 1 else array)


def _product(call: Call, first: Value, second: Value) -> Value:
    """numpy.matmul of the two; vectors are treated as a matrix of one row or one column."""
    if not first.shape or not second.shape or first.shape[-1] != second.shape[-2 if len(second.shape) > 1 else 0]:
        call.refuse(f"multiplies shapes {first.shape} and {second.shape}, which do not fit together")
    rows = 1 if len(first.shape) == 1 else first.shape[-2]
    columns = 1 if len(second.shape) == 1 else second.shape[-1]
    stack = broadcast(call, first.shape[:-2], second.shape[:-2])
    shape = (*stack, *(first.shape[-2:-1]), *(second.shape[-1:] if len(second.shape) > 1 else ()))
    if isinstance(first, Tensor):
        _keep_batch(call, first, second, shape, summed=len(first.shape) - 1)
        return _tensor_times_constant(call, first, call.as_numbers(second), (*stack, rows, columns), shape)
    weight = call.as_numbers(first)
    if not isinstance(second, Tensor):
        call.spend((*stack, rows, columns), first.shape[-1])
        return np.asarray(np.matmul(first, call.as_numbers(second)))
    _keep_batch(call, second, first, shape, summed=max(len(second.shape) - 2, 0))
    # a x = (x^T a^T)^T: entry (i, j) sums x[k, j] * a[i, k] over k.
    columns_last = second.indices.swapaxes(-1, -2) if len(second.shape) > 1 else second.indices[None]
    full = (*stack, rows, columns, first.shape[-1])
    call.spend(full, 3)
    indices = np.broadcast_to(columns_last[..., None, :, :], full)
    factors = np.broadcast_to(weight if weight.ndim == 1 else weight[..., :, None, :], full)
    return weighted_sum(call, second, indices.reshape(*shape, -1), factors.reshape(*shape, -1))


def _tensor_times_constant(
    call: Call, tensor: Tensor, weight: Constant, entries: tuple[int, ...], shape: tuple[int, ...]
) -> Tensor:
    """Entry (..., i, j) sums tensor[..., i, k] * weight[..., k, j] over k; `entries` is the shape with i and j kept."""
    matrix = weight[:, None] if weight.ndim == 1 else weight
    if tensor.size == matrix.shape[-2] and matrix.ndim == 2:
        return dense(call, tensor, matrix.T, shape)
    full = (*entries, matrix.shape[-2])
    call.spend(full, 3)
    indices = tensor.indices if len(tensor.shape) > 1 else tensor.indices[None]
    indices = np.broadcast_to(indices[..., :, None, :], full)
    factors = np.broadcast_to(matrix.swapaxes(-1, -2)[..., None, :, :], full)
    return weighted_sum(call, tensor, indices.reshape(*shape, -1), factors.reshape(*shape, -1))


def _keep_batch(call: Call, tensor: Tensor, constant: Value, shape: tuple[int, ...], *, summed: int) -> None:
    """Refuses a product that sums over a dynamic batch (axis 0), moves it, or fixes its length."""
    fixed = len(constant.shape) >= max(len(tensor.shape), 3) and constant.shape[0] != 1
    if call.batched and (summed == 0 or len(constant.shape) > max(len(tensor.shape), 2) or fixed or not shape):
        call.refuse_batch()
