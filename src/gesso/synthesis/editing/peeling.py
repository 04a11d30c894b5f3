"""Taking a flat layout apart: objects are peeled off one by one, and what each has hidden is filled by what surrounds it.

A flat layout does not say what stands behind an object. It is assumed, without looking at a photograph:

- Classes that are not countable (road, sky) are the ground, behind every object.
- Of two countable classes the one with the largest object in this layout stands behind the other: buildings behind cars behind
  people. Within a class the larger object stands before the smaller.
- A hidden pixel shows what the nearest pixel shows that may stand behind: not the object itself, not another object of its
  class (a car that leaves is not filled by its neighbour), no object before it, no ignored pixel, nothing thin (a lamp post
  beside a house does not become its back). Where there is none of these, the next best: thin regions, other objects of the
  class, ignored pixels. Beneath an object that is alone in the picture nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from gesso.labels import LabelSpace
from gesso.synthesis.editing.masks import BoolArray, Mask

Map = npt.NDArray[np.int32]
Window = tuple[slice, slice]

UNKNOWN = -1  # class of the ground where nothing is known
FIRST_MARGIN = 16  # pixels around an object that are searched at first
THIN = 30  # a region is thin where no square fits into it whose side is this part of the picture's smaller side


@dataclass
class Regions:
    """A layout as numbered regions; filling changes it.

    Attributes:
        owner: (H, W) int32: number of the region of each pixel.
        solid: (H, W) bool: where a region is not thin.
        classes: (N,) class index of each region.
        ids: (N,) id of each region.
        ignored: Class index of ignored pixels.
    """

    owner: Map
    solid: BoolArray
    classes: Map
    ids: Map
    ignored: int

    @staticmethod
    def of(label: Map, instance: Map, ignored: int) -> Regions:
        """Number the (class, id) pairs of a layout."""
        pairs = (label.astype(np.int64) << 32) + (instance.astype(np.int64) + 2**31)
        flat = pairs.ravel()
        starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1])  # far fewer runs than pixels are sorted
        found, numbers = np.unique(flat[starts], return_inverse=True)
        owner = np.repeat(numbers.astype(np.int32), np.diff(np.append(starts, flat.size))).reshape(label.shape)
        return Regions(
            owner,
            solid(owner, min(owner.shape) // THIN),
            (found >> 32).astype(np.int32),
            ((found % 2**32) - 2**31).astype(np.int32),
            ignored,
        )

    @property
    def label(self) -> Map:
        """(H, W) class indices, `UNKNOWN` where nothing is known."""
        return self.classes[self.owner]

    @property
    def instance(self) -> Map:
        """(H, W) ids."""
        return self.ids[self.owner]

    def add(self, mask: Mask, class_index: int, id: int) -> int:
        """Give pixels to a new region; returns its number."""
        window, cells = mask.within(*self.owner.shape)
        self.classes, self.ids = (np.append(a, np.int32(v)) for a, v in ((self.classes, class_index), (self.ids, id)))
        self.owner[window][cells] = len(self.classes) - 1
        return len(self.classes) - 1

    def fill(self, number: int, window: Window) -> npt.NDArray[np.int32]:
        """Give every pixel of a region to the nearest one that may stand behind.

        Args:
            number: Region that goes.
            window: Rows and columns outside of which it has no pixel.

        Returns:
            The numbers of the regions that took its place.
        """
        hole = self.owner[window] == number
        others = np.arange(len(self.classes)) != number
        known = others & (self.classes != self.ignored)
        behind = known & (self.classes != self.classes[number])
        for allowed, thin in ((behind, False), (behind, True), (known, True), (others, True)):
            if self._fill_from_nearest(number, window, allowed, thin):
                return np.unique(self.owner[window][hole])
        left_over = Mask.of(hole, window[1].start, window[0].start)
        assert left_over is not None, "a region that is filled has pixels"
        self.add(left_over, UNKNOWN, self.ignored)
        return np.empty(0, dtype=np.int32)

    def _fill_from_nearest(self, number: int, window: Window, allowed: BoolArray, thin: bool) -> bool:
        """Fill a region from the nearest pixels of allowed ones; False, and nothing done, where the picture has none.

        The search is confined to a margin around the region, and widened until nothing outside could be nearer.
        """
        margin = FIRST_MARGIN
        while True:
            rows, columns = (
                slice(max(part.start - margin, 0), min(part.stop + margin, end))
                for part, end in zip(window, self.owner.shape, strict=True)
            )
            owner, solid = self.owner[rows, columns], self.solid[rows, columns]
            sources = allowed[owner] if thin else allowed[owner] & solid
            everything = owner.shape == self.owner.shape
            if sources.any():
                nearest: Any = ndimage.distance_transform_edt(~sources, return_distances=False, return_indices=True)
                y, x = np.nonzero(owner == number)
                from_y, from_x = nearest[0][y, x], nearest[1][y, x]
                reach = np.minimum(_reach(rows, y, self.owner.shape[0]), _reach(columns, x, self.owner.shape[1]))
                if everything or ((y - from_y) ** 2 + (x - from_x) ** 2 <= reach**2).all():
                    owner[y, x], solid[y, x] = owner[from_y, from_x], solid[from_y, from_x]
                    return True
            elif everything:
                return False
            margin *= 4


def peel(regions: Regions, space: LabelSpace) -> Iterator[tuple[int, int, Mask]]:
    """Take the objects of the countable classes off, front to back; the ground remains in `regions`.

    Yields:
        Class index, id, and mask including what was hidden, of each object.
    """
    counts = np.bincount(regions.owner.ravel(), minlength=len(regions.classes))
    windows: list[Window] = ndimage.find_objects(regions.owner + 1)
    for number in _front_to_back(regions.classes, counts, space):
        rows, columns = window = windows[number]
        mask = Mask.of(regions.owner[window] == number, columns.start, rows.start)
        assert mask is not None, "an object keeps its pixels until it is peeled"
        yield int(regions.classes[number]), int(regions.ids[number]), mask
        for taker in regions.fill(number, window).tolist():
            windows[taker] = _hull(windows[taker], window)


def _front_to_back(classes: Map, counts: npt.NDArray[np.intp], space: LabelSpace) -> list[int]:
    """Numbers of the countable regions: classes by their largest object, the largest last; within a class the largest first."""
    things = np.flatnonzero(np.isin(classes, space.things)).tolist()
    largest: dict[int, int] = {}
    for number in things:
        largest[int(classes[number])] = max(largest.get(int(classes[number]), 0), int(counts[number]))
    return sorted(things, key=lambda n: (largest[int(classes[n])], classes[n], -counts[n], n))


def _hull(one: Window, other: Window) -> Window:
    rows, columns = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return rows, columns


def _reach(span: slice, places: npt.NDArray[np.intp], end: int) -> npt.NDArray[np.intp]:
    """How far the first row (or column) outside of a span is from places inside; very far at the picture's border."""
    before = places + 1 if span.start > 0 else np.full_like(places, 2**20)
    after = span.stop - span.start - places if span.stop < end else np.full_like(places, 2**20)
    return np.minimum(before, after)


def solid(owner: Map, side: int) -> BoolArray:
    """Where a region is not thin: a square of its pixels covers the pixel.

    Args:
        owner: (H, W) number of the region of each pixel.
        side: Of the square, in pixels; at most H and W.

    Returns:
        (H, W) bool.
    """
    if side < 2:
        return np.ones(owner.shape, dtype=np.bool_)
    across = _runs(_runs(owner[:, 1:] == owner[:, :-1], side - 1, 1, np.logical_and), side, 0, np.logical_and)
    down = _runs(_runs(owner[1:] == owner[:-1], side - 1, 0, np.logical_and), side, 1, np.logical_and)
    corners = np.pad(across & down, side - 1)  # upper left ones of squares of one region
    return _runs(_runs(corners, side, 0, np.logical_or), side, 1, np.logical_or)


def _runs(values: BoolArray, length: int, axis: int, join: np.ufunc) -> BoolArray:
    """What joins so many neighbours along an axis; the result is shorter by length - 1."""
    turned, done = values.swapaxes(0, axis), 1
    while done < length:
        step = min(done, length - done)
        turned, done = join(turned[:-step], turned[step:]), done + step
    return turned.swapaxes(0, axis)
