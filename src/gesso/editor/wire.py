"""The document as it travels between page and server, and lies in project files: JSON with its maps as PNG in base64.

A document is a layout taken apart (`gesso.synthesis.editing.Layout`): a ground under a stack of objects, each with all its
pixels, hidden ones and ones beyond the border too; and what the page knows besides: locks, styles, pins. `DocumentWire.of` and
`DocumentWire.layout` go back and forth exactly, but for one thing: where nothing is known of the ground, because an object filled
the whole picture, the wire says the first class that is not countable.

Sizes are checked against what the document says of itself before anything is decoded.
"""

from __future__ import annotations

import base64
import binascii
import io
from typing import Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from gesso.editor.security import DAMAGED
from gesso.errors import DataError, LabelError
from gesso.labels import LabelSpace
from gesso.synthesis.editing import Layout, Mask, ObjectKey, ObjectLayer
from gesso.synthesis.editing.peeling import UNKNOWN
from gesso.synthesis.style import Choice, Latent

VERSION: Final = 1
PIXELS = 2**23  # of a picture, where no other limit is given
SIDE = 2**16  # pixels of a mask's side
FARTHEST = 10**6  # pixels: how far from the picture's corner a mask may lie
MASKS = 16  # times the most pixels of a picture: what all masks of a document may hold together
OBJECTS = 10_000
IDS = 2**20  # that a document may remember
LONGEST = 2**26  # letters of a map in base64
SHOWN = 8  # values named in an error

Id = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Place = Annotated[int, Field(ge=-FARTHEST, le=FARTHEST)]
Side = Annotated[int, Field(ge=1, le=SIDE)]
Png = Annotated[str, Field(max_length=LONGEST, repr=False)]
Name = Annotated[str, Field(max_length=200)]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=to_camel, populate_by_name=True)


class GroundWire(_Wire):
    """What is behind all objects.

    Attributes:
        label: Gray PNG of 8 or 16 bits in base64: class indices, the number of classes where ignored.
        instance: RGBA PNG in base64, whose bytes are int32 ids, little-endian.
    """

    label: Png
    instance: Png


class MaskWire(_Wire):
    """A set of pixels.

    Attributes:
        x: Column of the mask's first cell in the picture; it may lie beyond the border.
        y: Row of it.
        width: Columns of the mask.
        height: Rows of it.
        mask: Gray PNG of 8 bits in base64: 255 in the set, 0 outside.
    """

    x: Place
    y: Place
    width: Side
    height: Side
    mask: Png

    @property
    def pixels(self) -> int:
        """Cells of the mask, in the set or not."""
        return self.width * self.height

    def decode(self, what: str) -> Mask | None:
        """The set of pixels; None where there is none.

        Raises:
            DataError: The PNG is damaged, of another size, or holds something else; `what` is named.
        """
        cells = decode_png(self.mask, (self.height, self.width), ("L", "1"), what)
        if cells.dtype != np.bool_ and not ((cells == 0) | (cells == 255)).all():
            raise DataError(f"The mask of {what} holds other values than 0 and 255; write 255 where the object is.")
        return Mask.of(cells != 0, self.x, self.y)


def mask_fields(mask: Mask) -> dict[str, Any]:
    """What `MaskWire` says of a mask."""
    left, top, right, bottom = mask.box
    cells = encode_png(mask.cells.astype(np.uint8) * np.uint8(255))
    return {"x": left, "y": top, "width": right - left, "height": bottom - top, "mask": cells}


class ObjectWire(MaskWire):
    """One object.

    Attributes:
        class_: "class" on the wire: index of its class; the number of classes for lifted regions that are ignored.
        id: What it is known by in its class.
        written_id: What the instance map shows.
        locked: Whether the page leaves it alone.
        hidden: Whether it is not drawn.
        style: The mode or vector that was chosen for it.
        pinned: Whether its style stays when all others are drawn anew.
    """

    class_: Annotated[int, Field(ge=0, lt=2**16, alias="class")]
    id: Id
    written_id: Id
    locked: bool = False
    hidden: bool = False
    style: Choice | None = None
    pinned: bool = False


