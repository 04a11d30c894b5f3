"""Label spaces, and the pure functions between label maps, instance maps, colours and network input.

Inside gesso a label map holds class **indices** 0..C-1 in the order of its label space, and C where a pixel is ignored.
File values (Cityscapes' 7 for road, 255 for "no class") are met by `LabelSpace.to_indices` and `to_values` alone.

An instance is (class at its pixels, id): two objects of different classes may carry the same id.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from scipy import ndimage
from torch import Tensor

from gesso.errors import LabelError

Colour = tuple[int, int, int]
IntArray = npt.NDArray[np.integer[Any]]
ByteArray = npt.NDArray[np.uint8]

IGNORED_COLOUR: Colour = (0, 0, 0)
FILE_VALUES = (-1, 65535)  # what an 8- or 16-bit file can hold, and Cityscapes' -1


class LabelClass(BaseModel):
    """One class of a label space.

    Attributes:
        name: What the class is called, unique in its space.
        values: The integers that stand for it in label files; several where a dataset's classes are merged.
        colour: (red, green, blue), each 0..255, unique in its space.
        thing: Whether it is countable, so that touching objects are told apart by an instance map.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    values: tuple[int, ...] = Field(min_length=1)
    colour: Colour
    thing: bool = False


class LabelSpace(BaseModel):
    """The named classes of a dataset, in the order of their class indices.

    Attributes:
        name: Short name, as in `--space cityscapes`.
        classes: The classes; position = class index.
        ignore: File values that mean "no class here"; such pixels get index `len(space)`.
        source: Where names, values and colours were taken from.

    Raises:
        LabelError: From `load` and `parse`, when names, colours or file values repeat or are out of range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    classes: tuple[LabelClass, ...] = Field(min_length=1)
    ignore: tuple[int, ...] = ()
    source: str = ""

    @model_validator(mode="after")
    def _check(self) -> LabelSpace:
        _refuse_repeats("class name", [c.name for c in self.classes])
        _refuse_repeats("colour", [c.colour for c in self.classes])
        values = [v for c in self.classes for v in c.values] + list(self.ignore)
        _refuse_repeats("file value", values)
        low, high = FILE_VALUES
        if outside := [v for v in values if not low <= v <= high]:
            raise ValueError(f"file values {outside} are outside {low}..{high}")
        if wrong := [c.name for c in self.classes if not all(0 <= part <= 255 for part in c.colour)]:
            raise ValueError(f"colours of {wrong} have parts outside 0..255")
        return self

    @staticmethod
    def parse(document: Any, origin: str = "label space") -> LabelSpace:
        """Build a label space from the content of a `labels.json`; `origin` is named in errors."""
        try:
            return LabelSpace.model_validate(document)
        except ValidationError as error:
            lines = (f"{'.'.join(map(str, e['loc'])) or 'space'}: {e['msg']}" for e in error.errors())
            raise LabelError(
                f"{origin} is not a valid label space: {'; '.join(lines)}. It needs name, classes "
                "(each: name, values, colour, thing) and optionally ignore and source."
            ) from None

    @staticmethod
    def load(path: str | Path) -> LabelSpace:
        """Read a label space from JSON.

        Raises:
            LabelError: The file is missing, is not JSON, or is not a label space.
        """
        path = Path(path)
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise LabelError(f"Cannot read the label space {path}: {error.strerror}.") from None
        except ValueError as error:
            raise LabelError(f"{path} is not JSON ({error}); expected a label space such as labels.json.") from None
        return LabelSpace.parse(document, str(path))

    def save(self, path: str | Path) -> None:
        """Write the label space as JSON, one class per line."""
        rows = ",\n    ".join(c.model_dump_json() for c in self.classes)
        Path(path).write_text(
            f'{{\n  "name": {json.dumps(self.name)},\n  "source": {json.dumps(self.source, ensure_ascii=False)},\n'
            f'  "ignore": {json.dumps(list(self.ignore))},\n  "classes": [\n    {rows}\n  ]\n}}\n',
            encoding="utf-8",
        )

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Class names in the order of their indices."""
        return tuple(c.name for c in self.classes)

    @property
    def things(self) -> tuple[int, ...]:
        """Indices of the countable classes."""
        return tuple(i for i, c in enumerate(self.classes) if c.thing)

    @property
    def colours(self) -> ByteArray:
        """(C + 1, 3) uint8: one colour per index, the last for ignored pixels."""
        return np.array([c.colour for c in self.classes] + [IGNORED_COLOUR], dtype=np.uint8)

    def index(self, name: str) -> int:
        """Index of a class by name.

        Raises:
            LabelError: No class has that name.
        """
        if name not in self.names:
            raise LabelError(f"There is no class {name!r} in {self.name}; its classes are {', '.join(self.names)}.")
        return self.names.index(name)

    def lookup(self, values: IntArray) -> npt.NDArray[np.int32]:
        """Like `to_indices`, but file values without a meaning become -1."""
        table = _index_of_value(self)
        inside = (values >= FILE_VALUES[0]) & (values <= FILE_VALUES[1])
        if values.dtype == np.uint8:
            return table[1:257][values]
        return np.where(inside, table[np.where(inside, values, -1).astype(np.int64) + 1], -1).astype(np.int32)

    def to_indices(self, values: IntArray, origin: str = "label map") -> npt.NDArray[np.int32]:
        """Turn the values of a label file, (H, W), into class indices; ignored pixels become `len(self)`.

        Raises:
            LabelError: A value has no class and is not ignored; the message gives value, count and first pixel. Or the
                array is not (H, W), as when a colour-coded picture was read.
        """
        if values.ndim != 2:
            raise LabelError(
                f"{origin} has shape {values.shape}; a label map is (H, W), one integer per pixel. Turn a colour-coded "
                "map into class indices first (labels.indices_from_colours)."
            )
        indices = self.lookup(values)
        if (indices < 0).any():
            unknown = indices < 0
            y, x = (int(v) for v in np.argwhere(unknown)[0])
            found, counts = np.unique(values[unknown], return_counts=True)
            listed = ", ".join(f"{v} ({n} pixels)" for v, n in list(zip(found, counts, strict=True))[:8])
            raise LabelError(
                f"{origin} holds values that {self.name} ({len(self)} classes) does not know: {listed}; the first at "
                f"row {y}, column {x}. Allowed: {summarise(v for c in self.classes for v in c.values)}; ignored: "
                f"{summarise(self.ignore)}. Mend the file, or add the value to `values` or `ignore` of the label space."
            )
        return indices

    def to_values(self, indices: IntArray) -> npt.NDArray[np.int32]:
        """Turn class indices into file values (the first of each class; the first ignored value, or 255).

        Raises:
            LabelError: There are ignored pixels, but the space ignores no value and 255 is one of its classes.
        """
        if not self.ignore and _index_of_value(self)[255 + 1] >= 0 and (indices == len(self)).any():
            raise LabelError(
                f"{self.name} has no file value for ignored pixels: 255 is {self.names[_index_of_value(self)[255 + 1]]!r}. "
                "Add a value to `ignore` of the label space, or paint those pixels."
            )
        firsts = [c.values[0] for c in self.classes] + [self.ignore[0] if self.ignore else 255]
        return np.array(firsts, dtype=np.int32)[indices]


