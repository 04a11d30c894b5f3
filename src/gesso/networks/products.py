"""Matrix products in float32 by whichever library of PyTorch's is fast on every processor.

On processors of AMD, `torch.mm` runs at less than half of what they can do: the library behind it does not use their vector
units in full. oneDNN, which convolutions run on anyway, does. It sums plainly, so that long sums round more: where that
matters callers split them.
"""

from __future__ import annotations

import functools
import platform
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


@functools.cache
def _linear() -> torch._ops.OpOverload | None:
    """OneDNN's product; None where PyTorch has none, and `torch.mm` is the best there is."""
    if platform.machine().lower() not in ("x86_64", "amd64") or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    try:
        return torch.ops.mkldnn._linear_pointwise.default
    except AttributeError:
        return None


def product(one: Tensor, other: Tensor) -> Tensor:
    """The product of one (m, k) and other (n, k) transposed, (m, n); differentiable once.

    Both contiguous, or the transpose of what is; anything else is copied first.
    """
    if not _is_for_onednn(one, other):
        return torch.mm(one, other.t())
    if torch.is_grad_enabled() and (one.requires_grad or other.requires_grad):
        return _Differentiable.apply(one, other)  # type: ignore[no-untyped-call]
    return _multiplied(one, other)


def _is_for_onednn(one: Tensor, other: Tensor) -> bool:
    plain = one.device.type == "cpu" and one.dtype == other.dtype == torch.float32 and one.numel() and other.numel()
    if not plain or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    return bool(torch.backends.mkldnn.enabled) and _linear() is not None


def _multiplied(one: Tensor, other: Tensor) -> Tensor:
    linear = _linear()
    assert linear is not None
    found: Tensor = linear(_dense(one), _dense(other), None, "none", [], "")
    return found


class _Differentiable(torch.autograd.Function):
    """oneDNN's product has no gradients of its own."""

    @staticmethod
    def forward(ctx: Any, one: Tensor, other: Tensor) -> Tensor:
        ctx.save_for_backward(one, other)
        return _multiplied(one, other)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (one, other), (gradient,) = ctx.saved_tensors, gradients
        of_one = product(gradient, other.t()) if ctx.needs_input_grad[0] else None
        return of_one, product(gradient.t(), one.t()) if ctx.needs_input_grad[1] else None


def _dense(matrix: Tensor) -> Tensor:
    """Strided matrices take oneDNN hundreds of times as long."""
    return matrix if matrix.is_contiguous() or matrix.t().is_contiguous() else matrix.contiguous()
