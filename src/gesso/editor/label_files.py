"""Label maps and instance maps as people have them on disk: what a file can mean, and what was done to it.

The meaning is that of `gesso.data.readers`, with one thing more: colours that the label space does not have go to their nearest
class, and the report says so. A file most of whose colours are unknown is refused, unless that is wanted.
"""

from __future__ import annotations

import struct
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict

from gesso.editor.security import DAMAGED, PNG_MAGIC, Limits, open_png, read_png
from gesso.errors import DataError, LabelError
from gesso.labels import ByteArray, ColourReport, LabelSpace, indices_from_colours

Map = npt.NDArray[np.int32]

KNOWN = 0.5  # share of pixels in known colours, below which a file is of another label space
FARTHEST = 442.0  # between any two colours
UNTURNED = (None, 1)  # EXIF orientations
ORIENTATION = 0x0112
COLOUR_TYPES = (2, 6)  # of PNG
ALPHA_TYPES = (4, 6)


class Unknown(BaseModel):
    """A colour that the label space does not have.

    Attributes:
        colour: Red, green, blue.
        pixels: How many have it.
        nearest: Name of the class that they were given; "ignored" for none.
    """

    model_config = ConfigDict(frozen=True)

    colour: tuple[int, int, int]
    pixels: int
    nearest: str


class Report(BaseModel):
    """How a label map was read.

    Attributes:
        how: By the values in the file, by its palette's colours, or by its pixels' colours.
        sentence: What to tell people.
        exact: Pixels that had a meaning.
        moved: Pixels that were given the nearest class.
        unknown: The most frequent colours without a meaning.
    """

    model_config = ConfigDict(frozen=True)

    how: Literal["ids", "palette", "colours"]
    sentence: str
    exact: int
    moved: int = 0
    unknown: tuple[Unknown, ...] = ()


def read_label_file(
    content: bytes, space: LabelSpace, limits: Limits, name: str = "label map", nearest: bool = False
) -> tuple[Map, Report]:
    """A label map file as class indices, (H, W), `len(space)` where ignored.

    Args:
        content: A PNG: file values in gray, a palette, or colours of 8 bits.
        space: The classes.
        limits: What is taken.
        name: How errors call it.
        nearest: Whether colours are moved to the nearest class even where most are unknown.

    Raises:
        DataError: It is no PNG, animated, too large, or damaged.
        LabelError: Its values have no meaning in the space, or most of its colours have none; the message says which, and how
            many pixels have them.
    """
    _refuse_others(content, name)
    image = open_png(content, limits, name)
    array = _upright(image, read_png(content, limits, name), name)
    if image.mode in ("P", "PA"):
        return _from_palette(array, _palette(image), space, name, nearest)
    if array.ndim == 3:
        return _from_colours(np.ascontiguousarray(array[..., :3]), space, name, nearest)
    return _meaning(array, space, name), _plain(array)


def read_instance_file(content: bytes, limits: Limits, name: str = "instance map") -> Map:
    """An instance map file as ids, (H, W).

    Gray files hold the ids, palette files positions; RGB is red + 256 green + 65536 blue (COCO panoptic), RGBA the four bytes of
    int32 as the editor saves them, or as RGB where it is opaque everywhere.

    Raises:
        DataError: It is no PNG, animated, too large, or damaged.
        LabelError: It has colours of 16 bits.
    """
    _refuse_others(content, name)
    image = open_png(content, limits, name)
    array = _upright(image, read_png(content, limits, name), name)
    if array.ndim == 2:
        return array.astype(np.int32)
    parts = array.astype(np.int64)
    ids = parts[..., 0] + 256 * parts[..., 1] + 65536 * parts[..., 2]
    if array.shape[2] == 4 and not (array[..., 3] == 255).all():
        ids += parts[..., 3] << 24
    return ids.astype(np.uint32).view(np.int32)


# ------------------------------------------------------------------------------------------------------- looking first


def _refuse_others(content: bytes, name: str) -> None:
    """Refuse files that Pillow would open, but not as they are: animations, and 16 bits beside each other."""
    refuse_animated(content, name)
    if len(content) > 25 and content[24] == 16 and content[25] in (*COLOUR_TYPES, *ALPHA_TYPES):
        what = "colours" if content[25] in COLOUR_TYPES else "gray values with transparency"
        raise LabelError(
            f"The {name} has {what} of 16 bits, which cannot be read exactly; save it with 8 bits per channel, or as gray of 16 "
            "bits without transparency."
        )


def refuse_animated(content: bytes, name: str) -> None:
    """See that a PNG is one picture.

    Raises:
        DataError: It is an animation.
    """
    if not content.startswith(PNG_MAGIC):
        return
    position = len(PNG_MAGIC)  # from here on chunks of length, kind, content, checksum
    while position + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        if kind == b"acTL":
            raise DataError(f"The {name} is an animation; give one of its pictures as a PNG of its own.")
        if kind == b"IDAT":
            return
        position += 12 + length


