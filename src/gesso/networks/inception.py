"""Rethinking the Inception Architecture for Computer Vision, in the variant that the Fréchet Inception distance is defined by.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna; CVPR 2016; arXiv 1512.00567. In reading order:

    Unit                a convolution with batch norm and ReLU
    Mixed               branches side by side, joined over channels         figures 5 to 7, 10
    InceptionV3         the network up to its pooled features               table 1
    load_inception      the published weights

The variant (TensorFlow's network of December 2015, as the published file of pytorch-fid holds it) differs from the usual one:

- averages inside a module count the picture's pixels only, not the padding around it;
- the last module takes a maximum where all others take an average;
- there are 1008 classes instead of 1000, and no auxiliary classifier.

Pictures are scaled to 299x299 bilinearly without antialiasing, and enter in [-1, 1], as in pytorch-fid: other ways of scaling
give other distances. Unvalidated: nobody who worked on this file could fetch the published weights; with random ones the features
equal those of torch-fidelity 0.4, whose network has the same names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.networks.published import PublishedFile

SIZE = 299  # pixels high and wide
FEATURES = 2048
FILE = PublishedFile(
    title="Inception-v3 of the Fréchet Inception distance",
    url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    sha256="6726825d",  # carried by the published file name; the whole digest has not been checked by us
    remedy="give a local copy with --inception-weights FILE, or measure with the features of a segmenter trained here",
    name="pt_inception-2015-12-05-6726825d.pth",
)

Kernel = int | tuple[int, int]
Step = tuple[int, Kernel] | tuple[int, Kernel, int]  # channels, kernel height and width, stride
Branches = Mapping[str, Sequence[Step | list[Step]]]  # by the published name, the convolutions one after the other


class Unit(nn.Module):
    """Convolution without bias, batch norm (epsilon 0.001), ReLU; the size is kept unless there is a stride."""

    def __init__(self, channels: int, out: int, kernel: Kernel, stride: int = 1, padded: bool = True) -> None:
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (height // 2, width // 2) if padded and stride == 1 else (0, 0)
        self.conv = nn.Conv2d(channels, out, (height, width), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out, H', W')."""
        return F.relu(self.bn(self.conv(x)))  # (B, out, H', W')


