"""The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (LPIPS).

Zhang, Isola, Efros, Shechtman, Wang; CVPR 2018; arXiv 1801.03924. In reading order:

    difference          how far apart unit-length features are, averaged over the picture or a part of it      equation 1
    AlexNet             the features                                                                        section 3
    Lpips               the distance with learned weights per channel, version 0.1 of its file               equation 1
    FeatureDistance     the same without learned weights, over any network's features: what works offline
    load_lpips          both published files

A FeatureDistance is no LPIPS: its numbers compare with each other alone, and only where the network is the same.
Unvalidated: the learned weights load here, but nobody who worked on this file could fetch those of AlexNet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.errors import DataError
from gesso.networks.published import PublishedFile

WIDTHS = (64, 192, 384, 256, 256)
TAPS = (1, 4, 7, 9, 11)  # behind each ReLU, in the published numbering
SMALLEST = 31  # pixels: what AlexNet's strides leave something of
MEAN = (-0.030, -0.088, -0.188)  # of photographs in [-1, 1], by the published code
DEVIATION = (0.458, 0.448, 0.450)
_REMEDY = "give local copies with --alexnet-weights FILE and --lpips-weights FILE, or measure by a feature distance"
ALEXNET = PublishedFile(
    title="AlexNet",
    url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    sha256="7be5be79",  # carried by the published file name; the whole digest has not been checked by us
    remedy=_REMEDY,
    name="alexnet-owt-7be5be79.pth",
)
HEADS = PublishedFile(
    title="LPIPS 0.1 for AlexNet",
    url="https://github.com/richzhang/PerceptualSimilarity/raw/master/lpips/weights/v0.1/alex.pth",
    sha256="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    remedy=_REMEDY,
    name="lpips-0.1-alex.pth",
)


def difference(
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    mask: Tensor | None = None,
    weigh: Sequence[Callable[[Tensor], Tensor]] = (),
) -> list[Tensor]:
    """How far apart two pictures are in each layer: squared differences of unit-length features (equation 1).

    Args:
        first: Feature maps (B, C, H, W) of one picture, of any sizes and channels.
        second: Those of the other picture.
        mask: (B, H, W), where to look, as zeros and ones at the size of the picture; shrunk to each map by averaging. Everywhere
            if None.
        weigh: Per layer, what makes (B, 1, H, W) of squared differences (B, C, H, W); their sum if empty.

    Returns:
        (B,) per layer; not a number where the mask is empty.
    """
    found = []
    for number, (a, b) in enumerate(zip(first, second, strict=True)):
        squared = (_unit(a) - _unit(b)).square()  # (B, C, H, W)
        apart = weigh[number](squared) if weigh else squared.sum(1, keepdim=True)  # (B, 1, H, W)
        found.append(_average(apart, mask))  # (B,)
    return found


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)


def _average(apart: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return apart.mean((1, 2, 3))
    share = F.adaptive_avg_pool2d(mask.unsqueeze(1).to(apart.dtype), (apart.shape[2], apart.shape[3]))
    return (apart * share).sum((1, 2, 3)) / share.sum((1, 2, 3))


class AlexNet(nn.Module):
    """The five convolutions of AlexNet (Krizhevsky 2014, arXiv 1404.5997), with the published names `features.N`."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
        )  # fmt: skip

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> five maps of 64, 192, 384, 256, 256 channels; the first about H/4 high, the last three H/16."""
        taken = []
        for slot, layer in enumerate(self.features):
            image = layer(image)
            if slot in TAPS:
                taken.append(image)
        return taken


class _Head(nn.Module):
    """Learned weights of one layer's channels, none negative; the published file counts a dropout before them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Dropout(), nn.Conv2d(channels, 1, 1, bias=False))

    def forward(self, squared: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 1, H, W)."""
        return self.model(squared)  # (B, 1, H, W)


class Heads(nn.Module):
    """The learned weights of all layers, with the published names `linN.model.1.weight`."""

    def __init__(self) -> None:
        super().__init__()
        for number, channels in enumerate(WIDTHS):
            self.add_module(f"lin{number}", _Head(channels))


class Lpips(nn.Module):
    """LPIPS, version 0.1, on AlexNet (equation 1); frozen, in evaluation mode."""

    name = "LPIPS 0.1 (AlexNet)"
    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.network = AlexNet()
        self.heads = Heads()
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    def forward(self, first: Tensor, second: Tensor, mask: Tensor | None = None) -> Tensor:
        """Two batches of pictures (B, 3, H, W) in [-1, 1], and where to look (B, H, W) -> distances (B,), 0 for equal ones.

        Raises:
            DataError: The pictures are smaller than 31x31.
        """
        if min(first.shape[-2:]) < SMALLEST:
            height, width = first.shape[-2:]
            raise DataError(
                f"LPIPS needs pictures of at least {SMALLEST}x{SMALLEST} pixels; these are {width}x{height}."
            )
        maps = [self.network((image - self.mean) / self.deviation) for image in (first, second)]
        return torch.stack(difference(maps[0], maps[1], mask, list(self.heads.children()))).sum(0)  # (B,)


class FeatureDistance(nn.Module):
    """Differences of unit-length features, averaged over the layers of a network; no learned weights, and no LPIPS.

    Args:
        network: Makes a list of maps (B, C, H, W) of pictures in [-1, 1]: VGG-19, or the encoder of a segmenter.
        of: What the network is, for reports: "VGG-19".

    Attributes:
        name: What reports call it.
    """

    def __init__(self, network: nn.Module, of: str) -> None:
        super().__init__()
        self.network = network
        self.name = f"feature distance ({of})"

    def forward(self, first: Tensor, second: Tensor, mask: Tensor | None = None) -> Tensor:
        """As `Lpips.forward`; distances (B,) from 0 to 4, and at most 2 where no feature is negative."""
        return torch.stack(difference(self.network(first), self.network(second), mask)).mean(0)  # (B,)


def load_lpips(alexnet: str | Path | None = None, heads: str | Path | None = None) -> Lpips:
    """LPIPS with the published weights.

    Args:
        alexnet: A local copy of AlexNet's file; without it the cache is used, and filled once.
        heads: A local copy of the learned weights; likewise.

    Raises:
        WeightsError: A file is missing or holds something else; or there is no network to fetch it.
    """
    lpips = Lpips()
    ALEXNET.fill(lpips.network, alexnet)
    HEADS.fill(lpips.heads, heads)
    return lpips
