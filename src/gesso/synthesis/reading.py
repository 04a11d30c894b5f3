"""What every use of a segmenter on photographs shares: is it of the model's classes, and is what it found clean."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from gesso.errors import ConfigError
from gesso.labels import LabelSpace
from gesso.synthesis.segmenter import PhotoSegmenter

SPECK = 4000  # a region smaller than this part of the picture is the segmenter's noise


def refuse_other_classes(segmenter: PhotoSegmenter, space: LabelSpace) -> None:
    """See that a segmenter finds the classes that a model knows.

    Raises:
        ConfigError: It finds others.
    """
    if segmenter.label_space.names != space.names:
        raise ConfigError(
            f"The segmenter finds the {len(segmenter.label_space)} classes of {segmenter.label_space.name}, the model knows the "
            f"{len(space)} of {space.name}. Give one that was trained on the model's data: gesso evaluate --segmenter train "
            "--save-segmenter FILE."
        )


def without_specks(label: npt.NDArray[np.int32], ignored: int) -> npt.NDArray[np.int32]:
    """A found label map in which small regions, and pixels without a class, are given to what is nearest.

    Args:
        label: (H, W) class indices.
        ignored: What stands for no class.
    """
    smallest = max(2, label.size // SPECK)
    small = label == ignored
    for index in np.unique(label).tolist():
        numbered, count = ndimage.label(label == index)
        if count:
            small |= (np.bincount(numbered.ravel()) < smallest)[numbered] & (numbered > 0)
    if small.all():
        return label
    nearest: Any = ndimage.distance_transform_edt(small, return_distances=False, return_indices=True)
    return np.asarray(label[tuple(nearest)])