@lru_cache(maxsize=32)
def _index_of_value(space: LabelSpace) -> npt.NDArray[np.int32]:
    """Table from file value + 1 to class index; -1 where a value has no meaning."""
    table = np.full(FILE_VALUES[1] + 2, -1, dtype=np.int32)
    for index, label_class in enumerate(space.classes):
        table[np.asarray(label_class.values) + 1] = index
    table[np.asarray(space.ignore, dtype=np.int64) + 1] = len(space)
    return table


def _refuse_repeats(what: str, items: list[Any]) -> None:
    if repeated := sorted({i for i in items if items.count(i) > 1}):
        raise ValueError(f"each {what} must be unique, but these repeat: {repeated}")


def summarise(values: Iterable[int]) -> str:
    """Integers as ranges: [0, 1, 2, 7] -> '0..2, 7'; 'none' when there are none."""
    runs: list[list[int]] = []
    for value in sorted(set(values)):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(f"{a}" if a == b else f"{a}..{b}" for a, b in runs) or "none"


# ------------------------------------------------------------------------------------------------ layouts to tensors


def one_hot(label: Tensor, classes: int, dont_care: bool = False) -> Tensor:
    """One channel per class, and one for ignored pixels where asked.

    Args:
        label: (B, H, W) class indices; `classes` where ignored.
        classes: How many classes the label space has.
        dont_care: Whether ignored pixels get a channel of their own (the last); without it they are zero everywhere.

    Returns:
        (B, classes [+ 1], H, W) float32 of zeros and ones.
    """
    planes = torch.zeros(label.shape[0], classes + 1, *label.shape[1:], device=label.device)
    planes.scatter_(1, label.long().unsqueeze(1), 1.0)
    return planes if dont_care else planes[:, :classes]


