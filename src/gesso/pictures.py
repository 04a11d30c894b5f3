"""Contact sheets: pictures in a grid, for people who would rather look than read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from gesso.labels import LabelSpace, colourise

Picture = npt.NDArray[np.uint8]
GAP = 4
BACKGROUND = 245


def to_uint8(image: Tensor) -> Picture:
    """(..., 3, H, W) in [-1, 1] -> (..., H, W, 3) uint8 by clipping and rounding."""
    scaled = (image.detach().float() + 1.0) * 127.5
    return scaled.clamp(0, 255).round().to(torch.uint8).movedim(-3, -1).cpu().numpy()


def layout_picture(item: Mapping[str, Any], space: LabelSpace | None) -> Picture:
    """The input of one sample (`label` (H, W) or `source` (N, H, W) in [-1, 1]) as a picture (H, W, 3) uint8."""
    if space is not None and "label" in item:
        return colourise(item["label"].numpy(), space)
    source: Tensor = item["source"]
    return to_uint8(source[:3] if source.shape[0] >= 3 else source[:1].expand(3, -1, -1))


def nearest_classes(picture: Picture, space: LabelSpace) -> npt.NDArray[np.int32]:
    """Class indices of a picture that shows classes in their colours, as a network paints it: of each pixel the nearest colour's.

    Args:
        picture: (H, W, 3) uint8.
        space: Its classes' colours; that of ignored pixels is none of them.

    Returns:
        (H, W) class indices, 0..C-1.
    """
    pixels, closest = picture.astype(np.int32), np.full(picture.shape[:2], np.iinfo(np.int32).max)
    found = np.zeros(picture.shape[:2], dtype=np.int32)
    for index, colour in enumerate(space.colours[:-1].astype(np.int32)):
        gap = ((pixels - colour) ** 2).sum(-1)
        found[gap < closest] = index
        closest = np.minimum(closest, gap)
    return found


def sheet(
    rows: Sequence[Sequence[Picture]], titles: Sequence[str] = (), captions: Sequence[str] = (), widest: int = 512
) -> Image.Image:
    """A grid of pictures.

    Args:
        rows: Pictures (H, W, 3) uint8, row by row; each column is as wide as its widest picture.
        titles: One line above each column.
        captions: One line above each row.
        widest: Wider pictures are scaled down to this many pixels.
    """
    rows = [[_fit(picture, widest) for picture in row] for row in rows]
    text = 14
    heights = [max(p.shape[0] for p in row) for row in rows]
    widths = [max(p.shape[1] for p in column) for column in zip(*rows, strict=True)]
    head = text + GAP if titles else 0
    caption = text if captions else 0
    size = (sum(widths) + GAP * (len(widths) + 1), head + sum(heights) + (GAP + caption) * len(rows) + GAP)
    page = Image.new("RGB", size, (BACKGROUND,) * 3)
    draw = ImageDraw.Draw(page)
    lefts = [GAP + sum(widths[:i]) + GAP * i for i in range(len(widths))]
    for left, title in zip(lefts, titles, strict=False):
        draw.text((left, GAP), title, fill=(20, 20, 20))
    top = head + GAP
    for number, row in enumerate(rows):
        if captions:
            draw.text((GAP, top), captions[number], fill=(20, 20, 20))
            top += caption
        for left, picture in zip(lefts, row, strict=True):
            page.paste(Image.fromarray(picture), (left, top))
        top += heights[number] + GAP
    return page


def _fit(picture: Picture, widest: int) -> Picture:
    height, width = picture.shape[:2]
    if width <= widest:
        return picture
    size = (widest, max(1, round(height * widest / width)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
