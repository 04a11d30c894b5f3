"""Image-to-Image Translation with Conditional Adversarial Networks (pix2pix).

Isola, Zhu, Zhou, Efros; CVPR 2017; arXiv 1611.07004. In reading order:

    initialise          the paper's initial weights                                  appendix 6.2
    Normalise           batch norm over a batch, running, or over one picture        section 3.3
    Halve, Double       the blocks Ck and CDk that the generator is made of          appendix 6.1
    UNetGenerator       G, with skip connections or without                          section 3.2.1, figure 3
    receptive_field     how large the patches are that a PatchGAN judges             section 3.2.2
    PatchDiscriminator  D: PixelGAN, 16x16, 70x70 and 286x286 PatchGAN               section 3.2.2, appendix 6.1.2

Where the paper's text and the official code differ, the code is followed, as its checkpoints demand:

- the innermost layer has no normalisation (the paper's errata: batch norm over its single pixel would zero it);
- dropout follows the 2nd to 4th block of an 8-level decoder (the text: the first three), in general as many as there are
  levels beyond five; there is none behind the innermost block;
- D gives raw scores (the text ends in a sigmoid, which here belongs to the loss);
- convolutions in front of batch norm, and all inner ones without normalisation, have no bias; the PixelGAN's last one none
  either, unless the norm is instance norm.

What differs from the official code on purpose: `eval()` is deterministic (running statistics, or those of each picture alone,
and no dropout) and the published noise at test time is asked for with `noise`; sizes that cannot be halved are refused. Not in
the paper: doubling by "resize" instead of by transposed convolutions, against the checkerboard that these leave.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.errors import LabelError, StyleError

Doubling = Literal["transposed", "resize"]
WIDEST = 8  # channels stop growing at so many times the width
LEVELS_WITHOUT_DROPOUT = 5  # innermost, three of growing width, outermost


def initialise(network: nn.Module, generator: torch.Generator | None = None) -> nn.Module:
    """Draw initial weights: convolutions N(0, 0.02) (appendix 6.2), batch norm N(1, 0.02), biases 0 (official code).

    Args:
        network: Any network of this file; changed in place.
        generator: Source of random numbers; the global one when omitted.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02, generator=generator)
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d) and module.bias is not None:
            nn.init.zeros_(module.bias)
    return network


class Normalise(nn.BatchNorm2d):
    """Batch norm that in `eval()` takes running statistics, or with `of_picture` those of each picture alone.

    The latter is what the paper does at test time with one picture at a time ("instance normalization", section 3.3); a picture
    never depends on others of its batch.
    """

    def __init__(self, channels: int, of_picture: bool = False) -> None:
        super().__init__(channels)
        self.of_picture = of_picture

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        if self.of_picture and not self.training:
            return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        return super().forward(x)


def _norm(name: str, channels: int, of_picture: bool = False) -> nn.Module:
    if name == "batch":
        return Normalise(channels, of_picture)
    return {"instance": nn.InstanceNorm2d, "none": nn.Identity}[name](channels)


class Halve(nn.Module):
    """Half the size: LeakyReLU, 4x4 convolution of stride 2, normalisation ("Ck" of the encoder, appendix 6.1)."""

    def __init__(self, channels: int, out_channels: int, norm: nn.Module, outermost: bool, bias: bool) -> None:
        super().__init__()
        self.activation = nn.Identity() if outermost else nn.LeakyReLU(0.2)
        self.conv = nn.Conv2d(channels, out_channels, 4, stride=2, padding=1, bias=bias)
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out_channels, H/2, W/2)."""
        return self.norm(self.conv(self.activation(x)))  # (B, out_channels, H/2, W/2)


class Double(nn.Module):
    """Twice the size: ReLU, 4x4 transposed convolution of stride 2, normalisation ("Ck" of the decoder, appendix 6.1).

    With "resize" pixels are repeated and convolved by 3x3 behind reflection padding instead: every pixel is made alike, where a
    transposed convolution makes even and odd ones of different weights.
    """

    def __init__(self, channels: int, out_channels: int, norm: nn.Module, bias: bool, doubling: Doubling) -> None:
        super().__init__()
        self.transposed = doubling == "transposed"
        self.conv: nn.Module
        if self.transposed:
            self.conv = nn.ConvTranspose2d(channels, out_channels, 4, stride=2, padding=1, bias=bias)
        else:
            self.conv = nn.Conv2d(channels, out_channels, 3, bias=bias)
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out_channels, 2H, 2W)."""
        x = F.relu(x)
        if not self.transposed:
            x = F.pad(
                F.interpolate(x, scale_factor=2, mode="nearest"), (1, 1, 1, 1), mode="reflect"
            )  # (B, C, 2H+2, ...)
        return self.norm(self.conv(x))  # (B, out_channels, 2H, 2W)


