"""Matrix products in float32 by whichever library of PyTorch's is fast on every processor.

On processors of AMD, `torch.mm` runs at less than half of what they can do: the library behind it does not use their vector
units in full. oneDNN, which convolutions run on anyway, does. It sums plainly, so that long sums round more: where that
matters callers split them.
"""

from __future__ import annotations

import functools
import platform

import torch
from torch import Tensor


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
    """One (m, k) times other (n, k) transposed, (m, n); on CPUs without gradients.

    Both contiguous, or the transpose of what is; anything else is copied first.
    """
    linear = _linear()
    ready = one.device.type == "cpu" and one.dtype == other.dtype == torch.float32 and torch.backends.mkldnn.enabled
    if linear is None or not ready or not one.numel() or not other.numel():
        return torch.mm(one, other.t())
    found: Tensor = linear(_dense(one), _dense(other), None, "none", [], "")
    return found


def _dense(matrix: Tensor) -> Tensor:
    """Strided matrices take oneDNN hundreds of times as long."""
    return matrix if matrix.is_contiguous() or matrix.t().is_contiguous() else matrix.contiguous()
