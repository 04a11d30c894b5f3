"""Paired scores: a result beside the photograph that belongs to its layout. L1, PSNR and SSIM.

A layout leaves much open, so a good result need not be near its photograph; these say how near it is nevertheless.
SSIM is that of Wang et al. 2004: a Gaussian window of 11x11 with deviation 1.5, where the window lies inside the picture; by
scikit-image, since torchmetrics, which agrees, takes sixty times as long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from skimage.metrics import structural_similarity

from gesso.errors import DataError
from gesso.evaluate.features import check_pictures
from gesso.evaluate.intervals import Floats
from gesso.labels import ByteArray

WINDOW = 11  # pixels high and wide
DEVIATION = 1.5  # of the window, in pixels


@dataclass(frozen=True)
class PairedScores:
    """One number per pair of pictures.

    Attributes:
        l1: (B,), mean absolute difference, 0..1 (levels / 255).
        psnr: (B,), peak signal-to-noise ratio in dB; infinite for equal pictures.
        ssim: (B,), structural similarity, -1..1; mean over the channels.
    """

    l1: Floats
    psnr: Floats
    ssim: Floats


def paired_scores(results: ByteArray, photographs: ByteArray) -> PairedScores:
    """L1, PSNR and SSIM of each pair; call it batch by batch.

    Args:
        results: (B, H, W, 3) uint8.
        photographs: (B, H, W, 3) uint8, in the same order.

    Raises:
        DataError: The pictures are not uint8, differ in number or size, or are smaller than SSIM's window.
    """
    for pictures, origin in ((results, "results"), (photographs, "photographs")):
        check_pictures(pictures, origin)
    if results.shape != photographs.shape:
        raise DataError(
            f"Results of shape {results.shape} cannot be paired with photographs of {photographs.shape}: scale the photographs "
            "as the model's preprocessing does, and give as many of each."
        )
    if min(results.shape[1:3]) < WINDOW:
        raise DataError(
            f"SSIM looks through {WINDOW}x{WINDOW} pixels; these pictures are {results.shape[1:3]} (height, width)."
        )
    first, second = (side.astype(np.float64) for side in (results, photographs))
    apart = first - second
    with np.errstate(divide="ignore"):
        psnr = 10 * np.log10(255.0**2 / np.square(apart).mean((1, 2, 3)))
    ssim = np.array([_ssim(*pair) for pair in zip(first, second, strict=True)])
    return PairedScores(np.abs(apart).mean((1, 2, 3)) / 255, psnr, ssim)


def _ssim(first: Floats, second: Floats) -> float:
    """(H, W, 3) twice, 0..255 -> -1..1."""
    found = structural_similarity(  # type: ignore[no-untyped-call]
        first,
        second,
        data_range=255.0,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=DEVIATION,
        use_sample_covariance=False,
    )
    return float(found)