def boundaries(instance: Tensor) -> Tensor:
    """Instance boundary map: 1 where a pixel's id differs from any of its 4 neighbours' (pix2pixHD, section 3.3).

    Both sides of a boundary are marked; the border of the picture is not one.

    Args:
        instance: (B, H, W) integer object ids.

    Returns:
        (B, 1, H, W) float32 of zeros and ones.
    """
    edge = torch.zeros_like(instance, dtype=torch.bool)
    across = instance[:, :, 1:] != instance[:, :, :-1]
    down = instance[:, 1:, :] != instance[:, :-1, :]
    edge[:, :, 1:] |= across
    edge[:, :, :-1] |= across
    edge[:, 1:, :] |= down
    edge[:, :-1, :] |= down
    return edge.unsqueeze(1).float()


def instance_keys(label: Tensor, instance: Tensor) -> Tensor:
    """One integer per (class, id), so that equal ids in different classes stay different objects; int64, same shape."""
    return (label.long() << 40) + instance.long()


def encode(
    label: Tensor, instance: Tensor | None, *, classes: int, dont_care: bool = False, boundary: bool = False
) -> Tensor:
    """Semantics, the tensor a network sees: one-hot labels (+ don't-care channel) (+ instance boundary channel).

    Args:
        label: (B, H, W) class indices; `classes` where ignored.
        instance: (B, H, W) object ids; needed when `boundary` is asked for.
        classes: How many classes the label space has.
        dont_care: Whether ignored pixels get a channel.
        boundary: Whether the instance boundary map is appended.

    Returns:
        (B, C, H, W) float32.
    """
    return _bounded(one_hot(label, classes, dont_care), label, instance, boundary)


def _bounded(planes: Tensor, label: Tensor, instance: Tensor | None, boundary: bool) -> Tensor:
    if not boundary:
        return planes.contiguous()
    assert instance is not None, "a boundary channel needs an instance map"
    return torch.cat([planes, boundaries(instance_keys(label, instance))], dim=1)


