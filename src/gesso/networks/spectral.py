"""Spectral normalisation: a convolution whose weight is divided by its largest singular value.

Miyato, Kataoka, Koyama, Yoshida; ICLR 2018; arXiv 1802.05957, algorithm 1. Two differences from torch's own: the names of its
tensors fit official checkpoints, and a freshly built layer knows its singular vectors well enough for eval mode at once.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from gesso.networks.coarse import Conv2d

EPSILON = 1e-12
SETTLING = 10  # power iterations after which a random weight's largest singular value is known to some per cent


class SpectralConv2d(Conv2d):
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
            u, v, sigma = self._largest()
            if torch.compiler.is_compiling():  # which finds out what it takes by itself
                return self.weight / torch.dot(u, torch.mv(self.weight.flatten(1), v))
            return _Quotient.of(self.weight, u, v, sigma)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H', W')."""
        if self.is_coarse(x):  # fewer numbers than the weight: these are divided instead
            return self.product(x, self.weight, self.bias, *self._largest())
        return self._conv_forward(x, self.normalised(), self.bias)

    @torch.no_grad()
    def _largest(self) -> tuple[Tensor, Tensor, Tensor]:
        """Copies of u and v, as the next forward overwrites them, perhaps before this one's backward pass; u^T W v."""
        matrix = self.weight.flatten(1)  # (out, in * k * k)
        advances = self.training and not self.frozen
        product = self._iterate(matrix) if advances else torch.mv(matrix, self.v)
        return self.u.clone(), self.v.clone(), torch.dot(self.u, product)

    def _iterate(self, matrix: Tensor) -> Tensor:
        """One power iteration; W v on the way."""
        self.v.copy_(F.normalize(torch.mv(matrix.t(), self.u), dim=0, eps=EPSILON))
        product = torch.mv(matrix, self.v)
        self.u.copy_(F.normalize(product, dim=0, eps=EPSILON))
        return product


class _Quotient(torch.autograd.Function):
    """The weight W over sigma = u^T W v, with its gradient in closed form: (G - <G, W / sigma> u v^T) / sigma.

    Operation by operation it takes twice as many passes over matrices of the weight's size, and keeps more of them.
    """

    @classmethod
    def of(cls, weight: Tensor, u: Tensor, v: Tensor, sigma: Tensor) -> Tensor:
        return cls.apply(weight, u, v, sigma)  # type: ignore[no-untyped-call]

    @staticmethod
    def forward(ctx: Any, weight: Tensor, u: Tensor, v: Tensor, sigma: Tensor) -> Tensor:
        normalised = weight / sigma
        ctx.save_for_backward(normalised, u, v, sigma)
        return normalised

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        normalised, u, v, sigma = ctx.saved_tensors
        gradient = gradients[0].flatten(1)
        share = torch.dot(gradient.flatten(), normalised.flatten())
        return torch.addr(gradient, u, v * -share).div_(sigma).view_as(normalised), None, None, None


def _full_precision(device: str) -> AbstractContextManager[Any]:
    """No half precision, which would spoil u and v a little more in each iteration."""
    available = torch.amp.is_autocast_available(device)
    return torch.autocast(device, enabled=False) if available and torch.is_autocast_enabled(device) else nullcontext()
