"""Masks of objects: a set of pixels kept in its bounding box, and how it is drawn, moved, scaled, united and cut up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from gesso.errors import LabelError

BoolArray = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]  # left, top, right, bottom; the last two exclusive
Points = Sequence[tuple[float, float]]

FARTHEST = 1e6  # pixels: how far from the picture's corner the points of a polygon may lie


@dataclass(frozen=True, eq=False)
class Mask:
    """A set of pixels, not empty; it may reach beyond the picture.

    Attributes:
        left: Column of the first cell in the picture.
        top: Row of the first cell in the picture.
        cells: (h, w) bool, read-only; each outer row and column holds a pixel of the set.
    """

    left: int
    top: int
    cells: BoolArray

    @staticmethod
    def of(cells: BoolArray, left: int = 0, top: int = 0) -> Mask | None:
        """The set of true cells, whose first lies at (left, top); None when there is none."""
        rows, columns = (np.flatnonzero(cells.any(axis)) for axis in (1, 0))
        if not rows.size:
            return None
        tight = cells[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
        tight.setflags(write=False)
        return Mask(left + int(columns[0]), top + int(rows[0]), tight)

    @property
    def pixels(self) -> int:
        """How many pixels are in the set."""
        return int(np.count_nonzero(self.cells))

    @property
    def box(self) -> Box:
        """Left, top, right, bottom; the last two exclusive."""
        height, width = self.cells.shape
        return self.left, self.top, self.left + width, self.top + height

    def within(self, height: int, width: int) -> tuple[tuple[slice, slice], BoolArray]:
        """The part inside a picture: where it lies there, and its cells (of size 0 where nothing is inside)."""
        left, top, right, bottom = self.box
        rows, columns = (
            slice(min(max(a, 0), end), max(min(b, end), 0))
            for a, b, end in ((top, bottom, height), (left, right, width))
        )
        return (rows, columns), self.cells[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]

    def holds(self, x: int, y: int) -> bool:
        """Whether the pixel in column x and row y is in the set."""
        left, top, right, bottom = self.box
        return left <= x < right and top <= y < bottom and bool(self.cells[y - top, x - left])

    def meets(self, other: Mask) -> bool:
        """Whether the two sets share a pixel."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        right, bottom = (min(a, b) for a, b in zip(self.box[2:], other.box[2:], strict=True))
        if left >= right or top >= bottom:
            return False
        mine, theirs = (m.cells[top - m.top : bottom - m.top, left - m.left : right - m.left] for m in (self, other))
        return bool((mine & theirs).any())

    def moved(self, dx: int, dy: int) -> Mask:
        """Shifted by dx pixels to the right and dy down."""
        return replace(self, left=self.left + dx, top=self.top + dy)

    def scaled(self, scale: float) -> Mask | None:
        """Scaled by the nearest neighbour about its foot, the middle of its lower edge; None when nothing is left."""
        height, width = self.cells.shape
        new = [max(1, round(side * scale)) for side in (height, width)]
        rows, columns = ((np.arange(n) * 2 + 1) * side // (2 * n) for n, side in zip(new, (height, width), strict=True))
        left = self.left + (width - new[1]) // 2
        return Mask.of(self.cells[rows[:, None], columns], left, self.top + height - new[0])

    def united(self, others: Sequence[Mask]) -> Mask:
        """This set and others as one."""
        masks = (self, *others)
        left, top = min(m.left for m in masks), min(m.top for m in masks)
        right, bottom = max(m.box[2] for m in masks), max(m.box[3] for m in masks)
        cells = np.zeros((bottom - top, right - left), dtype=np.bool_)
        for mask in masks:
            height, width = mask.cells.shape
            cells[mask.top - top :, mask.left - left :][:height, :width] |= mask.cells
        return _known(Mask.of(cells, left, top))

    def parts(self) -> tuple[Mask, ...]:
        """Its connected components (4 neighbours), the largest first, of equals in reading order."""
        numbered, _ = ndimage.label(self.cells)
        parts = []
        for number, window in enumerate(ndimage.find_objects(numbered), start=1):
            rows, columns = window
            parts.append(_known(Mask.of(numbered[window] == number, self.left + columns.start, self.top + rows.start)))
        return tuple(sorted(parts, key=lambda part: -part.pixels))


def _known(mask: Mask | None) -> Mask:
    assert mask is not None, "a mask made of masks holds pixels"
    return mask


def read_mask(shape: npt.ArrayLike | Points, height: int, width: int) -> Mask:
    """What a user drew: a mask of the picture's size, or a polygon.

    Args:
        shape: (H, W) bool, or at least three points (x, y) in pixels. The picture's upper left corner is (0, 0), its lower right
            one (width, height); a pixel belongs to a polygon when its middle lies inside (even-odd rule).
        height: Of the picture.
        width: Of the picture.

    Raises:
        LabelError: It is neither, the mask is of another size, or no pixel of the picture is in it.
    """
    try:
        array = np.asarray(shape)
    except ValueError:
        array = np.empty(0)  # points of unequal length
    if array.dtype == np.bool_:
        if array.shape != (height, width):
            raise LabelError(
                f"The mask has shape {array.shape}, the layout {(height, width)}; draw it at the layout's size."
            )
        cells = array
    elif array.ndim == 2 and array.shape[1] == 2 and len(array) >= 3 and array.dtype.kind in "iuf":
        cells = polygon(array.astype(np.float64), height, width)
    else:
        raise LabelError(
            f"An object's shape is a bool mask ({height}, {width}) or a polygon of at least three points (x, y); "
            f"{array.dtype} of shape {array.shape} came. Turn other masks into bool first (mask > 0)."
        )
    mask = Mask.of(cells)
    if mask is None:
        raise LabelError(
            f"No pixel of the picture ({width} wide, {height} high) is in the shape of the object; draw it larger or inside."
        )
    return mask


def polygon(points: npt.NDArray[np.float64], height: int, width: int) -> BoolArray:
    """Fill a polygon by the even-odd rule.

    Args:
        points: (N, 2) x and y in pixels, at most a million from (0, 0).
        height: Of the picture.
        width: Of the picture.

    Returns:
        (height, width) bool: the pixels whose middles lie inside.

    Raises:
        LabelError: A coordinate is not a number or too far away.
    """
    if not (np.abs(points) <= FARTHEST).all():
        raise LabelError(
            f"The points of a polygon are numbers of pixels from {-FARTHEST:.0f} to {FARTHEST:.0f}; mend the one that is not."
        )
    (x0, y0), (x1, y1) = points.T, np.roll(points, -1, axis=0).T
    first, last = (np.clip(np.ceil(y - 0.5), 0, height).astype(int) for y in (np.minimum(y0, y1), np.maximum(y0, y1)))
    counts = last - first  # rows whose middles an edge crosses
    edge = np.repeat(np.arange(len(points)), counts)
    row = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    slope = (x1 - x0)[edge] / (y1 - y0)[edge]
    column = np.clip(np.ceil(x0[edge] + (row + 0.5 - y0[edge]) * slope - 0.5), 0, width).astype(int)
    crossings = np.bincount(row * (width + 1) + column, minlength=height * (width + 1)).reshape(height, width + 1)
    return np.cumsum(crossings[:, :width], axis=1) % 2 == 1