def _upright(image: Image.Image, array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """A map turned by its EXIF orientation, as pictures are.

    Raises:
        DataError: Its EXIF data are damaged, so that nobody knows how it was meant.
    """
    try:
        orientation = image.getexif().get(ORIENTATION)
        if orientation in UNTURNED:
            return array
        numbers = Image.fromarray(np.arange(array.shape[0] * array.shape[1], dtype=np.int32).reshape(array.shape[:2]))
        numbers.getexif()[ORIENTATION] = orientation
        turned = np.asarray(ImageOps.exif_transpose(numbers))
    except DAMAGED as error:
        raise DataError(f"The {name} has damaged EXIF data ({error}). Save it again, without EXIF.") from None
    return array.reshape(-1, *array.shape[2:])[turned]


def _palette(image: Image.Image) -> ByteArray:
    """(256, 3): the colours of a palette file."""
    palette = np.zeros((256, 3), dtype=np.uint8)
    stored = np.array(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
    palette[: len(stored)] = stored
    return palette


# ------------------------------------------------------------------------------------------------------------- meaning


def _meaning(values: npt.NDArray[Any], space: LabelSpace, name: str) -> Map:
    """Class indices of file values; masks of 0 and 255 are taken where the classes are 0 and 1."""
    known = {value for one in space.classes for value in one.values}
    if len(space) == 2 and known == {0, 1} and 255 not in space.ignore and bool(np.isin(values, (0, 255)).all()):
        values = (values == 255).astype(np.uint8)
    return space.to_indices(values, origin=f"The {name}")


def _plain(values: npt.NDArray[Any]) -> Report:
    count = len(np.unique(values))
    said = f"Read as class values: {count} {'value' if count == 1 else 'different values'}, all of them known."
    return Report(how="ids", sentence=said, exact=values.size)


def _from_palette(
    positions: npt.NDArray[Any], palette: ByteArray, space: LabelSpace, name: str, nearest: bool
) -> tuple[Map, Report]:
    """By the palette's colours where all that are used belong to the space and differ; else positions are values."""
    used = np.flatnonzero(np.bincount(positions.ravel(), minlength=256))
    colours = palette[used]
    indices, report = indices_from_colours(colours[None], space)
    distinct = len(np.unique(colours, axis=0)) == len(used)
    if distinct and _decoded(indices, report, space):
        table = np.zeros(256, dtype=np.int32)
        table[used] = indices[0]
        said = f"Read by the colours of its palette: {len(used)} colours, all of them known."
        return table[positions], Report(how="palette", sentence=said, exact=positions.size)
    if nearest or ((space.lookup(positions) < 0).any() and report.unknown < len(used)):
        found, told = _from_colours(palette[positions], space, name, nearest)
        return found, told.model_copy(update={"how": "palette"})
    return _meaning(positions, space, name), _plain(positions)


def _decoded(indices: Map, report: ColourReport, space: LabelSpace) -> bool:
    """Whether every colour belongs to the space, and not all of them are the black of "ignored"."""
    return report.unknown == 0 and bool((indices < len(space)).any())


def _from_colours(rgb: ByteArray, space: LabelSpace, name: str, nearest: bool) -> tuple[Map, Report]:
    indices, report = indices_from_colours(rgb, space)
    if _decoded(indices, report, space):
        said = "Read by its colours: every pixel has the colour of a class."
        return indices, Report(how="colours", sentence=said, exact=report.exact)
    gray = rgb[..., 0]
    if (rgb == gray[..., None]).all() and not nearest:
        return _meaning(gray, space, name), _plain(gray)
    unknown = _unknown(report, space)
    share = report.unknown / max(1, rgb.shape[0] * rgb.shape[1])
    if share > 1 - KNOWN and not nearest:
        raise LabelError(_other_space(name, report, space, unknown, share))
    snapped, _ = indices_from_colours(rgb, space, FARTHEST)
    said = (
        f"{report.unknown} pixels ({share:.1%}) have colours that {space.name} does not have and were given the nearest class: "
        f"{_listed(unknown)}."
    )
    return snapped, Report(how="colours", sentence=said, exact=report.exact, moved=report.unknown, unknown=unknown)


def _unknown(report: ColourReport, space: LabelSpace) -> tuple[Unknown, ...]:
    if not report.worst:
        return ()
    colours = np.array([[colour for colour, _ in report.worst]], dtype=np.uint8)
    nearest, _ = indices_from_colours(colours, space, FARTHEST)
    names = [(*space.names, "ignored")[n] for n in nearest[0]]
    return tuple(
        Unknown(colour=colour, pixels=pixels, nearest=name)
        for (colour, pixels), name in zip(report.worst, names, strict=True)
    )


def _listed(unknown: tuple[Unknown, ...]) -> str:
    return ", ".join(f"{one.colour} ({one.pixels} pixels, now {one.nearest})" for one in unknown)


def _other_space(name: str, report: ColourReport, space: LabelSpace, unknown: tuple[Unknown, ...], share: float) -> str:
    colours = ", ".join(f"{one.colour} ({one.pixels} pixels, nearest: {one.nearest})" for one in unknown)
    return (
        f"The {name} has {report.unknown} pixels ({share:.0%}) in colours that {space.name} does not have: {colours}. It is a "
        "photograph, or a label map of another label space: open a photograph as such, paint the map in this model's colours, or "
        "send nearest=true to take the nearest class everywhere."
    )
