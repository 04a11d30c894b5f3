"""Layouts with objects taken out and put in at random: more layouts out of few, for datasets of generated photographs.

Everything that is random comes from the generators that are handed in, so that the same ones give the same layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gesso.errors import LabelError
from gesso.synthesis.editing import Layout, Mask, ObjectKey, ObjectLayer, paste_object, remove_object, reorder_object

LEAST = 24  # pixels of an object that are seen; fewer are not worth a paste or a removal
SEEN = 0.5  # share of a pasted object that is seen at least
TRIES = 4  # objects and places that are tried for each donor


@dataclass(frozen=True)
class Pasted:
    """An object that was put in.

    Attributes:
        key: In the layout where it is now.
        origin: In the layout that it was copied from.
        donor: Number of that layout among the donors.
        at: (x, y) of its foot, the middle of the lower edge of its box, in pixels.
    """

    key: ObjectKey
    origin: ObjectKey
    donor: int
    at: tuple[int, int]


def take_out(
    layout: Layout, count: int, classes: Sequence[int], rng: np.random.Generator
) -> tuple[Layout, tuple[ObjectKey, ...]]:
    """Remove objects that are drawn from those that are seen; what was behind them is seen instead.

    Args:
        layout: Stays as it is.
        count: How many; fewer where there are not so many.
        classes: Indices of the classes whose objects may go.
        rng: What is drawn from.

    Returns:
        The layout without them, and their keys in the order in which they went.
    """
    there = [o.key for o in layout.objects() if o.key.class_index in classes and o.visible >= LEAST]
    gone: list[ObjectKey] = []
    for number in rng.permutation(len(there)):
        if len(gone) == count:
            break
        try:
            layout = remove_object(layout, there[number])
        except LabelError:
            continue  # it fills the picture: nothing is known of what is behind it
        gone.append(there[number])
    return layout, tuple(gone)


def put_in(
    layout: Layout, donors: Iterable[Layout], classes: Sequence[int], rng: np.random.Generator
) -> tuple[Layout, Pasted | None]:
    """Paste an object of another layout, as high in the picture as it stood there, where there is the ground that it stood on.

    In pictures of one camera what stands lower is nearer: so the object hides those that stand higher, and those that stand lower
    hide it.

    Args:
        layout: Stays as it is.
        donors: Layouts to look for an object in, until one has one that can stand here: of the classes, whole (not cut by the
            picture's border) and not too small.
        classes: Indices of the classes whose objects may be copied.
        rng: What is drawn from.

    Returns:
        The layout with it, and what was pasted; the layout as it is and None where no donor has such an object, or more than half
        of it would be hidden wherever it was tried.
    """
    for number, donor in enumerate(donors):
        there = _whole(donor, classes)
        for _ in range(TRIES if there else 0):
            origin = there[int(rng.integers(len(there)))]
            places, row = _standing(layout, donor, origin)
            if not places.size:
                continue
            at = int(places[int(rng.integers(len(places)))]), row
            changed, key = _put(layout, donor, origin, at)
            if key is not None:
                return changed, Pasted(key, origin.key, number, at)
    return layout, None


def _put(layout: Layout, donor: Layout, origin: ObjectLayer, at: tuple[int, int]) -> tuple[Layout, ObjectKey | None]:
    """Paste an object in its place among the others; nothing changes where too little of it would be seen."""
    try:
        changed, key = paste_object(layout, donor, origin.key, at)
    except LabelError:
        return layout, None
    changed = reorder_object(changed, key, _place(changed, key))
    new = next(o for o in changed.objects() if o.key == key)
    return (changed, key) if new.visible >= max(LEAST, SEEN * new.pixels) else (layout, None)


def _standing(layout: Layout, donor: Layout, origin: ObjectLayer) -> tuple[npt.NDArray[np.intp], int]:
    """Columns of a layout in which an object of another one stands on what it stood on, seen there, and the row of its foot."""
    left, _, right, bottom = origin.mask.box
    stood_on = donor.ground_label[bottom, (left + right) // 2]  # within the picture, as the border does not cut it
    row = min(max(1, round(bottom * layout.shape[0] / donor.shape[0])), layout.shape[0] - 1)
    free = (layout.ground_label[row] == stood_on) & (layout.label[row] == stood_on)
    return np.flatnonzero(free & (layout.instance[row] == layout.ground_instance[row])), row


def _whole(layout: Layout, classes: Sequence[int]) -> list[ObjectLayer]:
    """Objects of the classes that the border does not cut, in the order of their keys."""
    height, width = layout.shape
    seen = {o.key for o in layout.objects() if o.visible >= LEAST}

    def inside(layer: ObjectLayer) -> bool:
        left, top, right, bottom = layer.mask.box
        return left > 0 and top > 0 and right < width and bottom < height

    found = (layer for layer in layout.layers if layer.key.class_index in classes and layer.key in seen)
    return sorted((layer for layer in found if inside(layer)), key=lambda layer: layer.key)


def _place(layout: Layout, key: ObjectKey) -> int:
    """Where an object belongs among the others: behind the backmost one that it meets and that stands lower there."""
    own = layout.find(key)
    others = [layer for layer in layout.layers if layer is not own]
    return next((n for n, other in enumerate(others) if _stands_lower(other.mask, own.mask)), len(others))


def _stands_lower(one: Mask, other: Mask) -> bool:
    """Whether a mask that meets another has its foot below that one's, on average over the columns in which they meet.

    The lower edges of the boxes would not tell: a row of houses along the street stands lower at its near end than at its far
    one.
    """
    left, top = max(one.left, other.left), max(one.top, other.top)
    right, bottom = (min(a, b) for a, b in zip(one.box[2:], other.box[2:], strict=True))
    if left >= right or top >= bottom:
        return False
    shared = [
        mask.cells[top - mask.top : bottom - mask.top, left - mask.left : right - mask.left] for mask in (one, other)
    ]
    meet = left + np.flatnonzero((shared[0] & shared[1]).any(0))
    return bool(meet.size) and bool(_feet(one, meet).mean() > _feet(other, meet).mean())


def _feet(mask: Mask, columns: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Row below the lowest pixel of a mask in each of some columns, in all of which it has one."""
    cells = mask.cells[::-1, columns - mask.left]
    return np.asarray(mask.box[3] - cells.argmax(0), dtype=np.intp)
