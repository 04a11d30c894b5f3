"""Edits of a layout: pure functions that return a new layout, and the key of the object they made.

An edit names its object by `ObjectKey`, or by its id where no other object has it. Nothing is filled here: what an object
uncovers is what has been behind it since `Layout.of`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from gesso.errors import LabelError
from gesso.synthesis.editing.layout import Layout, ObjectKey, ObjectLayer, Reference
from gesso.synthesis.editing.masks import Mask, Points, read_mask
from gesso.synthesis.editing.peeling import Regions

LARGEST = 4  # times the picture: how large an object may be scaled
Direction = Literal["front", "back", "forward", "backward"]


def add_object(layout: Layout, shape: npt.ArrayLike | Points, class_: str | int) -> tuple[Layout, ObjectKey]:
    """Add an object in front of all others.

    Args:
        layout: Stays as it is.
        shape: Bool mask (H, W), or a polygon of at least three points (x, y) in pixels. The picture's upper left corner is
            (0, 0); a pixel is inside when its middle is.
        class_: Name or index of its class. Where the class is not countable, the instance map shows the id of its region.

    Raises:
        LabelError: The class is unknown, or the shape has another size or no pixel in the picture.
    """
    layer = layout.new_layer(layout.class_index(class_), read_mask(shape, *layout.shape))
    return layout.with_layers([*layout.layers, layer]), layer.key


def remove_object(layout: Layout, key: Reference) -> Layout:
    """Take an object away; what was behind it is seen.

    Raises:
        LabelError: The object is unknown, or nothing is known of what is behind it because it filled the whole picture.
    """
    gone = layout.find(key)
    return layout.with_layers(layer for layer in layout.layers if layer is not gone)


def move_object(layout: Layout, key: Reference, dx: int, dy: int, scale: float = 1.0) -> Layout:
    """Move an object, and perhaps scale it.

    What leaves the picture is not seen, but not lost: it is there again when the object comes back.

    Args:
        layout: Stays as it is.
        key: Which object.
        dx: Pixels to the right.
        dy: Pixels down.
        scale: New size over old one; the foot, the middle of the lower edge of its box, stays where (dx, dy) put it.

    Raises:
        LabelError: The object is unknown or would lie outside of the picture, the scale is impossible, or nothing is known of
            what is behind it because it filled the whole picture.
    """
    layer = layout.find(key)
    moved = replace(layer, mask=_placed(layer.mask, dx, dy, scale, layout))
    return layout.with_layers(moved if other is layer else other for other in layout.layers)


def relabel_object(layout: Layout, key: Reference, class_: str | int) -> tuple[Layout, ObjectKey]:
    """Give an object another class, and with it a new id; its own class changes nothing.

    Raises:
        LabelError: The object or the class is unknown.
    """
    layer = layout.find(key)
    class_index = layout.class_index(class_)
    if class_index == layer.key.class_index:
        return layout, layer.key
    new = layout.new_layer(class_index, layer.mask)
    return layout.with_layers(new if other is layer else other for other in layout.layers), new.key


def duplicate_object(layout: Layout, key: Reference, dx: int, dy: int) -> tuple[Layout, ObjectKey]:
    """Put a copy of an object right in front of it, dx pixels to the right and dy down.

    Raises:
        LabelError: The object is unknown, or the copy would lie outside of the picture.
    """
    layer = layout.find(key)
    copy = layout.new_layer(layer.key.class_index, _placed(layer.mask, dx, dy, 1.0, layout), layer.written_id)
    return layout.with_layers(_inserted(layout.layers, layout.layers.index(layer) + 1, copy)), copy.key


def paste_object(
    layout: Layout, source: Layout, key: Reference, at: tuple[int, int] | None = None, scale: float = 1.0
) -> tuple[Layout, ObjectKey]:
    """Put a copy of an object of another layout in front of all others.

    Args:
        layout: Stays as it is.
        source: Where the object is from. Classes are matched by name.
        key: Which object of `source`.
        at: (x, y) of its foot, the middle of the lower edge of its box, in pixels; where it was in `source` by default.
        scale: New size over old one.

    Raises:
        LabelError: The object is unknown, its class is not in this layout's space, it would lie outside of the picture, or the
            scale is impossible.
    """
    layer = source.find(key)
    class_index = layout.space.index(source.class_name(layer.key))
    left, _, right, bottom = layer.mask.box
    dx, dy = (0, 0) if at is None else (at[0] - (left + right) // 2, at[1] - bottom)
    new = layout.new_layer(class_index, _placed(layer.mask, dx, dy, scale, layout))
    return layout.with_layers([*layout.layers, new]), new.key


def reorder_object(layout: Layout, key: Reference, to: Direction | int) -> Layout:
    """Change which objects an object hides and which hide it.

    Args:
        layout: Stays as it is.
        key: Which object.
        to: "front" or "back" of all; "forward" or "backward" past the next object that it overlaps (nothing changes where there
            is none); or its new place in `layout.layers`, 0 for the back, -1 for the front.

    Raises:
        LabelError: The object, the word or the place is unknown.
    """
    layer = layout.find(key)
    others = [other for other in layout.layers if other is not layer]
    return layout.with_layers(_inserted(others, _place(layout, layer, to), layer))


def merge_objects(layout: Layout, keys: Sequence[Reference]) -> Layout:
    """Make several objects one: the first named one takes the pixels of the others, and stands where the frontmost of them stood.

    Raises:
        LabelError: An object is unknown or named twice, or fewer than two are named.
    """
    merged = [layout.find(key) for key in keys]
    if len({layer.key for layer in merged}) < max(2, len(keys)):
        raise LabelError(f"Merging takes two or more different objects; {list(keys)} came.")
    whole = replace(merged[0], mask=merged[0].mask.united([layer.mask for layer in merged[1:]]))
    front = max(layout.layers.index(layer) for layer in merged)
    kept = (
        whole if n == front else layer for n, layer in enumerate(layout.layers) if n == front or layer not in merged
    )
    return layout.with_layers(kept)


def split_object(layout: Layout, key: Reference) -> tuple[Layout, tuple[ObjectKey, ...]]:
    """Make every connected part (4 neighbours) of an object's mask an object of its own.

    Returns:
        The layout, and the keys by size: the largest part keeps the key.

    Raises:
        LabelError: The object is unknown.
    """
    layer = layout.find(key)
    first, *rest = layer.mask.parts()
    parts, used = [replace(layer, mask=first)], layout
    for mask in rest:
        parts.append(used.new_layer(layer.key.class_index, mask, layer.written_id))
        used = replace(used, used_ids=used.used_ids | {parts[-1].key.id})
    position = layout.layers.index(layer)
    layers = [*layout.layers[:position], *parts, *layout.layers[position + 1 :]]
    return layout.with_layers(layers), tuple(part.key for part in parts)


def lift_region(layout: Layout, x: int, y: int) -> tuple[Layout, ObjectKey]:
    """Make a region of the ground an object, at the back of all, so that it can be removed, relabelled or moved.

    The picture stays the same. The region is the connected part (4 neighbours) of one (class, id) at a pixel, with what objects
    hide of it; the ground beneath is filled by its surroundings.

    Args:
        layout: Stays as it is.
        x: Column of a pixel of the region.
        y: Row of it.

    Raises:
        LabelError: The pixel is outside of the picture, or nothing is known of the ground because an object filled the picture.
    """
    height, width = layout.shape
    if not (0 <= x < width and 0 <= y < height):
        raise LabelError(f"The pixel x = {x}, y = {y} is outside of the picture ({width} wide, {height} high).")
    class_index, id = int(layout.ground_label[y, x]), int(layout.ground_instance[y, x])
    if class_index < 0:
        raise LabelError("Nothing is known of the ground of this layout: an object filled the whole picture.")
    numbered, _ = ndimage.label((layout.ground_label == class_index) & (layout.ground_instance == id))
    mask = Mask.of(numbered == numbered[y, x])
    assert mask is not None
    regions = Regions.of(layout.ground_label, layout.ground_instance, ignored=len(layout.space))
    left, top, right, bottom = mask.box
    regions.fill(regions.add(mask, class_index, id), (slice(top, bottom), slice(left, right)))
    layer = layout.new_layer(class_index, mask, id)
    ground = (regions.label, regions.instance)
    for array in ground:
        array.setflags(write=False)
    layout = replace(layout, ground_label=ground[0], ground_instance=ground[1])
    return layout.with_layers([layer, *layout.layers]), layer.key


def _placed(mask: Mask, dx: int, dy: int, scale: float, layout: Layout) -> Mask:
    """A mask scaled about its foot, then moved; some of it is inside the picture."""
    (rows, columns), (height, width) = mask.cells.shape, layout.shape
    if not 0 < scale * max(rows / height, columns / width) <= LARGEST:
        raise LabelError(
            f"An object of {columns} x {rows} pixels cannot be scaled by {scale}: the scale is above 0, and the object at most "
            f"{LARGEST} times as large as the picture."
        )
    scaled = mask.scaled(scale)
    if scaled is None:
        raise LabelError(f"Nothing is left of the object at a scale of {scale}; take a larger one.")
    placed = scaled.moved(dx, dy)
    if not placed.within(height, width)[1].any():
        raise LabelError(
            f"The object would lie outside of the picture ({width} wide, {height} high), at {placed.box} (left, top, right, "
            "bottom). Move it less far, or remove it."
        )
    return placed


def _inserted(layers: Sequence[ObjectLayer], position: int, layer: ObjectLayer) -> tuple[ObjectLayer, ...]:
    return (*layers[:position], layer, *layers[position:])


def _place(layout: Layout, layer: ObjectLayer, to: Direction | int) -> int:
    """Position of a layer among the others."""
    now, last = layout.layers.index(layer), len(layout.layers) - 1
    if isinstance(to, str):
        if to not in get_args(Direction):
            raise LabelError(f"There is no place {to!r}; say one of {', '.join(get_args(Direction))}, or a number.")
        if to in ("front", "back"):
            return last if to == "front" else 0
        steps = range(now + 1, last + 1) if to == "forward" else range(now - 1, -1, -1)
        return next((n for n in steps if layer.mask.meets(layout.layers[n].mask)), now)
    if not -last - 1 <= to <= last:
        raise LabelError(f"There is no place {to}; the {last + 1} objects stand at 0 (back) to {last} (front).")
    return int(np.arange(last + 1)[to])
