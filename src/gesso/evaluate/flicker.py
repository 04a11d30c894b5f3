"""Flicker: what changes in a sequence of photographs though the layout says that it is the same.

Each frame is compared with the one before, carried along by the motion of each object (`gesso.synthesis.motion`). Pixels count
where both frames show the same object or class, away from outlines; what was hidden, or is new, does not. Outlines tell motion
only roughly, and cameras are noisy, so that real photographs flicker too: hold figures against theirs, of the same layouts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from gesso.errors import DataError
from gesso.labels import LabelSpace
from gesso.pictures import Picture
from gesso.synthesis.motion import Motion, Sources, along, estimate, object_keys, sources

Integers = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.float32]

MARGIN = 1  # pixels from outlines that do not count
LEAST = 20  # pixels of an object whose mean colour counts


@dataclass(frozen=True)
class PairFlicker:
    """What changed from one frame to the next; shares of the range of gray values, 0..1, None where there are no such pixels.

    Attributes:
        all: Mean absolute difference along the motion, over pixels and channels.
        objects: Over the countable classes' pixels alone.
        background: Over all others.
        moving: Over the pixels of objects that move.
        colour: Mean over objects of how far their mean colour moved: the change of whole styles, whatever the texture does.
        compared: Share of the picture that could be compared.
    """

    all: float | None
    objects: float | None
    background: float | None
    moving: float | None
    colour: float | None
    compared: float


@dataclass(frozen=True)
class Flicker:
    """How much a sequence flickers: means over its pairs of frames, as `PairFlicker` says.

    Attributes:
        frames: How many.
        all: Of everything that could be compared.
        objects: Of countable classes.
        background: Of the others.
        moving: Of objects that move.
        colour: Of objects' mean colours.
        compared: Share of the pictures.
        contrast: Standard deviation of the pictures' gray values: flat pictures cannot flicker much.
        relative: `all` over `contrast`.
        pairs: From one frame to the next.
    """

    frames: int
    all: float | None
    objects: float | None
    background: float | None
    moving: float | None
    colour: float | None
    compared: float
    contrast: float
    relative: float | None
    pairs: tuple[PairFlicker, ...]

    def document(self) -> dict[str, Any]:
        """The same as JSON-able values, rounded to six digits."""
        return _rounded(asdict(self))


class FlickerMeter:
    """Measures a sequence as its frames come."""

    def __init__(self, space: LabelSpace) -> None:
        self.space = space
        self._last: tuple[Picture, Integers, Integers] | None = None
        self._pairs: list[PairFlicker] = []
        self._contrasts: list[float] = []

    def add(self, picture: Picture, label: Integers, instance: Integers, motion: Motion | None = None) -> None:
        """Take the next frame.

        Args:
            picture: (H, W, 3) uint8.
            label: (H, W) class indices.
            instance: (H, W) ids that last.
            motion: Since the frame before, where it is known; else it is estimated.

        Raises:
            DataError: Sizes differ, within the frame or from those before.
        """
        now = (picture, label, instance)
        shapes = {one.shape[:2] for frame in (now, self._last or ()) for one in frame}
        if len(shapes) > 1:
            sizes = " and ".join("x".join(map(str, shape)) for shape in sorted(shapes))
            raise DataError(f"Flicker is measured between pictures and layouts of one size; {sizes} came.")
        if self._last is not None:
            before = self._last
            motion = motion or estimate(before[1:], now[1:], self.space)
            keys = [object_keys(one[1], one[2], self.space) for one in (before, now)]
            where = sources(keys[0], keys[1], motion, MARGIN)
            self._pairs.append(_pair(before[0], now, where, keys[1], self.space))
        self._contrasts.append(float(picture.mean(-1).std()) / 255)
        self._last = now

    def result(self) -> Flicker:
        """What the frames so far give.

        Raises:
            DataError: Fewer than two came.
        """
        if not self._pairs:
            raise DataError("Flicker is measured between frames; at least two are needed.")
        names = ("all", "objects", "background", "moving", "colour")
        means = {name: _mean(getattr(pair, name) for pair in self._pairs) for name in names}
        contrast, compared = float(np.mean(self._contrasts)), float(np.mean([pair.compared for pair in self._pairs]))
        relative = None if means["all"] is None or not contrast else means["all"] / contrast
        pairs = tuple(self._pairs)
        return Flicker(len(pairs) + 1, **means, compared=compared, contrast=contrast, relative=relative, pairs=pairs)


def flicker(
    pictures: Iterable[Picture], labels: Iterable[Integers], instances: Iterable[Integers], space: LabelSpace
) -> Flicker:
    """How much a sequence flickers.

    Args:
        pictures: (H, W, 3) uint8 each.
        labels: (H, W) class indices each.
        instances: (H, W) ids that last: given ones, or as `gesso.synthesis.tracking` makes them.
        space: The classes.

    Raises:
        DataError: There are fewer than two frames, or their sizes differ.
    """
    meter = FlickerMeter(space)
    for frame in zip(pictures, labels, instances, strict=True):
        meter.add(*frame)
    return meter.result()


def _pair(
    before: Picture, now: tuple[Picture, Integers, Integers], where: Sources, keys: Integers, space: LabelSpace
) -> PairFlicker:
    carried = along(before, where)
    gap = np.abs(now[0] - carried).mean(-1) / 255
    things = np.isin(now[1], space.things)
    return PairFlicker(
        _over(gap, where.seen),
        _over(gap, where.seen & things),
        _over(gap, where.seen & ~things),
        _over(gap, where.seen & where.moving),
        _colour(now[0] - carried, keys, where.seen & things),
        float(where.seen.mean()),
    )


def _over(gap: Floats, mask: npt.NDArray[np.bool_]) -> float | None:
    return float(gap[mask].mean()) if mask.any() else None


def _colour(difference: Floats, keys: Integers, mask: npt.NDArray[np.bool_]) -> float | None:
    """How far the mean colours of objects moved, on average over them."""
    objects, places, pixels = np.unique(keys[mask], return_inverse=True, return_counts=True)
    large = np.flatnonzero(pixels >= LEAST)
    if not len(large):
        return None
    channels = np.moveaxis(difference[mask] / 255, -1, 0)
    means = [ndimage.mean(channel, places, np.arange(len(objects))) for channel in channels]
    return float(np.abs(np.stack(means)[:, large]).mean())


def _mean(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value
