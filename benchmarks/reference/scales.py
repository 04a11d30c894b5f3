"""What both discriminators over several scales have in common, straightforward and frozen."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.nn import functional as F


def shrink(x: Tensor) -> Tensor:
    """Half the size, by means that leave out what is outside."""
    return F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)


class Scales(nn.Module, ABC):
    """The same layers on several scales; what each layer gives, finest scale first.

    Args:
        in_channels: Of semantics and photograph.
        width: Channels of the first layer.
        scales: How many.
        coarsest_first: Whether that is their order among the parameters.
    """

    def __init__(self, in_channels: int, width: int, scales: int, coarsest_first: bool) -> None:
        super().__init__()
        self.scales = nn.ModuleList(self.scale(in_channels, width) for _ in range(scales))
        self.step = -1 if coarsest_first else 1

    @staticmethod
    @abstractmethod
    def scale(in_channels: int, width: int) -> nn.ModuleList:
        """The layers of one scale."""

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        found = []
        for scale in list(self.scales)[:: self.step]:
            y, features = x, []
            for layer in scale:
                y = layer(y)
                features.append(y)
            found.append(features)
            x = shrink(x)
        return found
