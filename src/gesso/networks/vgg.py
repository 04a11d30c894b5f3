"""VGG-19 as a feature extractor for the perceptual loss, and its published weights.

Simonyan and Zisserman, arXiv 1409.1556; used by pix2pixHD (section 4) and SPADE (appendix A).
Images enter in [-1, 1] without ImageNet normalisation, as in the official code of both papers.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from gesso.networks.published import PublishedFile

FILE = PublishedFile(
    title="VGG-19",
    url="https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
    sha256="dcbb9e9d",  # carried by the published file name; the whole digest has not been checked by us
    remedy="give a local copy with --vgg-weights FILE, or train without the perceptual loss (--no-vgg)",
    name="vgg19-dcbb9e9d.pth",
)
WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512)  # 0 is a 2x2 max pooling
TAPS = (1, 6, 11, 20, 29)  # relu1_1, relu2_1, relu3_1, relu4_1, relu5_1 in the published numbering


class VGG19(nn.Module):
    """The first 13 convolutions of VGG-19; frozen, in evaluation mode, with the published names `features.N`."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential()
        channels = 3
        for width in WIDTHS:
            if width == 0:
                self.features.append(nn.MaxPool2d(2))
                continue
            self.features.append(nn.Conv2d(channels, width, 3, padding=1))
            self.features.append(nn.ReLU())
            channels = width
        self.requires_grad_(False)
        self.eval()

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> five maps of 64, 128, 256, 512, 512 channels, each half as high and wide as the last."""
        taken = []
        for slot, layer in enumerate(self.features):
            image = layer(image)
            if slot in TAPS:
                taken.append(image)
        return taken


def load_vgg19(weights: str | Path | None = None) -> VGG19:
    """VGG-19 with the published ImageNet weights.

    Args:
        weights: A local copy of the published file; without it the cache is used, and filled from the published address once.

    Raises:
        WeightsError: The file is missing or is not VGG-19; or there is no network to fetch it.
    """
    return FILE.fill(VGG19(), weights)
