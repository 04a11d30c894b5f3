"""What the doctor says about one file: findings, values without a meaning, and what a file tells about itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

Severity = Literal["error", "warning", "note"]
Shape = tuple[int, ...]
Counts = npt.NDArray[np.int64]

_ORIENTATION = 0x0112  # EXIF tag


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or worth knowing.

    Attributes:
        severity: "error": training would fail or be meaningless; "warning": it would run, perhaps not as meant; "note".
        code: Short fixed name, such as "unknown-id".
        path: The file it is about; None where it is about the whole dataset.
        message: What, where and how to mend it; the file is its unnamed subject.
    """

    severity: Severity
    code: str
    path: Path | None
    message: str


@dataclass(frozen=True)
class UnknownValue:
    """A file value without a meaning in the label space.

    Attributes:
        value: The integer in the files.
        pixels: How many pixels hold it, over all files.
        files: How many label maps hold it.
        path: The first of these files.
        row: Row of its first pixel there, from 0 at the top.
        column: Column of that pixel, from 0 at the left.
    """

    value: int
    pixels: int
    files: int
    path: Path
    row: int
    column: int


@dataclass(frozen=True)
class Header:
    """What a file says about itself before it is decoded: format, Pillow mode, EXIF orientation (1 = upright)."""

    format: str
    mode: str
    orientation: int = 1


@dataclass(frozen=True)
class ScannedFile:
    """One file after reading; `shape` is (H, W), or None when its size says nothing because of `finding`."""

    path: Path
    shape: Shape | None = None
    header: Header = Header("", "")
    finding: Finding | None = None
    pixels: Counts | None = None
    unknown: tuple[UnknownValue, ...] = ()
    channels: int = 0
    decoding: str = ""


def read_header(path: Path) -> Header:
    """Format, mode and orientation of a file, without decoding it."""
    if path.suffix.lower() == ".npy":
        return Header("NPY", "npy")
    with Image.open(path) as image:
        return Header(image.format or "", image.mode, _orientation(image))


def _orientation(image: Image.Image) -> int:
    # Asked for EXIF, Pillow decodes a PNG whose header has none, to look behind the pixels: twice the work for every map.
    if image.format == "PNG" and not any("exif" in str(key).lower() or "xmp" in str(key).lower() for key in image.info):
        return 1
    value = image.getexif().get(_ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def without_path(error: Exception, path: Path) -> str:
    """The message of an error whose subject is this file."""
    return str(error).removeprefix(f"{path} ").replace(str(path), path.name)
