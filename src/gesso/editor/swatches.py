"""Swatches of the palette: for each class a square cut from generated photographs, in the background.

It shows the class's texture, or, where the class is countable, its largest object. The first layouts are the examples'; classes
that these do not show are put into layouts of blocks. Everybody else's renders go first, and a slow model is asked few times.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from scipy import ndimage

from gesso.editor.examples import Example, stripes, trained_size
from gesso.editor.forms import Map, png_url, resized
from gesso.editor.rendering import Closing, Priority, Renderer
from gesso.errors import GessoError
from gesso.labels import ByteArray, LabelSpace, components

SIDE = 48  # pixels of a swatch
LARGEST = 96  # pixels of the square that is cut
SMALLEST = 10
EXAMPLES = 6  # that are rendered at most
BLOCKS = (2, 4)  # rows and columns of classes in a layout of blocks
LAYOUTS = 24  # of these
ENOUGH = 20.0  # seconds of computing, after which the rest goes without
UNABLE = (GessoError, MemoryError, torch.OutOfMemoryError)  # a bad file, a layout that is too large: others may do


class Swatches(BaseModel):
    """What there is so far.

    Attributes:
        ready: Whether nothing will be added.
        swatches: Data URLs by class index.
    """

    model_config = ConfigDict(frozen=True)

    ready: bool
    swatches: dict[int, str]


@dataclass(frozen=True)
class Cut:
    """A swatch, and how many pixels of its side are surely of the class."""

    side: int
    picture: ByteArray


class Painter:
    """Cuts swatches in a thread of its own, once."""

    def __init__(self, renderer: Renderer, examples: Sequence[Example]) -> None:
        self._renderer, self._examples = renderer, examples
        self._cuts: dict[int, Cut] = {}
        self._urls: dict[int, tuple[Cut, str]] = {}
        self._lock = threading.Lock()
        self._started = False
        self._spent = 0.0  # seconds of computing
        self._done = threading.Event()

    def start(self) -> None:
        """Begin, if that was not done."""
        with self._lock:
            if not self._started:
                self._started = True
                threading.Thread(target=self._work, name="gesso-swatches", daemon=True).start()

    def now(self) -> Swatches:
        """What there is so far."""
        ready = self._done.is_set()
        with self._lock:
            for index, cut in list(self._cuts.items()):
                if index not in self._urls or self._urls[index][0] is not cut:
                    self._urls[index] = cut, png_url(cut.picture)
            return Swatches(ready=ready, swatches={index: url for index, (_, url) in sorted(self._urls.items())})

    def _work(self) -> None:
        try:
            for label, instance in self._layouts():
                if self._spent > ENOUGH:
                    return
                try:
                    self._paint(label, instance)
                except Closing:
                    return
                except UNABLE:  # people are told when they render
                    continue
        finally:
            self._done.set()

    def _paint(self, label: Map, instance: Map) -> None:
        """Render a layout and cut swatches from it; notes how long that took."""
        began, waited = time.perf_counter(), 0.0
        try:
            rendered = self._renderer.render(label, instance, priority=Priority.SWATCH)
            waited = rendered.milliseconds["wait"] / 1000
            self._take(cut_swatches(label, instance, rendered.picture, self._renderer.space))
        finally:
            self._spent += time.perf_counter() - began - waited

    def _take(self, cuts: dict[int, Cut]) -> None:
        for index, cut in cuts.items():
            if index not in self._cuts or self._cuts[index].side < cut.side:
                self._cuts[index] = cut

    def _layouts(self) -> Iterator[tuple[Map, Map]]:
        """Examples, then blocks of the classes that are still missing."""
        for example in self._examples[:EXAMPLES]:
            try:
                loaded = example.load()
            except UNABLE:
                continue
            yield loaded.label, loaded.instance
        space, size = self._renderer.space, trained_size(self._renderer.synthesizer)
        missing = [n for n in range(len(space)) if n not in self._cuts]
        each = BLOCKS[0] * BLOCKS[1]
        for start in range(0, min(len(missing), LAYOUTS * each), each):
            label = blocks(missing[start : start + each], space, size)
            yield label, components(label, space)


def blocks(classes: Sequence[int], space: LabelSpace, size: tuple[int, int]) -> Map:
    """Squares of classes on a ground, (H, W)."""
    height, width = size
    label = np.full(size, stripes(space)[2], dtype=np.int32)
    rows, columns = BLOCKS
    high, wide = height // rows, width // columns
    for number, index in enumerate(classes):
        top, left = number // columns * high, number % columns * wide
        label[top + high // 8 : top + high - high // 8, left + wide // 8 : left + wide - wide // 8] = index
    return label


def cut_swatches(label: Map, instance: Map, picture: ByteArray, space: LabelSpace) -> dict[int, Cut]:
    """A swatch of each class that is there; of small or thin ones with some surroundings.

    Args:
        label: (H, W) class indices.
        instance: (H, W) object ids.
        picture: (H, W, 3) its photograph.
        space: The classes.
    """
    found = {}
    for index in np.unique(label).tolist():
        mask = label == index
        square = largest_object(mask, instance) if index in space.things else largest_square(mask)
        top, left, side = square or thickest_place(mask)
        shown = resized(picture[top : top + side, left : left + side], (SIDE, SIDE))
        found[index] = Cut(side if square else 0, shown)
    return found


def largest_object(mask: npt.NDArray[np.bool_], instance: Map) -> tuple[int, int, int] | None:
    """Top, left and side of a square around the largest object of a class; None where it has few pixels.

    Args:
        mask: (H, W): where the class is.
        instance: (H, W) object ids.
    """
    ids, counts = np.unique(instance[mask], return_counts=True)
    if not ids.size or counts.max() < SMALLEST**2 / 2:
        return None
    there = mask & (instance == ids[counts.argmax()])
    spans = [np.flatnonzero(there.any(axis)) for axis in (1, 0)]
    side = min(max(int(span[-1] - span[0]) + 1 for span in spans), *mask.shape)
    corner = [
        min(max(0, int(span[0] + span[-1] + 1 - side) // 2), whole - side)
        for span, whole in zip(spans, mask.shape, strict=True)
    ]
    return corner[0], corner[1], side


def thickest_place(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int]:
    """Top, left and side of a small square where a class is widest, with what surrounds it there."""
    side = min(SMALLEST, *mask.shape)
    row, column = np.unravel_index(int(_depth(mask).argmax()), mask.shape)
    top, left = (
        min(max(0, int(place) - side // 2), whole - side)
        for place, whole in zip((row, column), mask.shape, strict=True)
    )
    return top, left, side


def _depth(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """(H, W): how many steps, diagonal ones too, each pixel of a mask is from the outside."""
    return np.asarray(ndimage.distance_transform_cdt(np.pad(mask, 1), metric="chessboard")[1:-1, 1:-1])


def largest_square(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int] | None:
    """Top, left and side of the largest square inside a mask, at most `LARGEST`; None below `SMALLEST`."""
    far = _depth(mask)
    reach = int(far.max(initial=0))
    side = min(2 * reach - 1, LARGEST)
    if side < SMALLEST:
        return None
    row, column = (int(n) for n in np.unravel_index(int(far.argmax()), far.shape))
    return row - (side - 1) // 2, column - (side - 1) // 2, side


def router(renderer: Renderer, examples: Sequence[Example]) -> APIRouter:
    """The address /api/swatches; the first request begins the work, so that the page comes first."""
    painter = Painter(renderer, examples)
    api = APIRouter(prefix="/api")

    @api.get("/swatches")
    def swatches() -> Swatches:
        """What there is so far; ask again until it is ready."""
        painter.start()
        return painter.now()

    return api
