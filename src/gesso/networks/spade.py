"""Semantic Image Synthesis with Spatially-Adaptive Normalization (SPADE, "GauGAN").

Park, Liu, Wang, Zhu; CVPR 2019; arXiv 1903.07291. In reading order:

    initialise              the paper's initial weights                                appendix A
    SPADE                   normalisation that the layout modulates                    section 3, equations 1-3, figures 2 and 10
    Concatenation           what SPADE is compared with: decoder with concatenation    section 4, table 3
    SpadeBlock              residual block: SPADE, activation, convolution, twice      section 3, figures 4 and 11
    SpadeGenerator          such blocks between doublings, from z or from the layout   section 3, figures 4 and 12, table 4
    PatchDiscriminator      one scale of D; hands out its features                     appendix A, figure 13
    SpadeDiscriminator      the same with SPADE in it                                  tried at the end of section 3
    ResidualDiscriminator   residual blocks instead                                    tried at the end of section 3
    MultiscaleDiscriminator any of the three over an image pyramid                     section 3, appendix A
    StyleEncoder            E: a photograph's style as a Gaussian, for the VAE         section 3 (multi-modal), figure 14

Spectral norm is in `spectral.py`, batch norm over several processes in `sync_norm.py`, the way from z to features in
`latent_grid.py`, sizes in numbers in `spade_sizes.py`.

Where the official code and the paper's text differ, the code is followed, as its checkpoints demand: in the generator only the
convolutions of the residual blocks have spectral norm, in the discriminator not the first and the last; the generator may
begin from the downsampled layout (in the paper a variation, table 4). What differs from the official code on purpose:
photographs are as large as the layout; the encoder may look at squares of any size; sizes that cannot be halved are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.errors import ConfigError, LabelError, StyleError
from gesso.networks.frugal import Layers, add, recomputed, run, scale_by
from gesso.networks.indexed import Indexed, dense, modulation, resized
from gesso.networks.latent_grid import LatentGrid
from gesso.networks.spade_sizes import halved, refuse_single_pixels
from gesso.networks.spectral import SpectralConv2d
from gesso.networks.sync_norm import SyncBatchNorm2d, processes

NORMS: dict[str, Callable[..., nn.Module]] = {
    "instance": nn.InstanceNorm2d,
    "batch": nn.BatchNorm2d,
    "sync_batch": SyncBatchNorm2d,
    "none": nn.Identity,
}
DOUBLINGS = {  # before which of the blocks head, middle 0, middle 1, up 0, up 1, ... the size is doubled
    "normal": (0, 1, 0, 1, 1, 1, 1),
    "more": (0, 1, 1, 1, 1, 1, 1),
    "most": (0, 1, 1, 1, 1, 1, 1, 1),
}
WIDTHS = (16, 16, 16, 8, 4, 2, 1, 0.5)  # of the same blocks, in widths of the network
DISCRIMINATOR_WIDTH_CAP = 512
ENCODER_GRID = 4  # sides of the square that is left when the encoder has halved the photograph as often as it does


def initialise(network: nn.Module, gain: float = 0.02, generator: torch.Generator | None = None) -> nn.Module:
    """Draw initial weights: Glorot's normal distribution times a gain, biases 0 (appendix A; the gain is the code's).

    Args:
        network: Any network of this file; changed in place.
        gain: Of all weights. Layers with spectral norm divide it out again.
        generator: Source of random numbers; the global one when omitted.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_normal_(module.weight, gain, generator=generator)
        elif isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.normal_(module.weight, 1.0, gain, generator=generator)
        if isinstance(bias := getattr(module, "bias", None), nn.Parameter):
            nn.init.zeros_(bias)
        if isinstance(module, SpectralConv2d):
            module.settle(generator)
    return network


def _conv(spectral: bool, channels: int, out_channels: int, kernel: int, **rest: Any) -> nn.Conv2d:
    return (SpectralConv2d if spectral else nn.Conv2d)(channels, out_channels, kernel, **rest)


def _norm(norm: str, channels: int) -> nn.Module:
    """Normalisation outside SPADE: batch norms have a scale and a shift per channel, instance norm has none."""
    return NORMS[norm](channels, affine=norm != "instance")