class StylesWire(_Wire):
    """What is chosen for the whole picture: as `gesso.synthesis.style.Style`, without single objects."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    classes: Annotated[dict[Name, Choice], Field(max_length=2**16)] = Field(default_factory=dict)
    z: Latent | None = None
    noise: bool | None = None


class DocumentWire(_Wire):
    """A document; the fields of the module's JSON, with camelCase names there.

    Attributes:
        version: Of this form.
        width: Pixels.
        height: Pixels.
        ground: What is behind all objects.
        objects: From back to front.
        used_ids: Every id that was ever given in it.
        styles: What is chosen for the whole picture.
        name: What people call it.
    """

    version: Literal[1] = VERSION
    width: Annotated[int, Field(ge=1, le=SIDE)]
    height: Annotated[int, Field(ge=1, le=SIDE)]
    ground: GroundWire
    objects: Annotated[tuple[ObjectWire, ...], Field(max_length=OBJECTS)] = ()
    used_ids: Annotated[tuple[Id, ...], Field(max_length=IDS)] = ()
    styles: StylesWire = Field(default_factory=StylesWire)
    name: Name = ""

    @staticmethod
    def of(layout: Layout, name: str = "", styles: StylesWire | None = None) -> DocumentWire:
        """The document of a layout; nothing in it is locked, hidden or dressed."""
        height, width = layout.shape
        label, instance = _known_ground(layout)
        return DocumentWire(
            width=width,
            height=height,
            ground=GroundWire(label=encode_png(label.astype(np.uint16)), instance=encode_ids(instance)),
            objects=tuple(_object(layer) for layer in layout.layers),
            used_ids=tuple(sorted(layout.used_ids)),
            styles=styles or StylesWire(),
            name=name[:200],
        )

    @staticmethod
    def parse(content: str | bytes, origin: str = "document") -> DocumentWire:
        """A document from JSON; `origin` is named in errors.

        Raises:
            DataError: It is no JSON, of another version, or not a document.
        """
        try:
            return DocumentWire.model_validate_json(content)
        except ValidationError as error:
            raise DataError(_complaint(error, origin)) from None

    def json_bytes(self) -> bytes:
        """The document as JSON."""
        return self.model_dump_json(by_alias=True).encode()

    def layout(self, space: LabelSpace, pixels: int = PIXELS) -> Layout:
        """The layout of the document, without what is hidden; objects without a pixel are left out.

        Args:
            space: What its class indices mean.
            pixels: The most that a picture may have.

        Raises:
            DataError: It is too large, or a map is damaged or of another size than the document says.
            LabelError: A class is not in the space.
        """
        self.refuse_large(pixels)
        label, instance = self._ground(space)
        layers = []
        for number, one in enumerate(self.objects, start=1):
            what = f"object {number} (class {one.class_}, id {one.id})"
            if one.class_ > len(space):
                raise LabelError(
                    f"The class of {what} is not in {space.name}, whose {len(space)} classes have indices "
                    f"0..{len(space) - 1}, ignored pixels {len(space)}. Open the document with the model it was made for."
                )
            mask = None if one.hidden else one.decode(what)
            if mask is not None:
                layers.append(ObjectLayer(ObjectKey(one.class_, one.id), one.written_id, mask))
        used = {*self.used_ids, *np.unique(instance).tolist(), *(one.id for one in self.objects)}
        return Layout(space, label, instance, tuple(layers), frozenset(used))

    def refuse_large(self, pixels: int = PIXELS) -> None:
        """See that its maps can be decoded in reasonable room.

        Raises:
            DataError: They cannot.
        """
        if self.width * self.height > pixels:
            raise DataError(
                f"The document is {self.width} x {self.height} = {self.width * self.height} pixels; allowed are {pixels}. "
                "Scale it down, or start the editor with a higher limit."
            )
        largest = max((one.pixels for one in self.objects), default=0)
        together = sum(one.pixels for one in self.objects)
        if largest > pixels * MASKS // 2 or together > pixels * MASKS:
            raise DataError(
                f"The masks of the document's {len(self.objects)} objects have {together} pixels, the largest {largest}; allowed "
                f"are {pixels * MASKS} together and {pixels * MASKS // 2} in one. Leave out objects, or make them smaller."
            )

    def _ground(self, space: LabelSpace) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        shape = (self.height, self.width)
        label = decode_png(self.ground.label, shape, ("L", "I;16"), "the ground's label map").astype(np.int32)
        refuse_unknown_indices(label, space, "the ground")
        instance = decode_ids(self.ground.instance, shape, "the ground's instance map")
        for array in (label, instance):
            array.setflags(write=False)
        return label, instance


def _known_ground(layout: Layout) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Label and instance map of the ground, which has a class everywhere."""
    label, instance = layout.ground_label, layout.ground_instance
    if label[0, 0] != UNKNOWN:  # everywhere or nowhere
        return label, instance
    things = layout.space.things
    stuff = next((index for index in range(len(layout.space)) if index not in things), len(layout.space))
    return np.full_like(label, stuff), np.full_like(instance, stuff)


