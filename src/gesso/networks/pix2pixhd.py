"""High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs (pix2pixHD).

Wang, Liu, Zhu, Tao, Kautz, Catanzaro; CVPR 2018; arXiv 1711.11585. In reading order:

    pool_instances          instance-wise average pooling                              section 3.4, figure 5
    initialise              the paper's initial weights                                appendix A
    ResidualBlock, Trunk    what the generators are made of                            section 3.2, appendix A
    GlobalGenerator         G1, at up to 1024 x 512                                    section 3.2, figure 3
    LocalEnhancer           one of G2, G3, ...: doubles the resolution                 section 3.2, figure 3
    CoarseToFineGenerator   G1 inside any number of local enhancers                    section 3.2
    PatchDiscriminator      one scale of D; hands out its features                     section 3.2, equation 4
    MultiscaleDiscriminator D1, D2, D3 over an image pyramid                           section 3.2, equation 3
    InstanceEncoder         E: per-object features of a photograph                     section 3.4, figure 5

Where the official code and the paper's text differ, the code is followed, as its checkpoints demand: the feature vector
of the trunk feeds a 7x7 convolution and tanh; every convolution has a bias, also before a normalisation that cancels
it; discriminators pad by 2; features are taken after the activation. What differs from the official code on purpose:
sizes that a network cannot halve evenly are refused instead of rounded, and pooling has no loop over instances.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.errors import LabelError
from gesso.networks.coarse import Conv2d
from gesso.networks.frugal import Layers, add, recomputed, run, through
from gesso.networks.indexed import Indexed, dense

Doubling = Literal["transposed", "resize"]
NORMS: dict[str, type[nn.Module]] = {"instance": nn.InstanceNorm2d, "batch": nn.BatchNorm2d}
DISCRIMINATOR_WIDTH_CAP = 512
FEW = 0.35  # neighbourhoods of 7x7, as a share of the pixels, up to which looking them up takes less time and not more memory
PIXELS_AT_ONCE = 2**16  # in pooling; copies of so many stay in the processor's cache


def pool_instances(features: Tensor, instance: Tensor) -> Tensor:
    """Replace each feature by its mean over the object it lies in, image by image (section 3.4).

    Args:
        features: (B, F, H, W).
        instance: (B, H, W) or (B, 1, H, W) integer keys, equal within an object.

    Returns:
        (B, F, H, W), constant inside every object; gradients flow through the means.
    """
    batch, channels = features.shape[:2]
    # Neighbours mostly share a key: only where it changes along a row are keys compared with all others.
    starts, run = torch.unique_consecutive(instance.reshape(-1), return_inverse=True)  # (runs,), (B*H*W,)
    keys, key = torch.unique(starts, return_inverse=True)  # (K,), (runs,)
    rows = key.index_select(0, run)  # (B*H*W,), 0..K-1
    rows.view(batch, -1).add_(len(keys) * torch.arange(batch, device=rows.device).unsqueeze(1))  # 0..B*K-1
    pixels = features.transpose(0, 1).reshape(channels, -1)  # (F, B*H*W)
    pooled = _Means.at(pixels, rows, batch * len(keys))  # (F, B*H*W)
    return pooled.reshape(channels, batch, *features.shape[2:]).transpose(0, 1)  # (B, F, H, W)


class _Means(torch.autograd.Function):
    """Means of (F, N) values over equal rows, at every place (F, N); being symmetric, that is its own gradient."""

    @classmethod
    def at(cls, values: Tensor, rows: Tensor, count: int) -> Tensor:
        return cls.apply(values, rows, count)  # type: ignore[no-untyped-call]

    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: Tensor, count: int) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.count = count
        # Float32 sums over half a million pixels lose digits; MPS has no float64.
        exact = values.dtype if values.device.type == "mps" else torch.float64
        sums = values.new_zeros(len(values), count, dtype=exact)  # (F, count)
        for first in range(0, len(rows), PIXELS_AT_ONCE):
            some = slice(first, first + PIXELS_AT_ONCE)
            sums.scatter_add_(1, rows[some].expand(len(values), -1), values[:, some].to(exact))
        area = torch.bincount(rows, minlength=count).clamp(min=1)  # (count,)
        return (sums / area).to(values.dtype).index_select(1, rows)  # (F, N)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _Means.at(gradients[0].contiguous(), ctx.saved_tensors[0], ctx.count), None, None


def initialise(network: nn.Module, generator: torch.Generator | None = None) -> nn.Module:
    """Draw initial weights: convolutions N(0, 0.02), batch norm N(1, 0.02) (appendix A); biases keep torch's.

    Args:
        network: Any network of this file; changed in place.
        generator: Source of random numbers; the global one when omitted.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02, generator=generator)
            nn.init.zeros_(module.bias)
    return network


