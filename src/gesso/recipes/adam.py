"""Adam as all papers use it, in one pass over weights and moments where torch offers that."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor
from torch.optim import Adam

FUSED = ("cpu", "cuda", "mps")  # kinds of devices


def adam(parameters: Iterable[Tensor], rate: float, betas: tuple[float, float]) -> Adam:
    """Adam for parameters that already are where they will be trained.

    Its moments are those of torch's plain Adam, by the same names: states of one go on with the other.

    Args:
        parameters: What it trains.
        rate: Its first learning rate.
        betas: Decays of the mean gradient and of the mean squared gradient.
    """
    parameters = list(parameters)
    return Adam(parameters, lr=rate, betas=betas, fused=all(p.device.type in FUSED for p in parameters) or None)
