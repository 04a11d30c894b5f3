"""How strongly textures repeat: what pix2pixHD's section 3.2 says of a single discriminator, as a number.

A pattern that repeats is a few sharp peaks in the spectrum of a window. All else is smooth there: blur and sharpening change the
spectrum slowly from one frequency to the next, edges and poles of any shape are lines through its middle, and noise scatters
around its mean as an exponential distribution does. So the spectrum is divided by what it is around each frequency, and by what
it is along the line from there to the middle, whichever is more; what then stands out further than noise does is repetition.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.ndimage import maximum_filter, uniform_filter

from gesso.errors import DataError

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]
WINDOW = 128  # pixels; a pattern must repeat four times in it, better five
MOST = 32  # windows of a picture, evenly spread: more would cost more than segmenting it
SMALLEST = 16
SLOWEST = 3 / 128  # cycles per pixel: what repeats more slowly is shading
FAINT = (
    2.0  # of 255: noise of this deviation is thought added, as rounding of smooth shades makes steps that nobody sees
)
PEAK = 6.0  # times its surroundings; of noise, one frequency in 400 stands out so far, and then not by much
EULER = 0.5772  # an exponential distribution's mean is exp(EULER) times its geometric mean
LUMINANCE = (0.299, 0.587, 0.114)


def repetition(pictures: npt.NDArray[np.uint8]) -> Floats:
    """How strongly the textures of each picture repeat: 0 for noise, blur, edges and smooth shades, near 1 for tiles.

    Args:
        pictures: (B, H, W, 3) uint8, 16 pixels or more on each side.

    Returns:
        (B,) in [0, 1]: the share of the energy of fine detail, all frequencies made alike, that isolated frequencies hold; the
        mean over windows.

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
    side = min(WINDOW, *luminance.shape) // 2 * 2
    plane = _plane(side)
    tops, lefts = (_starts(length, side) for length in luminance.shape)
    corners = [(top, left) for top in tops for left in lefts]
    taken = np.unique(np.linspace(0, len(corners) - 1, MOST).round().astype(int))
    windows = (luminance[top : top + side, left : left + side] for top, left in (corners[i] for i in taken))
    return float(np.mean([_peaks(_whitened(_log_power(window, plane), plane)) for window in windows]))


def _starts(length: int, side: int) -> list[int]:
    """Where windows begin that overlap by half, as they fade out towards their borders; none stands over."""
    count = -(-(length - side) // (side // 2)) + 1
    return [round(i * (length - side) / max(count - 1, 1)) for i in range(count)]


@dataclass(frozen=True)
class _Plane:
    """The frequencies of a window, by index, and what only depends on its size.

    Attributes:
        fade: (S, S), Hann's window.
        rings: (S, S), distance from the middle in whole steps.
        counts: Frequencies in each ring.
        rays: (K, S/2 + 1, S) flat indices of frequencies along the line to the middle, on both sides of each.
        counted: (S/2 + 1, S), whether a frequency is one of detail.
        around: Steps to each side that are the surroundings of a frequency.
    """

    fade: Floats
    rings: Indices
    counts: Indices
    rays: Indices
    counted: npt.NDArray[np.bool_]
    around: int


@lru_cache(maxsize=4)
def _plane(side: int) -> _Plane:
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(side) / side)
    steps = fft.fftfreq(side, 1 / side)
    y, x = np.meshgrid(steps, steps, indexing="ij")
    distance = np.hypot(y, x)
    rings = distance.round().astype(np.intp)
    far = max(3, side // 8)
    along = np.arange(-far, far + 1, 2)[:, None, None] / np.maximum(distance, 1)  # neighbours tell little new
    rows, columns = (np.rint(part + along * part).astype(np.intp) % side for part in (y, x))
    half = side // 2 + 1  # the other half is the same
    counted = distance[:half] >= max(SLOWEST * side, 2)
    rays = (rows * side + columns)[:, :half]
    return _Plane(np.outer(hann, hann), rings, np.bincount(rings.ravel()), rays, counted, max(3, side // 16))


def _log_power(window: Floats, plane: _Plane) -> Singles:
    """(S, S) -> (S, S), logarithm of the power spectrum, the frequency 0 first."""
    mean = (window * plane.fade).sum() / plane.fade.sum()
    spectrum = fft.fft2(((window - mean) * plane.fade).astype(np.float32))
    power = spectrum.real**2 + spectrum.imag**2 + FAINT**2 * (plane.fade**2).sum()
    return np.log(power).astype(np.float32)


def _whitened(log_power: Singles, plane: _Plane) -> Singles:
    """(S, S) -> (N,), the power of each frequency of detail, where 1 is that of its surroundings."""
    flat = log_power - _profile(log_power, plane)[plane.rings]
    half = len(plane.counted)
    surroundings = uniform_filter(flat, 2 * plane.around + 1, mode="wrap")[:half]
    # Of its neighbours too: a line is a few frequencies wide, and beside its middle no ray follows it.
    lines = maximum_filter(flat.ravel()[plane.rays].mean(0), 3, mode=("reflect", "wrap"))
    return np.exp(flat[:half] - np.maximum(surroundings, lines) - EULER)[plane.counted]


def _profile(log_power: Singles, plane: _Plane) -> Singles:
    """Mean of each ring: without it, the slope of all spectra would make peaks near the middle."""
    means = np.bincount(plane.rings.ravel(), log_power.ravel()) / plane.counts
    whole, around = len(log_power) // 2 + 1, plane.around
    means[whole - around :] = means[
        whole - 2 * around : whole
    ].mean()  # corners have few frequencies, and checkerboards
    return means.astype(np.float32)


def _peaks(whitened: Singles) -> float:
    """The share of what stands out in all of the energy."""
    peaks = float(np.maximum(whitened - PEAK, 0).sum(dtype=np.float64))
    return peaks / (peaks + float(np.minimum(whitened, PEAK).sum(dtype=np.float64)))
