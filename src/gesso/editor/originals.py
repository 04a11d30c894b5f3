"""Photographs that edits are put into, as people uploaded them: checked, held for a while, and never more than so much of them.

A photograph is known by the hash of all that was sent of it. Who comes with one that is not held any more (others came since, or
the server was started again) is told so, and sends it again.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
from PIL import Image

from gesso.editor.label_files import refuse_animated
from gesso.editor.security import DAMAGED, PNG_MAGIC, Limits, read_photograph
from gesso.errors import DataError
from gesso.labels import ByteArray

T = TypeVar("T")
WHOLE = 'The editor renders the whole picture instead ("Whole picture rendered").'


class Shelf(Generic[T]):
    """Things by name, those that were used last, up to so many bytes together.

    Args:
        room: Bytes. One thing stays, however large.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._lock = threading.Lock()
        self._things: OrderedDict[str, tuple[T, int]] = OrderedDict()

    def put(self, name: str, thing: T, size: int) -> None:
        """Keep a thing of so many bytes; what was not used for longest gives way."""
        with self._lock:
            self._things[name] = thing, size
            self._things.move_to_end(name)
            while len(self._things) > 1 and self.held > self._room:
                self._things.popitem(last=False)

    def get(self, name: str) -> T | None:
        """A thing, if it is kept."""
        with self._lock:
            if name not in self._things:
                return None
            self._things.move_to_end(name)
            return self._things[name][0]

    @property
    def held(self) -> int:
        """Bytes of all of them."""
        return sum(size for _, size in self._things.values())


@dataclass(frozen=True)
class Sent:
    """What a page sent of a photograph, in its bytes.

    Attributes:
        photograph: A PNG or JPEG.
        document: Its layout as JSON, before any edit.
        style: What everything in it wears, as JSON.
    """

    photograph: bytes
    document: bytes
    style: str

    @property
    def name(self) -> str:
        """By which it is known."""
        parts = (hashlib.sha256(part).digest() for part in (self.photograph, self.document, self.style.encode()))
        return hashlib.sha256(b"".join(parts)).hexdigest()

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.photograph) + len(self.document) + len(self.style)


def read_own(content: bytes, limits: Limits) -> ByteArray:
    """A photograph (H, W, 3) at its own size, upright by its EXIF orientation.

    Raises:
        DataError: It is no PNG or JPEG, an animation, damaged, larger than `limits.retouched`, or transparent somewhere; so that
            edits cannot be put into it.
    """
    if fault := own_fault(content, limits):
        raise DataError(fault)
    return read_photograph(content, replace(limits, pixels=limits.retouched))


def own_fault(content: bytes, limits: Limits) -> str | None:
    """Why edits cannot be put into a photograph that can be opened; None where they can.

    Raises:
        DataError: It cannot even be opened.
    """
    refuse_animated(content, "photograph")
    height, width = _size(content)
    if height * width > limits.retouched:
        return (
            f"The photograph is {width} x {height} pixels; edits are put into photographs of up to "
            f"{limits.retouched / 1e6:.0f} megapixels. Reduce it first, to keep it as it is around them. {WHOLE}"
        )
    if content.startswith(PNG_MAGIC) and _is_transparent(content):
        return (
            "The photograph is transparent in places, so that nobody can say what is seen there: put it on a background first, "
            f"and save it without alpha, to keep it as it is around edits. {WHOLE}"
        )
    return None


def _size(content: bytes) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(content), formats=["PNG", "JPEG"]) as image:
            return image.height, image.width
    except (*DAMAGED, Image.DecompressionBombError) as error:
        raise DataError(f"The photograph cannot be read ({error}). Save it again, as PNG or JPEG.") from None


def _is_transparent(content: bytes) -> bool:
    """Whether a PNG, whose size is known to be bearable, lets something shine through."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if not image.has_transparency_data:
                return False
            alpha = image if image.mode in ("RGBA", "LA", "PA") else image.convert("RGBA")
            return int(np.asarray(alpha.getchannel("A")).min()) < 255
    except DAMAGED as error:
        raise DataError(f"The photograph cannot be read ({error}). Save it again.") from None


def colour_profile(content: bytes) -> bytes | None:
    """The ICC profile of a photograph, without which its numbers mean other colours; None where it has none."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG", "JPEG"]) as image:
            profile: bytes | None = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA") else None
            return profile
    except DAMAGED:
        return None
