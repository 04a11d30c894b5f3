"""Convolutions of coarse pictures, where the weight is the larger thing by far: what every paper's networks share.

Convolution libraries bring a weight into an order of their own first, and its gradient back out of it. Where a layer has tens
of megabytes of weights and some hundred pixels, that takes longer than the arithmetic. Matrix products take weights as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from gesso.networks.products import product

WEIGHTS = 2**22  # numbers in a weight from which on it is worth it
PIXELS = 256  # up to which of the output, over the whole batch


class Conv2d(nn.Conv2d):
    """A convolution that is trained as a matrix product where that is faster; on CPUs, in the number format of its weights."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not self.is_coarse(input):
            return super()._conv_forward(input, weight, bias)
        return self.product(input, weight, bias)

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None, *singular: Tensor) -> Tensor:
        """The convolution as a matrix product.

        Args:
            x: (B, in, H, W).
            weight: (out, in, k, k).
            bias: (out,).
            *singular: If given, u (out,), v (in * k * k,) and u^T W v, by which the weight is to be divided; gradients flow
                through it, with both vectors taken as constant.
        """
        y = _Product.of(x, weight, self.stride[0], int(self.padding[0]), *singular)
        return y if bias is None else y + bias.view(-1, 1, 1)

    def is_coarse(self, x: Tensor) -> bool:
        """Whether the product is worth it; only in training, so that pictures do not depend on it."""
        if not self.training or torch.compiler.is_compiling():
            return False
        pixels = len(x) * _output(x.shape[2], self, 0) * _output(x.shape[3], self, 1)
        plain = x.device.type == "cpu" and x.dtype == self.weight.dtype and not torch.is_autocast_enabled("cpu")
        large = self.weight.numel() >= WEIGHTS and 0 < pixels <= PIXELS
        return plain and large


def _output(length: int, conv: nn.Conv2d, axis: int) -> int:
    """Height or width that a convolution gives."""
    return (length + 2 * int(conv.padding[axis]) - conv.kernel_size[axis]) // conv.stride[axis] + 1


class _Product(torch.autograd.Function):
    """A convolution as a product of the weight and the windows of the picture, which are laid out again for gradients."""

    @classmethod
    def of(cls, x: Tensor, weight: Tensor, stride: int, padding: int, *singular: Tensor) -> Tensor:
        return cls.apply(x, weight, stride, padding, *singular)  # type: ignore[no-untyped-call]

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int, *singular: Tensor) -> Tensor:
        ctx.how = {"kernel_size": weight.shape[2:], "stride": stride, "padding": padding}
        height = (x.shape[2] + 2 * padding - weight.shape[2]) // stride + 1
        y = product(weight.flatten(1), _windows(x, ctx.how).t())  # (O, B * H' * W')
        if singular:
            y = y.div_(singular[2])
        ctx.save_for_backward(x, weight, *singular, *([y] if singular else []))
        return y.view(len(weight), len(x), height, -1).transpose(0, 1).contiguous()  # (B, O, H', W')

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *singular = ctx.saved_tensors
        gradient = gradients[0].transpose(0, 1).flatten(1)  # (O, B * H' * W')
        if singular:
            u, v, sigma, y = singular
            gradient = gradient / sigma
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            windows = product(gradient.t(), weight.flatten(1).t()).view(len(x), -1, weight[0].numel())
            of_x = F.fold(windows.transpose(1, 2), x.shape[2:], **ctx.how)
        if ctx.needs_input_grad[1]:
            of_weight = product(gradient, _windows(x, ctx.how))
            if singular:
                of_weight.addr_(u, v * -(gradient * y).sum())  # what sigma has a say in
            of_weight = of_weight.view_as(weight)
        return of_x, of_weight, None, None, *(None for _ in singular[:3])


def _windows(x: Tensor, how: dict[str, Any]) -> Tensor:
    """(C * k * k, B * H' * W')."""
    return F.unfold(x, **how).transpose(0, 1).flatten(1)
