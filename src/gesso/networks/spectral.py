"""Spectral normalisation: a convolution whose weight is divided by its largest singular value.

Miyato, Kataoka, Koyama, Yoshida; ICLR 2018; arXiv 1802.05957, algorithm 1. Two differences from torch's own: the names of its
tensors fit official checkpoints, and a freshly built layer knows its singular vectors well enough for eval mode at once.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-12
SETTLING = 10  # power iterations after which a random weight's largest singular value is known to some per cent


class SpectralConv2d(nn.Conv2d):
    """A convolution with spectral norm 1, as nearly as power iteration knows it.

    In train mode each forward makes one power iteration, first v, then u; in eval mode none. Gradients flow through the
    singular value, with both vectors taken as constant.

    Attributes:
        weight: (out, in, k, k), not normalised.
        u: (out,), the left singular vector of the weight as a matrix (out, in * k * k).
        v: (in * k * k,), the right one.
        frozen: No power iterations, in train mode neither; for a forward that is run a second time.
    """

    u: Tensor
    v: Tensor
    frozen = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register_buffer("u", self.weight.new_empty(len(self.weight)))
        self.register_buffer("v", self.weight.new_empty(self.weight[0].numel()))
        self.settle()

    @torch.no_grad()
    def settle(self, generator: torch.Generator | None = None) -> None:
        """Find u and v for a new weight, from a random beginning.

        Args:
            generator: Source of random numbers; the global one when omitted.
        """
        if self.weight.is_meta:
            return  # nothing to be found there
        nn.init.normal_(self.u, generator=generator)
        for _ in range(SETTLING):
            self._iterate(self.weight.flatten(1))

    def normalised(self) -> Tensor:
        """The weight over its largest singular value; in train mode after one more power iteration."""
        with _full_precision(self.weight.device.type):
            matrix = self.weight.flatten(1)  # (out, in * k * k)
            if self.training and not self.frozen:
                with torch.no_grad():
                    self._iterate(matrix)
            # Copies, because the next forward overwrites the buffers, perhaps before this one's backward pass.
            u, v = self.u.clone(), self.v.clone()
            return self.weight / torch.dot(u, torch.mv(matrix, v))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H', W')."""
        return self._conv_forward(x, self.normalised(), self.bias)

    def _iterate(self, matrix: Tensor) -> None:
        self.v.copy_(F.normalize(torch.mv(matrix.t(), self.u), dim=0, eps=EPSILON))
        self.u.copy_(F.normalize(torch.mv(matrix, self.v), dim=0, eps=EPSILON))


def _full_precision(device: str) -> AbstractContextManager[Any]:
    """No half precision, which would spoil u and v a little more in each iteration."""
    available = torch.amp.is_autocast_available(device)
    return torch.autocast(device, enabled=False) if available and torch.is_autocast_enabled(device) else nullcontext()
