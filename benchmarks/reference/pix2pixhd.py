"""The networks of pix2pixHD (arXiv 1711.11585), straightforward and frozen; instance norm, transposed convolutions."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from reference.scales import Scales, shrink


def wide(channels: int, out_channels: int) -> list[nn.Module]:
    return [nn.ReflectionPad2d(3), nn.Conv2d(channels, out_channels, 7)]


def normed(layer: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    return [layer, nn.InstanceNorm2d(layer.out_channels), nn.ReLU()]


def stem(channels: int, width: int) -> list[nn.Module]:
    return [*wide(channels, width), nn.InstanceNorm2d(width), nn.ReLU()]


def down(channels: int) -> list[nn.Module]:
    return normed(nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1))


def up(channels: int) -> list[nn.Module]:
    return normed(nn.ConvTranspose2d(channels, channels // 2, 3, stride=2, padding=1, output_padding=1))


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1),
            *normed(nn.Conv2d(channels, channels, 3)),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def trunk(in_channels: int, width: int, downs: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(
        *stem(in_channels, width),
        *(layer for i in range(downs) for layer in down(width * 2**i)),
        *(Block(width * 2**downs) for _ in range(blocks)),
        *(layer for i in range(downs, 0, -1) for layer in up(width * 2**i)),
    )


class GlobalGenerator(nn.Module):
    """Up to 1024x512."""

    def __init__(self, in_channels: int, width: int = 64, downs: int = 4, blocks: int = 9) -> None:
        super().__init__()
        self.trunk = trunk(in_channels, width, downs, blocks)
        self.head = nn.Sequential(*wide(width, 3), nn.Tanh())

    def forward(self, semantics: Tensor) -> Tensor:
        return self.head(self.trunk(semantics))


class LocalGenerator(nn.Module):
    """2048x1024: a global generator of twice the width inside one local enhancer."""

    def __init__(self, in_channels: int, width: int = 32, downs: int = 4, blocks: int = 9) -> None:
        super().__init__()
        self.inner = trunk(in_channels, 2 * width, downs, blocks)
        self.before = nn.Sequential(*stem(in_channels, width), *down(width))
        self.after = nn.Sequential(*(Block(2 * width) for _ in range(3)), *up(2 * width), *wide(width, 3), nn.Tanh())

    def forward(self, semantics: Tensor) -> Tensor:
        return self.after(self.before(semantics) + self.inner(shrink(semantics)))


class Discriminator(Scales):
    """Instance norm; coarsest scale first among the parameters."""

    def __init__(self, in_channels: int, width: int = 64, scales: int = 3) -> None:
        super().__init__(in_channels, width, scales, coarsest_first=True)

    @staticmethod
    def scale(in_channels: int, width: int) -> nn.ModuleList:
        layers = [nn.Sequential(nn.Conv2d(in_channels, width, 4, stride=2, padding=2), nn.LeakyReLU(0.2))]
        for i, stride in enumerate((2, 2, 1)):
            convolution = nn.Conv2d(width * 2**i, width * 2 ** (i + 1), 4, stride=stride, padding=2)
            layers.append(nn.Sequential(convolution, nn.InstanceNorm2d(convolution.out_channels), nn.LeakyReLU(0.2)))
        return nn.ModuleList([*layers, nn.Conv2d(width * 8, 1, 4, padding=2)])


def fill(network: nn.Module, weights: Iterable[Tensor]) -> None:
    """Copy weights, in the order of the network's parameters."""
    with torch.no_grad():
        for parameter, value in zip(network.parameters(), weights, strict=True):
            parameter.copy_(value)
