"""VGG-19 as a feature extractor for the perceptual loss, and its published weights.

Simonyan and Zisserman, arXiv 1409.1556; used by pix2pixHD (section 4) and SPADE (appendix A).
Images enter in [-1, 1] without ImageNet normalisation, as in the official code of both papers.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor, nn

from gesso.errors import WeightsError

URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
SHA256_PREFIX = "dcbb9e9d"  # carried by the published file name; the whole digest has not been checked by us
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


def cache_folder() -> Path:
    """Where downloaded weights are kept: `$GESSO_CACHE`, or `~/.cache/gesso`."""
    return Path(os.environ.get("GESSO_CACHE", Path.home() / ".cache" / "gesso"))


def load_vgg19(weights: str | Path | None = None) -> VGG19:
    """VGG-19 with the published ImageNet weights.

    Args:
        weights: A local copy of the published file; without it the cache is used, and filled from `URL` once.

    Raises:
        WeightsError: The file is missing or is not VGG-19; or there is no network to fetch it.
    """
    path = Path(weights) if weights is not None else _fetch()
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"The VGG-19 weights {path} do not exist. Fetch them from {URL}.") from None
    except Exception as error:  # torch.load raises whatever unpickling meets, at length, and advises to load unsafely
        reason = error.strerror if isinstance(error, OSError) else type(error).__name__
        raise WeightsError(
            f"{path} cannot be read as weights ({reason}): it is another file, or was not fetched to its end. Delete it "
            f"and fetch it again from {URL}."
        ) from None
    return _fill(VGG19(), tensors, path)


def _fill(network: VGG19, tensors: object, path: Path) -> VGG19:
    wanted = network.state_dict()
    held = tensors if isinstance(tensors, dict) else {}
    wrong = [n for n, t in wanted.items() if getattr(held.get(n), "shape", None) != t.shape]
    if wrong:
        raise WeightsError(
            f"{path} is not VGG-19: {', '.join(wrong[:3])} missing or of another shape. The published file is {URL}."
        )
    network.load_state_dict({n: held[n] for n in wanted})
    return network


def _fetch() -> Path:
    path = cache_folder() / Path(URL).name
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URL, str(path), hash_prefix=SHA256_PREFIX)
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"The VGG-19 weights could not be fetched from {URL} ({error}). Give a local copy with --vgg-weights FILE, "
            f"put it at {path}, or train without the perceptual loss (--no-vgg)."
        ) from None
    return path
