"""The layout that is edited: a ground of regions under a stack of objects, each with its whole mask."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gesso.errors import LabelError
from gesso.labels import LabelSpace, components
from gesso.synthesis.editing.masks import Box, Mask
from gesso.synthesis.editing.peeling import UNKNOWN, Map, Regions, peel

IDS = np.iinfo(np.int32)  # range of the ids
LISTED = 8  # objects named in an error


class ObjectKey(NamedTuple):
    """What an object is known by: the same id in two classes is two objects.

    Attributes:
        class_index: Its class.
        id: Its id; unique in its class, and in the whole layout where gesso gave it.
    """

    class_index: int
    id: int


Reference = ObjectKey | tuple[int, int] | int  # a bare id will do where only one object has it


@dataclass(frozen=True, eq=False)
class ObjectLayer:
    """One object of a layout.

    Attributes:
        key: What it is known by.
        written_id: What the instance map shows: the key's id, and for classes that are not countable the id of the class's
            region, so that an added piece of road is one with the road.
        mask: All its pixels, hidden ones and ones beyond the picture's border too.
    """

    key: ObjectKey
    written_id: int
    mask: Mask


@dataclass(frozen=True)
class ObjectSummary:
    """What an editor lists.

    Attributes:
        key: What it is known by.
        class_name: Name of its class.
        pixels: Of its whole mask.
        visible: Pixels of it that are seen.
        box: Left, top, right, bottom of the whole mask; the last two exclusive, all perhaps beyond the picture.
    """

    key: ObjectKey
    class_name: str
    pixels: int
    visible: int
    box: Box


@dataclass(frozen=True, eq=False)
class Layout:
    """A layout that can be edited; nothing about it ever changes, edits make new ones.

    Made by `Layout.of`; changed by the functions of `gesso.synthesis.editing`.

    Attributes:
        space: Its classes.
        ground_label: (H, W) int32 class indices of what is behind all objects; `len(space)` where ignored, -1 where nothing is
            known because an object filled the whole picture.
        ground_instance: (H, W) int32 ids of the ground's regions.
        layers: The objects from back to front.
        used_ids: Every id that was ever given in this layout; they are not given again.
    """

    space: LabelSpace
    ground_label: Map
    ground_instance: Map
    layers: tuple[ObjectLayer, ...]
    used_ids: frozenset[int]

    @staticmethod
    def of(label: npt.ArrayLike, instance: npt.ArrayLike | None, space: LabelSpace) -> Layout:
        """Take a flat layout apart into ground and objects; `peeling` says how hidden pixels are filled.

        Each (class, id) of a countable class becomes an object.

        Args:
            label: (H, W) integers: class indices, `len(space)` where ignored.
            instance: (H, W) integers: object ids; None for connected components of the countable classes.
            space: What the indices mean.

        Raises:
            LabelError: Not integers (H, W), shapes that differ, an index that the space does not have, an id beyond 32 bits.
        """
        given = _integers(label, "label map")
        low, high = int(given.min()), int(given.max())
        if low < 0 or high > len(space):
            raise LabelError(
                f"The label map holds indices {low}..{high}; {space.name} has 0..{len(space) - 1}, and {len(space)} for ignored "
                "pixels. File values become indices with LabelSpace.to_indices."
            )
        indices = given.astype(np.int32)
        ids = components(indices, space) if instance is None else _ids(instance, indices.shape)
        regions = Regions.of(indices, ids, ignored=len(space))
        used = frozenset(regions.ids.tolist())
        front_to_back = [ObjectLayer(ObjectKey(c, id), id, mask) for c, id, mask in peel(regions, space)]
        return Layout(space, *_frozen(regions.label, regions.instance), tuple(front_to_back[::-1]), used)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.ground_label.shape
        return height, width

    @property
    def label(self) -> Map:
        """(H, W) int32 class indices, `len(space)` where ignored; read-only."""
        return _flattened(self)[0]

    @property
    def instance(self) -> Map:
        """(H, W) int32 object ids; read-only."""
        return _flattened(self)[1]

    def objects(self) -> tuple[ObjectSummary, ...]:
        """The objects from back to front."""
        seen = np.zeros(self.shape, dtype=np.int32)
        for position, layer in enumerate(self.layers, start=1):
            window, cells = layer.mask.within(*self.shape)
            seen[window][cells] = position
        visible = np.bincount(seen.ravel(), minlength=len(self.layers) + 1)[1:].tolist()
        return tuple(
            ObjectSummary(layer.key, self.class_name(layer.key), layer.mask.pixels, count, layer.mask.box)
            for layer, count in zip(self.layers, visible, strict=True)
        )

    def at(self, x: int, y: int) -> ObjectKey | None:
        """The object that is seen in column x and row y; None where the ground is seen, or outside the picture."""
        inside = 0 <= x < self.shape[1] and 0 <= y < self.shape[0]
        return next((layer.key for layer in reversed(self.layers) if inside and layer.mask.holds(x, y)), None)

    def find(self, key: Reference) -> ObjectLayer:
        """The object with a key, or with an id that only one object has.

        Raises:
            LabelError: There is none, or there are several.
        """
        if isinstance(key, tuple):
            found = [layer for layer in self.layers if layer.key == key]
        else:
            found = [layer for layer in self.layers if layer.key.id == key]
        if len(found) > 1:
            names = " and ".join(self.class_name(layer.key) for layer in found)
            raise LabelError(f"The id {key} belongs to several objects: {names}. Give ObjectKey(class_index, id).")
        if not found:
            raise LabelError(self._unknown(key))
        return found[0]

    def class_name(self, key: ObjectKey) -> str:
        """Name of an object's class; "ignored" for lifted regions without a class."""
        return (*self.space.names, "ignored")[key.class_index]

    def class_index(self, name: str | int) -> int:
        """Index of a class by name, or the index itself.

        Raises:
            LabelError: The space does not have it.
        """
        if isinstance(name, str):
            return self.space.index(name)
        if not 0 <= name < len(self.space):
            raise LabelError(
                f"There is no class {name} in {self.space.name}; its {len(self.space)} classes have indices "
                f"0..{len(self.space) - 1}."
            )
        return int(name)

    # ------------------------------------------------------------------------------------------- what edits are made of

    def new_layer(self, class_index: int, mask: Mask, region_id: int | None = None) -> ObjectLayer:
        """An object with an id that this layout never had; `region_id` is written where the class is not countable."""
        first = class_index * 1000 + 1
        fresh = next(id for id in range(first, first + len(self.used_ids) + 1) if id not in self.used_ids)
        written = fresh if class_index in self.space.things else region_id
        return ObjectLayer(
            ObjectKey(class_index, fresh), self._region_id(class_index) if written is None else written, mask
        )

    def with_layers(self, layers: Iterable[ObjectLayer]) -> Layout:
        """The same ground under other objects.

        Raises:
            LabelError: A pixel is uncovered under which nothing is known.
        """
        layers = tuple(layers)
        layout = replace(self, layers=layers, used_ids=self.used_ids.union(layer.key.id for layer in layers))
        if layout.ground_label[0, 0] == UNKNOWN and (layout.label == UNKNOWN).any():  # unknown everywhere or nowhere
            raise LabelError(
                "Nothing is known of what would be uncovered: behind all others, the object fills the whole picture. Relabel it, "
                "or add an object of another class and send it to the back."
            )
        return layout

    def _region_id(self, class_index: int) -> int:
        """The id that a class that is not countable has in this layout; its index where it does not occur."""
        ids = self.ground_instance[self.ground_label == class_index]
        if ids.size:
            return int(ids[0])
        return next((x.written_id for x in self.layers if x.key.class_index == class_index), class_index)

    def _unknown(self, key: Reference) -> str:
        region = self.ground_instance == (key[1] if isinstance(key, tuple) else key)
        if isinstance(key, tuple):
            region = region & (self.ground_label == key[0])
        if region.any():
            y, x = (int(n) for n in np.argwhere(region)[0])
            return (
                f"{_shown(key)} is a region of the ground, not an object; make it one with lift_region, for instance at "
                f"x = {x}, y = {y}."
            )
        there = [f"{self.class_name(layer.key)} {tuple(layer.key)}" for layer in self.layers]
        more = f" and {len(there) - LISTED} more" if len(there) > LISTED else ""
        return f"There is no object {_shown(key)} in this layout; it has {', '.join(there[:LISTED]) or 'none'}{more}."


