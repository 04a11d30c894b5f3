"""Objects to paste: collected from the dataset's layouts, in the background, as soon as somebody asks.

An object is taken where it is whole as far as one can see: of a countable class, in one piece, clear of the picture's border, not
much beside objects that stand nearer (whose feet are lower) and may hide some of it, large enough, and unlike in shape to those
that are there already.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Response
from fastapi import Path as InPath
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from scipy import ndimage

from gesso.editor.examples import Example, Loaded
from gesso.editor.forms import png_url
from gesso.editor.wire import MaskWire, mask_fields
from gesso.errors import DataError, GessoError
from gesso.labels import LabelSpace
from gesso.synthesis.editing import Mask

PER_CLASS = 12
LAYOUTS = 200  # that are looked through at most
SHARE = 1000  # an object has at least this part of the picture,
SMALLEST = 48  # and so many pixels
ALIKE = 0.8  # intersection over union of two shapes, brought to one size, beyond which they are the same
GRID = 16  # cells of a shape's side when shapes are compared
STRETCH = 1.5  # of the ratio of width to height, beyond which shapes differ however they fill their boxes
THUMBNAIL = 64  # pixels of the longer side
PATIENCE = 2.0  # seconds that a first answer waits for the collection

HIDDEN = 0.2  # of an object's outline: how much may lie beside nearer objects
BREATH = 0.01  # seconds between layouts, so that requests go first
NOWHERE = -(2**40)  # no id


@dataclass(frozen=True)
class Item:
    """One object to paste.

    Attributes:
        class_index: Its class.
        mask: Its pixels.
        thumbnail: (h, w, 4) uint8: how it looks; transparent around it.
    """

    class_index: int
    mask: Mask
    thumbnail: npt.NDArray[np.uint8]


class ItemWire(BaseModel):
    """One object of the list: index of its class, size in pixels, data URL of its looks."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    class_: int = Field(alias="class")
    width: int
    height: int
    thumbnail: str


class ObjectOfLibrary(MaskWire):
    """An object to paste; x and y say where it stood.

    Attributes:
        class_: "class" on the wire: index of its class.
    """

    class_: int = Field(alias="class")


class Library:
    """What was collected so far; it only grows, so that numbers keep their meaning."""

    def __init__(self, examples: Sequence[Example], space: LabelSpace) -> None:
        self._examples, self._space = examples[:LAYOUTS], space
        self._items: list[Item] = []
        self._shapes: dict[int, list[Shape]] = {}
        self._lock = threading.Lock()
        self._started = False
        self._done = threading.Event()

    def items(self) -> list[Item]:
        """What there is; the first call starts the collection, and each waits for it, but not long."""
        with self._lock:
            if not self._started:
                self._started = True
                threading.Thread(target=self._collect, name="gesso-library", daemon=True).start()
        self._done.wait(PATIENCE)
        return list(self._items)

    @property
    def complete(self) -> bool:
        """Whether nothing will be added."""
        return self._done.is_set()

    def _collect(self) -> None:
        try:
            for example in self._examples:
                if all(len(self._shapes.get(index, ())) >= PER_CLASS for index in self._space.things):
                    return
                try:
                    self._items.extend(self._new(example.load()))
                except (GessoError, MemoryError):  # a damaged file is said where it is opened
                    continue
                time.sleep(BREATH)
        finally:
            self._done.set()

    def _new(self, loaded: Loaded) -> Iterator[Item]:
        """Objects of a layout that are worth keeping."""
        for class_index, mask in whole_objects(loaded, self._space):
            known, shape = self._shapes.setdefault(class_index, []), Shape.of(mask)
            if len(known) < PER_CLASS and not any(shape.resembles(other) for other in known):
                known.append(shape)
                yield Item(class_index, mask, _thumbnail(loaded, mask, class_index, self._space))


