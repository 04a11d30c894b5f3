"""Photographs to edge maps: Canny's detector (IEEE PAMI 8(6), 1986), with thresholds that mean the same at every smoothing."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
from skimage.color import rgb2gray
from skimage.feature import canny
from skimage.morphology import skeletonize

from gesso.errors import ConfigError
from gesso.labels import ByteArray

SIGMA, LOW, HIGH = 1.4, 0.04, 0.1
LARGEST_SIGMA = 100.0
_SOBEL = 4.0  # the sum of one side of the detector's gradient filter: 1 + 2 + 1

Edges = npt.NDArray[np.bool_]


def find_edges(photograph: ByteArray, *, sigma: float = SIGMA, low: float = LOW, high: float = HIGH) -> Edges:
    """Lines, one pixel wide, where the brightness of a photograph changes: (H, W, 3) uint8 -> (H, W) bool.

    Args:
        photograph: RGB; its luminance (Rec. 709) is what counts.
        sigma: Standard deviation in pixels of the Gaussian that smooths the photograph first; 0 for none.
        low: Where a line that has begun ends: contrast from 0 to 1. The contrast is that of the sharp straight border between
            two grays which would give this gradient after the smoothing; 1 is black against white.
        high: The contrast that a line reaches somewhere, or else it is left out.

    Raises:
        ConfigError: A setting is outside its range.
    """
    _check(sigma, low, high)
    unit = _sharp_response(sigma)
    gray = rgb2gray(photograph)
    lines = canny(gray, sigma, low * unit, high * unit, mode="nearest")  # type: ignore[no-untyped-call]
    # Where both sides of a border are equally steep, the detector marks both, or either as rounding has it.
    edges: Edges = skeletonize(lines)  # type: ignore[no-untyped-call]
    return edges


def edge_picture(edges: Edges, *, invert: bool = False) -> ByteArray:
    """Edges as a gray picture (H, W) uint8: 255 on 0, or 0 on 255, as drawn on paper, where inverted."""
    return np.where(edges != invert, np.uint8(255), np.uint8(0))


@functools.cache
def _sharp_response(sigma: float) -> float:
    """The largest gradient, in the detector's units, of a sharp straight border between black and white."""
    reach = round(4 * sigma) + 2  # the Gaussian is cut off at 4 sigma
    border = gaussian_filter(np.repeat([0.0, 1.0], reach), sigma, mode="nearest")
    return _SOBEL * float((border[2:] - border[:-2]).max())


def _check(sigma: float, low: float, high: float) -> None:
    if not 0 <= sigma <= LARGEST_SIGMA:
        raise ConfigError(f"--sigma {sigma:g}: the smoothing is 0 to {LARGEST_SIGMA:g} pixels; {SIGMA:g} is usual.")
    if not 0 < low <= high <= 1:
        raise ConfigError(
            f"--low {low:g} --high {high:g}: these are contrasts, above 0 and up to 1, and low is not above high; "
            f"{LOW:g} and {HIGH:g} are usual."
        )
