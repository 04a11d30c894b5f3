"""The networks of SPADE (arXiv 1903.07291), straightforward and frozen; batch norm, spectral norm of torch."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import spectral_norm

from reference.scales import Scales

DOUBLINGS = {  # before which of the blocks the size is doubled
    "normal": (0, 1, 0, 1, 1, 1, 1),
    "more": (0, 1, 1, 1, 1, 1, 1),
    "most": (0, 1, 1, 1, 1, 1, 1, 1),
}
WIDTHS = (16, 16, 16, 8, 4, 2, 1, 0.5)  # of the same blocks


class Spade(nn.Module):
    def __init__(self, channels: int, semantic_channels: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.shared = nn.Sequential(nn.Conv2d(semantic_channels, hidden, 3, padding=1), nn.ReLU())
        self.gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, semantics: Tensor) -> Tensor:
        hidden = self.shared(F.interpolate(semantics, size=x.shape[2:], mode="nearest"))
        return self.norm(x) * (1 + self.gamma(hidden)) + self.beta(hidden)


class Block(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, semantic_channels: int, hidden: int) -> None:
        super().__init__()
        middle = min(in_channels, out_channels)
        self.first_norm = Spade(in_channels, semantic_channels, hidden)
        self.first = spectral_norm(nn.Conv2d(in_channels, middle, 3, padding=1))
        self.second_norm = Spade(middle, semantic_channels, hidden)
        self.second = spectral_norm(nn.Conv2d(middle, out_channels, 3, padding=1))
        self.learned = in_channels != out_channels
        if self.learned:
            self.shortcut_norm = Spade(in_channels, semantic_channels, hidden)
            self.shortcut = spectral_norm(nn.Conv2d(in_channels, out_channels, 1, bias=False))

    def forward(self, x: Tensor, semantics: Tensor) -> Tensor:
        shortcut = self.shortcut(self.shortcut_norm(x, semantics)) if self.learned else x
        y = self.first(F.leaky_relu(self.first_norm(x, semantics), 0.2))
        y = self.second(F.leaky_relu(self.second_norm(y, semantics), 0.2))
        return shortcut + y


class Generator(nn.Module):
    """From the downsampled layout, or from z (B, latent), which becomes a grid of these rows and columns."""

    def __init__(
        self,
        in_channels: int,
        width: int = 64,
        hidden: int = 128,
        upsampling: str = "more",
        latent: int = 0,
        latent_grid: tuple[int, int] = (4, 8),
    ) -> None:
        super().__init__()
        self.doublings, self.grid = DOUBLINGS[upsampling], latent_grid
        widths = [int(width * factor) for factor in WIDTHS[: len(self.doublings)]]
        cells = latent_grid[0] * latent_grid[1]
        from_layout = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.start = nn.Linear(latent, widths[0] * cells) if latent else from_layout
        pairs = pairwise([widths[0], *widths])
        self.blocks = nn.ModuleList(Block(before, after, in_channels, hidden) for before, after in pairs)
        self.head = nn.Sequential(nn.LeakyReLU(0.2), nn.Conv2d(widths[-1], 3, 3, padding=1), nn.Tanh())

    def forward(self, semantics: Tensor, style: Tensor | None = None) -> Tensor:
        if style is None:
            rows, columns = (side // 2 ** sum(self.doublings) for side in semantics.shape[2:])
            x = self.start(F.interpolate(semantics, size=(rows, columns), mode="nearest"))
        else:
            x = self.start(style).view(len(style), -1, *self.grid)
        for doubling, block in zip(self.doublings, self.blocks, strict=True):
            if doubling:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = block(x, semantics)
        return self.head(x)


class Discriminator(Scales):
    """Spectral and instance norm; finest scale first among the parameters."""

    def __init__(self, in_channels: int, width: int = 64, scales: int = 2) -> None:
        super().__init__(in_channels, width, scales, coarsest_first=False)

    @staticmethod
    def scale(in_channels: int, width: int) -> nn.ModuleList:
        layers = [nn.Sequential(nn.Conv2d(in_channels, width, 4, stride=2, padding=2), nn.LeakyReLU(0.2))]
        for i, stride in enumerate((2, 2, 1)):
            channels = width * 2 ** (i + 1)
            convolution = nn.Conv2d(channels // 2, channels, 4, stride=stride, padding=2, bias=False)
            layers.append(
                nn.Sequential(spectral_norm(convolution), nn.InstanceNorm2d(channels), nn.LeakyReLU(0.2)),
            )
        return nn.ModuleList([*layers, nn.Conv2d(width * 8, 1, 4, padding=2)])


@torch.no_grad()
def settle(network: nn.Module, *inputs: Tensor | None) -> None:
    """Give batch norms the statistics of this input, so that random weights give pictures that a layout has a say in."""
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    network.train()(*inputs)
    for norm in norms:
        norm.momentum = 0.1
    network.eval()
