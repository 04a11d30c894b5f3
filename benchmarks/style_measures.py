"""What `styles_on_toy.py` measures with: purity, hue, and a distance between photographs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.errors import DataError
from gesso.networks.pix2pixhd import pool_instances
from gesso.networks.vgg import VGG19, load_vgg19
from gesso.pictures import Picture

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Figure:
    """One figure, and what it should be at least or at most."""

    section: str
    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def aim(self) -> str:
        if self.at_least is None and self.at_most is None:
            return ""
        met = (self.at_least is None or self.value >= self.at_least) and (
            self.at_most is None or self.value <= self.at_most
        )
        bound = f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"
        return f"{bound} {'met' if met else 'MISSED'}"


def read_truth(folder: Path) -> dict[str, dict[str, Any]]:
    """What the toy world wrote down of each scene of a split.

    Raises:
        DataError: These are no toy scenes.
    """
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (folder / "scenes").glob("*.json")}
    if not found:
        raise DataError(
            f"{folder} has no scenes/*.json, so nothing is known of its styles: give a folder written by gesso toy, or "
            "--only reconstruction."
        )
    return found


class Seeing(nn.Module):
    """What an encoder must beat: the mean colour of each object."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor, instance: Tensor) -> Tensor:
        return pool_instances(image, instance)


def purity(assigned: npt.NDArray[np.integer[Any]], truth: Sequence[str]) -> float:
    """Share of objects that are of the most frequent true style of their cluster."""
    groups = [[t for t, k in zip(truth, assigned, strict=True) if k == mode] for mode in np.unique(assigned)]
    return sum(Counter(group).most_common(1)[0][1] for group in groups) / len(truth)


def hue_and_lightness(picture: Picture, mask: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Circular mean of the hue of the more saturated half of an object's pixels, in degrees; mean lightness, 0..255."""
    from skimage.color import rgb2hsv

    pixels = picture[mask]
    hue, saturation, _ = rgb2hsv(pixels[None])[0].T
    vivid = saturation >= np.median(saturation)
    return mean_angle(hue[vivid] * 360), float(pixels.mean())


def mean_angle(degrees: Floats | Sequence[float]) -> float:
    return float(np.degrees(np.angle(np.exp(1j * np.radians(degrees)).mean())) % 360)


def angle_between(first: float, second: float) -> float:
    return abs((first - second + 180) % 360 - 180)


def feature_distance(weights: Path | None, device: torch.device) -> tuple[str, Callable[[Picture, Picture], float]]:
    """How far apart two photographs are for VGG-19: squared distance of its unit-length features, averaged over five layers.

    As in LPIPS (Zhang et al. 2018, arXiv 1801.03924, equation 1, all weights equal); with random weights where the published
    ones are not at hand, which that paper finds weaker, but still nearer to people than differences of pixels.
    """
    if weights is None:
        network = VGG19()
        random = torch.Generator().manual_seed(0)
        for layer in network.features:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=random)
                nn.init.zeros_(layer.bias)
    else:
        network = load_vgg19(weights)
    network.to(device)

    def distance(first: Picture, second: Picture) -> float:
        pair = torch.from_numpy(np.stack([first, second])).permute(0, 3, 1, 2).to(device) / 127.5 - 1
        with torch.inference_mode():
            maps = (F.normalize(taken, dim=1) for taken in network(pair))
            return float(torch.stack([(one - other).square().sum(0).mean() for one, other in maps]).mean())

    return f"VGG-19 distance ({'published' if weights else 'random'} weights)", distance
