"""What the editor takes from outside: who may ask, how much may come, and which files are opened.

Uploads are looked at before they are decoded: their first bytes say the type, their header says the size. Nothing that a client
sends becomes a path.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fastapi import UploadFile
from PIL import Image, ImageOps

from gesso.errors import DataError, LabelError
from gesso.labels import ByteArray

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8\xff"
MOST_SCANS = (
    100  # of a progressive JPEG; cameras and programs write about ten, each costs a pass over the whole picture
)
# What Pillow raises about bad files; and what it only warns of, where warnings are errors.
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    OverflowError,
    TypeError,
    struct.error,
    zlib.error,
    Warning,
)
LOW_DEPTHS = {2: 85, 4: 17}  # bits per gray pixel, and what Pillow multiplies such values by

Maps = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Ids = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Limits:
    """How much is taken.

    Attributes:
        pixels: Of a layout or of what is rendered.
        bytes: Of one request or message, in all.
        side: Of a picture's height and width.
        photograph: Pixels of an uploaded photograph before it is reduced to `pixels`.
        retouched: Pixels of a photograph that edits are put into, at its own size; one is computed at a time.
    """

    pixels: int = 2**23
    bytes: int = 32 * 2**20
    side: int = 16384
    photograph: int = 2**26
    retouched: int = 2**25

    def refuse_size(self, height: int, width: int, what: str, pixels: int | None = None) -> None:
        """See that a picture is not too large.

        Raises:
            DataError: It is.
        """
        most = pixels or self.pixels
        if not 0 < height <= self.side or not 0 < width <= self.side or height * width > most:
            raise DataError(
                f"The {what} is {width} x {height} pixels; allowed are {most / 1e6:.1f} megapixels, and {self.side} pixels to a "
                "side. Reduce it first."
            )


def content_of(upload: UploadFile | bytes) -> bytes:
    """The bytes of an upload; from `def` endpoints alone, as they may come from the disk."""
    return upload if isinstance(upload, bytes) else upload.file.read()


def open_png(upload: UploadFile | bytes, limits: Limits, what: str = "picture") -> Image.Image:
    """An uploaded PNG, decoded; its type and its size are checked before.

    Raises:
        DataError: It is no PNG, too large, or damaged.
    """
    content = content_of(upload)
    if not content.startswith(PNG_MAGIC) or content[12:16] != b"IHDR" or len(content) < 33:
        raise DataError(f"The {what} is no PNG ({_kind(content)}); save it as PNG.")
    width, height = struct.unpack(">II", content[16:24])
    limits.refuse_size(height, width, what)
    return _decoded(content, "PNG", what)


def read_png(upload: UploadFile | bytes, limits: Limits, what: str = "picture") -> Maps:
    """An uploaded PNG as it is stored.

    Args:
        upload: The file.
        limits: What is taken.
        what: How errors call it.

    Returns:
        (H, W) uint8 or uint16 of gray (alpha is dropped) and of palette positions, (H, W, 3 or 4) uint8 of colours.

    Raises:
        DataError: It is no PNG, too large, or damaged.
    """
    content = content_of(upload)
    image = open_png(content, limits, what)
    array = np.asarray(image)
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    depth, colours = content[24], content[25]
    if image.mode.startswith("I"):
        return array.astype(np.uint16)
    if colours == 0 and depth in LOW_DEPTHS:
        return array // np.uint8(LOW_DEPTHS[depth])
    return array[..., 0] if image.mode in ("LA", "PA") else array


def read_label(upload: UploadFile | bytes, limits: Limits) -> Maps:
    """A label map as clients send it: class indices, (H, W), as a gray PNG of 8 or 16 bits.

    Raises:
        DataError: It is no PNG, too large, or damaged.
        LabelError: It is in colours.
    """
    array = read_png(upload, limits, "label map")
    if array.ndim != 2:
        raise LabelError(
            f"The label map has {array.shape[2]} channels; send class indices as a gray PNG of 8 or 16 bits. Files in "
            "colours are opened at /api/open/labels."
        )
    return array


def read_instances(upload: UploadFile | bytes, limits: Limits) -> Ids:
    """An instance map as clients send it: ids, (H, W), as an RGBA PNG of int32 (little-endian), or as a gray one.

    Raises:
        DataError: It is no PNG, too large, or damaged.
        LabelError: It is in three channels.
    """
    array = read_png(upload, limits, "instance map")
    if array.ndim == 2:
        return array.astype(np.int32)
    if array.shape[2] != 4:
        raise LabelError(
            "The instance map has 3 channels; send ids of 32 bits as the 4 bytes of an RGBA PNG (red the lowest), or ids of 8 or "
            "16 bits as a gray one."
        )
    return np.ascontiguousarray(array).view("<i4")[..., 0].astype(np.int32)


def read_photograph(upload: UploadFile | bytes, limits: Limits, what: str = "photograph") -> ByteArray:
    """An uploaded photograph, PNG or JPEG, upright, as (H, W, 3) uint8; reduced where it has more than `limits.pixels`.

    Args:
        upload: The file.
        limits: What is taken.
        what: How errors call it.

    Raises:
        DataError: It is of another type, too large, or damaged.
    """
    content = content_of(upload)
    kind = "PNG" if content.startswith(PNG_MAGIC) else "JPEG" if content.startswith(JPEG_MAGIC) else ""
    if not kind:
        raise DataError(f"The {what} is neither PNG nor JPEG ({_kind(content)}); save it as one of these.")
    if kind == "JPEG" and content.count(b"\xff\xda") > MOST_SCANS:  # the two bytes occur nowhere else in its data
        raise DataError(f"The {what} is a JPEG of very many scans, which take long to decode; save it again.")
    return np.asarray(_decoded(content, kind, what, limits))


def _decoded(content: bytes, kind: str, what: str, photograph: Limits | None = None) -> Image.Image:
    """A picture, decoded by Pillow's reader of one kind."""
    try:
        with Image.open(io.BytesIO(content), formats=[kind]) as image:
            if photograph is not None:
                return _reduced(image, photograph, what)
            image.load()
            return image
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"The {what} has far too many pixels; reduce it first.") from None
    except DAMAGED as error:
        raise DataError(f"The {what} cannot be read ({error}): it is damaged or cut off. Save it again.") from None


