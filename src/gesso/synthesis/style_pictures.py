"""What styles look like: a thumbnail of one object, and the sheet of all modes that a model file holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from torch import Tensor

from gesso.labels import LabelSpace
from gesso.pictures import BACKGROUND, Picture, sheet

THUMBNAIL = 64  # pixels
MARGIN = 0.15  # of an object's longer side, shown around it
FADED = 0.65  # how far what is not the object fades to the background
STRIP = 14  # pixels of text below a tile of the sheet


def thumbnail(photograph: Picture, mask: npt.NDArray[np.bool_], size: int = THUMBNAIL) -> Picture:
    """An object, with some of its surroundings faded, in the middle of a square.

    Args:
        photograph: (H, W, 3) uint8.
        mask: (H, W) where the object is; not empty.
        size: Pixels of the square's side.

    Returns:
        (size, size, 3) uint8.
    """
    faded = photograph + (BACKGROUND - photograph.astype(np.float32)) * FADED
    shown = np.where(mask[..., None], photograph, faded.round()).astype(np.uint8)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    margin = max(2, round(MARGIN * max(np.ptp(rows) + 1, np.ptp(columns) + 1)))
    cut = tuple(slice(max(0, place[0] - margin), place[-1] + 1 + margin) for place in (rows, columns))
    part = Image.fromarray(shown[cut])
    scale = size / max(part.size)
    part = part.resize(
        (max(1, round(part.width * scale)), max(1, round(part.height * scale))), Image.Resampling.BICUBIC
    )
    square = Image.new("RGB", (size, size), (BACKGROUND,) * 3)
    square.paste(part, ((size - part.width) // 2, (size - part.height) // 2))
    return np.asarray(square)


def style_sheet(styles: Mapping[str, Tensor], space: LabelSpace, zoom: int = 2) -> Image.Image:
    """Rows of classes, columns of modes: the most typical object of each, and how many objects the mode has.

    Args:
        styles: As `gesso.checkpoints.Model.styles`; thumbnails and sizes may be missing, as in imported clusters.
        space: Names of the classes.
        zoom: How much thumbnails are enlarged.
    """
    classes = clustered_classes(styles)
    most = max(len(styles[f"{index}.centres"]) for index in classes)
    rows = [_row(styles, index, most, zoom) for index in classes]
    titles = [f"mode {number}" for number in range(most)]
    return sheet(rows, titles, [_caption(styles, index, space) for index in classes])


def clustered_classes(styles: Mapping[str, Tensor]) -> list[int]:
    """Indices of the classes that have clusters, ascending."""
    return sorted({int(key.partition(".")[0]) for key in styles})


def _caption(styles: Mapping[str, Tensor], index: int, space: LabelSpace) -> str:
    sizes = styles.get(f"{index}.sizes")
    return space.names[index] if sizes is None else f"{space.names[index]}: {int(sizes.sum())} objects"


def _row(styles: Mapping[str, Tensor], index: int, columns: int, zoom: int) -> list[Picture]:
    thumbnails, sizes = styles.get(f"{index}.thumbnails"), styles.get(f"{index}.sizes")
    row = []
    for mode in range(columns):
        there = mode < len(styles[f"{index}.centres"])
        picture = thumbnails[mode].numpy() if there and thumbnails is not None else None
        row.append(_tile(picture, str(int(sizes[mode])) if there and sizes is not None else "", zoom))
    return row


def _tile(picture: npt.NDArray[Any] | None, text: str, zoom: int) -> Picture:
    """A thumbnail, enlarged, above one line of text."""
    side = (THUMBNAIL if picture is None else len(picture)) * zoom
    tile = Image.new("RGB", (side, side + STRIP), (BACKGROUND,) * 3)
    if picture is not None:
        tile.paste(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))
    ImageDraw.Draw(tile).text((2, side + 1), text, fill=(20, 20, 20))
    return np.asarray(tile)
