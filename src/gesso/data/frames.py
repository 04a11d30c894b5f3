"""Samples as the frames of a sequence: in their order, of one size, with ids that last."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from gesso.data.dataset import Item, SemanticDataset
from gesso.data.layouts import Listing
from gesso.data.pairing import Sample
from gesso.errors import DataError

Rename = Callable[[int, Any, Any], Any]


class Frames(SemanticDataset):
    """A dataset whose items carry ids that last, renamed as they are read.

    Attributes:
        rename: Takes the number of a frame, its label map and instance map (H, W); gives the instance map with other ids.
    """

    rename: Rename | None = None

    @classmethod
    def of(cls, layouts: SemanticDataset, samples: Sequence[Sample]) -> Frames:
        """Samples, read as a dataset reads its own, with instance maps."""
        return cls(samples, layouts.space, layouts.preprocessing, training=False, instances=True)

    def __getitem__(self, key: int | tuple[int, int]) -> Item:
        """The item of a frame; errors are those of `SemanticDataset`."""
        item = super().__getitem__(key)
        if self.rename and "instance" in item:
            number = (key[0] if isinstance(key, tuple) else key) % len(self)
            renamed = self.rename(number, item["label"].numpy(), item["instance"].numpy())
            item["instance"] = torch.from_numpy(np.ascontiguousarray(renamed)).long()
        return item


def in_order(samples: Sequence[Sample]) -> list[Sample]:
    """Samples by name, with the numbers in names as numbers: frame2 before frame10."""
    return sorted(samples, key=lambda sample: [_part(part) for part in re.split(r"(\d+)", sample.name)])


def _part(text: str) -> tuple[int, int, str]:
    return (0, int(text), text) if text.isdigit() else (1, 0, text)


def refuse_gaps(listing: Listing) -> None:
    """See that every frame is complete: one that lacks its instance map would silently be left out.

    Raises:
        DataError: A file lacks its partner.
    """
    gaps = [orphan for orphan in listing.orphans if orphan.lacks != "unique stem"]
    if gaps:
        raise DataError(
            f"{gaps[0].path} has no {gaps[0].lacks}"
            + (f", nor have {len(gaps) - 1} others theirs" if gaps[1:] else "")
            + ". A "
            "sequence has no gaps: give all frames the same files, or name the folders that count with --labels, --instances "
            "and --images. Without any instance maps objects are tracked."
        )


def refuse_other_sizes(samples: Sequence[Sample]) -> None:
    """See that all frames are of one size, before resizing hides that they are not.

    Raises:
        DataError: Two differ, or a file cannot be read.
    """
    first = None
    for sample in samples:
        assert sample.label
        size = _size(sample)
        first = first or (sample, size)
        if size != first[1]:
            (one, a), b = first, size
            raise DataError(
                f"{sample.label} is {b[0]}x{b[1]} but {one.label} is {a[0]}x{a[1]} (width x height): the frames of a sequence "
                "are of one size. Resize label and instance maps with nearest neighbour, or leave out what belongs to another "
                "sequence."
            )


def _size(sample: Sample) -> tuple[int, int]:
    path = sample.label
    assert path
    try:
        if path.suffix.lower() == ".npy":
            shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
            return int(shape[1]), int(shape[0])
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{path} cannot be read ({error}); fetch it again.") from None