def _reduced(image: Image.Image, limits: Limits, what: str) -> Image.Image:
    """A photograph in RGB, upright, of at most `limits.pixels`; of a large JPEG not every pixel is computed."""
    limits.refuse_size(image.height, image.width, what, limits.photograph)
    shrink = min(1.0, (limits.pixels / (image.width * image.height)) ** 0.5)
    wanted = (max(1, int(image.width * shrink)), max(1, int(image.height * shrink)))
    if shrink < 1:
        image.draft("RGB", wanted)
    image.load()
    turned = ImageOps.exif_transpose(image)
    wanted = wanted if turned.size == image.size else wanted[::-1]
    colours = _colours(turned)
    return colours.resize(wanted, Image.Resampling.BOX) if shrink < 1 else colours


def _colours(image: Image.Image) -> Image.Image:
    """Any picture in RGB: alpha is dropped, 16 bits of gray become 8."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("P", "PA") and image.has_transparency_data:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _kind(content: bytes) -> str:
    """What a file is that is not taken, in words."""
    known = {
        b"GIF8": "a GIF",
        b"\xff\xd8\xff": "a JPEG",
        PNG_MAGIC: "a PNG that is cut off",
        b"RIFF": "a WebP or other RIFF file",
        b"PK": "a zip file",
        b"%PDF": "a PDF",
        b"<": "a text file",
    }
    named = (name for magic, name in known.items() if content.startswith(magic))
    return next(named, "an empty file" if not content else "a file of an unknown kind")
