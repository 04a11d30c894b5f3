"""Where the pixels of a layout were a frame ago: the motion of its objects, as far as their outlines tell.

Objects are matched by (class, id), so ids have to last: given, or tracked (`gesso.synthesis.tracking`). Each object moves and
grows as a whole. Everything else moves with the background: not at all, or all of it by one shift, as under a camera that turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from gesso.labels import LabelSpace

Integers = npt.NDArray[np.integer[Any]]
Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Box = tuple[slice, slice]

BETTER = 0.01  # of overlap, by which a guess at a motion has to beat simpler ones
FARTHEST = 0.1  # of the picture's sides, that a background is looked for
OBJECT = -1  # stands for what is no background
SAMPLES = 128  # of an object's side
CLEARER = 0.02  # share of pixels by which a moving background has to agree better than a still one


@dataclass(frozen=True)
class Move:
    """Where pixels were a frame ago: at `scale * (row, column) + (down, right)`.

    Attributes:
        scale: Size a frame ago, as a share of the size now.
        down: Rows.
        right: Columns.
    """

    scale: float = 1.0
    down: float = 0.0
    right: float = 0.0

    def source(self, row: Any, column: Any) -> tuple[Any, Any]:
        """Where (row, column) was a frame ago."""
        return self.scale * row + self.down, self.scale * column + self.right


STILL = Move()


@dataclass(frozen=True)
class Motion:
    """How a layout moved since the frame before.

    Attributes:
        objects: By (class, id); objects that are new are absent.
        background: Of everything else.
    """

    objects: Mapping[tuple[int, int], Move]
    background: Move = STILL


def object_keys(label: Integers, instance: Integers, space: LabelSpace) -> Numbers:
    """(H, W) one integer per object of a countable class, and per other class: `class << 40`, for objects plus the id."""
    things = np.isin(np.arange(len(space) + 1), space.things)
    wide = label.astype(np.int64)
    keys: Numbers = (wide << 40) + np.where(things[label], instance.astype(np.int64), 0)
    return keys


def estimate(
    before: tuple[Integers, Integers], now: tuple[Integers, Integers], space: LabelSpace, things: Iterable[int] = ()
) -> Motion:
    """How a layout moved from one frame to the next, by which motion lays each object best over itself.

    Args:
        before: Label map and instance map (H, W) of the frame before.
        now: Those of this frame, of the same size.
        space: Says which classes are countable.
        things: Other countable classes than the space says.
    """
    countable = tuple(things) or space.things
    background = _background(before[0], now[0], countable)
    old, new = (_masks(*maps, countable) for maps in (before, now))
    found = {key: _move(old[key], shape, background, now[0].shape) for key, shape in new.items() if key in old}
    return Motion(found, background)


@dataclass(frozen=True)
class _Shape:
    """An object's mask (h, w), and the box in the picture that it fills."""

    box: Box
    mask: Mask

    @property
    def area(self) -> int:
        return int(self.mask.sum())

    @property
    def centre(self) -> tuple[float, float]:
        rows, columns = np.nonzero(self.mask)
        return float(rows.mean()) + self.box[0].start, float(columns.mean()) + self.box[1].start

    def at(self, rows: Numbers, columns: Numbers) -> Mask:
        """Whether pixels of the picture, or beside it, are the object's."""
        down, right = rows - self.box[0].start, columns - self.box[1].start
        height, width = self.mask.shape
        inside = (down >= 0) & (down < height) & (right >= 0) & (right < width)
        return self.mask[down.clip(0, height - 1), right.clip(0, width - 1)] & inside


def _masks(label: Integers, instance: Integers, things: Iterable[int]) -> dict[tuple[int, int], _Shape]:
    found = {}
    for index in things:
        values, numbered = numbered_objects(label, instance, index)
        for number, box in enumerate(ndimage.find_objects(numbered), start=1):
            found[index, values[number - 1]] = _Shape(box, numbered[box] == number)
    return found


