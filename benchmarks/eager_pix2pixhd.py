"""The 2048x1024 networks of pix2pixHD and a training step, written down straightforwardly, for comparison of memory.

Every layer is a module of PyTorch in a plain sequence; all losses of a step come from one graph. Parameters are created in the
order of gesso's own networks, so that weights can be handed over one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def wide(channels: int, out_channels: int) -> list[nn.Module]:
    return [nn.ReflectionPad2d(3), nn.Conv2d(channels, out_channels, 7)]


def normed(layer: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
    return [layer, nn.InstanceNorm2d(layer.out_channels), nn.ReLU()]


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


class Generator(nn.Module):
    """A global generator of twice the width inside one local enhancer."""

    def __init__(self, in_channels: int, width: int = 32, downs: int = 4, blocks: int = 9) -> None:
        super().__init__()
        inner = 2 * width
        stem = wide(in_channels, inner)
        self.inner = nn.Sequential(
            *stem,
            nn.InstanceNorm2d(inner),
            nn.ReLU(),
            *(layer for i in range(downs) for layer in down(inner * 2**i)),
            *(Block(inner * 2**downs) for _ in range(blocks)),
            *(layer for i in range(downs, 0, -1) for layer in up(inner * 2**i)),
        )
        self.before = nn.Sequential(*wide(in_channels, width), nn.InstanceNorm2d(width), nn.ReLU(), *down(width))
        self.after = nn.Sequential(*(Block(inner) for _ in range(3)), *up(inner), *wide(width, 3), nn.Tanh())

    def forward(self, semantics: Tensor) -> Tensor:
        half = F.avg_pool2d(semantics, 3, stride=2, padding=1, count_include_pad=False)
        return self.after(self.before(semantics) + self.inner(half))


class Discriminator(nn.Module):
    """Three scales, coarsest first among the parameters; their features, finest first."""

    def __init__(self, in_channels: int, width: int = 64, scales: int = 3) -> None:
        super().__init__()
        self.scales = nn.ModuleList(self.scale(in_channels, width) for _ in range(scales))

    @staticmethod
    def scale(in_channels: int, width: int) -> nn.ModuleList:
        layers = [nn.Sequential(nn.Conv2d(in_channels, width, 4, stride=2, padding=2), nn.LeakyReLU(0.2))]
        for i, stride in enumerate((2, 2, 1)):
            convolution = nn.Conv2d(width * 2**i, width * 2 ** (i + 1), 4, stride=stride, padding=2)
            layers.append(nn.Sequential(convolution, nn.InstanceNorm2d(convolution.out_channels), nn.LeakyReLU(0.2)))
        return nn.ModuleList([*layers, nn.Conv2d(width * 8, 1, 4, padding=2)])

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        found = []
        for scale in reversed(self.scales):
            y, features = x, []
            for layer in scale:
                y = layer(y)
                features.append(y)
            found.append(features)
            x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
        return found


def hand_over(weights: Iterable[Tensor], network: nn.Module) -> None:
    """Copy weights, in the order of the network's parameters."""
    with torch.no_grad():
        for parameter, value in zip(network.parameters(), weights, strict=True):
            parameter.copy_(value)


def step(
    generator: Generator,
    discriminator: Discriminator,
    adams: list[torch.optim.Optimizer],
    semantics: Tensor,
    image: Tensor,
) -> None:
    """One forward of everything, then the generator's backward and update, then the discriminator's."""
    fake = generator(semantics)
    judged_detached = discriminator(torch.cat([semantics, fake.detach()], dim=1))
    judged_real = discriminator(torch.cat([semantics, image], dim=1))
    judged = discriminator(torch.cat([semantics, fake], dim=1))
    discriminator_loss = 0.5 * sum(
        F.mse_loss(false[-1], torch.zeros_like(false[-1])) + F.mse_loss(true[-1], torch.ones_like(true[-1]))
        for false, true in zip(judged_detached, judged_real, strict=True)
    )
    generator_loss = sum(F.mse_loss(scale[-1], torch.ones_like(scale[-1])) for scale in judged)
    for scale, wanted in zip(judged, judged_real, strict=True):
        for ours, theirs in zip(scale[:-1], wanted[:-1], strict=True):
            generator_loss = generator_loss + 10 / len(judged) * F.l1_loss(ours, theirs.detach())
    adams[0].zero_grad()
    generator_loss.backward()
    adams[0].step()
    adams[1].zero_grad()  # what the generator's loss left there
    discriminator_loss.backward()
    adams[1].step()
