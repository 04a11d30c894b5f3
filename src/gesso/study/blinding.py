"""Pictures that differ in nothing but their pixels: one size, one format, one number of bytes, no metadata, no telling name."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from gesso.errors import DataError

Pixels = npt.NDArray[np.uint8]
PLAIN = ("1", "L", "P", "RGB")  # modes with 8 bits and, but for P, no transparency
BLOCKS = 8  # a spoilt picture is cut into so many rows and columns


def read_size(file: Path) -> tuple[int, int]:
    """Height and width of a picture as it is seen, turned upright, without decoding it.

    Raises:
        DataError: The file is no picture.
    """
    try:
        with Image.open(file) as image:
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            return (image.width, image.height) if turned else (image.height, image.width)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(file, error) from None


def read_pixels(file: Path, size: tuple[int, int]) -> Pixels:
    """A picture (H, W, 3) uint8 of this height and width: upright, without its metadata, resized by Lanczos where it has to be.

    Raises:
        DataError: The file is no picture, is cut short, is partly transparent, or has more than 8 bits per channel.
    """
    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)
            image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(file, error) from None
    if image.mode not in (*PLAIN, "LA", "RGBA"):
        raise DataError(
            f"{file} has pixels of the kind {image.mode}; allowed are gray and RGB pictures of 8 bits per channel, as "
            "people can be shown. Convert it first."
        )
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        raise DataError(f"{file} is partly transparent; put it on a background first.")
    image = image.convert("RGB")
    if image.size != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling.LANCZOS)
    return np.asarray(image)


def _unreadable(file: Path, error: Exception) -> DataError:
    return DataError(f"{file} cannot be read as a picture ({error}); write it again, or take it out of all folders.")


def encode(pixels: Pixels) -> bytes:
    """A PNG without metadata and without compression: its number of bytes follows from height and width alone."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def spoil(pixels: Pixels, seed: str) -> Pixels:
    """A picture that nobody who looks can prefer: cut into 8x8 blocks, shuffled, every second one a negative.

    The remainder of sizes that 8 does not divide stays in place.
    """
    height, width = (max(1, extent // BLOCKS) for extent in pixels.shape[:2])
    corners = [
        (top * height, left * width)
        for top in range(min(BLOCKS, pixels.shape[0]))
        for left in range(min(BLOCKS, pixels.shape[1]))
    ]
    sources = corners.copy()
    random.Random(seed).shuffle(sources)
    spoilt = pixels.copy()
    for number, ((top, left), (y, x)) in enumerate(zip(corners, sources, strict=True)):
        block = pixels[y : y + height, x : x + width]
        row = number // min(BLOCKS, pixels.shape[1])
        spoilt[top : top + height, left : left + width] = 255 - block if (number + row) % 2 else block
    return spoilt