class SPADE(nn.Module):
    """Spatially-adaptive normalisation: a scale and a shift for each pixel, computed from the layout (equations 1-3).

    Args:
        channels: Of what is normalised.
        semantic_channels: Of the semantics.
        norm: "instance", "batch", "sync_batch" or "none": without parameters of its own.
        kernel: Size of all three convolutions; 3 in the paper.
        hidden: Channels between them; 128 in the paper.
    """

    def __init__(
        self, channels: int, semantic_channels: int, norm: str = "instance", kernel: int = 3, hidden: int = 128
    ) -> None:
        super().__init__()
        self.out_channels = channels
        self.norm = NORMS[norm](channels, affine=False)
        self.shared = nn.Conv2d(semantic_channels, hidden, kernel, padding=kernel // 2)
        self.gamma = nn.Conv2d(hidden, channels, kernel, padding=kernel // 2)
        self.beta = nn.Conv2d(hidden, channels, kernel, padding=kernel // 2)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor, semantics: Tensor | Indexed) -> Tensor:
        """(B, channels, H, W), semantics of any size (B, semantic_channels, h, w) -> (B, channels, H, W)."""
        semantics = resized(semantics, x.shape[2:])  # (B, semantic_channels, H, W)
        if isinstance(semantics, Indexed):  # the same, computed once where the layout repeats itself
            gamma, beta = modulation(semantics, self.shared, self.gamma, self.beta)  # (B, channels, H, W) each
            return add(scale_by(self.norm(x), gamma), beta)  # (B, channels, H, W)
        hidden = run([self.shared, self.relu], semantics)  # (B, hidden, H, W)
        scaled = scale_by(self.norm(x), run([self.gamma], hidden))  # (B, channels, H, W)
        return add(scaled, run([self.beta], hidden))  # (B, channels, H, W)


class Concatenation(nn.Module):
    """Of the decoder with concatenation: norm with a scale and a shift per channel, then, if `shown`, the layout as channels."""

    def __init__(self, channels: int, semantic_channels: int, norm: str, shown: bool = True, **_: int) -> None:
        super().__init__()
        self.shown = shown
        self.out_channels = channels + semantic_channels * shown
        self.norm = NORMS[norm](channels, affine=True)

    def forward(self, x: Tensor, semantics: Tensor | Indexed) -> Tensor:
        """(B, channels, H, W), semantics of any size (B, S, h, w) -> (B, channels + S, H, W), or (B, channels, H, W)."""
        x = self.norm(x)
        return (
            torch.cat([x, dense(resized(semantics, x.shape[2:]))], dim=1) if self.shown else x
        )  # (B, channels + S, H, W)


Condition = Callable[..., SPADE | Concatenation]
UNSHOWN = partial(Concatenation, shown=False)
CONDITIONINGS: dict[str, Condition] = {"spade": SPADE, "concat": Concatenation, "input": UNSHOWN}


class SpadeBlock(nn.Module):
    """Residual block; where the number of channels changes, the shortcut is learned as well (figures 4 and 11).

    Args:
        in_channels: Channels that come in.
        out_channels: Channels that go out.
        condition: From a number of channels to SPADE or Concatenation.
        spectral: Whether the block's own convolutions have spectral norm.
    """

    recompute = False  # whether activations are computed again in the backward pass instead of kept

    def __init__(self, in_channels: int, out_channels: int, condition: Condition, spectral: bool = True) -> None:
        super().__init__()
        middle = min(in_channels, out_channels)
        self.first_norm = condition(in_channels)
        self.first = _conv(spectral, self.first_norm.out_channels, middle, 3, padding=1)
        self.second_norm = condition(middle)
        self.second = _conv(spectral, self.second_norm.out_channels, out_channels, 3, padding=1)
        self.learned = in_channels != out_channels
        if self.learned:
            self.shortcut_norm = condition(in_channels)
            self.shortcut = _conv(spectral, self.shortcut_norm.out_channels, out_channels, 1, bias=False)
        self.activation = nn.LeakyReLU(0.2)

    def forward(self, x: Tensor, semantics: Tensor | Indexed) -> Tensor:
        """(B, in_channels, H, W), semantics of any size (B, S, h, w) -> (B, out_channels, H, W)."""
        return recomputed(self, partial(self._forward, semantics=resized(semantics, x.shape[2:])), x)

    def _forward(self, x: Tensor, semantics: Tensor | Indexed) -> Tensor:
        y = run([self.first], self.activation(self.first_norm(x, semantics)))  # (B, min(in, out), H, W)
        y = run([self.second], self.activation(self.second_norm(y, semantics)))  # (B, out_channels, H, W)
        if self.learned:
            x = run([self.shortcut], self.shortcut_norm(x, semantics))  # (B, out_channels, H, W)
        return add(x, y)


class SpadeGenerator(nn.Module):
    """The generator: no encoder, only a decoder that the layout steers at every resolution (section 3, figure 12).

    Args:
        in_channels: Channels of the semantics.
        out_channels: Channels of the photograph.
        width: Channels at full size; 64 in the paper. The coarsest blocks have 16 times as many.
        upsampling: How often the size is doubled: "normal" 5 times, "more" 6, "most" 7 (with one more block).
        norm: "instance", "batch" or "sync_batch" (the paper's).
        kernel: Of SPADE's convolutions; 3 in the paper (table 4 also has 1 and 5).
        hidden: Channels inside SPADE; 128 in the paper.
        latent: Numbers in z, 256 in the paper; 0 to begin from the downsampled layout instead.
        latent_grid: Rows and columns of what z is turned into: the training size divided by `multiple`. At other sizes it is
            resized. None if only `latent_cells` is known: then the first layout decides.
        latent_cells: Rows times columns, where there is no `latent_grid`.
        conditioning: "spade", "concat" for the decoder with concatenation, or "input" for one that sees the layout where it
            begins and nowhere else; the last two have no use for `kernel` and `hidden`.
        spectral: Whether the convolutions of the blocks have spectral norm.

    Attributes:
        multiple: What height and width have to be multiples of.
        smallest: The least height and width.

    Raises:
        ConfigError: A generator from z without its grid, a grid that is not one, or z where only the beginning sees the layout.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int = 3,
        width: int = 64,
        upsampling: str = "normal",
        norm: str = "instance",
        kernel: int = 3,
        hidden: int = 128,
        latent: int = 0,
        latent_grid: tuple[int, int] | None = None,
        latent_cells: int = 0,
        conditioning: str = "spade",
        spectral: bool = True,
    ) -> None:
        super().__init__()
        self.doublings = DOUBLINGS[upsampling]
        self.multiple = self.smallest = 2 ** sum(self.doublings)
        self.norm = norm
        if latent and conditioning == "input":
            raise ConfigError("conditioning 'input' needs latent 0: from z a generator would never see the layout.")
        condition = partial(
            CONDITIONINGS[conditioning], semantic_channels=in_channels, norm=norm, kernel=kernel, hidden=hidden
        )
        widths = [int(width * factor) for factor in WIDTHS[: len(self.doublings)]]
        from_layout = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.start: Any = LatentGrid(latent, widths[0], latent_grid, latent_cells) if latent else from_layout
        self.blocks = nn.ModuleList(
            SpadeBlock(before, after, condition, spectral) for before, after in pairwise([widths[0], *widths])
        )
        self.head = Layers(nn.LeakyReLU(0.2), nn.Conv2d(widths[-1], out_channels, 3, padding=1), nn.Tanh())

    def forward(self, semantics: Tensor | Indexed, style: Tensor | None = None) -> Tensor:
        """Photograph (B, out_channels, H, W) in [-1, 1].

        Args:
            semantics: (B, in_channels, H, W), or their codes: faster where layouts repeat themselves.
            style: z (B, latent), standard normal, for a generator that begins from z; else None.

        Raises:
            LabelError: Height or width is not a multiple of 2^5, 2^6 or 2^7, or too small to be normalised.
            StyleError: z is missing, not wanted or of another shape.
        """
        x = self.begin(semantics, style)  # (B, 16 * width, rows, columns)
        for doubling, block in zip(self.doublings, self.blocks, strict=True):
            if doubling:
                x = F.interpolate(x, scale_factor=2, mode="nearest")  # twice the size
            x = block(x, semantics)  # (B, 16 * width ... width, rows * 2^i, columns * 2^i)
        return self.head(x)  # (B, out_channels, H, W)

    def begin(self, semantics: Tensor | Indexed, style: Tensor | None) -> Tensor:
        """What the first block sees, (B, 16 * width, rows, columns); of what `forward` takes, and with its errors."""
        grid = self._grid(semantics)
        if isinstance(self.start, LatentGrid):
            return self.start(style, len(semantics), *grid)
        if style is not None:
            raise StyleError("This generator begins from the layout and takes no style: leave it out.")
        return self.start(dense(resized(semantics, grid)))

    @property
    def latent_grid(self) -> tuple[int, int] | None:
        """Rows and columns of what z is turned into; None without z, or before the first layout has decided."""
        return self.start.grid if isinstance(self.start, LatentGrid) else None

    def _grid(self, semantics: Tensor | Indexed) -> tuple[int, int]:
        """Rows and columns of the coarsest block."""
        height, width = semantics.shape[-2:]
        rows, columns = halved((height, width), sum(self.doublings))
        batch = len(semantics) * (processes() if self.norm == "sync_batch" else 1)
        alone = self.norm == "instance" or (self.training and self.norm != "none" and batch == 1)
        if rows * columns == 1 and alone:
            raise LabelError(
                f"A layout of {height}x{width} is a single pixel where this generator begins, where {self.norm} norm has nothing "
                f"to normalise: use at least {height}x{2 * width}, or train with batch norm and a batch of 2 or more."
            )
        return rows, columns


# ------------------------------------------------------------------------------------------------------ discriminators


def _widths(width: int, layers: int) -> list[int]:
    return [min(width * 2**i, DISCRIMINATOR_WIDTH_CAP) for i in range(layers + 1)]


class PatchDiscriminator(nn.Module):
    """One scale of the discriminator: 4x4 convolutions, a score for each patch (figure 13)."""

    def __init__(self, in_channels: int, width: int, layers: int, norm: str, spectral: bool, *_: int) -> None:
        super().__init__()
        widths = _widths(width, layers)
        first = Layers(nn.Conv2d(in_channels, widths[0], 4, stride=2, padding=2), nn.LeakyReLU(0.2))
        middle = [
            Layers(
                _conv(spectral, before, after, 4, stride=2 if i < layers else 1, padding=2, bias=norm == "none"),
                _norm(norm, after),
                nn.LeakyReLU(0.2),
            )
            for i, (before, after) in enumerate(pairwise(widths), start=1)
        ]
        self.layers = nn.ModuleList([first, *middle, Layers(nn.Conv2d(widths[-1], 1, 4, stride=1, padding=2))])

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> what each layer gives, the (B, 1, H', W') scores last."""
        outputs: list[Tensor] = []
        for layer in self.layers:
            x = layer(x)  # (B, width * 2^i, ~H / 2^(i+1), ~W / 2^(i+1))
            outputs.append(x)
        return outputs


class SpadeDiscriminator(PatchDiscriminator):
    """The same with SPADE in place of its norms (end of section 3: "yields a similar performance")."""

    def __init__(self, in_channels: int, width: int, layers: int, norm: str, spectral: bool, semantics: int) -> None:
        super().__init__(in_channels, width, layers, norm, spectral)
        self.semantic_channels = semantics
        for layer, channels in zip(list[Any](self.layers)[1:-1], _widths(width, layers)[1:], strict=True):
            layer[1] = SPADE(channels, semantics, norm)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> what each layer gives, the (B, 1, H', W') scores last."""
        semantics = x[:, : self.semantic_channels]  # (B, semantic_channels, H, W)
        first, *middle, last = list[Any](self.layers)
        outputs: list[Tensor] = [first(x)]  # (B, width, ~H / 2, ~W / 2)
        for conv, spade, activation in middle:
            outputs.append(activation(spade(conv(outputs[-1]), semantics)))  # (B, width * 2^i, ~H / 2^(i+1), ...)
        return [*outputs, last(outputs[-1])]  # (B, 1, H', W')


class ResidualDown(nn.Module):
    """Activation before each of two 3x3 convolutions, then perhaps half the size; the shortcut is a 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, norm: str, spectral: bool, halve: bool) -> None:
        super().__init__()
        first = _conv(spectral, in_channels, out_channels, 3, padding=1)
        second = _conv(spectral, out_channels, out_channels, 3, padding=1)
        before, between = _norm(norm, in_channels), _norm(norm, out_channels)
        self.main = Layers(before, nn.LeakyReLU(0.2), first, between, nn.LeakyReLU(0.2), second)
        self.shortcut = _conv(spectral, in_channels, out_channels, 1, bias=False)
        self.halve = nn.AvgPool2d(2, ceil_mode=True) if halve else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H / 2, W / 2), or of the same size."""
        return add(self.shortcut(self.halve(x)), self.halve(self.main(x)))


class ResidualDiscriminator(PatchDiscriminator):
    """Residual blocks, as in unconditional GANs of the time, and as many sizes (end of section 3: "similar results")."""

    def __init__(self, in_channels: int, width: int, layers: int, norm: str, spectral: bool, *_: int) -> None:
        nn.Module.__init__(self)
        widths = _widths(width, layers)
        first = Layers(nn.Conv2d(in_channels, widths[0], 3, padding=1), nn.AvgPool2d(2, ceil_mode=True))
        blocks = [ResidualDown(*pair, norm, spectral, i < layers) for i, pair in enumerate(pairwise(widths), start=1)]
        last = Layers(nn.LeakyReLU(0.2), nn.Conv2d(widths[-1], 1, 3, padding=1))
        self.layers = nn.ModuleList([first, *blocks, last])


DISCRIMINATORS = {"patch": PatchDiscriminator, "resnet": ResidualDiscriminator, "spade": SpadeDiscriminator}


class MultiscaleDiscriminator(nn.Module):
    """Equal discriminators over an image pyramid (section 3; appendix A; as pix2pixHD's, with spectral norm).

    Args:
        in_channels: Channels of semantics and image together; style never enters.
        width: Channels of the first layer; 64 in the paper.
        layers: Layers of stride 2; 3 in the paper, which the official code calls 4.
        scales: How many; 2 in the paper. The finest comes first.
        norm: "instance", "batch", "sync_batch" or "none".
        spectral: Whether all layers but the first and the last have spectral norm.
        kind: "patch" (the paper's), "resnet" or "spade".
        semantic_channels: How many of the channels are semantics, for kind "spade".

    Raises:
        ConfigError: Kind "spade" without semantic channels; in forward, pictures that become too small to be normalised.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        width: int = 64,
        layers: int = 3,
        scales: int = 2,
        norm: str = "instance",
        spectral: bool = True,
        kind: str = "patch",
        semantic_channels: int = 0,
    ) -> None:
        super().__init__()
        if kind == "spade" and not 0 < semantic_channels < in_channels:
            raise ConfigError(
                f"A discriminator with SPADE inside needs to know how many of its {in_channels} channels are semantics: "
                f"semantic_channels={semantic_channels} came, 1 to {in_channels - 1} are possible."
            )
        self.form = kind, layers, scales, norm
        self.scales = nn.ModuleList(
            DISCRIMINATORS[kind](in_channels, width, layers, norm, spectral, semantic_channels) for _ in range(scales)
        )

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        """(B, C, H, W) semantics and image -> per scale, finest first, the outputs of each layer, scores last."""
        refuse_single_pixels(*self.form, (x.shape[2], x.shape[3]))
        outputs = []
        for scale in self.scales:
            outputs.append(scale(x))
            x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)  # (B, C, H / 2^i, W / 2^i)
        return outputs


class StyleEncoder(nn.Module):
    """E: a photograph's style as mean and logarithm of the variance of a Gaussian (figure 14).

    Args:
        in_channels: Channels of the photograph.
        width: Channels of the first layer; doubled per layer up to 8 times as many. 64 in the paper.
        latent: Numbers in z; 256 in the paper.
        downs: Layers, each of which halves the size; 6 in the paper.
        norm: "instance" (the paper's), "batch", "sync_batch" or "none"; all layers have spectral norm as well.
    """

    def __init__(
        self, *, in_channels: int = 3, width: int = 64, latent: int = 256, downs: int = 6, norm: str = "instance"
    ) -> None:
        super().__init__()
        self.side = ENCODER_GRID * 2**downs
        widths = [in_channels, *(width * min(2**i, 8) for i in range(downs))]
        self.down = Layers()
        for before, after in pairwise(widths):
            self.down.append(SpectralConv2d(before, after, 3, stride=2, padding=1, bias=norm == "none"))
            self.down.extend([_norm(norm, after), nn.LeakyReLU(0.2)])
        self.mean = nn.Linear(widths[-1] * ENCODER_GRID**2, latent)
        self.log_variance = nn.Linear(widths[-1] * ENCODER_GRID**2, latent)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Photographs in [-1, 1] of any size, looked at as squares -> mu and log variance, (B, latent) each."""
        if image.shape[2:] != (self.side, self.side):
            image = F.interpolate(image, (self.side, self.side), mode="bilinear", align_corners=False)  # (B, 3, S, S)
        x = self.down(image).flatten(1)  # (B, 8 * width * 4 * 4)
        return self.mean(x), self.log_variance(x)  # (B, latent) each