class Mixed(nn.Module):
    """Branches of convolutions and one of pooling, side by side, joined over channels (figures 5 to 7 and 10).

    Args:
        channels: Channels of the input.
        branches: By the published name, the convolutions one after the other; where two stand in a list, they part ways.
        pool: The pooling.
        pooled: Channels of the 1x1 convolution behind the pooling; 0 for none.

    Attributes:
        width: Channels of the output.
    """

    def __init__(self, channels: int, branches: Branches, pool: nn.Module, pooled: int = 0) -> None:
        super().__init__()
        self.width = 0
        self.paths: list[list[list[str]]] = []
        for name, steps in branches.items():
            path, before = [], channels
            for number, step in enumerate(steps, 1):
                forks = step if isinstance(step, list) else [step]
                names = [_published(name, number, fork, len(steps), len(forks)) for fork in range(len(forks))]
                for unit, fork in zip(names, forks, strict=True):
                    self.add_module(unit, Unit(before, *fork))
                before = sum(fork[0] for fork in forks)
                path.append(names)
            self.paths.append(path)
            self.width += before
        self.pool = pool
        self.branch_pool = Unit(channels, pooled, 1) if pooled else nn.Identity()
        self.width += pooled or channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, width, H, W), or about half as high and wide."""
        joined = []
        for path in self.paths:
            branch = x
            for names in path:
                branch = torch.cat([self.get_submodule(name)(branch) for name in names], 1)
            joined.append(branch)
        return torch.cat([*joined, self.branch_pool(self.pool(x))], 1)  # (B, width, H', W')


def _published(branch: str, number: int, fork: int, steps: int, forks: int) -> str:
    """branch1x1, branch5x5_2, branch3x3dbl_3b: a lone convolution has no number, a lone path no letter."""
    return branch + (f"_{number}" if steps > 1 else "") + ("ab"[fork] if forks > 1 else "")


def _average() -> nn.Module:
    return nn.AvgPool2d(3, 1, 1, count_include_pad=False)


def _wide(channels: int, pooled: int) -> Mixed:
    """On 35x35 pixels (figure 5, but with a 5x5 convolution in one piece)."""
    branches: Branches = {
        "branch1x1": [(64, 1)],
        "branch5x5": [(48, 1), (64, 5)],
        "branch3x3dbl": [(64, 1), (96, 3), (96, 3)],
    }
    return Mixed(channels, branches, _average(), pooled)


def _factorised(width: int) -> Mixed:
    """On 17x17 pixels: 7x7 convolutions as 1x7 and 7x1 (figure 6)."""
    across, down = (1, 7), (7, 1)
    branches: Branches = {
        "branch1x1": [(192, 1)],
        "branch7x7": [(width, 1), (width, across), (192, down)],
        "branch7x7dbl": [(width, 1), (width, down), (width, across), (width, down), (192, across)],
    }
    return Mixed(768, branches, _average(), 192)


def _expanded(channels: int, pool: nn.Module) -> Mixed:
    """On 8x8 pixels: 3x3 convolutions as 1x3 beside 3x1 (figure 7)."""
    apart: list[Step] = [(384, (1, 3)), (384, (3, 1))]
    branches: Branches = {
        "branch1x1": [(320, 1)],
        "branch3x3": [(384, 1), apart],
        "branch3x3dbl": [(448, 1), (384, 3), apart],
    }
    return Mixed(channels, branches, pool, 192)


def _reduction(channels: int, branches: Branches) -> Mixed:
    """Half as high and wide, by strides beside a pooling (figure 10)."""
    return Mixed(channels, branches, nn.MaxPool2d(3, 2))


class InceptionV3(nn.Module):
    """The network up to its features before the classifier (table 1); frozen, in evaluation mode, with the published names."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Unit(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Unit(32, 32, 3, padded=False)
        self.Conv2d_2b_3x3 = Unit(32, 64, 3)
        self.Conv2d_3b_1x1 = Unit(64, 80, 1)
        self.Conv2d_4a_3x3 = Unit(80, 192, 3, padded=False)
        self.Mixed_5b = _wide(192, 32)
        self.Mixed_5c = _wide(256, 64)
        self.Mixed_5d = _wide(288, 64)
        self.Mixed_6a = _reduction(288, {"branch3x3": [(384, 3, 2)], "branch3x3dbl": [(64, 1), (96, 3), (96, 3, 2)]})
        self.Mixed_6b = _factorised(128)
        self.Mixed_6c = _factorised(160)
        self.Mixed_6d = _factorised(160)
        self.Mixed_6e = _factorised(192)
        sevens: list[Step] = [(192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2)]
        self.Mixed_7a = _reduction(768, {"branch3x3": [(192, 1), (320, 3, 2)], "branch7x7x3": sevens})
        self.Mixed_7b = _expanded(1280, _average())
        self.Mixed_7c = _expanded(2048, nn.MaxPool2d(3, 1, 1))
        # Not used: its 1008 classes tell the published file from that of the usual network, whose distances would be others.
        self.fc = nn.Linear(FEATURES, 1008)
        self.requires_grad_(False)
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], of any size -> (B, 2048)."""
        x = F.interpolate(image, (SIZE, SIZE), mode="bilinear", align_corners=False)  # (B, 3, 299, 299)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # (B, 64, 147, 147)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))  # (B, 192, 71, 71)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))  # (B, 288, 35, 35)
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))  # (B, 768, 17, 17)
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))  # (B, 2048, 8, 8)
        return x.mean((2, 3))  # (B, 2048)


def load_inception(weights: str | Path | None = None) -> InceptionV3:
    """The network with the published weights.

    Args:
        weights: A local copy of the published file; without it the cache is used, and filled once.

    Raises:
        WeightsError: The file is missing or is another network's; or there is no network to fetch it.
    """
    return FILE.fill(InceptionV3(), weights)