class Semantics(BaseModel):
    """What a network's input is made of; travels in the model file.

    Attributes:
        classes: Classes of the label space; 0 when the input is a picture instead of a label map.
        dont_care: Whether ignored pixels have a channel of their own.
        boundary: Whether the instance boundary map is a channel.
        source_channels: Channels of the input picture in photo-to-photo tasks; 0 with label maps.
        colours: Where the network sees the label map as a picture (as in pix2pix's A|B files) instead of a channel per class:
            the colour of each class, and last that of ignored pixels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: int = Field(0, ge=0)
    dont_care: bool = False
    boundary: bool = False
    source_channels: int = Field(0, ge=0)
    colours: tuple[Colour, ...] = Field((), repr=False)

    @model_validator(mode="after")
    def _check(self) -> Semantics:
        if self.colours and (len(self.colours) != self.classes + 1 or self.dont_care):
            raise ValueError("colours are one per class and one of ignored pixels, which have no channel beside them")
        return self

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in write(self).items() if key != "colours" or value}

    @property
    def channels(self) -> int:
        """Channels of the semantics."""
        return self.source_channels or (3 if self.colours else self.classes + self.dont_care) + self.boundary

    def encode(self, batch: Mapping[str, Any]) -> Tensor:
        """Semantics (B, channels, H, W) of a batch with `label` and `instance` (B, H, W), or with `source` (B, N, H, W)."""
        if self.source_channels:
            source: Tensor = batch["source"]
            return source
        label, instance = batch["label"], batch.get("instance")
        if not self.colours:
            return encode(label, instance, classes=self.classes, dont_care=self.dont_care, boundary=self.boundary)
        table = torch.tensor(self.colours, device=label.device).float().div_(255).sub_(0.5).div_(0.5)
        return _bounded(table[label.long()].movedim(-1, 1), label, instance, self.boundary)


# ---------------------------------------------------------------------------------------------- instances and colours


def components(label: IntArray, space: LabelSpace) -> npt.NDArray[np.int32]:
    """Instances from connected components (4-neighbours) of the countable classes, and one region per other class.

    Args:
        label: (H, W) class indices.
        space: Says which classes are countable.

    Returns:
        (H, W) int32: class * 1000 + k with k from 1 in reading order for countable classes, the class index elsewhere.
    """
    instance = label.astype(np.int32)
    for index in space.things:
        mask = label == index
        if mask.any():
            numbered, _ = ndimage.label(mask)
            instance = np.where(mask, index * 1000 + numbered, instance)
    return instance.astype(np.int32)


def colourise(label: IntArray, space: LabelSpace) -> ByteArray:
    """(H, W) class indices -> (H, W, 3) uint8 in the colours of the space; ignored pixels are black."""
    return space.colours[label]


@dataclass(frozen=True)
class ColourReport:
    """What snapping a colour-coded map to a label space did.

    Attributes:
        exact: Pixels whose colour is in the table.
        snapped: Pixels moved to the nearest colour within the tolerance.
        unknown: Pixels beyond the tolerance, left as ignored.
        worst: The unknown colours with their pixel counts, most frequent first (at most 8).
    """

    exact: int
    snapped: int
    unknown: int
    worst: tuple[tuple[Colour, int], ...]


def indices_from_colours(
    colours: ByteArray, space: LabelSpace, tolerance: float = 0.0
) -> tuple[npt.NDArray[np.int32], ColourReport]:
    """Class indices from a colour-coded map, by the nearest colour of the space.

    Black counts as ignored when no class is black. Distances are Euclidean in RGB.

    Args:
        colours: (H, W, 3) uint8.
        space: Its colours are the table.
        tolerance: How far a colour may lie from its class's colour, 0..442; 0 accepts exact colours only.

    Returns:
        (H, W) int32 class indices, `len(space)` where no colour is near enough; and a report.
    """
    packed = (colours.astype(np.uint32) << np.array([16, 8, 0], dtype=np.uint32)).sum(-1)
    found, inverse, counts = np.unique(packed, return_inverse=True, return_counts=True)
    rgb = np.stack([found >> 16 & 255, found >> 8 & 255, found & 255], axis=-1).astype(np.float64)
    nearest, gap = _nearest(rgb, space.colours.astype(np.float64))  # of equals the first: a black class before ignored
    indices = np.where(gap <= tolerance, nearest, len(space)).astype(np.int32)
    beyond = np.flatnonzero(gap > tolerance)
    worst = sorted(beyond, key=lambda i: -counts[i])[:8]
    report = ColourReport(
        exact=int(counts[gap == 0].sum()),
        snapped=int(counts[(gap > 0) & (gap <= tolerance)].sum()),
        unknown=int(counts[beyond].sum()),
        worst=tuple(((int(rgb[i, 0]), int(rgb[i, 1]), int(rgb[i, 2])), int(counts[i])) for i in worst),
    )
    return indices[inverse.reshape(packed.shape)], report


def _nearest(
    rgb: npt.NDArray[np.float64], table: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Nearest row of the table to each of the (N, 3) colours (the first of equals), and its distance."""
    nearest, gap = np.empty(len(rgb), dtype=np.intp), np.empty(len(rgb))
    # in slices, because a JPEG of a colour-coded map holds hundreds of thousands of colours
    for part in (slice(start, start + 2**14) for start in range(0, len(rgb), 2**14)):
        squared = (rgb[part] ** 2).sum(-1, keepdims=True) - 2 * rgb[part] @ table.T + (table**2).sum(-1)
        nearest[part], gap[part] = squared.argmin(1), np.sqrt(squared.min(1))
    return nearest, gap


def indices_from_palette(
    values: ByteArray, palette: ByteArray, space: LabelSpace, tolerance: float = 0.0
) -> tuple[npt.NDArray[np.int32], ColourReport]:
    """Class indices from a palette image whose palette holds the space's colours in an order of its own.

    Args:
        values: (H, W) palette positions.
        palette: (N, 3) uint8.
        space: Its colours are the table.
        tolerance: As in `indices_from_colours`.
    """
    return indices_from_colours(palette[values], space, tolerance)
