"""Batch normalisation over the batches of all processes: each sees the statistics of the joint batch.

Torch has this for GPUs alone. This one runs wherever torch.distributed does, and adds eps to the variance, where the official
SPADE code clamps the variance at eps; they differ only for channels that are almost constant.
"""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def processes() -> int:
    """How many processes train together: also before they meet, as many as torchrun has started (`WORLD_SIZE`), else 1."""
    return dist.get_world_size() if _have_met() else int(os.environ.get("WORLD_SIZE", "1"))


def _have_met() -> bool:
    return dist.is_available() and dist.is_initialized()


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics in train mode are those of all processes' batches together.

    Batches may differ in size. With one process, and in eval mode, it is plain batch norm. All processes have to run the same
    layers in the same order, else they wait for each other for ever.

    Attributes:
        alone: Whether to leave the other processes out of it, because only this one runs.
    """

    alone = False

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        if not self.training or self.alone or processes() == 1:
            return super().forward(x)
        y, mean, variance, count = _Together.apply(x, self.eps)  # type: ignore[no-untyped-call]
        self._remember(mean, variance * count / (count - 1))  # (C,) each
        if self.affine:
            y = y * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)
        return y.to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Let running statistics follow, as torch's own do."""
        if self.running_mean is None or self.running_var is None:
            return
        momentum = self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            momentum = 1 / self.num_batches_tracked.item() if momentum is None else momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum or 0.0)
        self.running_var.lerp_(variance.to(self.running_var.dtype), momentum or 0.0)


class _Together(torch.autograd.Function):
    """(B, C, H, W) normalised over all processes, the joint mean and biased variance (C,), and the joint count of values."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(values, (0, 2, 3), correction=0)
        here = mean.new_full((1,), x.numel() // x.shape[1])
        every = _gather(torch.cat([mean, variance, here]))  # (processes, 2 * C + 1)
        count = every[:, -1].sum()
        share = every[:, -1:] / count  # (processes, 1)
        means, variances = every[:, :-1].chunk(2, dim=1)  # (processes, C) each
        mean = (share * means).sum(0)
        variance = (share * (variances + (means - mean) ** 2)).sum(0)
        scale = torch.rsqrt(variance + eps)
        normal = (values - mean.view(-1, 1, 1)) * scale.view(-1, 1, 1)
        ctx.save_for_backward(normal, scale, count)
        ctx.mark_non_differentiable(mean, variance, count)
        return normal, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        normal, scale, count = ctx.saved_tensors
        gradient = gradients[0]
        sums = torch.cat([gradient.sum((0, 2, 3)), (gradient * normal).sum((0, 2, 3))])
        through_mean, through_variance = (_gather(sums).sum(0) / count).view(2, -1, 1, 1)  # (C, 1, 1) each
        return scale.view(-1, 1, 1) * (gradient - through_mean - normal * through_variance), None


def _gather(row: Tensor) -> Tensor:
    """(N,) of each process -> (processes, N); before they have met, as in a rehearsal, as if the others had the same."""
    if not _have_met():
        return row.expand(processes(), -1)
    rows = [torch.empty_like(row) for _ in range(processes())]
    dist.all_gather(rows, row)
    return torch.stack(rows)
