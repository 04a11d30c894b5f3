"""How strongly textures repeat: what pix2pixHD's section 3.2 says of a single discriminator, as a number.

In windows of a picture the autocorrelation of its fine detail is taken. A pattern that repeats has peaks there away from the
origin: isolated ones, where edges and poles only have a ridge that leads to the origin. So a peak counts by how far it rises over
the highest pass on the way from the origin, less what chance alone would give.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.ndimage import gaussian_filter
from skimage.morphology import reconstruction

from gesso.errors import DataError

Floats = npt.NDArray[np.float64]
WINDOW = 64  # pixels; patterns are found that repeat within half of it
MOST = 16  # windows of a picture, evenly spread: more would cost more than segmenting it
SMALLEST = 16
DETAIL = 4.0  # pixels: sigma of the blur that is taken away
FAINT = 2.0  # of 255: detail of less contrast than this counts as none, as rounding of smooth shades makes steps that repeat
CHANCE = 4.5  # standard deviations that the highest of some thousand values of noise has
LUMINANCE = (0.299, 0.587, 0.114)


def repetition(pictures: npt.NDArray[np.uint8]) -> Floats:
    """How strongly the textures of each picture repeat: 0 for noise, edges and smooth shades, near 1 for tiles.

    Args:
        pictures: (B, H, W, 3) uint8, 16 pixels or more on each side.

    Returns:
        (B,) in [0, 1]: the mean over all windows of the highest peak away from the origin.

    Raises:
        DataError: The pictures are of another form, or too small.
    """
    if pictures.ndim != 4 or pictures.shape[-1] != 3 or min(pictures.shape[1:3]) < SMALLEST:
        raise DataError(
            f"Repeated patterns are looked for in pictures (B, H, W, 3) of {SMALLEST} pixels or more on each side; these are "
            f"{tuple(pictures.shape)}."
        )
    return np.array([_of_one(picture @ np.array(LUMINANCE)) for picture in pictures])


def _of_one(luminance: Floats) -> float:
    """(H, W) in 0..255 -> the mean over windows."""
    detail = luminance - gaussian_filter(luminance, DETAIL, mode="reflect")
    side = min(WINDOW, *detail.shape)
    tops, lefts = (_starts(length, side) for length in detail.shape)
    corners = [(top, left) for top in tops for left in lefts]
    taken = np.unique(np.linspace(0, len(corners) - 1, MOST).round().astype(int))
    windows = np.stack([detail[top : top + side, left : left + side] for top, left in (corners[i] for i in taken)])
    return float(np.mean([_highest_peak(window) for window in _autocorrelation(windows)]))


def _starts(length: int, side: int) -> list[int]:
    """Where windows begin, so that all of a length is covered and none stands over."""
    count = -(-length // side)
    return [round(i * (length - side) / max(count - 1, 1)) for i in range(count)]


def _autocorrelation(windows: Floats) -> Floats:
    """(N, S, S) -> (N, S + 1, S + 1): correlation of a window with itself shifted by -S/2..S/2, where both overlap.

    From each the value is taken off that uncorrelated noise would reach somewhere.
    """
    side = windows.shape[-1]
    padded = (2 * side, 2 * side)
    lags = np.arange(-(side // 2), side // 2 + 1)
    spectrum = fft.rfft2(windows, padded)
    ones = fft.rfft2(np.ones((side, side)), padded)
    products = fft.irfft2(np.abs(spectrum) ** 2, padded)
    energy = fft.irfft2(fft.rfft2(windows**2, padded) * ones.conj(), padded)  # of the overlapping part
    overlap = fft.irfft2(np.abs(ones) ** 2, padded)[np.ix_(lags, lags)]  # pixels
    here, there = (energy[:, sign * lags[:, None], sign * lags[None, :]] for sign in (1, -1))
    faint = FAINT**2 * overlap
    found = products[:, lags[:, None], lags[None, :]] / np.sqrt((here + faint) * (there + faint))
    centre = side // 2
    chance = CHANCE / np.sqrt(overlap)
    chance[centre, centre] = 0.0
    return found - chance


def _highest_peak(values: Floats) -> float:
    """(S + 1, S + 1) with the origin in the middle -> how far the best other peak rises over the way to it, at least 0."""
    centre = len(values) // 2
    seed = np.full_like(values, values.min())
    seed[centre, centre] = values[centre, centre]
    # At each point the lowest point of the best way there from the origin.
    passes = reconstruction(seed, values, method="dilation")  # type: ignore[no-untyped-call]
    return float(np.clip(values - np.maximum(passes, 0.0), 0.0, 1.0).max())