def _object(layer: ObjectLayer) -> ObjectWire:
    key = layer.key
    return ObjectWire(class_=key.class_index, id=key.id, written_id=layer.written_id, **mask_fields(layer.mask))


def refuse_unknown_indices(label: npt.NDArray[np.int32], space: LabelSpace, what: str) -> None:
    """See that class indices belong to a label space.

    Raises:
        LabelError: Some do not; the message says which, and how many pixels have them.
    """
    wrong = label[(label < 0) | (label > len(space))]
    if wrong.size:
        found, counts = np.unique(wrong, return_counts=True)
        listed = ", ".join(
            f"{v} ({n} pixels)" for v, n in list(zip(found.tolist(), counts.tolist(), strict=True))[:SHOWN]
        )
        raise LabelError(
            f"The label map of {what} holds class indices that {space.name} does not have: {listed}. Its {len(space)} classes "
            f"have indices 0..{len(space) - 1}, ignored pixels {len(space)}. Open it with the model it was made for."
        )


def _complaint(error: ValidationError, origin: str) -> str:
    """One sentence about the first thing that is wrong with a document."""
    first = error.errors(include_url=False, include_context=False)[0]
    if first["loc"] == ("version",) and isinstance(first["input"], int):
        return (
            f"The {origin} has format version {first['input']}, this gesso reads version {VERSION}: use the gesso that wrote it, "
            "or update."
        )
    place, said = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    return (
        f"The {origin} is not one that gesso writes: {f'{place}: ' if place else ''}{said[:200]}. Use another copy, or save it "
        "again from the editor."
    )


# ---------------------------------------------------------------------------------------------------------- maps as PNG


def encode_png(values: npt.NDArray[Any]) -> str:
    """A PNG in base64 of (H, W) uint8 or uint16, or (H, W, 3 or 4) uint8."""
    return base64.b64encode(png_bytes(values)).decode()


def png_bytes(values: npt.NDArray[Any]) -> bytes:
    """A PNG of (H, W) uint8 or uint16, or (H, W, 3 or 4) uint8."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(values)).save(file, "PNG", compress_level=3)
    return file.getvalue()


def encode_ids(ids: npt.NDArray[np.int32]) -> str:
    """An RGBA PNG in base64 whose bytes are int32, little-endian."""
    return encode_png(as_rgba(ids))


def as_rgba(ids: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    """(H, W) ids as (H, W, 4) bytes, little-endian."""
    return np.ascontiguousarray(ids, dtype="<i4").view(np.uint8).reshape(*ids.shape, 4)


def from_rgba(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """(H, W, 4) bytes, little-endian, as (H, W) ids."""
    return np.ascontiguousarray(pixels).view("<i4")[..., 0].astype(np.int32)


def decode_ids(text: str, shape: tuple[int, int], what: str) -> npt.NDArray[np.int32]:
    """(H, W) int32 ids from an RGBA PNG in base64.

    Raises:
        DataError: As `decode_png`.
    """
    return from_rgba(decode_png(text, shape, ("RGBA",), what))


def decode_png(text: str, shape: tuple[int, int], modes: tuple[str, ...], what: str) -> npt.NDArray[Any]:
    """The values of a PNG in base64; its size is compared with the one expected before a pixel is decoded.

    Args:
        text: Base64.
        shape: (height, width) in pixels that it must have.
        modes: Those of Pillow that it may have.
        what: Named in errors.

    Raises:
        DataError: It is no PNG, damaged, or of another size or mode.
    """
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as image:
            if image.size != shape[::-1] or image.mode not in modes:
                raise DataError(
                    f"The PNG of {what} is {image.width} x {image.height} {image.mode}; it should be {shape[1]} x {shape[0]} "
                    f"{' or '.join(modes)}. Use another copy of the document."
                )
            return np.array(image)
    except DataError:
        raise
    except (*DAMAGED, binascii.Error, Image.DecompressionBombError) as error:
        raise DataError(f"The PNG of {what} cannot be read ({error}). Use another copy of the document.") from None