def _shown(key: Reference) -> str:
    return f"(class {key[0]}, id {key[1]})" if isinstance(key, tuple) else f"with id {key}"


@lru_cache(maxsize=4)  # a history of layouts must not keep all their pictures
def _flattened(layout: Layout) -> tuple[Map, Map]:
    """Label and instance map: the ground with the objects painted over it from back to front."""
    label, instance = layout.ground_label.copy(), layout.ground_instance.copy()
    for layer in layout.layers:
        window, cells = layer.mask.within(*layout.shape)
        label[window][cells] = layer.key.class_index
        instance[window][cells] = layer.written_id
    return _frozen(label, instance)


def _frozen(*arrays: Map) -> tuple[Map, Map]:
    for array in arrays:
        array.setflags(write=False)
    first, second = arrays
    return first, second


def _integers(values: npt.ArrayLike, what: str) -> npt.NDArray[np.integer]:
    array = np.asarray(values)
    if array.ndim != 2 or not array.size or not np.issubdtype(array.dtype, np.integer):
        raise LabelError(f"The {what} is (H, W) integers; {array.dtype} of shape {array.shape} came.")
    return array


def _ids(instance: npt.ArrayLike, shape: tuple[int, ...]) -> Map:
    ids = _integers(instance, "instance map")
    if ids.shape != shape:
        raise LabelError(f"The instance map has shape {ids.shape}, the label map {shape}: they must be equal.")
    if ids.min() < IDS.min or ids.max() > IDS.max:
        raise LabelError(
            f"The instance map holds ids {ids.min()}..{ids.max()}; allowed are {IDS.min}..{IDS.max}. Number the objects anew."
        )
    return ids.astype(np.int32)
