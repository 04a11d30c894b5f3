"""A compact segmenter: photograph in, classes out. What generated photographs are read with, so that reading needs no download.

After the U-Net (Ronneberger et al. 2015, arXiv 1505.04597) with residual blocks (He et al. 2015, arXiv 1512.03385); it is neither
the FCN-8s of pix2pix's score nor the PSPNet of pix2pixHD's, and no report may call it so. In reading order:

    initialise          initial weights
    Block               two convolutions beside a shortcut
    Encoder             the way down: maps of five sizes
    Segmenter           the way up to one score per class and pixel
    SegmenterFeatures   one vector per picture, for distances between sets of pictures
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.errors import DataError

GROWTH = (1, 2, 4, 6, 8)  # channels of the five levels, in widths


def initialise(network: nn.Module, generator: torch.Generator | None = None) -> nn.Module:
    """Draw initial weights: convolutions as He et al. (arXiv 1502.01852), batch norm 1 and 0; blocks begin as their shortcuts.

    Args:
        network: Any network of this file; changed in place.
        generator: Source of random numbers; the global one when omitted.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, Block):
            nn.init.zeros_(module.second[1].get_parameter("weight"))
    return network


def _convolution(channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels))


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut; ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolution(channels, channels)
        self.second = _convolution(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return F.relu(x + self.second(F.relu(self.first(x))))


class Encoder(nn.Module):
    """The way down: each level halves the size, and goes through a block.

    Args:
        width: Channels of the first level.

    Attributes:
        widths: Channels of each level.
    """

    def __init__(self, *, width: int = 24) -> None:
        super().__init__()
        self.widths = tuple(width * growth for growth in GROWTH)
        self.halve = nn.ModuleList(_convolution(before, after, 2) for before, after in pairwise((3, *self.widths)))
        self.blocks = nn.ModuleList(Block(channels) for channels in self.widths)

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [-1, 1] -> five maps of `widths` channels, H/2, H/4, H/8, H/16 and H/32 high."""
        maps = []
        for halve, block in zip(self.halve, self.blocks, strict=True):
            image = block(F.relu(halve(image)))
            maps.append(image)
        return maps


class Segmenter(nn.Module):
    """Scores per class and pixel, at half the size of the photograph and scaled up bilinearly.

    Args:
        classes: Classes of the label space; ignored pixels are none of them.
        width: Channels of the first level.

    Attributes:
        multiple: What height and width must be multiples of.
    """

    multiple = 2 ** len(GROWTH)

    def __init__(self, *, classes: int, width: int = 24) -> None:
        super().__init__()
        self.encoder = Encoder(width=width)
        upwards = list(pairwise(reversed(self.encoder.widths)))
        self.join = nn.ModuleList(_convolution(below + across, across) for below, across in upwards)
        self.blocks = nn.ModuleList(Block(across) for _, across in upwards)
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> scores before the softmax (B, classes, H, W).

        Raises:
            DataError: Height or width is no multiple of 32.
        """
        height, width = image.shape[-2:]
        if height % self.multiple or width % self.multiple:
            raise DataError(
                f"The segmenter takes sizes in multiples of {self.multiple}; this photograph is {width}x{height}. Pad it, "
                "or scale it."
            )
        *maps, x = self.encoder(image)  # (B, 8 width, H/32, W/32)
        for join, block, skip in zip(self.join, self.blocks, reversed(maps), strict=True):
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = block(F.relu(join(torch.cat([x, skip], 1))))  # twice as high and wide
        return F.interpolate(
            self.classify(x), (height, width), mode="bilinear", align_corners=False
        )  # (B, classes, H, W)


class SegmenterFeatures(nn.Module):
    """One vector per picture: the averages over the picture of every map of a segmenter's encoder.

    Early maps see texture and blur, late ones objects; distances between sets of pictures should notice both.

    Args:
        encoder: Of a trained segmenter; shared, not copied.

    Attributes:
        dimension: Length of the vector.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.dimension = sum(encoder.widths)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], of any size -> (B, dimension)."""
        return torch.cat([x.mean((2, 3)) for x in self.encoder(image)], 1)  # (B, dimension)
