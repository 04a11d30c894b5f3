"""Sizes: at which a photograph is worked on, and pictures and maps from one size to another."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from gesso.errors import LabelError
from gesso.labels import ByteArray
from gesso.model_info import ModelInfo

Size = tuple[int, int]  # height, width
Window = tuple[slice, slice]  # rows and columns of a picture, from where to where
Map = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


def working_size(info: ModelInfo, photograph: Size) -> Size:
    """The size that the model's training brought such a photograph to, before any crop; its own where that is not said."""
    how: dict[str, Any] = {"resize": "none", "shrink": 1, **info.preprocessing}
    high, wide = photograph
    if how["resize"] == "fixed":
        high, wide = how.get("crop") or (how["height"], how["width"])
    elif how["resize"] == "scale_width":
        high, wide = how["width"] * high // wide, how["width"]
    elif how["resize"] == "scale_shortside":
        high, wide = (how["height"] * side // min(photograph) for side in photograph)
    elif how["resize"] == "nearest_multiple":
        step = how.get("multiple", 1) * how["shrink"]
        high, wide = (max(1, round(side / step)) * step for side in photograph)
    return max(1, high // how["shrink"]), max(1, wide // how["shrink"])


def resized(picture: ByteArray, size: Size, window: Window | None = None) -> ByteArray:
    """(H, W, 3) uint8 at another size, by Pillow's bicubic filter as in training; or a part of that."""
    if picture.shape[:2] == size:
        return picture if window is None else picture[window]
    return np.array(_part(Image.fromarray(np.ascontiguousarray(picture)), size, window, Image.Resampling.BICUBIC))


def _part(image: Image.Image, size: Size, window: Window | None, how: Image.Resampling) -> Image.Image:
    """A picture at another size, or a window of that, without making all of it."""
    if window is None:
        return image.resize(size[::-1], how)
    rows, columns = window
    high, wide = image.height / size[0], image.width / size[1]
    right, low = (
        min(image.width, columns.stop * wide),
        min(image.height, rows.stop * high),
    )  # rounded up, they are refused
    box = (columns.start * wide, rows.start * high, right, low)
    return image.resize((columns.stop - columns.start, rows.stop - rows.start), how, box=box)


def resized_map(values: npt.NDArray[Any], size: Size) -> Map:
    """(H, W) integers of 32 bits at another size, by nearest neighbour."""
    plain = np.ascontiguousarray(values, dtype=np.int32)
    if plain.shape == size:
        return plain
    return np.array(Image.fromarray(plain).resize(size[::-1], Image.Resampling.NEAREST))


def resized_floats(values: Floats, size: Size, window: Window | None = None) -> Floats:
    """(H, W) or (H, W, N) at another size, bilinear; or a part of that."""
    if values.shape[:2] == size:
        return values if window is None else values[window]
    planes = values[..., None] if values.ndim == 2 else values
    each = [
        np.asarray(
            _part(Image.fromarray(np.ascontiguousarray(planes[..., n])), size, window, Image.Resampling.BILINEAR)
        )
        for n in range(planes.shape[2])
    ]
    return each[0] if values.ndim == 2 else np.stack(each, axis=-1)


def fitting_map(values: npt.NDArray[Any], photograph: Size, working: Size, what: str) -> Map:
    """A label or instance map of a photograph, at the size that is worked on.

    Raises:
        LabelError: It is of neither size.
    """
    if values.shape not in (photograph, working):
        sizes = " or ".join(dict.fromkeys(f"{high}x{wide}" for high, wide in (photograph, working)))
        raise LabelError(
            f"The {what} has the shape {values.shape}, but the photograph is {photograph[0]}x{photograph[1]} (height x width). "
            f"Give the map of this photograph, {sizes}, or leave it out and let a segmenter read the photograph."
        )
    return resized_map(values, working)