def numbered_objects(label: Integers, instance: Integers, index: int) -> tuple[list[int], Numbers]:
    """The ids of a class's objects, and (H, W) their places among these, from 1; 0 elsewhere."""
    mine = label == index
    values, inverse = np.unique(instance[mine], return_inverse=True)
    numbered = np.zeros(label.shape, dtype=np.int64)
    numbered[mine] = inverse + 1
    return values.tolist(), numbered


def _move(old: _Shape, new: _Shape, background: Move, size: tuple[int, ...]) -> Move:
    """The guess that lays the old mask best over the new one; simpler guesses come first."""
    best, most = background, _overlap(old, new, background, size)
    for guess in _guesses(old, new):
        if (share := _overlap(old, new, guess, size)) > most + BETTER:
            best, most = guess, share
    return best


def _guesses(old: _Shape, new: _Shape) -> Iterable[Move]:
    """By the masks' middles; by their edges, as something may hide a side; and with their sizes."""
    (r0, c0), (r1, c1) = old.centre, new.centre
    yield Move(1.0, r0 - r1, c0 - c1)
    (rows0, columns0), (rows1, columns1) = old.box, new.box
    for column0, column1 in ((columns0.start, columns1.start), (columns0.stop, columns1.stop)):
        for row0, row1 in ((rows0.start, rows1.start), (rows0.stop, rows1.stop)):
            yield Move(1.0, row0 - row1, column0 - column1)
    scale = float(np.sqrt(old.area / new.area))
    yield Move(scale, r0 - scale * r1, c0 - scale * c1)
    tall, wide = (
        (a.stop - a.start) / (b.stop - b.start) for a, b in zip(old.box, new.box, strict=True)
    )  # pixels' edges, not middles, lie at whole numbers here
    scale = float(np.sqrt(tall * wide))
    middle0, middle1 = ([(side.start + side.stop - 1) / 2 for side in box] for box in (old.box, new.box))
    yield Move(scale, middle0[0] - scale * middle1[0], middle0[1] - scale * middle1[1])


