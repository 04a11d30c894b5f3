"""What a segmenter learns from: photographs with label maps, cut, scaled, mirrored and tinted at random."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

from gesso.data.dataset import SemanticDataset
from gesso.data.pairing import Sample
from gesso.errors import DataError
from gesso.evaluate.features import features_key
from gesso.labels import LabelSpace
from gesso.networks.segmenter import Segmenter
from gesso.segmenter_training.settings import SegmenterSettings

VERSION = 1  # of the training: counted up when the same settings would give other weights
MEMORY = 2**30  # bytes of decoded photographs that are kept; further ones are read again whenever they are needed
COUNTED = 1000  # photographs, evenly over the data, in which pixels per class are counted


class Photographs:
    """The photographs of a dataset with their label maps, as they come out of its preprocessing, nothing drawn at random.

    Args:
        dataset: Its samples have label maps and photographs.

    Raises:
        DataError: None of them has both.
    """

    def __init__(self, dataset: SemanticDataset) -> None:
        pairs = pairs_of(dataset)
        if not pairs or dataset.space is None:
            raise DataError(
                f"None of the {len(dataset)} samples has a label map and a photograph, which is what a segmenter learns from. "
                "Give another segmenter (--segmenter FILE), or none (--segmenter none)."
            )
        self.space: LabelSpace = dataset.space
        self._dataset = SemanticDataset(pairs, self.space, dataset.preprocessing, training=False, instances=False)
        self._kept: dict[int, tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16]]] = {}
        self._room = MEMORY

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Photograph (3, H, W) in [-1, 1] and class indices (H, W) int64."""
        if index not in self._kept:
            item = self._dataset[index]
            image = item["image"].mul(127.5).add(127.5).round().byte().numpy()  # as the file had it: nothing is lost
            pair = image, item["label"].numpy().astype(np.uint16)
            self._room -= sum(array.nbytes for array in pair)
            if self._room < 0:
                return item["image"], item["label"]
            self._kept[index] = pair
        image, label = self._kept[index]
        return torch.from_numpy(image).float().div_(127.5).sub_(1), torch.from_numpy(label.astype(np.int64))

    def weights(self, balance: float) -> Tensor:
        """Weight of each class in the loss, (C,): its share of the pixels to the power of -balance; 1 on average over pixels.

        Raises:
            DataError: Every pixel is ignored.
        """
        classes, counts = len(self.space), torch.zeros(len(self.space) + 1, dtype=torch.float64)
        for index in np.unique(np.linspace(0, len(self) - 1, min(COUNTED, len(self))).astype(int)):
            counts += torch.bincount(self[index][1].flatten(), minlength=classes + 1)
        share = counts[:-1] / counts[:-1].sum()
        if share.isnan().any():
            raise DataError(
                f"Every pixel of the {len(self)} label maps is ignored in {self.space.name}: there is nothing to learn. Check "
                "the label space (gesso doctor)."
            )
        weights = share.clamp(min=1e-4) ** -balance
        return (weights / (weights * share).sum()).float()

    def batch(self, step: int, settings: SegmenterSettings) -> tuple[Tensor, Tensor]:
        """The batch of a step: (B, 3, H, W) and (B, H, W); whatever is random comes from the seed and the step alone."""
        rng = np.random.default_rng((settings.seed, 1, step))
        size = settings.crop or self.crop
        pairs = [varied(*self[index], size, settings, rng) for index in self._order(step, settings)]
        images, labels = zip(*pairs, strict=True)
        return torch.stack(images), torch.stack(labels)

    def _order(self, step: int, settings: SegmenterSettings) -> Iterator[int]:
        """Every photograph once in every round, each round in another order."""
        for position in range(step * settings.batch, (step + 1) * settings.batch):
            number, place = divmod(position, len(self))
            yield int(np.random.default_rng((settings.seed, 2, number)).permutation(len(self))[place])

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the first photograph."""
        height, width = self[0][1].shape
        return height, width

    @property
    def crop(self) -> tuple[int, int]:
        """The same in multiples that the network takes."""
        height, width = (max(1, round(side / Segmenter.multiple)) * Segmenter.multiple for side in self.size)
        return height, width


def varied(
    image: Tensor, label: Tensor, size: tuple[int, int], settings: SegmenterSettings, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A part of a photograph, scaled, mirrored and tinted, and its label map; what lies outside the photograph is ignored.

    Args:
        image: (3, H, W) in [-1, 1].
        label: (H, W) class indices.
        size: (height, width) of the part.
        settings: How much.
        rng: What is drawn from.

    Returns:
        (3, height, width) in [-1, 1] and (height, width) int64; -1 outside the photograph.
    """
    factor = math.exp(rng.uniform(*np.log(settings.scale)))
    extent = [part / (factor * whole) for part, whole in zip(size, label.shape, strict=True)]  # in photographs
    shift = [
        rng.uniform(-1, 1) * abs(1 - part) for part in extent
    ]  # as far as the part, or the photograph, stays inside
    mirror = -1 if settings.flip and rng.random() < 0.5 else 1
    corners = torch.tensor([[extent[1] * mirror, 0, shift[1]], [0, extent[0], shift[0]]])
    grid = F.affine_grid(corners[None], [1, 1, *size], align_corners=False)
    part = F.grid_sample(image[None], grid, mode="bilinear", padding_mode="reflection", align_corners=False)[0]
    marked = label[None, None].float() + 1  # 0 is what lies outside
    ids = F.grid_sample(marked, grid, mode="nearest", padding_mode="zeros", align_corners=False)[0, 0] - 1
    return tinted(part, settings.colour, rng), ids.round().long()


