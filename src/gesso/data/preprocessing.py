"""Resizing, cropping, flipping and padding, alike for photograph, label map, instance map and source picture.

The order is: resize, crop, flip, pad. `Preprocessing.plan` draws the random part once per sample; the `apply_*` functions
carry it out, bicubic for pictures and nearest neighbour for maps, with Pillow's resampling like the official code
(pix2pix, pix2pixHD and SPADE, bit by bit where `tests/golden/test_preprocess.py` says so).

Where the official codes differ from each other or fail, this is what happens here:

- A crop larger than the picture: the picture is first extended by reflection at the bottom and right. (pix2pixHD leaves
  such pictures uncropped or goes out of bounds, SPADE pads with black and class 0.)
- Crops are for training. In evaluation "fixed" resizes straight to the size of the crop, as pix2pix does at test time and
  SPADE by the test settings of its datasets; the other modes keep the whole picture.
- "scale_shortside" scales both sides, and draws the crop's position from the scaled picture. (SPADE's code leaves the
  shorter side as it was, and draws the position from the original size.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from gesso.labels import ByteArray

Size = tuple[int, int]
Floats = npt.NDArray[np.float32]
Integer = TypeVar("Integer", bound=np.integer[Any])
Scalar = TypeVar("Scalar", bound=np.generic)

_SIDES: dict[str, tuple[bool, bool]] = {  # resize mode -> whether it needs (height, width)
    "none": (False, False),
    "fixed": (True, True),
    "scale_width": (False, True),
    "scale_shortside": (True, False),
    "nearest_multiple": (False, False),
}


@dataclass(frozen=True)
class Geometry:
    """What is done to one sample; all sizes are (height, width).

    Attributes:
        resized: Size after resizing.
        crop: (top, left, height, width) in the resized picture; it may reach beyond the bottom and right, where the
            picture is extended by reflection.
        flip: Whether left and right are exchanged.
        padded: Final size; what is missing at the bottom and right is filled by reflection.
    """

    resized: Size
    crop: tuple[int, int, int, int] | None
    flip: bool
    padded: Size

    @property
    def size(self) -> Size:
        """Size before the final padding."""
        return self.crop[2:] if self.crop else self.resized


class Preprocessing(BaseModel):
    """How pictures are brought to the network's size; travels in the model file.

    Attributes:
        resize: "none"; "fixed" (to height x width, whatever the aspect ratio); "scale_width" (to `width`, keeping the aspect
            ratio, height rounded down); "scale_shortside" (the shorter side to `height`, the other rounded down);
            "nearest_multiple" (each side to the nearest multiple of `multiple`, halves to the even one; pix2pixHD's and
            SPADE's "none").
        height: Pixels, for "fixed" and, as the shorter side, for "scale_shortside".
        width: Pixels, for "fixed" and "scale_width".
        crop: (height, width) in pixels of a crop at a random place, in training only.
        flip: Whether half of the training samples are mirrored.
        multiple: Both sides are finally padded, by reflection at the bottom and right, to a multiple of this.
        shrink: All sizes above, crops too, are divided by this, rounded down; for coarse-to-fine training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    resize: Literal["none", "fixed", "scale_width", "scale_shortside", "nearest_multiple"] = "none"
    height: PositiveInt | None = None
    width: PositiveInt | None = None
    crop: tuple[PositiveInt, PositiveInt] | None = None
    flip: bool = False
    multiple: int = Field(default=1, ge=1)
    shrink: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _check(self) -> Preprocessing:
        for side, needed in zip(("height", "width"), _SIDES[self.resize], strict=True):
            if needed and getattr(self, side) is None:
                raise ValueError(f"resize {self.resize!r} needs {side}")
            if not needed and getattr(self, side) is not None:
                raise ValueError(f"resize {self.resize!r} does not use {side}; leave it out")
        return self

    def scaled(self, size: Size) -> Size:
        """Size of a picture of this (height, width) after resizing, before any crop."""
        high, wide = self._full(size)
        return max(1, high // self.shrink), max(1, wide // self.shrink)

    @property
    def without_training(self) -> Preprocessing:
        """How whole layouts come to the size of training: no crops, and no padding, which is the Synthesizer's.

        Where training resized to the nearest multiple, so is a layout; then nothing is left to be padded.
        """
        multiple = self.multiple if self.resize == "nearest_multiple" else 1
        whole = self.model_copy(update={"multiple": multiple, "crop": None})
        if self.resize == "fixed" and self.crop:
            return whole.model_copy(update={"height": self.crop[0], "width": self.crop[1]})
        return whole

    @property
    def cut(self) -> Size | None:
        """Size of the crop, (height, width), if there is one."""
        return (max(1, self.crop[0] // self.shrink), max(1, self.crop[1] // self.shrink)) if self.crop else None

    def _full(self, size: Size) -> Size:
        high, wide = size
        if self.resize == "fixed":
            assert self.height and self.width
            return self.height, self.width
        if self.resize == "scale_width":
            assert self.width
            return max(1, self.width * high // wide), self.width
        if self.resize == "scale_shortside":
            assert self.height
            longer = self.height * max(size) // min(size)
            return (self.height, longer) if high <= wide else (longer, self.height)
        if self.resize == "nearest_multiple":
            return self._nearest(high), self._nearest(wide)
        return size

    def _nearest(self, side: int) -> int:
        step = self.multiple * self.shrink
        return max(1, round(side / step)) * step

    def plan(self, size: Size, rng: np.random.Generator | None = None) -> Geometry:
        """Geometry for a picture of this (height, width).

        Args:
            size: (height, width) in pixels.
            rng: For training: draws the crop's position and the flip. None means evaluation: no crop, no flip.
        """
        if rng is None:
            resized = self.cut if self.cut and self.resize == "fixed" else self.scaled(size)
            return self._geometry(resized, None, flip=False)
        resized = self.scaled(size)
        corner = None
        if self.cut:
            high, wide = (max(0, resized[axis] - self.cut[axis]) for axis in (0, 1))
            corner = int(rng.integers(high + 1)), int(rng.integers(wide + 1))
        return self._geometry(resized, corner, flip=self.flip and bool(rng.random() < 0.5))

    def place(self, size: Size, corner: Size, flip: bool) -> Geometry:
        """Training geometry with a given (top, left) corner of the crop and flip, instead of random ones."""
        return self._geometry(self.scaled(size), corner, flip)

    def _geometry(self, resized: Size, corner: Size | None, flip: bool) -> Geometry:
        crop = (*corner, *self.cut) if self.cut and corner is not None else None
        high, wide = crop[2:] if crop else resized
        padded = -(-high // self.multiple) * self.multiple, -(-wide // self.multiple) * self.multiple
        return Geometry(resized, crop, flip, padded)


# -------------------------------------------------------------------------------------------------- carrying it out


def apply_photograph(photograph: ByteArray, geometry: Geometry) -> ByteArray:
    """(H, W, 3) uint8, resized by Pillow's bicubic filter (antialiased); contiguous."""
    if photograph.shape[:2] != geometry.resized:
        image = Image.fromarray(np.ascontiguousarray(photograph))
        photograph = np.asarray(image.resize(geometry.resized[::-1], Image.Resampling.BICUBIC))
    return _placed(photograph, geometry)


def apply_map(values: npt.NDArray[Integer], geometry: Geometry) -> npt.NDArray[Integer]:
    """(H, W) of any integers within 32 bits, resized by nearest neighbour; same type, contiguous."""
    if values.shape != geometry.resized:
        plain = values if values.dtype == np.uint8 else values.astype(np.int32)  # what Pillow holds exactly
        image = Image.fromarray(np.ascontiguousarray(plain)).resize(geometry.resized[::-1], Image.Resampling.NEAREST)
        values = np.asarray(image).astype(values.dtype, copy=False)
    return _placed(values, geometry)


def apply_source(source: Floats, geometry: Geometry) -> Floats:
    """(H, W, N) float32 in 0..1, each channel resized by the bicubic filter and kept within 0..1; contiguous."""
    if source.shape[:2] != geometry.resized:
        planes = (Image.fromarray(np.ascontiguousarray(source[..., n])) for n in range(source.shape[2]))
        resized = [plane.resize(geometry.resized[::-1], Image.Resampling.BICUBIC) for plane in planes]
        source = np.stack([np.asarray(plane) for plane in resized], axis=-1).clip(0, 1)
    return _placed(source, geometry)


def _placed(array: npt.NDArray[Scalar], geometry: Geometry) -> npt.NDArray[Scalar]:
    """Crop, flip and pad; contiguous and writable, as torch wants it."""
    if geometry.crop:
        top, left, high, wide = geometry.crop
        array = _extended(array, (top + high, left + wide))[top : top + high, left : left + wide]
    if geometry.flip:
        array = array[:, ::-1]
    return np.require(_extended(array, geometry.padded), requirements=["C", "W"])


def _extended(array: npt.NDArray[Scalar], size: Size) -> npt.NDArray[Scalar]:
    """At least this size, by reflection at the bottom and right."""
    missing = [max(0, wanted - present) for wanted, present in zip(size, array.shape[:2], strict=True)]
    if not any(missing):
        return array
    return np.pad(array, [(0, m) for m in missing] + [(0, 0)] * (array.ndim - 2), mode="reflect")
