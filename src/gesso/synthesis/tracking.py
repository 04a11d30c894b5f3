"""Ids that last: which object of a frame is which of the frames before, by overlap.

`Tracker` takes layouts in their order. Objects of a class are matched to those of the frame before, moved on by their last
motion, so that the sum of overlaps is greatest (Hungarian method). An object that is out of sight for some frames gets its id
back where it turns up about where it was heading, at about its size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from gesso.errors import LabelError
from gesso.labels import LabelSpace, components
from gesso.synthesis.motion import numbered_objects

Integers = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]
Ids = Mapping[tuple[int, int], int]

OVERLAP = 0.15  # intersection over union from which on two masks are one object
ALIKE = 2.5  # times the area, up to which masks that do not overlap may be one object
PIECE = 0.6  # share of a mask inside an object's place, from which on it is a piece of the object
MEMORY = 12  # frames


@dataclass(frozen=True)
class _Seen:
    """An object in one frame: its id there, its mask in a box, its middle (row, column)."""

    number: int
    top: int
    left: int
    mask: Mask
    area: int
    middle: npt.NDArray[np.float64]

    @property
    def size(self) -> float:
        return float(np.hypot(*self.mask.shape))


@dataclass(frozen=True)
class _Track:
    """An object over time: as last seen, how it moved, and for how many frames it has been out of sight."""

    number: int
    last: _Seen
    speed: npt.NDArray[np.float64]
    missed: int = 0

    @property
    def ahead(self) -> npt.NDArray[np.float64]:
        """Where it should be, relative to where it was seen last: (rows, columns)."""
        return self.speed * (self.missed + 1)


class Tracker:
    """Gives the objects of a sequence of layouts ids that last.

    Attributes:
        space: Says which classes are countable; only their objects are tracked.
        memory: Frames that an object may be out of sight and still get its id back.
    """

    def __init__(self, space: LabelSpace, memory: int = MEMORY) -> None:
        self.space, self.memory = space, memory
        self._tracks: dict[int, list[_Track]] = {index: [] for index in space.things}
        self._counts = dict.fromkeys(space.things, 0)
        self._size: tuple[int, ...] | None = None

    def __call__(self, label: Integers, instance: Integers | None = None) -> Ids:
        """Take the next frame.

        Args:
            label: (H, W) class indices, of the same size for all frames.
            instance: (H, W) ids that hold for this frame alone; without it connected components.

        Returns:
            The lasting id of each object of a countable class, by (class, id in this frame); `renamed` writes them into a map.
            Ids are class * 1000 + k, k from 1 in order of appearance; from the 1000th on class * 10^6 + k. None is used twice.

        Raises:
            LabelError: The frame has another size than those before.
        """
        if self._size is not None and label.shape != self._size:
            raise LabelError(
                f"A frame of {_size(label.shape)} follows frames of {_size(self._size)}; objects are tracked between "
                "frames of one size."
            )
        self._size = label.shape
        ids = components(label, self.space) if instance is None else instance
        found: dict[tuple[int, int], int] = {}
        for index in self.space.things:
            seen = _objects(label, ids, index)
            for one, number in zip(seen, self._follow(index, seen), strict=True):
                found[index, one.number] = number
        return found

    def _follow(self, index: int, seen: Sequence[_Seen]) -> list[int]:
        """The lasting ids of a class's objects in a frame."""
        tracks = self._tracks[index]
        chosen = _match(tracks, seen)
        pieces = _pieces(tracks, seen, chosen)
        kept, numbers = [], []
        for place, one in enumerate(seen):
            track = chosen.get(place)
            if track is None and place in pieces:
                numbers.append(pieces[place])
                continue
            number = self._next(index) if track is None else track.number
            kept.append(_Track(number, one, np.zeros(2)) if track is None else _went_on(track, one))
            numbers.append(number)
        there = {track.number for track in kept}
        lost = [replace(t, missed=t.missed + 1) for t in tracks if t.number not in there]
        self._tracks[index] = kept + [track for track in lost if track.missed <= self.memory]
        return numbers

    def _next(self, index: int) -> int:
        self._counts[index] += 1
        count = self._counts[index]
        return index * (1000 if count < 1000 else 10**6) + count


def renamed(label: Integers, instance: Integers, ids: Ids) -> npt.NDArray[np.int64]:
    """An instance map (H, W) with the ids that a `Tracker` gave; what it gave none keeps its own."""
    out = instance.astype(np.int64)
    for (index, number), lasting in ids.items():
        if number != lasting:
            out[(label == index) & (instance == number)] = lasting
    return out


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _objects(label: Integers, instance: Integers, index: int) -> list[_Seen]:
    values, numbered = numbered_objects(label, instance, index)
    found = []
    for place, box in enumerate(ndimage.find_objects(numbered), start=1):
        mask = numbered[box] == place
        rows, columns = np.nonzero(mask)
        top, left = box[0].start, box[1].start
        middle = np.array([rows.mean() + top, columns.mean() + left])
        found.append(_Seen(values[place - 1], top, left, mask, len(rows), middle))
    return found


def _match(tracks: Sequence[_Track], seen: Sequence[_Seen]) -> dict[int, _Track]:
    """Which track each mask goes on with, by its place; masks that go on with none are absent."""
    if not tracks or not seen:
        return {}
    score = np.array([[_likeness(track, one) for one in seen] for track in tracks])
    rows, columns = linear_sum_assignment(score, maximize=True)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return {column: tracks[row] for row, column in pairs if score[row, column] > 0}


def _likeness(track: _Track, one: _Seen) -> float:
    """Intersection over union; less than any that counts where they miss each other, but are near and alike; 0 for strangers."""
    common = _common(track, one)
    if (share := common / (track.last.area + one.area - common)) >= OVERLAP:
        return share
    apart = float(np.hypot(*(one.middle - track.last.middle - track.ahead)))
    reach = max(track.last.size, one.size)
    times = max(track.last.area, one.area) / min(track.last.area, one.area)
    return OVERLAP * (1 - apart / reach) / 2 if apart < reach and times <= ALIKE else 0.0


def _common(track: _Track, one: _Seen) -> int:
    """Pixels that a mask shares with a track's last one, moved on."""
    last, (down, right) = track.last, np.rint(track.ahead).astype(int)
    top, left = last.top + down, last.left + right
    first = max(top, one.top), max(left, one.left)
    end = (
        min(top + last.mask.shape[0], one.top + one.mask.shape[0]),
        min(left + last.mask.shape[1], one.left + one.mask.shape[1]),
    )
    if first[0] >= end[0] or first[1] >= end[1]:
        return 0
    a = last.mask[first[0] - top : end[0] - top, first[1] - left : end[1] - left]
    b = one.mask[first[0] - one.top : end[0] - one.top, first[1] - one.left : end[1] - one.left]
    return int((a & b).sum())


def _pieces(tracks: Sequence[_Track], seen: Sequence[_Seen], chosen: Mapping[int, _Track]) -> dict[int, int]:
    """Masks that are left over and lie where a matched object should be: a pole cuts it in two. Ids by place."""
    matched = {track.number for track in chosen.values()}
    found = {}
    for place, one in enumerate(seen):
        if place not in chosen:
            shares = {t.number: _common(t, one) / one.area for t in tracks if t.number in matched}
            best = max(shares, key=lambda number: shares[number], default=None)
            if best is not None and shares[best] >= PIECE:
                found[place] = best
    return found


def _went_on(track: _Track, one: _Seen) -> _Track:
    step = (one.middle - track.last.middle) / (track.missed + 1)
    return _Track(track.number, one, (track.speed + step) / 2 if track.speed.any() else step)
