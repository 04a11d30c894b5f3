"""Photographs whose layout is known, for the tests of photographs that the editor keeps."""

from __future__ import annotations

import functools
import io
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from gesso.data import toy
from gesso.labels import LabelSpace
from gesso.synthesis.segmenter import PhotoSegmenter
from painted import SPACE

SIZE = (256, 512)  # of the photographs, twice that of the layouts
LAYOUT = (128, 256)
Bytes = npt.NDArray[np.uint8]


@functools.cache
def street() -> toy.Scene:
    """A toy scene with two cars, at the size of the photograph."""
    return toy.scene(1605, 2, *SIZE)


class Knows(PhotoSegmenter):
    """Finds the layout that is known of a scene, whatever it is shown."""

    def __init__(self, scene: toy.Scene, space: LabelSpace = SPACE) -> None:
        super().__init__("knows", "scenes", space, "0" * 64)
        self.label = torch.from_numpy(scene.label.astype(np.int64))

    def _read(self, pixels: Tensor) -> Tensor:
        size = tuple(pixels.shape[-2:])
        found = torch.nn.functional.interpolate(self.label[None, None].float(), size=size, mode="nearest")
        return found[0, 0].long()


def jpeg(picture: Bytes, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=95, **options)
    return file.getvalue()
