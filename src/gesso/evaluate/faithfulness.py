"""Faithfulness: where a result, segmented again, does not show what its layout says; per object, and along object boundaries.

The band around instance boundaries is where pixels of two objects meet: what boundary maps are for (pix2pixHD, section 3.3). A
segmenter errs too, most of all there: read these numbers beside those of real photographs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from gesso.errors import LabelError
from gesso.evaluate.segmentation import check_maps
from gesso.labels import ByteArray, IntArray, LabelSpace, boundaries, components, instance_keys

Mask = npt.NDArray[np.bool_]
WRONG = (230, 0, 126)  # seen by colour-blind people too, and rare in photographs
DIMMED = 0.45  # brightness of the gray picture behind it


@dataclass(frozen=True)
class ObjectScore:
    """One object of a layout.

    Attributes:
        class_index: Of the object.
        id: Of the object, from the instance map or from connected components.
        area: Pixels.
        agreement: Share of them in which its class was found, 0..1.
        box: Left, top, right, bottom (the last two exclusive), in pixels.
    """

    class_index: int
    id: int
    area: int
    agreement: float
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class Faithfulness:
    """One result beside its layout.

    Attributes:
        wrong: (H, W), where another class was found than the layout says; never where it is ignored.
        band: (H, W), the pixels near an instance boundary; never where the layout is ignored.
        objects: The countable objects, the worst first.
        counts: (4, C) int64: pixels of each class of the layout, those found right, and both inside the band.
    """

    wrong: Mask
    band: Mask
    objects: tuple[ObjectScore, ...]
    counts: npt.NDArray[np.int64]


def faithfulness(
    label: IntArray, found: IntArray, space: LabelSpace, instance: IntArray | None = None, radius: float = 3.0
) -> Faithfulness:
    """Compare a layout with what a segmenter found in its result.

    Args:
        label: (H, W) class indices; C where ignored.
        found: (H, W) class indices; C where nothing that the label space knows was found.
        space: The label space.
        instance: (H, W) object ids; connected components of the countable classes if None.
        radius: Half the width of the band, in pixels.

    Raises:
        LabelError: The maps differ in size, or hold classes that the space does not have.
    """
    check_maps(label, found, len(space), "the result")
    if instance is not None and instance.shape != label.shape:
        raise LabelError(
            f"The layout is {label.shape}, its instance map {instance.shape} (height, width): they must be of one size."
        )
    instance = components(label, space) if instance is None else instance
    counted = label < len(space)
    wrong, band = counted & (label != found), counted & boundary_band(label, instance, radius)
    return Faithfulness(wrong, band, _objects(label, instance, wrong, space), _count(label, wrong, band, len(space)))


def boundary_band(label: IntArray, instance: IntArray, radius: float) -> Mask:
    """(H, W): the pixels at most `radius` pixels from an instance boundary; the boundary pixels themselves for 0."""
    keys = instance_keys(torch.from_numpy(label.astype(np.int64)), torch.from_numpy(instance.astype(np.int64)))
    edge = boundaries(keys.unsqueeze(0))[0, 0].numpy() > 0
    if not edge.any():
        return edge
    return np.asarray(ndimage.distance_transform_edt(~edge) <= radius)


def _objects(label: IntArray, instance: IntArray, wrong: Mask, space: LabelSpace) -> tuple[ObjectScore, ...]:
    things = np.isin(label, space.things)
    keys = np.where(things, (label.astype(np.int64) << 40) + instance.astype(np.int64), -1)
    found, numbers = np.unique(keys, return_inverse=True)
    numbers = numbers.reshape(keys.shape)
    areas, errors = np.bincount(numbers.ravel()), np.bincount(numbers.ravel(), weights=wrong.ravel())
    scores = []
    for number, box in enumerate(ndimage.find_objects(numbers + 1)):
        if found[number] < 0:
            continue
        y, x = (int(v) for v in np.argwhere(numbers[box] == number)[0])
        first = (box[0].start + y, box[1].start + x)
        agreement = 1 - errors[number] / areas[number]
        corners = (box[1].start, box[0].start, box[1].stop, box[0].stop)
        scores.append(
            ObjectScore(int(label[first]), int(instance[first]), int(areas[number]), float(agreement), corners)
        )
    return tuple(sorted(scores, key=lambda score: (score.agreement, -score.area)))


def _count(label: IntArray, wrong: Mask, band: Mask, classes: int) -> npt.NDArray[np.int64]:
    counted = label < classes
    chosen = (counted, counted & ~wrong, band, band & ~wrong)
    return np.stack([np.bincount(label[where], minlength=classes) for where in chosen]).astype(np.int64)


def faithfulness_picture(image: ByteArray, wrong: Mask, strength: float = 1.0) -> ByteArray:
    """The result in gray and dimmed, with pixels that disagree in magenta.

    Args:
        image: (H, W, 3) uint8, the result.
        wrong: (H, W), from `Faithfulness`.
        strength: How opaque the magenta is, 0..1.

    Returns:
        (H, W, 3) uint8.

    Raises:
        LabelError: Picture and map differ in size.
    """
    if image.shape != (*wrong.shape, 3):
        raise LabelError(
            f"The result has shape {image.shape}; with a map of {wrong.shape} it must be {(*wrong.shape, 3)}."
        )
    gray = (image @ np.array([0.299, 0.587, 0.114]))[..., None] * DIMMED
    opacity = wrong[..., None] * strength
    return np.asarray(np.rint(gray * (1 - opacity) + np.array(WRONG) * opacity), dtype=np.uint8)


@dataclass(frozen=True)
class ClassFaithfulness:
    """One class over all pictures; shares 0..1, None where there is nothing to count.

    Attributes:
        name: The class.
        pixels: Of the layouts.
        agreement: Share of them in which the class was found.
        band_pixels: Those near an instance boundary.
        band_agreement: The share among those.
        objects: Countable objects of the class.
        object_agreement: Mean share over these objects, each counting the same however small.
    """

    name: str
    pixels: int
    agreement: float | None
    band_pixels: int
    band_agreement: float | None
    objects: int
    object_agreement: float | None


class FaithfulnessTally:
    """Numbers per class over any number of pictures, in the memory of their objects' scores.

    Args:
        names: Of the classes.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._counts = np.zeros((4, len(names)), dtype=np.int64)
        self._objects: list[list[float]] = [[] for _ in names]

    def update(self, measured: Faithfulness) -> None:
        """Count one picture."""
        self._counts += measured.counts
        for score in measured.objects:
            self._objects[score.class_index].append(score.agreement)

    def classes(self) -> tuple[ClassFaithfulness, ...]:
        """One row per class."""
        return tuple(self._row(name, self._counts[:, c], self._objects[c]) for c, name in enumerate(self._names))

    def total(self) -> ClassFaithfulness:
        """All classes together, under the name "all"; every pixel and every object counts the same."""
        return self._row("all", self._counts.sum(1), [score for scores in self._objects for score in scores])

    @staticmethod
    def _row(name: str, counts: npt.NDArray[np.int64], objects: Sequence[float]) -> ClassFaithfulness:
        pixels, right, near, near_right = counts.tolist()
        return ClassFaithfulness(
            name,
            pixels,
            _share(right, pixels),
            near,
            _share(near_right, near),
            len(objects),
            _share(sum(objects), len(objects)),
        )


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None