def _wide_conv(channels: int, out_channels: int) -> list[nn.Module]:
    """7x7 convolution at stride 1 behind reflection padding ("c7s1-k", appendix A)."""
    return [nn.ReflectionPad2d(3), nn.Conv2d(channels, out_channels, 7)]


def _halve(channels: int, norm: str) -> list[nn.Module]:
    """Half the size, twice the channels ("dk", appendix A)."""
    return [nn.Conv2d(channels, channels * 2, 3, stride=2, padding=1), NORMS[norm](channels * 2), nn.ReLU()]


def _double(channels: int, norm: str, doubling: Doubling) -> list[nn.Module]:
    """Twice the size, half the channels ("uk", appendix A)."""
    up: list[nn.Module]
    if doubling == "transposed":
        up = [nn.ConvTranspose2d(channels, channels // 2, 3, stride=2, padding=1, output_padding=1)]
    else:
        up = [nn.Upsample(scale_factor=2), nn.ReflectionPad2d(1), nn.Conv2d(channels, channels // 2, 3)]
    return [*up, NORMS[norm](channels // 2), nn.ReLU()]


def shrink(image: Tensor) -> Tensor:
    """Half the size, (B, C, H, W) -> (B, C, H/2, W/2), for image pyramids; pixels beyond the border do not count."""
    return F.avg_pool2d(image, 3, stride=2, padding=1, count_include_pad=False)


def _join(semantics: Tensor, style: Tensor | None) -> Tensor:
    return semantics if style is None else torch.cat([semantics, style], dim=1)


def _smallest(multiple: int, blocks: int) -> int:
    """Residual blocks pad by reflection, which takes 2 pixels; without them 1 will do."""
    return 2 * multiple if blocks else multiple


def _refuse_size(semantics: Tensor | Indexed, multiple: int, smallest: int) -> None:
    height, width = semantics.shape[-2:]
    if height % multiple or width % multiple or min(height, width) < smallest:
        raise LabelError(
            f"A layout of {height}x{width} cannot be halved {multiple.bit_length() - 1} times: height and width must be "
            f"multiples of {multiple}, at least {smallest}. Pad or resize it (in training with --resize, --height and "
            "--width), or use gesso.load(), which pads and crops."
        )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions behind reflection padding, added to their input ("Rk", appendix A)."""

    def __init__(self, channels: int, norm: str = "instance") -> None:
        super().__init__()
        self.first = Conv2d(channels, channels, 3)
        self.first_norm = NORMS[norm](channels)
        self.second = Conv2d(channels, channels, 3)
        self.second_norm = NORMS[norm](channels)
        self.pad, self.relu = nn.ReflectionPad2d(1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        y = run([self.pad, self.first, self.first_norm, self.relu, self.pad, self.second, self.second_norm], x)
        return add(x, y)  # (B, C, H, W)


class Trunk(nn.Module):
    """The global generator without its last convolution: stem, downs, residual blocks, ups (figure 3, G1).

    Args:
        in_channels: Channels of the semantics, style included.
        width: Channels after the stem, and handed out at the end.
        downs: How often the size is halved.
        blocks: Residual blocks at the coarsest size.
        norm: "instance" or "batch".
        doubling: As `GlobalGenerator` has it.
    """

    def __init__(
        self, in_channels: int, width: int, downs: int, blocks: int, norm: str, doubling: Doubling = "transposed"
    ) -> None:
        super().__init__()
        self.stem = Layers(*_wide_conv(in_channels, width), NORMS[norm](width), nn.ReLU())
        self.down = Layers(*(m for i in range(downs) for m in _halve(width * 2**i, norm)))
        self.blocks = Layers(*(ResidualBlock(width * 2**downs, norm) for _ in range(blocks)))
        self.up = Layers(*(m for i in range(downs, 0, -1) for m in _double(width * 2**i, norm, doubling)))

    def forward(self, x: Tensor | Indexed) -> Tensor:
        """(B, in_channels, H, W) -> (B, width, H, W)."""
        if isinstance(x, Indexed):  # the same, computed once where the layout repeats itself
            x = recomputed(self.stem, partial(self._stem_of_codes, x))  # (B, width, H, W)
        else:
            x = self.stem(x)  # (B, width, H, W)
        x = self.down(x)  # (B, width * 2^downs, H / 2^downs, W / 2^downs)
        x = self.blocks(x)
        return self.up(x)  # (B, width, H, W)

    def _stem_of_codes(self, x: Indexed) -> Tensor:
        pad, conv, *rest = list[Any](self.stem)
        patterns = x.patterns(conv.kernel_size[0], padding=pad.padding[0], mode="reflect")
        if patterns is None or len(patterns) > FEW * patterns.index.numel():
            return run([pad, conv, *rest], x.dense())  # (B, width, H, W)
        found = Indexed(patterns.index, patterns.convolved(x.vectors, conv.weight, conv.bias), patterns.found)
        return run(rest, found.dense())  # (B, width, H, W)


class GlobalGenerator(nn.Module):
    """G1, the global generator (section 3.2; appendix A).

    Args:
        in_channels: Channels of the semantics, plus those of the style if there is one.
        out_channels: Channels of the photograph.
        width: Channels at full size; 64 in the paper.
        downs: How often the size is halved; 4 in the official code.
        blocks: Residual blocks; 9 in the paper.
        norm: "instance" (the paper's) or "batch".
        doubling: How the size is doubled: by a "transposed" convolution (the paper's), or by repeating pixels and convolving,
            "resize", which knows no even and odd pixels and so leaves no checkerboard.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int = 3,
        width: int = 64,
        downs: int = 4,
        blocks: int = 9,
        norm: str = "instance",
        doubling: Doubling = "transposed",
    ) -> None:
        super().__init__()
        self.multiple = 2**downs
        self.smallest = _smallest(self.multiple, blocks)
        self.trunk = Trunk(in_channels, width, downs, blocks, norm, doubling)
        self.head = Layers(*_wide_conv(width, out_channels), nn.Tanh())

    def forward(self, semantics: Tensor | Indexed, style: Tensor | None = None) -> Tensor:
        """Photograph in [-1, 1] from semantics, with a style map appended to them where the network has one.

        Raises:
            LabelError: Height or width is too small or not a multiple of 2^downs.
        """
        _refuse_size(semantics, self.multiple, self.smallest)
        x = self.trunk(semantics if style is None else _join(dense(semantics), style))  # (B, width, H, W)
        return self.head(x)  # (B, out_channels, H, W)


class LocalEnhancer(nn.Module):
    """One local enhancer without its last convolution: halve, add coarser features, refine, double (figure 3, G2)."""

    def __init__(self, in_channels: int, width: int, blocks: int, norm: str, doubling: Doubling) -> None:
        super().__init__()
        self.down = Layers(*_wide_conv(in_channels, width), NORMS[norm](width), nn.ReLU(), *_halve(width, norm))
        self.blocks = Layers(*(ResidualBlock(width * 2, norm) for _ in range(blocks)))
        self.up = Layers(*_double(width * 2, norm, doubling))

    def forward(self, x: Tensor, coarse: Tensor) -> Tensor:
        """(B, C, H, W) semantics, (B, 2 * width, H/2, W/2) features of the coarser network -> (B, width, H, W)."""
        refined = through(self.down(x) + coarse, self.blocks)  # (B, 2 * width, H/2, W/2)
        return self.up(refined)  # (B, width, H, W)


class CoarseToFineGenerator(nn.Module):
    """G1 inside local enhancers, each of which doubles the resolution (section 3.2).

    Args:
        in_channels: Channels of the semantics, plus those of the style if there is one.
        out_channels: Channels of the photograph.
        width: Channels at full size, that is of the outermost enhancer; 32 in the official 2048x1024 model. The global
            network inside is width * 2^enhancers wide.
        downs: How often the global network halves its size.
        blocks: Residual blocks of the global network.
        enhancers: How many local enhancers; 1 in the paper.
        enhancer_blocks: Residual blocks of each enhancer; 3 in the paper.
        norm: "instance" or "batch".
        doubling: As `GlobalGenerator` has it.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int = 3,
        width: int = 32,
        downs: int = 4,
        blocks: int = 9,
        enhancers: int = 1,
        enhancer_blocks: int = 3,
        norm: str = "instance",
        doubling: Doubling = "transposed",
    ) -> None:
        super().__init__()
        self.multiple = 2 ** (downs + enhancers)
        self.smallest = _smallest(self.multiple, blocks)
        self.trunk = Trunk(in_channels, width * 2**enhancers, downs, blocks, norm, doubling)
        self.enhancers = nn.ModuleList(  # coarsest first
            LocalEnhancer(in_channels, width * 2**i, enhancer_blocks, norm, doubling)
            for i in range(enhancers - 1, -1, -1)
        )
        self.head = Layers(*_wide_conv(width, out_channels), nn.Tanh())

    def forward(self, semantics: Tensor, style: Tensor | None = None) -> Tensor:
        """Photograph in [-1, 1] from semantics, with a style map appended to them where the network has one.

        Raises:
            LabelError: Height or width is too small or not a multiple of 2^(downs + enhancers).
        """
        _refuse_size(semantics, self.multiple, self.smallest)
        pyramid = [_join(semantics, style)]
        for _ in self.enhancers:
            pyramid.append(shrink(pyramid[-1]))  # (B, C, H / 2^i, W / 2^i)
        x = self.trunk(pyramid.pop())  # (B, width * 2^enhancers, H / 2^enhancers, W / 2^enhancers)
        for enhancer in self.enhancers:
            x = enhancer(pyramid.pop(), x)  # twice the size, half the channels
        return self.head(x)  # (B, out_channels, H, W)


class PatchDiscriminator(nn.Module):
    """One scale of the discriminator: 4x4 convolutions, a score for each patch ("Ck", appendix A).

    Args:
        in_channels: Channels of semantics and image together.
        width: Channels of the first layer; doubled per layer up to 512.
        layers: Layers of stride 2; two of stride 1 follow.
        norm: "instance" or "batch".
    """

    def __init__(self, in_channels: int, width: int, layers: int, norm: str) -> None:
        super().__init__()
        widths = [min(width * 2**i, DISCRIMINATOR_WIDTH_CAP) for i in range(layers + 1)]
        first = Layers(nn.Conv2d(in_channels, widths[0], 4, stride=2, padding=2), nn.LeakyReLU(0.2))
        middle = [
            Layers(
                nn.Conv2d(before, after, 4, stride=2 if i < layers else 1, padding=2),
                NORMS[norm](after),
                nn.LeakyReLU(0.2),
            )
            for i, (before, after) in enumerate(pairwise(widths), start=1)
        ]
        last = Layers(nn.Conv2d(widths[-1], 1, 4, stride=1, padding=2))
        self.layers = nn.ModuleList([first, *middle, last])

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> what each layer gives, the (B, 1, H', W') scores last."""
        outputs: list[Tensor] = []
        for layer in self.layers:
            x = layer(x)  # (B, width * 2^i, ~H / 2^(i+1), ~W / 2^(i+1))
            outputs.append(x)
        return outputs


class MultiscaleDiscriminator(nn.Module):
    """Equal discriminators over an image pyramid (section 3.2, equation 3).

    The scales are kept coarsest first, so that one more can be added for a finer generator and all others keep the
    absolute resolution that they were trained at.

    Args:
        in_channels: Channels of semantics and image together; style never enters.
        width: Channels of the first layer; 64 in the paper.
        layers: Layers of stride 2; 3 in the paper.
        scales: How many; 2 up to 1024x512, 3 at 2048x1024.
        norm: "instance" or "batch".
    """

    def __init__(
        self, *, in_channels: int, width: int = 64, layers: int = 3, scales: int = 2, norm: str = "instance"
    ) -> None:
        super().__init__()
        self.scales = nn.ModuleList(PatchDiscriminator(in_channels, width, layers, norm) for _ in range(scales))

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        """(B, C, H, W) semantics and image -> per scale, finest first, the outputs of each layer, scores last."""
        outputs = []
        for scale in reversed(self.scales):
            outputs.append(scale(x))
            x = shrink(x)  # (B, C, H / 2^i, W / 2^i)
        return outputs


class InstanceEncoder(nn.Module):
    """E: a photograph's features, averaged over each object (section 3.4, figure 5).

    Args:
        in_channels: Channels of the photograph.
        features: Numbers per object; 3 in the paper.
        width: Channels at full size; 16 in the official code.
        downs: How often the size is halved; 4 in the official code.
        norm: "instance" or "batch".
    """

    def __init__(
        self, *, in_channels: int = 3, features: int = 3, width: int = 16, downs: int = 4, norm: str = "instance"
    ) -> None:
        super().__init__()
        self.multiple = self.smallest = 2**downs
        self.trunk = Trunk(in_channels, width, downs, 0, norm)
        self.head = Layers(*_wide_conv(width, features), nn.Tanh())

    def forward(self, image: Tensor, instance: Tensor) -> Tensor:
        """Image in [-1, 1] and integer object keys (B, H, W) -> (B, features, H, W) in [-1, 1], constant per object.

        Raises:
            LabelError: Height or width is too small or not a multiple of 2^downs.
        """
        _refuse_size(image, self.multiple, self.smallest)
        dense = self.head(self.trunk(image))  # (B, features, H, W)
        return pool_instances(dense, instance)  # (B, features, H, W)
