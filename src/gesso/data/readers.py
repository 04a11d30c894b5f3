"""One file to one array: photographs, source pictures, label maps, instance maps.

What a file can mean is decided here, once:

- Pictures are turned upright by their EXIF orientation, label and instance maps too.
- Photographs become 8-bit RGB. Gray is repeated, palettes are looked up, alpha is dropped (colours stay as stored),
  16-bit gray is scaled from 0..65535 to 0..255.
- Source pictures keep their channels and their depth, as floats in 0..1: 8-bit values / 255, 16-bit values / 65535.
  Pillow reads 16-bit *colour* PNGs as 8 bit; where the depth matters, store such a picture as `.npy`.
- Label and instance maps are read as the integers stored. JPEG is refused for them, because its values are not exact.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from gesso.data.pairing import Half, Sample
from gesso.errors import DataError, LabelError
from gesso.labels import ByteArray, ColourReport, IntArray, LabelSpace, indices_from_colours

Values = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
AnyArray = npt.NDArray[Any]

_INT32 = np.iinfo(np.int32)
_ORIENTATION = 0x0112  # EXIF tag
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)  # what Pillow raises


# ----------------------------------------------------------------------------------------------------- opening files


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what Pillow and numpy raise about a bad file into one kind of error that names it."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; list the folder again, or restore the file.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"{path} has more pixels than Pillow opens safely; cut it into smaller pictures.") from None
    except UnidentifiedImageError:
        raise DataError(
            f"{path} is not an image that Pillow can read; save it as 8- or 16-bit PNG, or as .npy where it has other "
            "than 1, 3 or 4 channels."
        ) from None
    except _DAMAGED as error:
        raise DataError(f"{path} cannot be read ({error}); it is damaged or incomplete: fetch it again.") from None


def _upright(image: Image.Image) -> Image.Image:
    return ImageOps.exif_transpose(image) if image.getexif().get(_ORIENTATION, 1) != 1 else image


def _open(path: Path) -> tuple[Image.Image, str]:
    """A loaded, upright picture and its file format."""
    with _explained(path), Image.open(path) as image:
        image.load()
        return _upright(image), image.format or ""


def _open_map(path: Path) -> Image.Image:
    image, kind = _open(path)
    if kind in ("JPEG", "MPO"):
        raise LabelError(
            f"{path} is a JPEG, whose compression changes values, so it cannot hold classes or ids; save it from the "
            "original as PNG."
        )
    return image


def _load_array(path: Path) -> AnyArray:
    with _explained(path):
        array: AnyArray = np.load(path, allow_pickle=False)
        return array


def _is_array(path: Path) -> bool:
    return path.suffix.lower() == ".npy"


# ----------------------------------------------------------------------------------------------------- photographs


def read_photograph(path: str | Path, half: Half = "") -> ByteArray:
    """A photograph as (H, W, 3) uint8 RGB; of a side-by-side file the half that is the target.

    Raises:
        DataError: The file is missing, damaged, not a picture, or has neither 1 nor 3 colour channels.
    """
    path = Path(path)
    if _is_array(path):
        return _side(_eight_bit(_scaled(_load_array(path), path), path), half, "target", path)
    image, _ = _open(path)
    if image.mode.startswith(("I", "F")):
        return _side(_eight_bit(_channels(image, path), path), half, "target", path)
    return _side(np.asarray(image if image.mode == "RGB" else image.convert("RGB")), half, "target", path)


def _eight_bit(channels: Floats, path: Path) -> ByteArray:
    if channels.shape[2] not in (1, 3):
        raise DataError(
            f"{path} has {channels.shape[2]} channels; a photograph has 1 or 3. As input it may be a source."
        )
    return np.broadcast_to(np.rint(channels * 255), (*channels.shape[:2], 3)).astype(np.uint8)


def _side(array: AnyArray, half: Half, wanted: Literal["input", "target"], path: Path) -> AnyArray:
    """The half of a side-by-side picture that is wanted; everything where `half` is empty."""
    if not half:
        return array
    width = array.shape[1]
    if width % 2:
        raise DataError(f"{path} is {width} pixels wide; a side-by-side pair A|B has two halves of equal, whole width.")
    left = (half == "AtoB") == (wanted == "input")
    return array[:, : width // 2] if left else array[:, width // 2 :]


def read_source(path: str | Path, half: Half = "") -> Floats:
    """A source picture with its channels as they are: (H, W, N) float32 in 0..1.

    Takes 8- and 16-bit gray, RGB, RGBA (4 channels), palettes (as RGB), TIFF (pages of equal size become channels), and
    `.npy` of shape (H, W) or (H, W, N) as uint8, uint16, bool, or floats in 0..1.

    Args:
        path: The file.
        half: For a side-by-side file: which half is the input; that half is returned.

    Raises:
        DataError: The file is missing, damaged, of an unknown kind, or holds values that have no scale.
    """
    path = Path(path)
    if _is_array(path):
        return _side(_scaled(_load_array(path), path), half, "input", path)
    pages = [_channels(page, path) for page in _pages(path)]
    if len({page.shape[:2] for page in pages}) > 1:
        raise DataError(f"The pages of {path} differ in size, so they cannot be channels of one picture.")
    return _side(pages[0] if len(pages) == 1 else np.concatenate(pages, axis=2), half, "input", path)


def read_input(sample: Sample) -> Floats:
    """The input picture of a sample that has one: (H, W, N) float32 in 0..1.

    A source as `read_source` gives it; of a photograph its 3 channels, or its luminance (Rec. 601, 8 bits: what Pillow would save
    as a gray file).

    Raises:
        DataError: As for a source or a photograph.
    """
    assert sample.source
    if not sample.photo:
        return read_source(sample.source, sample.half)
    photograph = read_photograph(sample.source, sample.half)
    gray = np.asarray(Image.fromarray(photograph).convert("L")) if sample.photo == "gray" else photograph
    return _scaled(gray, sample.source)


def _pages(path: Path) -> list[Image.Image]:
    """The pages of a TIFF, or the one picture of any other file."""
    with _explained(path), Image.open(path) as image:
        pages = []
        for page in range(getattr(image, "n_frames", 1) if image.format == "TIFF" else 1):
            if page:
                image.seek(page)
            image.load()
            pages.append(_upright(image).copy())
        return pages


def _channels(image: Image.Image, path: Path) -> Floats:
    """Channels of a picture scaled to 0..1: (H, W, N)."""
    mode = image.mode
    if mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise DataError(
                f"{path} holds integers {values.min()}..{values.max()}; allowed are 8 bit and 16 bit (0..65535). "
                "Scale it, or save it as .npy with floats in 0..1."
            )
        return _scaled(values.astype(np.uint16), path)
    if mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif mode not in ("1", "L", "LA", "RGB", "RGBA", "F"):
        image = image.convert("RGB")
    return _scaled(np.asarray(image), path)


def _scaled(array: AnyArray, path: Path) -> Floats:
    """(H, W) or (H, W, N) of any allowed type to (H, W, N) float32 in 0..1."""
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise DataError(f"{path} has the shape {array.shape}; expected (H, W) or (H, W, N), channels last.")
    channels = array[..., None] if array.ndim == 2 else array
    if array.dtype in (np.uint8, np.uint16):
        return channels.astype(np.float32) / np.float32(np.iinfo(array.dtype).max)
    if array.dtype == np.bool_:
        return channels.astype(np.float32)
    inside = array.dtype.kind == "f" and bool(np.isfinite(array).all()) and 0 <= array.min() and array.max() <= 1
    if not inside:
        raise DataError(
            f"{path} holds {array.dtype} values {array.min()}..{array.max()}; allowed are uint8, uint16, and floats in "
            "0..1. Scale it when saving, so that all files share one scale."
        )
    return channels.astype(np.float32)


# ------------------------------------------------------------------------------------------ label and instance maps


def read_values(path: str | Path) -> Values:
    """The integers stored in a label map, (H, W) int32, without asking what they mean.

    Palette files give palette positions, 1-bit files 0 and 1, RGB files their value where red = green = blue.

    Raises:
        DataError: The file is missing, damaged or not a picture.
        LabelError: It is a JPEG, holds colours or fractions, or its array is not (H, W).
    """
    path = Path(path)
    if _is_array(path):
        return _whole(_load_array(path), path)
    image = _open_map(path)
    array = np.asarray(image)
    if image.mode in ("RGB", "RGBA"):
        if not _is_gray(array):
            raise LabelError(
                f"{path} holds colours, not class values; read it with a label space that has these colours, or save "
                "one integer per pixel."
            )
        return array[..., 0].astype(np.int32)
    return _whole(array[..., 0] if image.mode in ("LA", "PA") else array, path)


def _is_gray(rgb: AnyArray) -> bool:
    return bool((rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 0] == rgb[..., 2]).all())


def _whole(array: AnyArray, path: Path) -> Values:
    """Integers or truth values as (H, W) int32."""
    if array.ndim != 2 or array.size == 0:
        raise LabelError(f"{path} has the shape {array.shape}; a label or instance map is (H, W).")
    if array.dtype.kind not in "iub":
        raise LabelError(f"{path} holds {array.dtype} values; a label or instance map holds integers. Save it as such.")
    if array.dtype.itemsize >= 4 and array.dtype != np.int32 and (array.min() < _INT32.min or array.max() > _INT32.max):
        raise LabelError(f"{path} holds values {array.min()}..{array.max()}; allowed are 32-bit integers.")
    return array.astype(np.int32)


def read_label(path: str | Path, space: LabelSpace) -> Values:
    """A label map as class indices, (H, W) int32; `len(space)` where ignored.

    - Integers are file values of the space. In a space of two classes with values 0 and 1 that gives 255 no meaning, a
      mask of 0 and 255 is read as 0 and 1.
    - RGB is decoded by the colours of the space, exactly; black is "ignored" unless a class is black. Where the colours
      have no meaning and red = green = blue, the gray level is the value.
    - Palette files are decoded by their colours where all that are used differ and belong to the space; otherwise the
      palette positions are the values.

    Raises:
        DataError: The file is missing, damaged or not a picture.
        LabelError: Values or colours have no meaning in the space; the message names the file and gives examples.
    """
    path = Path(path)
    if _is_array(path):
        return _meaning(_whole(_load_array(path), path), space, path)
    image = _open_map(path)
    if image.mode == "P":
        return _from_palette(image, space, path)
    if image.mode in ("RGB", "RGBA"):
        return _from_colours(np.asarray(image)[..., :3], space, path)
    array = np.asarray(image)
    if array.dtype == np.uint8 and array.ndim == 2:
        return _meaning(array, space, path)
    return _meaning(_whole(array[..., 0] if image.mode == "LA" else array, path), space, path)


def _meaning(values: IntArray, space: LabelSpace, path: Path) -> Values:
    if _takes_masks(space) and bool(((values == 0) | (values == 255)).all()):
        values = (values == 255).astype(np.uint8)
    return space.to_indices(values, origin=str(path))


def _takes_masks(space: LabelSpace) -> bool:
    values = {value for label_class in space.classes for value in label_class.values}
    return len(space) == 2 and values == {0, 1} and 255 not in space.ignore


def _decoded(indices: Values, report: ColourReport, space: LabelSpace) -> bool:
    """Whether every colour belongs to the space, and not all of them are the black of "ignored"."""
    return report.unknown == 0 and bool((indices < len(space)).any())


def _from_colours(rgb: ByteArray, space: LabelSpace, path: Path) -> Values:
    indices, report = indices_from_colours(rgb, space)
    if _decoded(indices, report, space):
        return indices
    if _is_gray(rgb):
        return _meaning(rgb[..., 0], space, path)
    listed = ", ".join(f"{colour} ({pixels} pixels)" for colour, pixels in report.worst)
    raise LabelError(
        f"{path} has {report.unknown} pixels in colours that {space.name} does not have: {listed}. Blended colours come "
        "from resizing or lossy saving: save the map again with nearest neighbour as PNG, or use the space it was made "
        "with."
    )


def _from_palette(image: Image.Image, space: LabelSpace, path: Path) -> Values:
    positions = np.asarray(image)
    palette = np.zeros((256, 3), dtype=np.uint8)
    stored = np.array(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
    palette[: len(stored)] = stored
    used = np.flatnonzero(np.bincount(positions.ravel(), minlength=256))
    indices, report = indices_from_colours(palette[used][None], space)
    distinct = len(np.unique(palette[used], axis=0)) == len(used)
    if distinct and _decoded(indices, report, space):
        table = np.zeros(256, dtype=np.int32)
        table[used] = indices[0]
        return table[positions]
    return _meaning(positions, space, path)


def read_instance(path: str | Path) -> Values:
    """An instance map as object ids, (H, W) int32.

    8-, 16- and 32-bit files give the integers stored (Cityscapes' bicycles, 33xxx, stay positive); palette files their
    positions; RGB files are COCO panoptic ids, red + 256 green + 65536 blue.

    Raises:
        DataError: The file is missing, damaged or not a picture.
        LabelError: It is a JPEG or holds fractions.
    """
    path = Path(path)
    if _is_array(path):
        return _whole(_load_array(path), path)
    image = _open_map(path)
    array = np.asarray(image)
    if image.mode in ("RGB", "RGBA"):
        parts = array.astype(np.int32)
        return parts[..., 0] + 256 * parts[..., 1] + 65536 * parts[..., 2]
    return _whole(array[..., 0] if image.mode in ("LA", "PA") else array, path)
