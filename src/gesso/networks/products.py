"""Matrix products in float32 on CPUs, by whichever library of PyTorch's is the faster one on the processor at hand.

On AMD's processors with 512-bit vectors `torch.mm` runs at less than half of what they can do (measured on EPYCs: 170 GFLOP/s of
400 on two cores), because the library behind it, made by Intel, leaves half of each vector unused there. oneDNN, which
convolutions run on anyway, does not. Its sums round more: of 256, 576 and 1152 summands 1.4, 1.5 and 2 times as much, and of
longer ones not more than that. Where this matters callers add up shorter sums.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry, register_flop_formula

CPUINFO = Path("/proc/cpuinfo")
LINEAR = getattr(torch.ops.mkldnn, "_linear_pointwise", None)  # oneDNN's product, if this PyTorch has one


def product(one: Tensor, other: Tensor) -> Tensor:
    """The product of one (m, k) and other (n, k) transposed, (m, n), in memory of its own.

    `other` may be the transpose of something contiguous; whatever else is not contiguous is copied first.
    """
    assert one.ndim == other.ndim == 2 and one.shape[1] == other.shape[1], (one.shape, other.shape)
    if not _is_for_onednn(one, other):
        return torch.mm(one, other.t())
    if torch.is_grad_enabled() and (one.requires_grad or other.requires_grad):
        return _Differentiable.apply(one, other)  # type: ignore[no-untyped-call]
    return _multiplied(one, other)


def _is_for_onednn(one: Tensor, other: Tensor) -> bool:
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    plain = one.device.type == other.device.type == "cpu" and one.dtype == other.dtype == torch.float32
    return plain and one.numel() > 0 and other.numel() > 0 and bool(torch.backends.mkldnn.enabled) and _pays()


@functools.cache
def _pays() -> bool:
    """Whether oneDNN is there, and the processor one on which it is the faster of the two."""
    if LINEAR is None or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    try:
        maker = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        maker = platform.processor()
    return "AuthenticAMD" in maker and torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def _multiplied(one: Tensor, other: Tensor) -> Tensor:
    assert LINEAR is not None
    # What is strided otherwise takes it hundreds of times as long.
    other = other if other.is_contiguous() or other.t().is_contiguous() else other.contiguous()
    found: Tensor = LINEAR(one.contiguous(), other, None, "none", [], "")
    return found


class _Differentiable(torch.autograd.Function):
    """oneDNN's product has no gradients of its own."""

    @staticmethod
    def forward(ctx: Any, one: Tensor, other: Tensor) -> Tensor:
        ctx.save_for_backward(one, other)
        return _multiplied(one, other)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (one, other), (gradient,) = ctx.saved_tensors, gradients
        of_one = product(gradient, other.t()) if ctx.needs_input_grad[0] else None
        return of_one, product(gradient.t(), one.t()) if ctx.needs_input_grad[1] else None


def _operations(one: Sequence[int], other: Sequence[int], *_: Any, **__: Any) -> int:
    """Of a product (m, k) x (n, k)."""
    return 2 * one[0] * one[1] * other[0]


if LINEAR is not None and LINEAR not in flop_registry:  # PyTorch's counters do not know it by themselves
    register_flop_formula(LINEAR)(_operations)
