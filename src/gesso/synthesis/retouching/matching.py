"""What an edit changed, and what is known of the model's colours there.

The model's picture of the photograph as it was tells how it errs: its difference from the photograph, object by object. What is
still there after the edit is corrected by that, and an object that moved takes its own difference along, pixel by pixel but
smoothed: so it keeps its colours where three numbers of an encoder cannot tell all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from gesso.labels import ByteArray
from gesso.synthesis.editing import Layout, Mask
from gesso.synthesis.editing.layout import ObjectLayer
from gesso.synthesis.features import ObjectKey
from gesso.synthesis.retouching.composing import Bools, Patch
from gesso.synthesis.retouching.edits import Edited
from gesso.synthesis.retouching.original import Original
from gesso.synthesis.retouching.sizes import Floats, Map, resized_floats
from gesso.synthesis.style_space import Vectors

SMOOTHED = 0.008  # of the working height: below that, differences are noise


def find_changed(first: Layout, second: Layout, before: Vectors, after: Vectors) -> tuple[Bools, Bools]:
    """Where an edited layout shows something else.

    Args:
        first: The layout of the photograph.
        second: The edited one.
        before: What each object wore.
        after: What it wears.

    Returns:
        Where (h, w) another class or object is, one that moved (all of its pixels, also where old and new place overlap), or one
        of other looks; and where nothing but the looks is another.
    """
    regions, keys = _regions(second)
    moved = {_written(layer) for layer, _ in _moved(first, second)}
    elsewhere = np.isin(regions, [n for n, key in enumerate(keys) if key in moved])
    other = (first.label != second.label) | (first.instance != second.instance) | elsewhere
    dressed = np.isin(regions, [n for n, key in enumerate(keys) if _worn(key, before) != _worn(key, after)])
    return np.asarray(other | dressed), np.asarray(dressed & ~other)


def make_patch(
    original: Original,
    edited: Edited,
    generated: ByteArray,
    plain: ByteArray,
    changed: tuple[Bools, Bools],
    worn: tuple[Vectors, Vectors],
) -> Patch:
    """What is put into the photograph.

    Args:
        original: The photograph.
        edited: Its layout after edits.
        generated: (h, w, 3): the model's picture of that.
        plain: (h, w, 3): the model's picture of the layout before the edits.
        changed: What `find_changed` found.
        worn: What objects wore, and what they wear.
    """
    regions, keys = _regions(edited.layout)
    things = np.isin(edited.layout.label, original.layout.space.things)
    kept = things & ~np.isin(regions, np.unique(regions[changed[0]]))
    missing = original.small.astype(np.float32) - plain
    medians = _medians(missing, original.layout)
    known = np.zeros((len(keys), 3), dtype=np.float32)
    for n, key in enumerate(keys):
        if _worn(key, worn[1]) == _worn(key, worn[0]):  # what is new, or has new looks, is as the model has it
            known[n] = medians.get(key, medians.get((key[0], None), 0))
    expected = known[regions]
    for layer, was in (*_moved(original.layout, edited.layout), *_copied(original.layout, edited)):
        if _worn(_written(layer), worn[1]) == _worn(_written(was), worn[0]):
            _take_along(expected, missing, layer, was, original.layout, edited.layout)
    return Patch(generated, *changed, kept, regions, expected)


def _worn(key: ObjectKey, vectors: Vectors) -> tuple[float, ...] | None:
    """What an object wears, by itself or as one of its class."""
    return vectors.get(key, vectors.get((key[0], key[0])))


def _written(layer: ObjectLayer) -> ObjectKey:
    """What the maps of a layout show of an object: its class and id."""
    return layer.key.class_index, layer.written_id


def _regions(layout: Layout) -> tuple[Map, list[ObjectKey]]:
    """(h, w): the number of each pixel's object, and the objects."""
    codes = (layout.label.astype(np.int64) << 32) + layout.instance
    _, first, numbers = np.unique(codes, return_index=True, return_inverse=True)
    classes, ids = layout.label.ravel()[first].tolist(), layout.instance.ravel()[first].tolist()
    return numbers.reshape(layout.shape).astype(np.int32), list(zip(classes, ids, strict=True))


def _moved(first: Layout, second: Layout) -> Iterator[tuple[ObjectLayer, ObjectLayer]]:
    """The objects that are elsewhere or of another size, each with how it was."""
    before = {layer.key: layer for layer in first.layers}
    for layer in second.layers:
        was = before.get(layer.key)
        if was is not None and not _same(was.mask, layer.mask):
            yield layer, was


def _same(one: Mask, other: Mask) -> bool:
    return one is other or (one.box == other.box and np.array_equal(one.cells, other.cells))


def _copied(first: Layout, edited: Edited) -> Iterator[tuple[ObjectLayer, ObjectLayer]]:
    """The copies, each with what it is a copy of."""
    before = {layer.key: layer for layer in first.layers}
    for layer in edited.layout.layers:
        source = edited.copies.get(layer.key)
        if source in before:
            yield layer, before[source]


def _medians(missing: Floats, layout: Layout) -> dict[tuple[int, int | None], Floats]:
    """The middle of what the model's colours lack: for each (class, id), and for each class as (class, None)."""
    regions, keys = _regions(layout)

    def medians(numbers: Map, count: int) -> Floats:
        each = [ndimage.median(missing[..., channel], numbers, range(count)) for channel in range(3)]
        return np.stack(each, axis=-1).astype(np.float32)

    found: dict[tuple[int, int | None], Floats] = dict(zip(keys, medians(regions, len(keys)), strict=True))
    classes, numbers = np.unique(layout.label, return_inverse=True)
    of_classes = medians(numbers.reshape(regions.shape).astype(np.int32), len(classes))
    return found | {(index, None): middle for index, middle in zip(classes.tolist(), of_classes, strict=True)}


def _take_along(
    expected: Floats, missing: Floats, layer: ObjectLayer, was: ObjectLayer, first: Layout, second: Layout
) -> None:
    """Give the pixels of a moved object what its colours lacked where it was; what was hidden there, what the nearest lacked."""
    window, _ = was.mask.within(*first.shape)
    seen = _seen(was, first)[window]
    if not seen.any():
        return
    nearest = ndimage.distance_transform_edt(~seen, return_distances=False, return_indices=True)
    size = 1 + 2 * max(1, round(SMOOTHED * len(missing)))
    smooth = ndimage.median_filter(missing[window][tuple(nearest)], (size, size, 1))
    left, top, right, bottom = was.mask.box
    beyond = (window[0].start - top, bottom - window[0].stop), (window[1].start - left, right - window[1].stop), (0, 0)
    shown = resized_floats(np.pad(smooth, beyond, mode="edge"), layer.mask.cells.shape)
    window, _ = layer.mask.within(*second.shape)
    here = _seen(layer, second)[window]
    corner = window[0].start - layer.mask.box[1], window[1].start - layer.mask.box[0]
    part = shown[corner[0] : corner[0] + here.shape[0], corner[1] : corner[1] + here.shape[1]]
    expected[window][here] = part[here]


def _seen(layer: ObjectLayer, layout: Layout) -> Bools:
    """(h, w): where an object is seen."""
    return np.asarray((layout.label == layer.key.class_index) & (layout.instance == layer.written_id))
