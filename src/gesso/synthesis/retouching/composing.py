"""What changed, composed back into the photograph; everything else stays the photograph's own bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from gesso.labels import ByteArray
from gesso.synthesis.retouching.membrane import membrane
from gesso.synthesis.retouching.sizes import Floats, Map, Size, Window, resized, resized_floats, resized_map

Bools = npt.NDArray[np.bool_]

MARGIN = 0.06  # of the photograph's height: outlines are not found to the pixel, and objects cast shadows
REACH = 0.15  # of the working height: how far the colours at the border matter inside
TRUSTED = 15.0  # of 255: what the border's colours lack beyond what is expected; more than that is no colour but another thing


@dataclass(frozen=True)
class Patch:
    """What is put into a photograph, at the size that the model works at.

    Attributes:
        generated: (h, w, 3) uint8: the model's picture of the edited layout.
        changed: (h, w): the pixels that were edited.
        restyled: (h, w): those of them at which the same thing is to look otherwise.
        kept: (h, w): pixels of objects that stay as they are, even beside edited ones.
        regions: (h, w) int32: the objects of the edited layout, each by a number of its own.
        expected: (h, w, 3) float32: what the model's colours are known to lack.
    """

    generated: ByteArray
    changed: Bools
    restyled: Bools
    kept: Bools
    regions: Map
    expected: Floats


def compose(photograph: ByteArray, patch: Patch, margin: int) -> tuple[ByteArray, Bools]:
    """A photograph with a patch.

    The patch is the edited region grown by the margin. Its colours are corrected at the model's size so that they meet the
    photograph's at the border (`membrane`); within the margin it fades into the photograph at the photograph's size, so that no
    edge is left where sharp pixels meet generated ones.

    Args:
        photograph: (H, W, 3) uint8.
        patch: What to put in.
        margin: Pixels of the photograph.

    Returns:
        The picture (H, W, 3) uint8, and where (H, W) it may differ from the photograph; elsewhere it is the same to the byte.
    """
    size: Size = (photograph.shape[0], photograph.shape[1])
    picture, touched = photograph.copy(), np.zeros(size, dtype=bool)
    share, window = _opacity_around(patch, size, margin)
    if not share.size:
        return picture, touched
    own = photograph[window]
    corrected = resized(patch.generated, size, window) + resized_floats(
        correction(photograph, patch, margin), size, window
    )
    mixed = share[..., None] * corrected + (1 - share[..., None]) * own
    touched[window] = share > 0
    picture[window] = np.where(share[..., None] > 0, np.clip(np.rint(mixed), 0, 255).astype(np.uint8), own)
    return picture, touched


def opacity(patch: Patch, size: Size, margin: int) -> Floats:
    """How much of the patch is seen at each pixel of the photograph, 0..1.

    Where another thing is to be seen: 1 in the edited region and the inner half of its margin, falling to 0 where the margin
    ends; objects that stay give way by a rim of a third of the margin, as outlines are no steps in photographs. Where the same
    thing is to look otherwise, nothing around it is touched: what the photograph shows fades out inwards.

    Returns:
        (H, W) float32.
    """
    whole = np.zeros(size, dtype=np.float32)
    share, window = _opacity_around(patch, size, margin)
    whole[window] = share
    return whole


def _opacity_around(patch: Patch, size: Size, margin: int) -> tuple[Floats, Window]:
    """As `opacity`, for the part of the photograph beyond which nothing is seen of the patch; and which part that is."""
    changed = resized_map(patch.changed, size).astype(bool)
    window = _around(changed, margin + 1)
    changed = changed[window]
    if not margin or not changed.size:
        return changed.astype(np.float32), window
    restyled = resized_map(patch.restyled, size)[window].astype(bool)
    other = changed & ~restyled
    away = np.asarray(ndimage.distance_transform_edt(~other)) if other.any() else np.full(other.shape, np.inf)
    kept = resized_floats(patch.kept.astype(np.float32), size, window)
    outwards = (1 - kept) * _smooth(2 * (1 - away / (margin + 1))) + kept * _smooth(1 - away / (margin / 3 + 1))
    inwards = restyled * _smooth(np.asarray(ndimage.distance_transform_edt(changed)) / (margin / 2 + 1))
    return np.where(other, 1, np.maximum(outwards, inwards)).astype(np.float32), window


def _around(cells: Bools, margin: int) -> Window:
    """The part of a photograph that holds some cells and so many pixels around them: large photographs have small edits."""
    spans = [np.flatnonzero(cells.any(axis)) for axis in (1, 0)]
    if not spans[0].size:
        return slice(0, 0), slice(0, 0)
    rows, columns = (slice(max(0, int(span[0]) - margin), int(span[-1]) + 1 + margin) for span in spans)
    return slice(rows.start, min(rows.stop, cells.shape[0])), slice(columns.start, min(columns.stop, cells.shape[1]))


def _smooth(ramp: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """0 below 0, 1 above 1, and between them without corners."""
    ramp = np.clip(ramp, 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp))


def correction(photograph: ByteArray, patch: Patch, margin: int) -> Floats:
    """(h, w, 3) float32: what is added to the generated colours, at the size that the model works at."""
    high, wide = patch.changed.shape
    scale = max(high / photograph.shape[0], wide / photograph.shape[1])
    grown = _grown(patch.changed & ~patch.restyled, max(1, round(margin * scale))) & ~patch.kept | patch.changed
    missing = resized(photograph, (high, wide)).astype(np.float32) - patch.generated
    unexpected = np.clip(missing - patch.expected, -TRUSTED, TRUSTED)
    return patch.expected + membrane(grown, patch.regions, unexpected, REACH * high)


def _grown(cells: Bools, pixels: int) -> Bools:
    if not cells.any():
        return cells
    return np.asarray(ndimage.distance_transform_edt(~cells) <= pixels)
