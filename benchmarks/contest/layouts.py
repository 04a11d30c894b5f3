"""Layouts to measure with: real ones of a Cityscapes-like folder, or else toy scenes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from contest.cases import CLASSES
from gesso.data import layouts, toy
from gesso.data.readers import read_instance, read_label
from gesso.errors import DataError

SHIFT = 64  # pixels: what SPADE's coarsest grid sees moves by one as well
MOST = 20  # layouts that are read
EDIT = 0.01  # of the pixels that an edit paints


class Layout(NamedTuple):
    """Class indices and object ids, (1, H, W) int64 each."""

    label: Tensor
    instance: Tensor

    def rolled(self, times: int) -> Layout:
        """Moved sideways: another layout with as much in it."""
        return Layout(*(part.roll(SHIFT * times, dims=2) for part in self))

    def edited(self, number: int, of_scene: bool = False) -> Layout:
        """With a new object of another class: a square somewhere in the middle half of the picture.

        Args:
            number: Which one.
            of_scene: Whether ids are those of gesso: a class that is not countable has one object.
        """
        (height, width), label, instance = self.label.shape[1:], self.label.clone(), self.instance.clone()
        side = round((EDIT * height * width) ** 0.5)
        top, left = height // 4 + 37 * number % (height // 2 - side), width // 4 + 91 * number % (width // 2 - side)
        square = (slice(None), slice(top, top + side), slice(left, left + side))
        others = label.unique()
        others = others[others != label[square].flatten().mode().values]
        label[square] = painted = int(others[number % len(others)])
        there = instance[self.label == painted]
        instance[square] = int(there.max()) if of_scene else int(instance.max()) + 1
        return Layout(label, instance)

    def to(self, device: str) -> Layout:
        return Layout(*(part.to(device) for part in self))


def default_folder() -> Path | None:
    """Where Cityscapes' sample is usually found."""
    shared = Path(os.environ.get("GESSO_SHARED", Path(__file__).parents[2].parent / "shared"))
    folder = shared / "data" / "cityscapes_sample"
    return folder if folder.is_dir() else None


def load(folder: Path | None, size: tuple[int, int], count: int) -> list[Layout]:
    """Layouts of a folder, as many as there are and are asked for, or so many toy scenes; all of this size.

    Raises:
        DataError: The folder has no instance maps, more classes than Cityscapes, or is none that gesso can read.
    """
    if folder is None:
        scenes = [toy.scene(0, number, *size) for number in range(min(count, MOST))]
        return [_resized(scene.label, scene.instance, size) for scene in scenes]
    found = layouts.splits(folder)
    listing = layouts.find(folder, next((split for split in ("test", "val") if split in found), found[0]))
    space, samples = listing.space, [sample for sample in listing.samples if sample.instance]
    if space is None or len(space) > CLASSES or not samples:
        raise DataError(
            f"{folder} has {len(samples)} instance maps and {len(space) if space else 'unknown'} classes: the bench needs label "
            f"and instance maps with at most {CLASSES} classes, such as Cityscapes'. Give another folder, or leave --layouts out."
        )
    # Ignored pixels would be a class too many; the last one is rare in every label space of streets.
    return [
        _resized(np.minimum(read_label(s.label, space), CLASSES - 1), read_instance(s.instance), size)
        for s in samples[: min(count, MOST)]
    ]


def _resized(label: np.ndarray, instance: np.ndarray, size: tuple[int, int]) -> Layout:
    """By nearest neighbour."""
    rows, columns = ((np.arange(to) * length) // to for to, length in zip(size, label.shape, strict=True))
    parts = (np.ascontiguousarray(part[rows][:, columns]).astype(np.int64) for part in (label, instance))
    return Layout(*(torch.from_numpy(part).unsqueeze(0) for part in parts))


def of_round(every: list[Layout], number: int, wanted: int) -> list[Layout]:
    """The layouts of one round: the same ones moved sideways, or, where one is wanted, one after the other.

    No two rounds have the same layout, so that nothing that is kept of one helps with another.
    """
    if wanted > 1:
        return [layout.rolled(number) for layout in every[:wanted]]
    return [every[number % len(every)].rolled(number // len(every))]