def whole_objects(loaded: Loaded, space: LabelSpace) -> Iterator[tuple[int, Mask]]:
    """Class index and mask of the objects that are whole as far as one can see, and large enough."""
    label, height, width = loaded.label, *loaded.label.shape
    smallest, feet = max(SMALLEST, label.size // SHARE), _feet(loaded, space)
    for class_index in space.things:
        there = label == class_index
        if not there.any():
            continue
        ids, numbers = np.unique(np.where(there, loaded.instance.astype(np.int64), NOWHERE), return_inverse=True)
        numbers = numbers.reshape(label.shape)
        for number, window in enumerate(ndimage.find_objects(numbers + 1)):
            rows, columns = window
            inside = 0 < rows.start and rows.stop < height and 0 < columns.start and columns.stop < width
            cells = numbers[window] == number
            if ids[number] == NOWHERE or not inside or cells.sum() < smallest or ndimage.label(cells)[1] > 1:
                continue
            if beside_nearer(cells, window, feet) > HIDDEN:
                continue
            mask = Mask.of(cells, columns.start, rows.start)
            assert mask is not None, "an object of many pixels has some"
            yield class_index, mask


def _feet(loaded: Loaded, space: LabelSpace) -> npt.NDArray[np.int32]:
    """(H, W): of each pixel of a countable object the lowest row of that object; -1 elsewhere."""
    keys = np.where(np.isin(loaded.label, space.things), (loaded.label.astype(np.int64) << 32) + loaded.instance, -1)
    found, numbers = np.unique(keys, return_inverse=True)
    numbers = numbers.reshape(keys.shape)
    lowest = np.array([window[0].stop - 1 for window in ndimage.find_objects(numbers + 1)], dtype=np.int32)
    return np.where(found == -1, -1, lowest).astype(np.int32)[numbers]


def beside_nearer(cells: npt.NDArray[np.bool_], window: tuple[slice, slice], feet: npt.NDArray[np.int32]) -> float:
    """Share of an object's outline, 0..1, beyond which an object begins whose foot is lower.

    Args:
        cells: Of the object, in its window, which does not touch the border.
        window: Rows and columns of its box.
        feet: (H, W) as `_feet` gives them.
    """
    rows, columns = window
    grown = np.pad(cells, 1)
    around = ndimage.binary_dilation(grown) & ~grown
    beyond = feet[rows.start - 1 : rows.stop + 1, columns.start - 1 : columns.stop + 1]
    return float((beyond[around] > rows.stop - 1).mean())


@dataclass(frozen=True, eq=False)
class Shape:
    """What two masks are compared by.

    Attributes:
        ratio: Width over height.
        cells: (GRID, GRID) bool: the mask, stretched to a square.
    """

    ratio: float
    cells: npt.NDArray[np.bool_]

    @staticmethod
    def of(mask: Mask) -> Shape:
        """The shape of a mask."""
        height, width = mask.cells.shape
        square = Image.fromarray(mask.cells.astype(np.uint8) * np.uint8(255)).resize((GRID, GRID), Image.Resampling.BOX)
        return Shape(width / height, np.asarray(square) > 127)

    def resembles(self, other: Shape) -> bool:
        """Whether somebody would take the two for the same."""
        stretch = max(self.ratio / other.ratio, other.ratio / self.ratio)
        union = int((self.cells | other.cells).sum())
        return stretch < STRETCH and int((self.cells & other.cells).sum()) > ALIKE * union


def _thumbnail(loaded: Loaded, mask: Mask, class_index: int, space: LabelSpace) -> npt.NDArray[np.uint8]:
    """An object as in its photograph, or in its class's colour; transparent around it."""
    window, cells = mask.within(*loaded.label.shape)
    looks = np.empty((*cells.shape, 4), dtype=np.uint8)
    looks[..., :3] = space.colours[class_index] if loaded.photograph is None else loaded.photograph[window]
    looks[..., 3] = cells * np.uint8(255)
    scale = THUMBNAIL / max(cells.shape)
    size = [max(1, round(side * scale)) for side in cells.shape[::-1]]
    return np.asarray(Image.fromarray(looks).resize((size[0], size[1]), Image.Resampling.BICUBIC))


def router(examples: Sequence[Example], space: LabelSpace) -> APIRouter:
    """Addresses below /api/library."""
    library = Library(examples, space)
    api = APIRouter(prefix="/api/library")

    @api.get("")
    def objects(response: Response) -> list[ItemWire]:
        """What was found so far; the header X-Gesso-Ready says whether that is all."""
        items = library.items()
        response.headers["X-Gesso-Ready"] = str(library.complete).lower()
        return [_listed(item) for item in items]

    @api.get("/{number}")
    def one(number: Annotated[int, InPath(ge=0, le=10**6)]) -> ObjectOfLibrary:
        """One of them, with its mask."""
        items = library.items()
        if number >= len(items):
            raise DataError(f"There is no object {number} in the library; it has {len(items)}, numbered from 0.")
        return ObjectOfLibrary(class_=items[number].class_index, **mask_fields(items[number].mask))

    return api


def _listed(item: Item) -> ItemWire:
    height, width = item.mask.cells.shape
    return ItemWire(class_=item.class_index, width=width, height=height, thumbnail=png_url(item.thumbnail))