class UNetGenerator(nn.Module):
    """G: an encoder-decoder, as a U-Net with skip connections between mirrored layers (section 3.2.1; appendix 6.1.1).

    Args:
        in_channels: Channels of the semantics, or of the input picture.
        out_channels: Channels of the photograph.
        width: Channels after the first layer; 64 in the paper.
        downs: How often the size is halved; 8 in the paper, down to 1x1 for 256x256.
        norm: "batch" (the paper's), "instance" or "none".
        dropout: Probability that a value of a noisy layer is dropped; 0.5 in the paper, 0 for none.
        skips: False for the paper's encoder-decoder without skip connections (section 4.3).
        noise_channels: Channels of a Gaussian noise map that is appended to the semantics (section 3.1: the generator learns to
            ignore it); 0 in the paper's models.
        statistics: What batch norm takes in `eval()`: "running" statistics, or those of each "picture" alone as published.
        doubling: How the decoder doubles the size: by a "transposed" convolution (the paper's), or by repeating pixels and
            convolving, "resize", which knows no even and odd pixels and so leaves no checkerboard.

    Attributes:
        noise: Whether dropout stays on in `eval()`, as published (section 3.3); off at first.
        noisy: Whether photographs of one layout can differ at all.
        multiple: What height and width must be multiples of.
        smallest: The least height and width.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int = 3,
        width: int = 64,
        downs: int = 8,
        norm: str = "batch",
        dropout: float = 0.5,
        skips: bool = True,
        noise_channels: int = 0,
        statistics: str = "running",
        doubling: Doubling = "transposed",
    ) -> None:
        super().__init__()
        self.multiple = self.smallest = 2**downs
        self.dropout, self.skips, self.noise_channels = dropout, skips, noise_channels
        self.noise = False
        self.noisy = noise_channels > 0 or (dropout > 0 and downs > LEVELS_WITHOUT_DROPOUT)
        inner_bias, of_picture = norm == "instance", statistics == "picture"
        widths = [in_channels + noise_channels, *(width * min(2**i, WIDEST) for i in range(downs))]
        last = downs - 1
        self.down = nn.ModuleList(
            Halve(
                before,
                after,
                _norm(norm if 0 < level < last else "none", after, of_picture),
                outermost=level == 0,
                bias=inner_bias,
            )
            for level, (before, after) in enumerate(pairwise(widths))
        )
        self.up = nn.ModuleList(  # innermost first; what comes over a skip connection doubles the channels
            Double(
                widths[level + 1] * (2 if skips and level < last else 1),
                widths[level] if level else out_channels,
                _norm(norm if level else "none", widths[level], of_picture),
                bias=inner_bias or level == 0,
                doubling=doubling,
            )
            for level in range(last, -1, -1)
        )

    def forward(self, semantics: Tensor, style: Tensor | None = None) -> Tensor:
        """Photograph in [-1, 1] from semantics (B, in_channels, H, W).

        Args:
            semantics: (B, in_channels, H, W).
            style: Gaussian noise (B, noise_channels, H, W) for a network that takes it, else None.

        Raises:
            LabelError: Height or width is no multiple of 2^downs.
            StyleError: There is no noise map, or one of other channels than the network takes.
        """
        _refuse_size(semantics, self.multiple)
        x = _with_noise(semantics, style, self.noise_channels)  # (B, in_channels + noise_channels, H, W)
        encoded: list[Tensor] = []
        for down in self.down:
            x = down(x)  # (B, width * min(2^i, 8), H / 2^(i+1), W / 2^(i+1))
            encoded.append(x)
        encoded.pop()  # the innermost comes from below, not over a skip connection
        for number, up in enumerate(self.up):
            x = up(x)  # twice the size
            if 0 < number <= len(self.up) - LEVELS_WITHOUT_DROPOUT:
                x = F.dropout(x, self.dropout, training=self.training or self.noise)
            if encoded:
                mirrored = encoded.pop()
                x = torch.cat([mirrored, x], dim=1) if self.skips else x  # twice the channels
        return torch.tanh(x)  # (B, out_channels, H, W)


def _with_noise(semantics: Tensor, noise: Tensor | None, channels: int) -> Tensor:
    found = 0 if noise is None else noise.shape[1]
    if found != channels:
        raise StyleError(
            f"This generator takes {channels} channels of noise, not {found}: give a Gaussian map (B, {channels}, H, W) as "
            "style, or None to a generator without."
        )
    return semantics if noise is None else torch.cat([semantics, noise], dim=1)


def _refuse_size(semantics: Tensor, multiple: int) -> None:
    height, width = semantics.shape[-2:]
    if height % multiple or width % multiple or not height or not width:
        raise LabelError(
            f"A layout of {height}x{width} cannot be halved {multiple.bit_length() - 1} times: height and width must be "
            f"multiples of {multiple}. Pad or resize it (in training with --resize, --height and --width, or --crop), take "
            "a generator of fewer --generator-downs, or use gesso.load(), which pads and crops."
        )


def receptive_field(layers: int) -> int:
    """Side of the patch that one score of a `PatchDiscriminator` depends on: 1, 16, 34, 70, 142, 286 for 0 to 5 layers."""
    if layers == 0:
        return 1
    side = 7  # two convolutions of kernel 4 and stride 1
    for _ in range(layers):
        side = 2 * side + 2  # kernel 4, stride 2
    return side


class PatchDiscriminator(nn.Module):
    """D: judges every patch of a picture by itself (section 3.2.2; appendix 6.1.2).

    Args:
        in_channels: Channels of semantics and image together; of the image alone for an unconditional D.
        width: Channels of the first layer; 64 in the paper; doubled per layer up to 8 times as many.
        layers: Layers of stride 2, two of stride 1 follow: 1 judges patches of 16x16, 3 of 70x70 (the paper's choice), 5 of
            286x286. 0 is the PixelGAN, whose convolutions are 1x1.
        norm: "batch" (the paper's), "instance" or "none".

    Attributes:
        smallest: The least height and width.
    """

    def __init__(self, *, in_channels: int, width: int = 64, layers: int = 3, norm: str = "batch") -> None:
        super().__init__()
        self.smallest = 3 * 2**layers if layers else 1  # of which the two layers of stride 1 leave one score
        bias = norm == "instance"
        if layers == 0:
            self.layers = nn.Sequential(
                nn.Conv2d(in_channels, width, 1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(width, 2 * width, 1, bias=bias),
                _norm(norm, 2 * width),
                nn.LeakyReLU(0.2),
                nn.Conv2d(2 * width, 1, 1, bias=bias),
            )
            return
        widths = [width * min(2**i, WIDEST) for i in range(layers + 1)]
        found: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for number, (before, after) in enumerate(pairwise(widths), start=1):
            stride = 2 if number < layers else 1
            conv = nn.Conv2d(before, after, 4, stride=stride, padding=1, bias=bias)
            found += [conv, _norm(norm, after), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*found, nn.Conv2d(widths[-1], 1, 4, stride=1, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, 1, h, w) of the patches of (B, in_channels, H, W); before any sigmoid.

        Raises:
            LabelError: Height or width is too small for a single score.
        """
        height, width = x.shape[-2:]
        if min(height, width) < self.smallest:
            raise LabelError(
                f"A discriminator of this depth takes pictures of {self.smallest}x{self.smallest} or more, not {height}x{width}: "
                "train at a larger size, or with fewer --discriminator-layers."
            )
        return self.layers(x)  # (B, 1, ~H / 2^layers - 2, ~W / 2^layers - 2); (B, 1, H, W) of the PixelGAN