def tinted(image: Tensor, amount: float, rng: np.random.Generator) -> Tensor:
    """Brightness, contrast and saturation of (3, H, W) in [-1, 1] changed by up to `amount`."""
    brightness, contrast, saturation = rng.uniform(-amount, amount, 3)
    grey = image.mean(0, keepdim=True)
    image = grey + (image - grey) * (1 + saturation)
    image = image.mean() + (image - image.mean()) * (1 + contrast)
    return (image + brightness).clamp(-1, 1)


def data_digest(dataset: SemanticDataset, settings: SegmenterSettings, console: Console | None = None) -> str:
    """SHA-256 over what a segmenter learns: names and contents of files, classes, preprocessing, settings.

    Raises:
        DataError: A file is missing.
    """
    said = {**_read_as(dataset), "settings": settings.model_dump(mode="json")}
    return features_key(_files(dataset.samples), said, f"segmenter training {VERSION}", console)


def held_out_digest(dataset: SemanticDataset, console: Console | None = None) -> str:
    """SHA-256 over what the scores of a segmenter were taken on: names and contents of files, classes, preprocessing.

    Raises:
        DataError: A file is missing.
    """
    return features_key(_files(pairs_of(dataset)), _read_as(dataset), "held-out photographs", console)


def held_out_name(dataset: SemanticDataset) -> str:
    """The last two parts of the folder that holds all files of a dataset: "camvid/val"."""
    folder = Path(os.path.commonpath([path.resolve().parent for path in _files(pairs_of(dataset))]))
    return "/".join(part for part in folder.parts[-2:] if part != folder.anchor)


def pairs_of(dataset: SemanticDataset) -> list[Sample]:
    """The samples that have a label map and a photograph."""
    return [s for s in dataset.samples if s.label and s.image and not s.source]


def _files(samples: Sequence[Sample]) -> list[Path]:
    return [path for s in samples for path in (s.image, s.label) if path]


def _read_as(dataset: SemanticDataset) -> dict[str, Any]:
    return {
        "preprocessing": dataset.preprocessing.model_dump(mode="json"),
        "space": dataset.space and dataset.space.model_dump(mode="json"),
    }