def _overlap(old: _Shape, new: _Shape, move: Move, size: tuple[int, ...]) -> float:
    """Intersection over union of the moved mask and the new one; what comes from outside the picture counts for neither."""
    height, width = size
    box = _around(old, new, move, (height, width))
    steps = [max(1, (side.stop - side.start) // SAMPLES) for side in box]  # large objects are looked at coarsely
    rows, columns = np.mgrid[box[0].start : box[0].stop : steps[0], box[1].start : box[1].stop : steps[1]]
    down, right = (np.rint(values).astype(np.int64) for values in move.source(rows, columns))
    inside = (down >= 0) & (down < height) & (right >= 0) & (right < width)
    moved, mask = old.at(down, right), new.at(rows, columns)
    union = int(((moved | mask) & inside).sum())
    return int((moved & mask & inside).sum()) / union if union else 0.0


def _around(old: _Shape, new: _Shape, move: Move, size: tuple[int, int]) -> Box:
    """The pixels, of now, that the new mask or the moved one may cover."""
    sides = []
    for was, now, shift, limit in zip(old.box, new.box, (move.down, move.right), size, strict=True):
        first, last = ((edge - shift) / move.scale for edge in (was.start, was.stop))
        start, stop = min(int(first) - 1, now.start), max(int(last) + 2, now.stop)
        sides.append(slice(max(start, 0), min(stop, limit)))
    return sides[0], sides[1]  # holds the new mask, so it is not empty


def _background(before: Integers, now: Integers, things: Iterable[int]) -> Move:
    """One shift of everything that is no object, where label maps agree clearly better with it than as they are; else none."""
    still = [np.where(np.isin(label, list(things)), OBJECT, label) for label in (before, now)]
    rows, columns = _shift(*still)
    limit = [max(1, int(side * FARTHEST)) for side in now.shape]
    if (rows, columns) == (0, 0) or abs(rows) > limit[0] or abs(columns) > limit[1]:
        return STILL
    moved = ndimage.shift(still[0], (-rows, -columns), order=0, mode="constant", cval=OBJECT)
    known = (moved != OBJECT) & (still[1] != OBJECT) & (still[0] != OBJECT)
    if not known.any():
        return STILL
    shares = [float((one == still[1])[known].mean()) for one in (still[0], moved)]
    return Move(1.0, rows, columns) if shares[1] > shares[0] + CLEARER else STILL


def _shift(before: Integers, now: Integers) -> tuple[int, int]:
    """The whole rows and columns by which the outlines of two label maps agree best, by phase correlation."""
    spectra = [np.fft.rfft2(_outlines(label)) for label in (before, now)]
    product = spectra[0] * spectra[1].conj()
    peak = np.fft.irfft2(product / np.maximum(np.abs(product), 1e-9), s=now.shape)
    place = np.unravel_index(int(peak.argmax()), peak.shape)
    rows, columns = (int(p) if p <= side // 2 else int(p) - side for p, side in zip(place, now.shape, strict=True))
    return rows, columns


def _outlines(label: Integers) -> Floats:
    """Where classes change; not where objects begin, which may have motions of their own."""
    edge = np.zeros(label.shape, dtype=np.float32)
    for other, one, place in (
        (label[:, :-1], label[:, 1:], edge[:, 1:]),
        (label[:-1], label[1:], edge[1:]),
    ):
        place += (one != other) & (one != OBJECT) & (other != OBJECT)
    return edge


# ------------------------------------------------------------------------------------------------------------ pixels


@dataclass(frozen=True)
class Sources:
    """Where each pixel of a frame was in the frame before.

    Attributes:
        rows: (H, W) float32.
        columns: (H, W) float32.
        seen: (H, W) whether the pixel shows the same object (or class) in both frames, away from outlines: neither a border nor
            what was hidden or outside a frame ago.
        moving: (H, W) whether the pixel is of an object that moves otherwise than the background.
    """

    rows: Floats
    columns: Floats
    seen: Mask
    moving: Mask


def sources(before: Numbers, now: Numbers, motion: Motion, margin: int = 1) -> Sources:
    """Trace each pixel back by the motion of its object.

    Args:
        before: (H, W) of `object_keys`, of the frame before.
        now: Those of this frame.
        motion: Between the two.
        margin: Pixels from an outline, in either frame, that count as its border.
    """
    height, width = now.shape
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    rows, columns = (values.astype(np.float32) for values in motion.background.source(down, across))
    moving = np.zeros(now.shape, dtype=np.bool_)
    for (index, number), move in motion.objects.items():
        if move != motion.background:
            mask = now == (index << 40) + number
            rows[mask], columns[mask] = move.source(down[mask], across[mask])
            moving |= mask
    near = np.rint(rows).astype(int), np.rint(columns).astype(int)
    inside = (near[0] >= 0) & (near[0] < height) & (near[1] >= 0) & (near[1] < width)
    there = near[0].clip(0, height - 1), near[1].clip(0, width - 1)
    seen = inside & _inner(now, margin) & _inner(before, margin)[there] & (before[there] == now)
    return Sources(rows, columns, seen, moving)


def _inner(keys: Numbers, margin: int) -> Mask:
    """Pixels whose neighbours, as far as `margin`, all belong to the same object."""
    if not margin:
        return np.ones(keys.shape, dtype=np.bool_)
    side = 2 * margin + 1
    inner: Mask = ndimage.minimum_filter(keys, side) == ndimage.maximum_filter(keys, side)
    return inner


def along(picture: npt.NDArray[Any], where: Sources) -> Floats:
    """What a picture (H, W, C) of the frame before shows at each pixel's source: (H, W, C) float32, bilinear."""
    places = np.stack([where.rows, where.columns])
    planes = [
        ndimage.map_coordinates(picture[..., n].astype(np.float32), places, order=1, mode="nearest")
        for n in range(picture.shape[-1])
    ]
    return np.stack(planes, axis=-1)
